import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import type * as Schedule from "effect/Schedule"
import * as Metrics from "../FileLockMetrics.js"
import type { LockName, Mode } from "../LockBackend.js"
import { LockAcquisitionError, type Reason } from "../LockError.js"
import * as LockHolder from "../LockHolder.js"
import { Bell } from "./bell.js"
import { heirOf, type Later, later, nanosOf } from "./clock.js"
import { runtimeOf, unsafeStart } from "./fork.js"
import type { Line } from "./line.js"
import * as Patience from "./patience.js"

/** A wait that is longer says in the log for whom it waits. */
const tellAfter = 1000

export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** What the user asked for, and until when. */
export interface Wish {
  readonly path: string
  readonly mode: Mode
  readonly label: string | undefined
  readonly schedule: Schedule.Schedule<unknown>
  readonly timeout: Duration.Duration
  readonly since: bigint
  /** How long this process may pass a lock among its own fibers. */
  readonly handoff: Duration.Duration
  /** Counts the calls of the service: whoever called first is served first. */
  readonly arrival: number
}

/** Something that was begun and comes to an end by itself. */
export interface Begun<A, E> {
  readonly unsafePoll: () => Exit.Exit<A, E> | null
  readonly addObserver: (observer: () => void) => void
}

/** One acquisition under way: its deadline, who is in the way, and the bell that wakes it. */
export class Wait {
  readonly bell = new Bell()
  /** The deadline is over. */
  expired: boolean
  /** So is the patience with a step that was under way. */
  outOfPatience = false
  /** The user's schedule is over: nobody will look again. */
  exhausted = false
  /** Who was in the way at the last look of the engine. */
  blocker: LockHolder.LockHolder | undefined
  /** The line of this process, while we stand in it. */
  line: Line | undefined
  lockPath: string
  private clock: Later | undefined
  private readonly helpers = new Set<Fiber.RuntimeFiber<unknown, unknown>>()

  constructor(readonly wish: Wish) {
    this.lockPath = `${wish.path}.lock`
    this.expired = Duration.toMillis(wish.timeout) === 0
  }

  get holder(): LockHolder.LockHolder | undefined {
    return this.blocker ?? this.line?.holder
  }

  get isOver(): boolean {
    return this.expired || this.exhausted
  }

  /** From now on it is known what is waited for. */
  name(name: LockName): LockName {
    this.lockPath = name.lockPath
    return name
  }

  readonly waited = Effect.withFiberRuntime<number>((fiber) =>
    Effect.succeed(Number(nanosOf(fiber) - this.wish.since) / 1e6)
  )

  /** Starts something that rings the bell; it ends with the acquisition at the latest. */
  help<A>(effect: Effect.Effect<A>): Effect.Effect<Fiber.RuntimeFiber<A>> {
    return Effect.map(Effect.forkDaemon(Effect.interruptible(effect)), (fiber) => {
      this.helpers.add(fiber)
      fiber.addObserver(() => this.helpers.delete(fiber))
      return fiber
    })
  }

  /** Lets the time run. Most acquisitions end before it has anything to say. */
  startClock(fiber: Fiber.RuntimeFiber<unknown, unknown>): void {
    const timeout = Duration.toMillis(this.wish.timeout)
    const expire = Effect.suspend(() => this.expire)
    this.clock = later(
      heirOf(fiber),
      Math.min(timeout, tellAfter),
      timeout > tellAfter ? Effect.zipRight(Effect.suspend(() => this.tell), expire) : expire
    )
  }

  end(): Effect.Effect<void> {
    this.clock?.cancel()
    return this.helpers.size === 0 ? Effect.void : Fiber.interruptAll(this.helpers)
  }

  private get tell(): Effect.Effect<void> {
    return Effect.flatMap(DateTime.now, (now) =>
      Effect.logInfo(
        `Waiting for ${this.lockPath}: ${this.holder === undefined ? "in use" : LockHolder.format(this.holder, now)}`
      ))
  }

  /** Timers may fire a little early, and nobody is told of 10 seconds after 9.999. */
  private get expire(): Effect.Effect<void> {
    return Effect.flatMap(this.waited, (waited) => {
      const left = Duration.toMillis(this.wish.timeout) - waited
      if (left === Infinity) {
        return Effect.void
      }
      if (left > 0) {
        return Effect.zipRight(Effect.sleep(Math.ceil(left)), Effect.suspend(() => this.expire))
      }
      this.expired = true
      this.bell.ring()
      return Effect.map(Effect.sleep(Patience.patience), () => {
        this.outOfPatience = true
        this.bell.ring()
      })
    })
  }

  fail(reason: Reason, cause?: unknown): Effect.Effect<never, LockAcquisitionError> {
    return Effect.gen(this, function*() {
      if (reason === "Timeout") {
        yield* Metric.increment(Metrics.timeouts)
      }
      return yield* new LockAcquisitionError({
        path: this.wish.path,
        lockPath: this.lockPath,
        reason,
        waited: yield* this.waited,
        timeout: Duration.toMillis(this.wish.timeout),
        at: yield* DateTime.now,
        holder: this.holder,
        cause
      })
    })
  }

  /**
   * Runs a step of the engine that must not be cut off. The caller can be interrupted and has a deadline all the same; then it
   * waits for the step with patience only, and what the step still obtains is given back.
   */
  step<A, E>(
    effect: Effect.Effect<A, E>,
    restore: Restore,
    giveBack: (value: A) => Effect.Effect<void>
  ): Effect.Effect<A, E | LockAcquisitionError> {
    return Effect.withFiberRuntime((parent, { runtimeFlags }) => {
      const fiber = unsafeStart(runtimeOf(parent, runtimeFlags), effect)
      return this.until(fiber, restore, Effect.suspend(() => Patience.undo(fiber, giveBack)))
    })
  }

  /** Waits for what was begun; `leave` is run where it is not waited for any longer. */
  until<A, E>(
    begun: Begun<A, E>,
    restore: Restore,
    leave: Effect.Effect<unknown>
  ): Effect.Effect<A, E | LockAcquisitionError> {
    const at = begun.unsafePoll()
    if (at !== null) {
      return at
    }
    begun.addObserver(this.bell.ring)
    const rung = Effect.onInterrupt(restore(this.bell.wait), () => leave)
    const ended: Effect.Effect<A, E | LockAcquisitionError> = Effect.suspend(() => {
      const exit = begun.unsafePoll()
      if (exit !== null) {
        return exit
      }
      if (this.outOfPatience) {
        return Effect.zipRight(
          Effect.forkDaemon(leave),
          this.fail("Timeout", new Error("the storage did not answer in time"))
        )
      }
      return Effect.zipRight(rung, ended)
    })
    return ended
  }
}
