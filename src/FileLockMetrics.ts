/**
 * Metrics of the locks of a program. `FileLock` updates them, with any engine. They carry the metric labels of the fiber that asked.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"

const millis = MetricBoundaries.exponential({ start: 0.25, factor: 4, count: 12 })

/**
 * Locks acquired, hand-offs within the process included, re-entries not.
 *
 * @since 0.1.0
 * @category metrics
 */
export const acquisitions = Metric.counter("effect_filelock_acquisitions_total", {
  description: "Locks acquired",
  incremental: true
})

/**
 * Acquisitions given up because another holder kept the lock.
 *
 * @since 0.1.0
 * @category metrics
 */
export const timeouts = Metric.counter("effect_filelock_timeouts_total", {
  description: "Acquisitions given up because another holder kept the lock",
  incremental: true
})

/**
 * Locks taken over from a dead or silent holder.
 *
 * @since 0.1.0
 * @category metrics
 */
export const takeovers = Metric.counter("effect_filelock_takeovers_total", {
  description: "Locks taken over from a dead or silent holder",
  incremental: true
})

/**
 * Locks lost while they were held.
 *
 * @since 0.1.0
 * @category metrics
 */
export const lost = Metric.counter("effect_filelock_lost_total", {
  description: "Locks lost while they were held",
  incremental: true
})

/**
 * Locks held now by this process, re-entries not counted.
 *
 * @since 0.1.0
 * @category metrics
 */
export const held = Metric.gauge("effect_filelock_held", {
  description: "Locks held now by this process",
  bigint: false
})

/**
 * Milliseconds from the request of a lock to its acquisition.
 *
 * @since 0.1.0
 * @category metrics
 */
export const waitTime = Metric.histogram(
  "effect_filelock_wait_milliseconds",
  millis,
  "Milliseconds from the request of a lock to its acquisition"
)

/**
 * Milliseconds from the acquisition of a lock to its release.
 *
 * @since 0.1.0
 * @category metrics
 */
export const holdTime = Metric.histogram(
  "effect_filelock_hold_milliseconds",
  millis,
  "Milliseconds from the acquisition of a lock to its release"
)
