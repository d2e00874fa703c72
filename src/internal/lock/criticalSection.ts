import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LockLostError } from "../../LockError.js"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"
import type { HeldLock } from "./heldLock.js"
import * as Reentrancy from "./reentrancy.js"

/** How a span says what became of a critical section. */
export const outcomeOf = ({ loss }: HeldLock, exit: Exit.Exit<unknown, unknown>): string =>
  loss !== undefined
    ? "lost"
    : Exit.isSuccess(exit)
    ? "succeeded"
    : Cause.isInterruptedOnly(exit.cause)
    ? "interrupted"
    : "failed"

/**
 * Runs a body inside a critical section, in the caller's own fiber, and closes the section. To be run uninterruptibly, with `restore`
 * for the body.
 *
 * A loss interrupts the body and fails with `LockLostError`, also where only the release finds it. The body's own failure is kept.
 */
export const run = <A, E, R>(
  fiber: Runtime.RuntimeFiber,
  held: HeldLock,
  self: Effect.Effect<A, E, R>,
  restore: Runtime.Restore
): Effect.Effect<A, E | LockLostError, R> => {
  const body = new Runtime.Body(fiber)
  Reentrancy.enter(fiber, held)
  held.addListener(body.interrupt)
  const leave = (exit: Exit.Exit<A, E>): Effect.Effect<A, E | LockLostError> => {
    held.removeListener(body.interrupt)
    return Immediate.flatMap(body.end(), () => {
      Reentrancy.exit(fiber, held)
      return Effect.matchCauseEffect(held.close(), {
        onSuccess: () => conclude(held, exit),
        onFailure: (cause): Effect.Effect<A, E> =>
          Effect.failCause(Exit.isSuccess(exit) ? cause : Cause.sequential(exit.cause, cause))
      })
    })
  }
  return Effect.matchCauseEffect(restore(Runtime.isTraced(fiber) ? traced(held, self) : self), {
    onSuccess: (value) => leave(Exit.succeed(value)),
    onFailure: (cause) => leave(Exit.failCause(cause))
  })
}

const conclude = <A, E>({ loss }: HeldLock, exit: Exit.Exit<A, E>): Effect.Effect<A, E | LockLostError> =>
  loss !== undefined && (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause)) ? Effect.fail(loss) : exit

const traced = <A, E, R>(held: HeldLock, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.useSpan(
    "FileLock.hold",
    { attributes: { path: held.key.path }, captureStackTrace: false },
    (span) =>
      Effect.onExit(Effect.withParentSpan(self, span), (exit) =>
        Effect.sync(() => span.attribute("outcome", outcomeOf(held, exit))))
  )
