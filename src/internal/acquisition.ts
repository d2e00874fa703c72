import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Metrics from "../FileLockMetrics.js"
import type { Blocked, Contender, Grant, LockBackend, LockName, Refused } from "../LockBackend.js"
import { type LockAcquisitionError, LockDirectoryError } from "../LockError.js"
import { heirOf, type Later, later } from "./clock.js"
import type { Flights } from "./flights.js"
import { forkBehind } from "./fork.js"
import * as Handoff from "./handoff.js"
import * as Hold from "./hold.js"
import type { Line, Lines, Ticket } from "./line.js"
import type * as Sections from "./sections.js"
import * as Tenure from "./tenure.js"
import { type Restore, Wait, type Wish } from "./wait.js"

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
  Effect.suspend(() => {
    if (ticket.served) {
      wait.line = undefined
      return Effect.void
    }
    wait.line = line
    if (wait.expired) {
      line.giveBack(ticket)
      return wait.fail("Timeout")
    }
    return Effect.zipRight(
      Effect.onInterrupt(restore(wait.bell.wait), () => Handoff.abandon(line, ticket, wait.wish.handoff)),
      untilServed(wait, line, ticket, restore)
    )
  })

/** Rings when it is time to look again: by the engine's word, its hint, or the user's schedule. */
const makeAlarms = (
  wait: Wait,
  contender: Contender
): Effect.Effect<(blocked: Blocked) => Effect.Effect<void, never, Scope.Scope>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const ring = Effect.sync(wait.bell.ring)
    const driver = yield* Schedule.driver(wait.wish.schedule)
    const tick = Effect.catchAll(driver.next(undefined), () =>
      Effect.sync(() => {
        wait.exhausted = true
      }))
    const scheduled = alarm(wait, Effect.zipRight(tick, ring))
    const changed = contender.changes(wait.bell.ring)
    let promised: Later | undefined
    yield* Effect.addFinalizer(() => Effect.sync(() => promised?.cancel()))
    const promise = ({ lookAgain }: Blocked): Effect.Effect<void> =>
      Effect.withFiberRuntime((fiber) => {
        promised?.cancel()
        promised = Option.isSome(lookAgain) ? later(heirOf(fiber), Duration.toMillis(lookAgain.value), ring) : undefined
        return Effect.void
      })
    return (blocked) => Effect.zipRight(Effect.zipRight(scheduled, changed), promise(blocked))
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

const attempt = (wait: Wait, contender: Contender, restore: Restore) =>
  wait.step(
    contender.attempt,
    restore,
    (answer) => answer._tag === "Grant" ? answer.release : contender.end
  )

/** Asks the engine until it grants the lock or there is no time left. */
const contend = (
  wait: Wait,
  contender: Contender,
  restore: Restore
): Effect.Effect<Grant, Failure | Refused> =>
  Effect.flatMap(
    attempt(wait, contender, restore),
    (answer) => answer._tag === "Grant" ? Effect.succeed(answer) : contendAgain(wait, contender, restore, answer)
  )

const contendAgain = (
  wait: Wait,
  contender: Contender,
  restore: Restore,
  blocked: Blocked
): Effect.Effect<Grant, Failure | Refused> =>
  inPassing((scope) =>
    Effect.gen(function*() {
      let answer: Grant | Blocked = blocked
      let setAlarms: Effect.Effect.Success<ReturnType<typeof makeAlarms>> | undefined
      while (answer._tag === "Blocked") {
        wait.blocker = Option.getOrUndefined(answer.holder)
        if (wait.isOver) {
          return yield* wait.fail(answer.reason, answer.cause)
        }
        setAlarms ??= yield* makeAlarms(wait, contender)
        yield* setAlarms(answer)
        yield* restore(wait.bell.wait)
        answer = yield* attempt(wait, contender, restore)
      }
      return answer
    }).pipe(Scope.extend(scope))
  ).pipe(Effect.ensuring(contender.end))

/** Whoever is granted the lock goes on at once; what it waited with is closed meanwhile, and before it gives the lock back. */
const inPassing = <E>(use: (scope: Scope.Scope) => Effect.Effect<Grant, E>): Effect.Effect<Grant, E> =>
  Effect.flatMap(Scope.make(), (scope) =>
    Effect.matchCauseEffect(use(scope), {
      onSuccess: (grant) =>
        Effect.map(forkBehind(Scope.close(scope, Exit.void)), (closing): Grant => ({
          _tag: "Grant",
          holder: grant.holder,
          fence: grant.fence,
          recovered: grant.recovered,
          verify: grant.verify,
          keep: grant.keep,
          keepAfter: grant.keepAfter,
          release: Effect.zipRight(Fiber.await(closing), grant.release)
        })),
      onFailure: (cause) => Effect.zipRight(Scope.close(scope, Exit.void), Effect.failCause(cause))
    }))

/**
 * Runs one acquisition, from the clock's start to its end. To be run uninterruptibly: `use` restores interruption where it
 * may be interrupted.
 */
export const run = <A, R>(
  wish: Wish,
  use: (wait: Wait) => Effect.Effect<A, Failure | Refused, R>
): Effect.Effect<A, Failure, R> =>
  Effect.withFiberRuntime((fiber) => {
    const wait = new Wait(wish)
    wait.startClock(fiber)
    return Effect.matchCauseEffect(use(wait), {
      onSuccess: (value) => Effect.as(wait.end(), value),
      onFailure: (cause) =>
        Effect.zipRight(
          wait.end(),
          Either.match(Cause.failureOrCause(cause), { onLeft: explain(wait), onRight: Effect.failCause })
        )
    })
  })

/** The canonical name of what is wished for. */
export const resolve = (
  wait: Wait,
  names: Flights<LockName, LockDirectoryError | Refused>,
  restore: Restore
): Effect.Effect<LockName, Failure | Refused> =>
  Effect.flatMap(
    names.join(wait.wish.path),
    (flight) => Effect.map(wait.until(flight, restore, Effect.void), (name) => wait.name(name))
  )

/** Obtains a lock: first the line of this process, then the engine. If it fails, nothing stays behind. */
export const obtain = (
  wait: Wait,
  backend: LockBackend,
  lines: Lines,
  name: LockName,
  restore: Restore
): Effect.Effect<Hold.Hold, Failure | Refused> =>
  Effect.withFiberRuntime((fiber) => {
    const { arrival, handoff, label, mode, since } = wait.wish
    const line = lines.at(name.lockPath)
    const ticket = line.draw(wait.bell.ring, arrival, { label, mode })
    const toHold = (tenure: Tenure.Tenure): Hold.Hold => {
      line.holder = tenure.grant.holder
      return Hold.begin(fiber, { name, mode, tenure, giveBack: Handoff.giveBack(line, ticket, tenure, handoff) }, since)
    }
    return Effect.flatMap(untilServed(wait, line, ticket, restore), () => {
      if (ticket.passed !== undefined) {
        return Effect.succeed(toHold(ticket.passed))
      }
      const contender = backend.contend({ name, mode, label, waits: !wait.expired })
      return Effect.matchCauseEffect(contend(wait, contender, restore), {
        onSuccess: (grant) => {
          const hold = toHold(Tenure.begin(fiber, grant, name.lockPath))
          return grant.recovered ? Effect.as(Metric.increment(Metrics.recovered), hold) : Effect.succeed(hold)
        },
        onFailure: (cause) => {
          line.giveBack(ticket)
          return Effect.failCause(cause)
        }
      })
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
