/**
 * Simulated time for programs that do nothing outside of this process: whenever no fiber can go on, the clock jumps to the next
 * sleeper. A minute of waiting takes milliseconds, and the same seed gives the same run.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Random from "effect/Random"
import type * as Scheduler from "effect/Scheduler"

interface Sleeper {
  readonly at: bigint
  readonly wake: () => void
}

/** Sleepers, soonest first; those of one moment in the order they came. */
class Sleepers {
  private readonly waiting: Array<Sleeper> = []

  add(sleeper: Sleeper): void {
    let low = 0
    let high = this.waiting.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.waiting[middle]?.at ?? 0n) <= sleeper.at) {
        low = middle + 1
      } else {
        high = middle
      }
    }
    this.waiting.splice(low, 0, sleeper)
  }

  remove(sleeper: Sleeper): void {
    const index = this.waiting.indexOf(sleeper)
    if (index >= 0) {
      this.waiting.splice(index, 1)
    }
  }

  next(): Sleeper | undefined {
    return this.waiting.shift()
  }
}

class SimulatedClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  readonly sleepers = new Sleepers()
  /** Not 0, so that a forgotten time is told from the beginning. */
  now = 1_000_000_000_000n * 1_000_000n

  unsafeCurrentTimeMillis(): number {
    return Number(this.now / 1_000_000n)
  }

  unsafeCurrentTimeNanos(): bigint {
    return this.now
  }

  readonly currentTimeMillis = Effect.sync(() => this.unsafeCurrentTimeMillis())

  readonly currentTimeNanos = Effect.sync(() => this.now)

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      if (!Duration.isFinite(duration)) {
        return
      }
      const sleeper = { at: this.now + Duration.unsafeToNanos(duration), wake: () => resume(Effect.void) }
      this.sleepers.add(sleeper)
      return Effect.sync(() => this.sleepers.remove(sleeper))
    })
  }
}

/** More turns in one moment are a program that runs in circles. */
const maxTurns = 1_000_000

/** After so many, the event loop has a turn. */
const turnsAtOnce = 500

/** Keeps what can go on until the simulation lets it. */
class SimulatedScheduler implements Scheduler.Scheduler {
  tasks: Array<Scheduler.Task> = []

  shouldYield(fiber: { readonly currentOpCount: number }): number | false {
    return fiber.currentOpCount > 2048 ? 0 : false
  }

  scheduleTask(task: Scheduler.Task): void {
    this.tasks.push(task)
  }

  /** Lets all fibers go on that can; `false` if that has no end. */
  run(): boolean {
    for (let turn = 0; this.tasks.length > 0; turn++) {
      if (turn > maxTurns) {
        return false
      }
      const tasks = this.tasks
      this.tasks = []
      for (const task of tasks) {
        task()
      }
    }
    return true
  }
}

export interface Options {
  /** What decides about jitter and everything else that is random. Default 1. */
  readonly seed?: number | undefined
  /** A run that has not ended by then never will. Default 1 hour. */
  readonly limit?: Duration.DurationInput | undefined
}

/**
 * Runs an effect in simulated time, to its end, without waiting for anything real. Dies when it stands still or passes the
 * limit. What it leaves running is abandoned.
 */
export const run = <A, E>(self: Effect.Effect<A, E>, options: Options = {}): Effect.Effect<A, E> =>
  Effect.suspend(() => {
    const clock = new SimulatedClock()
    const scheduler = new SimulatedScheduler()
    const limit = clock.now + Duration.unsafeToNanos(options.limit ?? "1 hour")
    const services = Context.add(DefaultServices.liveServices, Clock.Clock, clock).pipe(
      Context.add(Random.Random, Random.make(options.seed ?? 1))
    )
    const fiber = Effect.runFork(
      self.pipe(
        Effect.provide(Logger.remove(Logger.defaultLogger)),
        Effect.locally(DefaultServices.currentServices, services)
      ),
      { scheduler }
    )
    const step = (): Exit.Exit<A, E> | undefined => {
      if (!scheduler.run()) {
        return Exit.die("The simulation runs in circles: a fiber goes on for ever without sleeping")
      }
      const exit = fiber.unsafePoll()
      if (exit !== null) {
        return exit
      }
      const sleeper = clock.sleepers.next()
      if (sleeper === undefined) {
        return Exit.die("The simulation stands still: no fiber is awake and none will be woken")
      }
      if (sleeper.at > limit) {
        return Exit.die("The simulation passed its limit: a fiber waits for what never comes")
      }
      clock.now = sleeper.at > clock.now ? sleeper.at : clock.now
      sleeper.wake()
      return undefined
    }
    return Effect.async<A, E>((resume) => {
      const go = (): void => {
        for (let turn = 0; turn < turnsAtOnce; turn++) {
          const exit = step()
          if (exit !== undefined) {
            return resume(exit)
          }
        }
        setImmediate(go)
      }
      go()
    })
  })
