/**
 * What a program can see of its locks in its metrics. All are counted by `FileLock`, whatever the engine.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"

const millis = MetricBoundaries.exponential({ start: 0.25, factor: 4, count: 12 })

/**
 * Locks acquired.
 *
 * @since 0.1.0
 * @category metrics
 */
export const acquisitions = Metric.counter("effect_filelock_acquisitions", {
  description: "Locks acquired",
  incremental: true
})

/**
 * Acquisitions given up because somebody else kept the lock.
 *
 * @since 0.1.0
 * @category metrics
 */
export const timeouts = Metric.counter("effect_filelock_timeouts", {
  description: "Acquisitions given up because somebody else kept the lock",
  incremental: true
})

/**
 * Locks taken over from a dead or silent holder.
 *
 * @since 0.1.0
 * @category metrics
 */
export const recovered = Metric.counter("effect_filelock_recovered", {
  description: "Locks taken over from a dead or silent holder",
  incremental: true
})

/**
 * Locks lost while they were held.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lost = Metric.counter("effect_filelock_lost", {
  description: "Locks lost while they were held",
  incremental: true
})

/**
 * Locks held now by this process.
 *
 * @since 0.1.0
 * @category metrics
 */
export const held = Metric.gauge("effect_filelock_held", {
  description: "Locks held now by this process",
  bigint: false
})

/**
 * Milliseconds from the wish for a lock to its acquisition.
 *
 * @since 0.1.0
 * @category metrics
 */
export const waitTime = Metric.histogram(
  "effect_filelock_wait_time",
  millis,
  "Milliseconds from the wish for a lock to its acquisition"
)

/**
 * Milliseconds from the acquisition of a lock to its release.
 *
 * @since 0.1.0
 * @category metrics
 */
export const holdTime = Metric.histogram(
  "effect_filelock_hold_time",
  millis,
  "Milliseconds from the acquisition of a lock to its release"
)
