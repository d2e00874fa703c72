import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
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

type Tags = ReadonlyArray<MetricLabel.MetricLabel>

const tagsOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Tags => fiber.getFiberRef(FiberRef.currentMetricLabels)

const millis = (nanos: bigint): number => Number(nanos) / 1e6

/** Starts a hold that was wished for since some time, in nanoseconds. */
export const begin = (
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  options: Omit<Hold, "since">,
  wishedSince: bigint
): Hold => {
  const since = nanosOf(fiber)
  const tags = tagsOf(fiber)
  Metrics.held.unsafeModify(1, tags)
  Metrics.acquisitions.unsafeUpdate(1, tags)
  Metrics.waitTime.unsafeUpdate(millis(since - wishedSince), tags)
  return { ...options, since }
}

/** Gives the lock back. Called once. */
export const release = (hold: Hold): Effect.Effect<void> =>
  Effect.ensuring(
    hold.giveBack,
    Effect.withFiberRuntime((fiber) => {
      const tags = tagsOf(fiber)
      Metrics.held.unsafeModify(-1, tags)
      Metrics.holdTime.unsafeUpdate(millis(nanosOf(fiber) - hold.since), tags)
      return Effect.void
    })
  )
