import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { Bell } from "./bell.js"
import { heirOf, later } from "./clock.js"
import { runtimeOf, unsafeStart } from "./fork.js"

/**
 * How long a caller that has to go (interrupted, out of time, or leaving its scope) waits for a step of the engine that is under
 * way. A step may hang, as on a file server that is away, and must not be cut off; it then ends by itself in the background.
 */
export const patience = Duration.seconds(1)

/**
 * Waits for a fiber as long as patience lasts; `false` if it is still running then. Not a race of children: an interruption of the
 * caller would reach those although the caller itself cannot be interrupted.
 */
const wait = (
  parent: Fiber.RuntimeFiber<unknown, unknown>,
  fiber: Fiber.RuntimeFiber<unknown, unknown>
): Effect.Effect<boolean> => {
  if (fiber.unsafePoll() !== null) {
    return Effect.succeed(true)
  }
  const bell = new Bell()
  fiber.addObserver(bell.ring)
  const clock = later(heirOf(parent), Duration.toMillis(patience), Effect.sync(bell.ring))
  return Effect.map(bell.wait, () => {
    clock.cancel()
    return fiber.unsafePoll() !== null
  })
}

/**
 * Runs a step that must not be cut off, and lets it go on in the background when patience is over. To be run uninterruptibly.
 */
export const runWith = <A, E>(step: Effect.Effect<A, E>): Effect.Effect<boolean> =>
  Effect.withFiberRuntime((parent, { runtimeFlags }) =>
    wait(parent, unsafeStart(runtimeOf(parent, runtimeFlags), step))
  )

/**
 * When nobody waits for a step any more: once it ends, what it obtained is given back. Waits for that as long as patience lasts.
 */
export const undo = <A, E>(
  fiber: Fiber.Fiber<A, E>,
  giveBack: (value: A) => Effect.Effect<void>
): Effect.Effect<boolean> =>
  Fiber.await(fiber).pipe(
    Effect.flatMap((exit: Exit.Exit<A, E>) => exit._tag === "Success" ? giveBack(exit.value) : Effect.void),
    runWith
  )
