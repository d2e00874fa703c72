import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Runtime from "../runtime.js"
import { timerOf } from "./timer.js"
import { cleanupTimeout, type Waiter } from "./waitQueue.js"

/** The exit of a fiber; `undefined` if it has not ended by the clean-up timeout. */
const awaitBriefly = <A, E>(fiber: Fiber.RuntimeFiber<A, E>): Effect.Effect<Exit.Exit<A, E> | undefined> =>
  Effect.withFiberRuntime((caller) => {
    const exit = fiber.unsafePoll()
    return exit !== null ? Effect.succeed(exit) : Effect.async((resume) => {
      const timer = timerOf(caller)
      const alarm = {
        at: Runtime.monotonic(caller) + cleanupTimeout,
        run: () => resume(Effect.succeed(undefined))
      }
      timer.add(caller, alarm)
      fiber.addObserver((exit) => {
        timer.cancel(caller, alarm)
        resume(Effect.succeed(exit))
      })
    })
  })

/** Runs a step that must not be cut off, and leaves it to the background after the clean-up timeout. To be run uninterruptibly. */
export const run = (step: Effect.Effect<void>, what: string): Effect.Effect<void> =>
  Effect.withFiberRuntime((caller) =>
    Effect.flatMap(
      awaitBriefly(Runtime.startUninterruptible(caller, step)),
      (exit) =>
        exit ?? Effect.logWarning(`${what} takes longer than ${cleanupTimeout} ms and goes on in the background`)
    )
  )

/**
 * Runs a step of the engine in a fiber of its own, until it ends, the deadline of the waiter passes, or the caller is interrupted.
 * `undefined` at the deadline. What the step obtains after its caller has gone is given to `undo`. To be run uninterruptibly.
 */
export const attempt = <A, E>(
  waiter: Waiter,
  restore: Runtime.Restore,
  step: Effect.Effect<A, E>,
  undo: (value: A) => Effect.Effect<void>
): Effect.Effect<A | undefined, E> =>
  Effect.withFiberRuntime((caller) => {
    const fiber = Runtime.startUninterruptible(caller, step)
    const undoLater = Effect.sync(() => {
      fiber.addObserver((exit) => {
        if (exit._tag === "Success") Runtime.startUninterruptible(caller, undo(exit.value))
      })
    })
    const stop = Effect.suspend(() => {
      Runtime.interrupt(fiber)
      return awaitBriefly(fiber)
    })
    // At `timeout: 0` the step has had its time already.
    const abandon = Effect.sync(() => {
      Runtime.interrupt(fiber)
      return fiber.unsafePoll() ?? undefined
    })
    const expire = Effect.flatMap(waiter.call.timeout > 0 ? stop : abandon, (exit) =>
      exit === undefined
        ? Effect.as(undoLater, undefined)
        : exit._tag === "Failure" && Cause.isInterruptedOnly(exit.cause)
        ? Effect.succeed(undefined)
        : exit)
    const cancel = Effect.flatMap(
      stop,
      (exit) => exit === undefined ? undoLater : exit._tag === "Success" ? undo(exit.value) : Effect.void
    )
    const ended: Effect.Effect<A | undefined, E> = Effect.suspend(() => {
      const exit = fiber.unsafePoll()
      return exit !== null
        ? exit
        : waiter.outOfTime
        ? expire
        : Effect.zipRight(Effect.onInterrupt(restore(waiter.wait), () => cancel), ended)
    })
    if (fiber.unsafePoll() === null) {
      waiter.startDeadline()
      fiber.addObserver(() => waiter.notify())
    }
    return ended
  })
