import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Runtime from "effect/Runtime"

/**
 * What a fiber that is started now would get from its parent: services, references and loggers. Not for chains of fibers without end,
 * each of which starts the next: their references grow with each.
 */
export const runtimeOf = (
  parent: Fiber.RuntimeFiber<unknown, unknown>,
  runtimeFlags = Runtime.defaultRuntimeFlags
): Runtime.Runtime<never> =>
  Runtime.make({ context: parent.currentContext, runtimeFlags, fiberRefs: parent.getFiberRefs() })

/** Starts a daemon, which runs at once up to where it first waits. Not for what may start others in turn: a stack has an end. */
export const unsafeStart = <A, E>(
  runtime: Runtime.Runtime<never>,
  effect: Effect.Effect<A, E>
): Fiber.RuntimeFiber<A, E> =>
  // eslint-disable-next-line no-restricted-properties -- a fiber that runs at once, as a part of what is described
  Runtime.runFork(runtime)(effect)

/** Starts a daemon once others that are about to run have had their turn: whoever was served goes first. */
export const forkBehind = <A, E, R>(
  effect: Effect.Effect<A, E, R>
): Effect.Effect<Fiber.RuntimeFiber<A, E>, never, R> =>
  Effect.forkDaemon(Effect.zipRight(Effect.repeatN(Effect.yieldNow(), 3), effect))
