import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Runtime from "../runtime.js"

/** Something that is to happen at some time. */
export interface Alarm {
  /** Milliseconds on the monotonic clock. */
  readonly at: number
  readonly run: () => void
}

/**
 * One fiber and one sleep for all alarms of a clock. Nothing sleeps while there is no alarm, so that a finished program ends.
 *
 * Alarms are few and most are cancelled before they are due, so they are not kept in order: the next one is found when the
 * fiber wakes up.
 */
export class Timer {
  private readonly alarms = new Set<Alarm>()
  private fiber: Fiber.RuntimeFiber<void> | undefined
  private wakesAt = Infinity
  private checks = false

  constructor(private readonly clock: Clock.Clock) {}

  add(fiber: Runtime.RuntimeFiber, alarm: Alarm): void {
    this.alarms.add(alarm)
    if (alarm.at < this.wakesAt) {
      this.check(fiber)
    }
  }

  cancel(fiber: Runtime.RuntimeFiber, alarm: Alarm): void {
    if (this.alarms.delete(alarm) && this.alarms.size === 0) {
      this.check(fiber)
    }
  }

  /** Most locks and waits are over before a fiber would have been worth its while. */
  private check(fiber: Runtime.RuntimeFiber): void {
    if (this.checks) {
      return
    }
    this.checks = true
    Runtime.soon(fiber, () => {
      this.checks = false
      const next = this.next()
      if (next >= this.wakesAt && next !== Infinity) {
        return
      }
      if (this.fiber !== undefined) {
        Runtime.interrupt(this.fiber)
        this.fiber = undefined
        this.wakesAt = Infinity
      }
      if (next !== Infinity) {
        // By then the fiber may go by another clock.
        this.fiber = Runtime.start(fiber, Effect.withClock(this.loop, this.clock))
      }
    })
  }

  private next(): number {
    let next = Infinity
    for (const { at } of this.alarms) {
      next = Math.min(next, at)
    }
    return next
  }

  private readonly loop: Effect.Effect<void> = Effect.withFiberRuntime<void>((fiber) => {
    const now = Runtime.monotonic(fiber)
    for (const alarm of [...this.alarms]) {
      if (alarm.at <= now && this.alarms.delete(alarm)) {
        alarm.run()
      }
    }
    this.wakesAt = this.next()
    if (this.wakesAt === Infinity) {
      this.fiber = undefined
      return Effect.void
    }
    return Effect.zipRight(Effect.sleep(Math.min(Math.max(1, Math.ceil(this.wakesAt - now)), longestSleep)), this.loop)
  })
}

/** What a timer of the system can wait for, in milliseconds. */
const longestSleep = 2 ** 31 - 1

const timers = new WeakMap<Clock.Clock, Timer>()

/** The timer of a fiber's clock. */
export const timerOf = (fiber: Runtime.RuntimeFiber): Timer => timerAt(Runtime.clockOf(fiber))

/** The timer of a clock. */
export const timerAt = (clock: Clock.Clock): Timer => {
  let timer = timers.get(clock)
  if (timer === undefined) {
    timer = new Timer(clock)
    timers.set(clock, timer)
  }
  return timer
}
