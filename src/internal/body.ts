import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import * as Tracer from "effect/Tracer"
import type { LockLostError } from "../LockError.js"
import { nanosOf } from "./clock.js"
import type * as Hold from "./hold.js"
import * as Sections from "./sections.js"
import type { Tenure } from "./tenure.js"
import type { Restore } from "./wait.js"

/** How a span says what became of a critical section. */
export const outcomeOf = ({ tenure }: Hold.Hold, exit: Exit.Exit<unknown, unknown>): string =>
  tenure.loss !== undefined
    ? "lost"
    : Exit.isSuccess(exit)
    ? "succeeded"
    : Cause.isInterruptedOnly(exit.cause)
    ? "interrupted"
    : "failed"

/**
 * Runs a body inside a critical section and closes that. To be run uninterruptibly, with `restore` for the body.
 *
 * The body has a fiber of its own, so that a loss stops the body alone. What the body forks belongs to the caller's fiber all the
 * same, and lives as long as it would without a lock.
 */
export const run = <A, E, R>(
  section: Sections.Section,
  body: Effect.Effect<A, E, R>,
  restore: Restore
): Effect.Effect<A, E | LockLostError, R> =>
  Effect.flatMap(
    Effect.makeSpan("FileLock.hold", { attributes: { path: section.hold.name.path }, captureStackTrace: false }),
    (span) =>
      Effect.onExit(
        inside(section, span, body, restore),
        (exit) =>
          Effect.withFiberRuntime((fiber) => {
            span.attribute("outcome", outcomeOf(section.hold, exit))
            span.end(nanosOf(fiber), exit)
            return Sections.close(section)
          })
      )
  )

const inside = <A, E, R>(
  section: Sections.Section,
  span: Tracer.Span,
  body: Effect.Effect<A, E, R>,
  restore: Restore
): Effect.Effect<A, E | LockLostError, R> =>
  Effect.transplant((graft) =>
    Effect.withFiberRuntime<A, E | LockLostError, R>((parent, { runtimeFlags }) => {
      const { tenure } = section.hold
      const outside = parent.currentContext
      const around = parent.getFiberRef(Sections.current)
      const heir = Runtime.make({
        // Whoever runs the body has the services that it needs.
        context: Context.add(outside, Tracer.ParentSpan, span) as Context.Context<R>,
        runtimeFlags,
        fiberRefs: parent.getFiberRefs()
      })
      // eslint-disable-next-line no-restricted-properties -- a fiber with a context and a section of its own, in one step
      const fiber = Runtime.runFork(heir)(restore(graft(body)), {
        updateRefs: (refs, fiberId) =>
          FiberRefs.updateAs(refs, {
            fiberId,
            fiberRef: Sections.current,
            value: Sections.enter(around, section, fiberId)
          }),
        // Bodies may be nested deeper than the stack.
        immediate: false
      })
      const stop = () => fiber.unsafeInterruptAsFork(FiberId.none)
      tenure.onLoss.add(stop)
      if (tenure.loss !== undefined) {
        stop()
      }
      const leave = Effect.zipRight(
        fiber.inheritAll,
        Effect.zipRight(FiberRef.set(FiberRef.currentContext, outside), Sections.forget(section))
      )
      return Effect.flatMap(ended(fiber), (exit) => {
        tenure.onLoss.delete(stop)
        return Effect.zipRight(leave, conclude(tenure, exit))
      })
    })
  )

/**
 * How a fiber ends; whoever is interrupted meanwhile interrupts it. That holds for a caller that cannot be interrupted, too: the body
 * may be, in parts.
 */
const ended = <A, E>(fiber: Fiber.RuntimeFiber<A, E>): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.matchCauseEffect(Effect.interruptible(Fiber.await(fiber)), {
    onSuccess: Effect.succeed,
    onFailure: () => Fiber.interrupt(fiber)
  })

/** A body that ended well, or was stopped, while the lock was lost did not have it to its end. Its own failure is kept. */
const conclude = <A, E>(tenure: Tenure, exit: Exit.Exit<A, E>): Effect.Effect<A, E | LockLostError> =>
  tenure.loss !== undefined && (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause))
    ? Effect.fail(tenure.loss)
    : exit
