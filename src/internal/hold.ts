import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import type * as MetricLabel from "effect/MetricLabel"
import * as Metrics from "../FileLockMetrics.js"
import type { LockName, Mode } from "../LockBackend.js"
import { nanosOf } from "./clock.js"
import type { Tenure } from "./tenure.js"

/** A lock that somebody in this process holds. */
export interface Hold {
  readonly name: LockName
  readonly mode: Mode
  readonly tenure: Tenure
  /** Gives the lock to whoever is next. */
  readonly giveBack: Effect.Effect<void>
  readonly since: bigint
}

/** Updates several metrics at once, at the time in nanoseconds. */
const measure = (
  update: (now: bigint, tags: ReadonlyArray<MetricLabel.MetricLabel>) => void
): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) => {
    update(nanosOf(fiber), fiber.getFiberRef(FiberRef.currentMetricLabels))
    return Effect.void
  })

const millis = (nanos: bigint): number => Number(nanos) / 1e6

/** Starts a hold that was wished for since some time, in nanoseconds. */
export const make = (options: Omit<Hold, "since">, wishedSince: bigint): Effect.Effect<Hold> => {
  const hold = { ...options, since: wishedSince }
  return Effect.as(
    measure((now, tags) => {
      hold.since = now
      Metrics.held.unsafeModify(1, tags)
      Metrics.acquisitions.unsafeUpdate(1, tags)
      Metrics.waitTime.unsafeUpdate(millis(now - wishedSince), tags)
    }),
    hold
  )
}

/** Gives the lock back. Called once. */
export const release = (hold: Hold): Effect.Effect<void> =>
  Effect.ensuring(
    hold.giveBack,
    measure((now, tags) => {
      Metrics.held.unsafeModify(-1, tags)
      Metrics.holdTime.unsafeUpdate(millis(now - hold.since), tags)
    })
  )
