import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Runtime from "../runtime.js"

/** Something that is to happen at some time. */
export interface Alarm {
  /** Milliseconds on the monotonic clock. */
  readonly at: number
  readonly run: () => void
}

/** Calls a function after some milliseconds, unless it is told not to. */
type Sleep = (fiber: Runtime.RuntimeFiber, millis: number, wake: () => void) => Runtime.Sleeper

/** A sleep on a clock. By the time that it begins, the fiber may go by another one. */
const sleepOn = (clock: Clock.Clock): Sleep => (fiber, millis, wake) => {
  const sleeper = Runtime.start(
    fiber,
    Effect.withClock(Effect.zipRight(Effect.sleep(millis), Effect.sync(wake)), clock)
  )
  return { stop: () => Runtime.interrupt(sleeper), rest: undefined, isStale: () => false }
}

/**
 * One sleep for all alarms of a clock. Nothing sleeps while there is no alarm, so that a finished program ends.
 *
 * Alarms are few and most are cancelled before they are due, so they are not kept in order: the next one is found when the timer wakes up.
 */
export class Timer {
  private readonly alarms = new Set<Alarm>()
  private readonly isSystems: boolean
  private readonly sleep: Sleep
  private sleeper: Runtime.Sleeper | undefined
  private wakesAt = Infinity
  private checks = false

  constructor(private readonly clock: Clock.Clock) {
    this.isSystems = Runtime.isSystemClock(clock)
    this.sleep = this.isSystems ? Runtime.systemSleep : sleepOn(clock)
  }

  add(fiber: Runtime.RuntimeFiber, alarm: Alarm): void {
    this.alarms.add(alarm)
    if (alarm.at < this.wakesAt || this.sleeper?.isStale() === true) {
      this.check(fiber)
    } else if (this.alarms.size === 1) {
      this.sleeper?.rest?.(true)
    }
  }

  cancel(fiber: Runtime.RuntimeFiber, alarm: Alarm): void {
    if (this.alarms.delete(alarm) && this.alarms.size === 0) {
      // It would most often be set again at once.
      if (this.sleeper?.rest === undefined) this.check(fiber)
      else this.sleeper.rest(false)
    }
  }

  /** A timer of the system is set at once. Most locks and waits are over before a fiber would have been worth its while. */
  private check(fiber: Runtime.RuntimeFiber): void {
    if (this.isSystems) {
      return this.settle(fiber)
    }
    if (!this.checks) {
      this.checks = true
      Runtime.soon(fiber, () => {
        this.checks = false
        this.settle(fiber)
      })
    }
  }

  /** Sleeps until the next alarm, if there is one. */
  private settle(fiber: Runtime.RuntimeFiber): void {
    const next = this.next()
    if (next >= this.wakesAt && next !== Infinity && this.sleeper?.isStale() !== true) {
      return
    }
    this.sleeper?.stop()
    this.sleeper = undefined
    this.wakesAt = next
    if (next !== Infinity) {
      const millis = Math.ceil(next - Runtime.monotonicOf(this.clock))
      this.sleeper = this.sleep(fiber, Math.min(Math.max(1, millis), longestSleep), () => this.wake(fiber))
    }
  }

  private wake(fiber: Runtime.RuntimeFiber): void {
    this.sleeper = undefined
    this.wakesAt = Infinity
    const now = Runtime.monotonicOf(this.clock)
    for (const alarm of [...this.alarms]) {
      if (alarm.at <= now && this.alarms.delete(alarm)) {
        alarm.run()
      }
    }
    this.settle(fiber)
  }

  private next(): number {
    let next = Infinity
    for (const { at } of this.alarms) {
      next = Math.min(next, at)
    }
    return next
  }
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
