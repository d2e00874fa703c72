import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Metrics from "../FileLockMetrics.js"
import type { Blocked, Contender, Grant, LockBackend, LockName, Mode, Refused } from "../LockBackend.js"
import { LockAcquisitionError, LockDirectoryError, type Reason } from "../LockError.js"
import * as LockHolder from "../LockHolder.js"
import { Bell } from "./bell.js"
import * as Handoff from "./handoff.js"
import * as Hold from "./hold.js"
import type { Line, Lines, Passed, Ticket } from "./line.js"
import * as Patience from "./patience.js"
import type * as Sections from "./sections.js"

/** A wait that is longer says in the log for whom it waits. */
const tellAfter = Duration.seconds(1)

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

/** One acquisition under way: its deadline, who is in the way, and the bell that wakes it. */
export class Wait {
  readonly bell = new Bell()
  /** The deadline is over. */
  expired = false
  /** So is the patience with a step that was under way. */
  outOfPatience = false
  /** The user's schedule is over: nobody will look again. */
  exhausted = false
  /** Who was in the way at the last look of the engine. */
  blocker: LockHolder.LockHolder | undefined
  /** The line of this process, while we stand in it. */
  line: Line | undefined
  private readonly helpers = new Set<Fiber.RuntimeFiber<unknown, unknown>>()

  lockPath: string

  constructor(readonly wish: Wish) {
    this.lockPath = `${wish.path}.lock`
  }

  get holder(): LockHolder.LockHolder | undefined {
    return this.blocker ?? this.line?.holder
  }

  get isOver(): boolean {
    return this.expired || this.exhausted
  }

  /** From now on it is known what is waited for. */
  name(name: LockName): Effect.Effect<LockName> {
    return Effect.sync(() => {
      this.lockPath = name.lockPath
      return name
    })
  }

  readonly waited = Effect.map(
    Clock.currentTimeNanos,
    (now) => Duration.toMillis(Duration.nanos(now - this.wish.since))
  )

  /** Starts something that rings the bell; it ends with the acquisition at the latest. */
  help<A>(effect: Effect.Effect<A>): Effect.Effect<Fiber.RuntimeFiber<A>> {
    return Effect.tap(
      Effect.forkDaemon(Effect.interruptible(effect)),
      (fiber) =>
        Effect.sync(() => {
          this.helpers.add(fiber)
          fiber.addObserver(() => this.helpers.delete(fiber))
        })
    )
  }

  readonly end = Effect.suspend(() => Fiber.interruptAll(this.helpers))

  readonly startClock = Effect.suspend(() => {
    const { timeout } = this.wish
    this.expired = Duration.equals(timeout, Duration.zero)
    const tell = Effect.suspend(() =>
      Effect.flatMap(DateTime.now, (now) =>
        Effect.logInfo(
          `Waiting for ${this.lockPath}: ` +
            (this.holder === undefined ? "in use" : LockHolder.format(this.holder, now))
        ))
    )
    const told = Effect.delay(tell, tellAfter)
    const expire = Effect.sync(() => {
      this.expired = true
      this.bell.ring()
    })
    const giveUp = Effect.sync(() => {
      this.outOfPatience = true
      this.bell.ring()
    })
    if (!Duration.isFinite(timeout)) {
      return this.help(told)
    }
    // Timers may fire a little early, and nobody is told of 10 seconds after 9.999.
    const rest: Effect.Effect<void> = Effect.flatMap(this.waited, (waited) => {
      const left = Duration.toMillis(timeout) - waited
      return left > 0 ? Effect.zipRight(Effect.sleep(Math.ceil(left)), rest) : Effect.void
    })
    return this.help(
      (Duration.greaterThan(timeout, tellAfter) ? Effect.zipRight(told, rest) : rest).pipe(
        Effect.zipRight(expire),
        Effect.zipRight(Effect.delay(giveUp, Patience.patience))
      )
    )
  })

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
    return Effect.gen(this, function*() {
      const fiber = yield* Effect.forkDaemon(Effect.uninterruptible(effect))
      let exit: Exit.Exit<A, E> | undefined
      fiber.addObserver((ended) => {
        exit = ended
        this.bell.ring()
      })
      while (exit === undefined) {
        if (this.outOfPatience) {
          yield* Effect.forkDaemon(Patience.undo(fiber, giveBack))
          return yield* this.fail("Timeout", new Error("the storage did not answer in time"))
        }
        yield* Effect.onInterrupt(restore(this.bell.wait), () => Patience.undo(fiber, giveBack))
      }
      return yield* exit
    })
  }
}

