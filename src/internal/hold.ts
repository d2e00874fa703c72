import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import type * as MetricLabel from "effect/MetricLabel"
import * as Metrics from "../FileLockMetrics.js"
import type { LockName, Mode } from "../LockBackend.js"
import type { LockLostError } from "../LockError.js"
import type { Tenure } from "./tenure.js"
import type { Restore } from "./wait.js"

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
  Effect.flatMap(
    FiberRef.get(FiberRef.currentMetricLabels),
    (tags) => Effect.map(Clock.currentTimeNanos, (now) => update(now, tags))
  )

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

/**
 * Runs a body for as long as the lock is held; a loss interrupts it. To be run uninterruptibly, with `restore` for the body, and
 * `within` around it.
 *
 * The body has a fiber of its own, so that a loss stops the body alone. What the body forks belongs to the caller's fiber all the
 * same, and lives as long as it would without a lock.
 */
export const run = <A, E, R>(
  hold: Hold,
  body: Effect.Effect<A, E, R>,
  restore: Restore,
  within: Restore
): Effect.Effect<A, E | LockLostError, R> =>
  Effect.transplant((graft) =>
    Effect.flatMap(Effect.fork(within(restore(graft(body)))), (fiber) => {
      const { tenure } = hold
      const stop = () => fiber.unsafeInterruptAsFork(FiberId.none)
      tenure.onLoss.add(stop)
      if (tenure.loss !== undefined) {
        stop()
      }
      return restore(Fiber.await(fiber)).pipe(
        Effect.catchAllCause(() => Fiber.interrupt(fiber)),
        Effect.flatMap((exit) => {
          tenure.onLoss.delete(stop)
          return Effect.zipRight(fiber.inheritAll, conclude(tenure, exit))
        })
      )
    })
  )

/** A body that ended well, or was stopped, while the lock was lost did not have it to its end. Its own failure is kept. */
const conclude = <A, E>(tenure: Tenure, exit: Exit.Exit<A, E>): Effect.Effect<A, E | LockLostError> =>
  tenure.loss !== undefined && (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause))
    ? Effect.fail(tenure.loss)
    : exit
