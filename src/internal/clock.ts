import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import type * as Runtime from "effect/Runtime"
import { runtimeOf, unsafeStart } from "./fork.js"

const systemClock = Context.get(DefaultServices.liveServices, Clock.Clock)

const clockOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Clock.Clock =>
  Context.get(fiber.currentDefaultServices, Clock.Clock)

/** What the clock of a fiber says, in nanoseconds. */
export const nanosOf = (fiber: Fiber.RuntimeFiber<unknown, unknown>): bigint => clockOf(fiber).unsafeCurrentTimeNanos()

/** Something that begins after a while, unless it is called off before. */
export interface Later {
  /** Calls it off, or interrupts it; waits for nothing. */
  readonly cancel: () => void
  /** Calls it off, or interrupts it and waits until it has ended. */
  readonly end: Effect.Effect<void>
}

/** What something that begins later has: the clock, services, references and loggers of a fiber at some time. */
export interface Heir {
  readonly clock: Clock.Clock
  readonly runtime: Runtime.Runtime<never>
}

export const heirOf = (parent: Fiber.RuntimeFiber<unknown, unknown>): Heir => ({
  clock: clockOf(parent),
  runtime: runtimeOf(parent)
})

/**
 * Begins something after so many milliseconds, interruptibly, in a fiber of its own. Most of what is set never begins; on the system's
 * clock it costs no more than a timer until then.
 */
export const later = (
  { clock, runtime }: Heir,
  millis: number,
  effect: Effect.Effect<unknown>
): Later => {
  let fiber: Fiber.RuntimeFiber<unknown> | undefined
  let timer: NodeJS.Timeout | undefined
  if (clock !== systemClock) {
    fiber = unsafeStart(runtime, Effect.zipRight(Effect.sleep(millis), effect))
  } else if (millis <= longest) {
    // eslint-disable-next-line no-restricted-globals -- it is what this clock itself does
    timer = setTimeout(() => {
      fiber = unsafeStart(runtime, effect)
    }, millis)
  }
  const cancel = () => fiber === undefined ? clearTimeout(timer) : fiber.unsafeInterruptAsFork(FiberId.none)
  return {
    cancel,
    end: Effect.suspend(() => {
      cancel()
      return fiber === undefined ? Effect.void : Effect.asVoid(Fiber.await(fiber))
    })
  }
}

/** The most that a timer can wait for: whatever comes later never comes. */
const longest = 2 ** 31 - 1