type Failure = LockAcquisitionError | LockDirectoryError

/** What the engine refused, as the user is told it. */
const explain = (wait: Wait) => (error: Failure | Refused): Effect.Effect<never, Failure> => {
  switch (error._tag) {
    case "Refused":
      return wait.fail(error.reason, error.cause)
    case "LockDirectoryError":
      // An error's cause is not among what a spread copies.
      return Effect.fail(new LockDirectoryError({ ...error, path: wait.wish.path, cause: error.cause }))
    case "LockAcquisitionError":
      return Effect.fail(error)
  }
}

/** Waits until a ticket is served; it is given back unless this succeeds. */
const untilServed = (
  wait: Wait,
  line: Line,
  ticket: Ticket,
  restore: Restore
): Effect.Effect<void, LockAcquisitionError> =>
  Effect.gen(function*() {
    wait.line = line
    while (!ticket.served) {
      if (wait.expired) {
        line.giveBack(ticket)
        return yield* wait.fail("Timeout")
      }
      yield* Effect.onInterrupt(restore(wait.bell.wait), () => Handoff.abandon(line, ticket, wait.wish.handoff))
    }
    wait.line = undefined
  })

/** Rings when it is time to look again: by the engine's word, its hint, or the user's schedule. */
const makeAlarms = (
  wait: Wait,
  contender: Contender
): Effect.Effect<(blocked: Blocked) => Effect.Effect<void>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const ring = Effect.sync(wait.bell.ring)
    const driver = yield* Schedule.driver(wait.wish.schedule)
    const tick = Effect.catchAll(driver.next(undefined), () =>
      Effect.sync(() => {
        wait.exhausted = true
      }))
    const changed = yield* contender.changes
    const scheduled = alarm(wait, Effect.zipRight(tick, ring))
    const hinted = alarm(wait, Effect.zipRight(changed, ring))
    let promised: Fiber.RuntimeFiber<void> | undefined
    return (blocked) =>
      Effect.gen(function*() {
        yield* scheduled
        yield* hinted
        promised?.unsafeInterruptAsFork(FiberId.none)
        promised = Option.isSome(blocked.lookAgain)
          ? yield* wait.help(Effect.zipRight(Effect.sleep(blocked.lookAgain.value), ring))
          : undefined
      })
  })

/** Sets an alarm unless it is still set from the last time. */
const alarm = (wait: Wait, effect: Effect.Effect<void>): Effect.Effect<void> => {
  let running: Fiber.RuntimeFiber<void> | undefined
  return Effect.suspend(() =>
    running !== undefined && running.unsafePoll() === null ? Effect.void : Effect.map(wait.help(effect), (fiber) => {
      running = fiber
    })
  )
}

/** Asks the engine until it grants the lock or there is no time left. */
const contend = (
  wait: Wait,
  contender: Contender,
  restore: Restore
): Effect.Effect<Grant, Failure | Refused, Scope.Scope> =>
  Effect.gen(function*() {
    let setAlarms: Effect.Effect.Success<ReturnType<typeof makeAlarms>> | undefined
    while (true) {
      const answer = yield* wait.step(
        contender.attempt,
        restore,
        (answer) => answer._tag === "Grant" ? answer.release : Effect.void
      )
      if (answer._tag === "Grant") {
        return answer
      }
      wait.blocker = Option.getOrUndefined(answer.holder)
      if (wait.isOver) {
        return yield* wait.fail(answer.reason, answer.cause)
      }
      setAlarms ??= yield* makeAlarms(wait, contender)
      yield* setAlarms(answer)
      yield* restore(wait.bell.wait)
    }
  })

