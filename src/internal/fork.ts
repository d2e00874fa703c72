import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as FiberId from "effect/FiberId"
import type * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import type * as RuntimeFlags from "effect/RuntimeFlags"

/** What a fiber gets from the one that starts it, where that differs from what the other has. */
export interface Legacy<R> {
  readonly context?: Context.Context<R>
  /** Whether it can be interrupted, among other things; by default it can. */
  readonly runtimeFlags?: RuntimeFlags.RuntimeFlags
  readonly updateRefs?: (refs: FiberRefs.FiberRefs, fiberId: FiberId.Runtime) => FiberRefs.FiberRefs
  /** Whether it runs at once, up to where it first waits; by default it does. Not for what may start others: a stack has an end. */
  readonly immediate?: boolean
}

/** Starts a daemon with the services, references and loggers of another fiber. */
export const unsafeStart = <A, E, R>(
  parent: Fiber.RuntimeFiber<unknown, unknown>,
  effect: Effect.Effect<A, E, R>,
  { context, immediate, runtimeFlags, updateRefs }: Legacy<R> = {}
): Fiber.RuntimeFiber<A, E> =>
  // eslint-disable-next-line no-restricted-properties -- a fiber that runs at once, as part of a description
  Runtime.runFork(
    Runtime.make({
      // Whoever runs an effect has its services.
      context: context ?? parent.currentContext as Context.Context<R>,
      runtimeFlags: runtimeFlags ?? Runtime.defaultRuntimeFlags,
      fiberRefs: parent.getFiberRefs()
    })
  )(effect, { immediate: immediate ?? true, ...(updateRefs === undefined ? {} : { updateRefs }) })

/** Starts a daemon once others that are about to run have had their turn: whoever was served goes first. */
export const forkBehind = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R> =>
  Effect.forkDaemon(Effect.zipRight(Effect.repeatN(Effect.yieldNow(), 3), effect))
