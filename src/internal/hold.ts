import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Metrics from "../FileLockMetrics.js"
import type { Grant, LockName, Mode } from "../LockBackend.js"
import type { LockLostError } from "../LockError.js"

/** A lock that this process holds. */
export interface Hold {
  readonly name: LockName
  readonly mode: Mode
  readonly grant: Grant
  /** Gives the lock to whoever is next. */
  readonly giveBack: Effect.Effect<void>
  readonly since: bigint
  /** Whether its loss was told to `onLost`. */
  lost: boolean
  /** Stops the bodies that run under the lock. */
  readonly onLost: Set<() => void>
  watcher: Fiber.RuntimeFiber<unknown> | undefined
}

/** Starts a hold: from now on a loss stops whatever runs under it. */
export const make = (options: Pick<Hold, "name" | "mode" | "grant" | "giveBack">): Effect.Effect<Hold> =>
  Effect.gen(function*() {
    const hold: Hold = {
      ...options,
      since: yield* Clock.currentTimeNanos,
      lost: false,
      onLost: new Set(),
      watcher: undefined
    }
    yield* Metric.incrementBy(Metrics.held, 1)
    hold.watcher = yield* Effect.forkDaemon(Effect.interruptible(watch(hold)))
    return hold
  })

const watch = (hold: Hold): Effect.Effect<unknown> =>
  Effect.catchAll(Deferred.await(hold.grant.lost), () =>
    Effect.suspend(() => {
      hold.lost = true
      for (const stop of hold.onLost) {
        stop()
      }
      return Metric.increment(Metrics.lost)
    }))

/** Gives the lock back. Called once. */
export const release = (hold: Hold): Effect.Effect<void> =>
  Effect.gen(function*() {
    hold.watcher?.unsafeInterruptAsFork(FiberId.none)
    yield* hold.giveBack
    const held = (yield* Clock.currentTimeNanos) - hold.since
    yield* Metric.update(Metrics.holdTime, Duration.toMillis(Duration.nanos(held)))
  }).pipe(
    Effect.ensuring(Metric.incrementBy(Metrics.held, -1))
  )

/**
 * Runs a body for as long as the lock is held; a loss interrupts it. To be run uninterruptibly, with `restore` for the body.
 *
 * The body has a fiber of its own, so that a loss stops the body alone. What the body forks belongs to the caller's fiber all the
 * same, and lives as long as it would without a lock.
 */
export const run = <A, E, R>(
  hold: Hold,
  body: Effect.Effect<A, E, R>,
  restore: <B, F, S>(effect: Effect.Effect<B, F, S>) => Effect.Effect<B, F, S>
): Effect.Effect<A, E | LockLostError, R> =>
  Effect.transplant((graft) =>
    Effect.flatMap(Effect.fork(restore(graft(body))), (fiber) => {
      const stop = () => fiber.unsafeInterruptAsFork(FiberId.none)
      hold.onLost.add(stop)
      if (hold.lost) {
        stop()
      }
      return restore(Fiber.await(fiber)).pipe(
        Effect.catchAllCause(() => Fiber.interrupt(fiber)),
        Effect.flatMap((exit) => {
          hold.onLost.delete(stop)
          return Effect.zipRight(fiber.inheritAll, conclude(hold, exit))
        })
      )
    })
  )

/** A body that ended well, or was stopped, while the lock was lost did not have it to its end. Its own failure is kept. */
const conclude = <A, E>(hold: Hold, exit: Exit.Exit<A, E>): Effect.Effect<A, E | LockLostError> =>
  Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause)
    ? Effect.flatMap(
      Deferred.poll(hold.grant.lost),
      Option.match({ onNone: () => exit, onSome: (lost): Effect.Effect<A, E | LockLostError> => lost })
    )
    : exit