/**
 * Runs one acquisition, from the clock's start to its end. To be run uninterruptibly: `use` restores interruption where it
 * may be interrupted.
 */
export const run = <A, R>(
  wish: Wish,
  use: (wait: Wait) => Effect.Effect<A, Failure | Refused, R>
): Effect.Effect<A, Failure, R> =>
  Effect.suspend(() => {
    const wait = new Wait(wish)
    return wait.startClock.pipe(
      Effect.zipRight(use(wait)),
      Effect.catchAll(explain(wait)),
      Effect.ensuring(wait.end)
    )
  })

/** The canonical name of what is wished for. */
export const resolve = (
  wait: Wait,
  backend: LockBackend,
  restore: Restore
): Effect.Effect<LockName, Failure | Refused> =>
  Effect.flatMap(
    wait.step(backend.resolve(wait.wish.path), restore, () => Effect.void),
    (name) => wait.name(name)
  )

/** Obtains a lock: first the line of this process, then the engine. Whatever ends it, nothing stays behind. */
export const obtain = (
  wait: Wait,
  backend: LockBackend,
  lines: Lines,
  name: LockName,
  restore: Restore
): Effect.Effect<Hold.Hold, Failure | Refused> =>
  Effect.suspend(() => {
    const { arrival, handoff, label, mode } = wait.wish
    const line = lines.at(name.lockPath)
    const ticket = line.draw(wait.bell.ring, arrival, { label, mode })
    const ask: Effect.Effect<Passed, Failure | Refused> = Effect.gen(function*() {
      const grant = yield* contend(wait, backend.contend({ name, mode, label }), restore).pipe(
        Effect.scoped,
        Effect.onError(() => Effect.sync(() => line.giveBack(ticket)))
      )
      yield* countRecovery(grant)
      return { grant, lockPath: name.lockPath, since: yield* Clock.currentTimeNanos }
    })
    return Effect.gen(function*() {
      yield* untilServed(wait, line, ticket, restore)
      const passed = ticket.passed ?? (yield* ask)
      const { grant } = passed
      line.holder = grant.holder
      const hold = yield* Hold.make({ name, mode, grant, giveBack: Handoff.giveBack(line, ticket, passed, handoff) })
      yield* count(wait)
      // Whoever was interrupted meanwhile must not come to own it.
      yield* Effect.onInterrupt(restore(Effect.void), () => Hold.release(hold))
      return hold
    })
  })

/**
 * Waits for the turn inside a section that this fiber, or one that started it, is in. Nothing if that section has ended
 * meanwhile; the effect inside gives the turn back.
 */
export const reenter = (
  wait: Wait,
  section: Sections.Section,
  restore: Restore
): Effect.Effect<Option.Option<Effect.Effect<void>>, Failure> =>
  Effect.suspend(() => {
    if (section.hold.mode === "shared" && wait.wish.mode === "exclusive") {
      return wait.fail("Deadlock")
    }
    const { line } = section
    const ticket = line.draw(wait.bell.ring, wait.wish.arrival)
    const giveBack = Effect.sync(() => line.giveBack(ticket))
    return Effect.flatMap(
      untilServed(wait, line, ticket, restore),
      () => section.open ? Effect.succeedSome(giveBack) : Effect.as(giveBack, Option.none())
    )
  })

const count = (wait: Wait): Effect.Effect<void> =>
  Effect.zipRight(
    Metric.increment(Metrics.acquisitions),
    Effect.flatMap(wait.waited, (waited) => Metric.update(Metrics.waitTime, waited))
  )

const countRecovery = (grant: Grant): Effect.Effect<void> =>
  grant.recovered ? Metric.increment(Metrics.recovered) : Effect.void
