import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Immediate from "../immediate.js"
import { timerAt } from "../lock/timer.js"
import * as Reserve from "../process/reserve.js"
import * as Runtime from "../runtime.js"
import { type Disk, DiskError } from "./disk.js"
import { momentAt, since } from "./ownRecord.js"
import type * as Protocol from "./protocol.js"
import * as Record from "./record.js"
import { type Attempt, Claimed, Gone, type Member, Round } from "./round.js"

export interface Heartbeat {
  readonly add: (member: Member) => void
  /** Ends the heartbeats of a lock, and waits for the attempt under way. To be run uninterruptibly. */
  readonly remove: (member: Member) => Effect.Effect<void>
  /** Whether the lock is ours, as far as one look tells. */
  readonly look: (member: Member) => Effect.Effect<void, Gone>
  /** Makes sure that the lock is ours now, and that no process is about to take it over. */
  readonly verify: (member: Member) => Effect.Effect<void, Gone>
}

/** For a process that was stopped and now has everything to do at once; in milliseconds. */
const shortestLimit = 500

/** The locks of a process do not beat all at once, but in at most so many groups, spread over the interval. */
const maxGroups = 100

/** What of the interval the groups are spread over. */
const spread = 0.8

/** The pause between two groups is no shorter, in milliseconds. */
const shortestPause = 5

/** How long late heartbeats may keep other fibers from running, in milliseconds. */
const longestTick = 10

/** A heartbeat of many that are late at once may take longer, on a disk whose calls go to threads; in milliseconds for each of them. */
const limitEach = 10

/**
 * The heartbeats of all locks that one engine holds: one timer, and no descriptor and no fiber for each. A heartbeat overwrites the `beat`
 * of the record, through a descriptor that it has checked: it is bound to the inode, so that a beat never refreshes a successor's record.
 */
export const make = (options: {
  readonly disk: Disk
  readonly protocol: Protocol.Protocol
  /** In milliseconds. */
  readonly lease: number
  readonly reserve?: Reserve.Reserve | undefined
}): Heartbeat => {
  const { disk, lease, protocol, reserve } = options
  const interval = lease / 3
  const allowed = lease * 0.6
  const pause = Math.max(shortestPause, interval / maxGroups)
  const groups = Math.max(1, (interval / pause) * spread)
  const rounds = new WeakMap<Clock.Clock, Round>()
  /** How many heartbeats have not succeeded at once, and go on trying. */
  let insistent = 0

  // ---------------------------------------------------------------------------------------------
  // one heartbeat
  // ---------------------------------------------------------------------------------------------

  /** What cannot be read now is not gone. */
  const checkPath = ({ own, place }: Member): Effect.Effect<void, DiskError | Gone> =>
    Immediate.flatMap(
      protocol.holds(place, own),
      (isOurs) =>
        isOurs ? Exit.void : Immediate.flatMap(protocol.read(place.lockPath), (seen) =>
          Record.hasToken(seen, own.token)
            ? Exit.void
            : Exit.fail(
              new Gone({
                reason: seen._tag === "Absent" ? "Removed" : "Replaced",
                holder: seen._tag === "Record" ? seen.holder : undefined
              })
            ))
    )

  /**
   * On a local disk it is made when it is called. One that was begun in time and has ended late does not count, unless no other process may
   * have acted meanwhile.
   */
  const beat = (member: Member, isClaimed = false): Effect.Effect<void, DiskError | Gone> => {
    const { clock, own, place } = member
    const startedAt = momentAt(clock)
    const { heardAt } = own
    const next = own.nextBeat()
    return Immediate.matchEffect(
      disk.rewrite(place.lockPath, own.text, next.offset, next.part),
      {
        onFailure: (error): Effect.Effect<void, DiskError | Gone> =>
          Effect.zipRight(checkPath(member), Effect.fail(error)),
        onSuccess: ({ content, inPlace }) => {
          if (own.beaten(next, content) && inPlace && (isClaimed || since(clock, heardAt) <= allowed)) {
            own.heardAt = startedAt
            return Exit.void
          }
          return Effect.zipRight(checkPath(member), Effect.fail(new DiskError("EAGAIN", undefined)))
        }
      }
    )
  }

  /**
   * After a pause another process may be about to take the lock over: the beat is made while none can. One that was made under a claim
   * that was late itself does not count.
   */
  const beatLate = (member: Member): Attempt =>
    Effect.suspend(() => {
      const { heardAt } = member.own
      return Effect.flatMap(
        protocol.whileClaimed(
          member.guard,
          () => Effect.flatMap(checkPath(member), () => beat(member, true))
        ),
        Option.match({
          onNone: () => {
            member.own.heardAt = heardAt
            return Effect.zipRight(checkPath(member), new Claimed())
          },
          onSome: Effect.succeed
        })
      )
    })

  const attempt = (member: Member): Attempt => member.own.silence > allowed ? beatLate(member) : beat(member)

  /** The attempt that has not ended. */
  const underWay = ({ attempt }: Member) => attempt?.unsafePoll() === null ? attempt : undefined

  /** What an attempt answers with, without the references that its fiber has. */
  const resultOf = <A, E>(attempt: Fiber.RuntimeFiber<A, E>): Effect.Effect<A, E> =>
    Effect.flatten(Fiber.await(attempt))

  /** Starts an attempt. It is not cut off: a claim would stay, and a write that was begun happens on Node, interrupted or not. */
  const begin = (member: Member, step: Attempt) => {
    member.attempt = Runtime.startUninterruptible(member.fiber, Effect.withClock(step, member.clock))
    return member.attempt
  }

  /** Makes an attempt after the one that is under way. */
  const inTurn = (member: Member, step: Attempt): Attempt =>
    Effect.suspend(() => {
      if (member.removed) {
        return new Gone({ reason: "Removed" })
      }
      const before = underWay(member)
      return before === undefined
        ? resultOf(begin(member, step))
        : Effect.zipRight(Fiber.await(before), inTurn(member, step))
    })

  /**
   * How long attempts may go on, in milliseconds: while no other process may have acted, and a tenth of a lease at least. Once the lease is
   * over, a process that wanted to act has acted, and what matters is what is found.
   */
  const limit = (member: Member, silence: number): number =>
    silence > lease
      ? Math.max(lease / 10, shortestLimit, limitEach * (insistent + roundOf(member).late.size))
      : Math.max(allowed - silence, lease / 10)

  const insist = (member: Member, first: Attempt, step: Attempt): Effect.Effect<void, Gone> =>
    Effect.suspend(() => {
      const silence = member.own.silence
      let last: unknown
      let next = first
      const again = Effect.suspend(() => {
        const now = next
        next = inTurn(member, step)
        return now
      })
      return again.pipe(
        Effect.tapError((error) =>
          Effect.sync(() => {
            last = error._tag === "DiskError" ? error.cause : undefined
          })
        ),
        Effect.retry({
          while: (error) => error._tag !== "Gone",
          schedule: Schedule.spaced(Duration.millis(Math.max(1, Math.round(lease / 50))))
        }),
        Effect.timeoutFail({
          duration: Duration.millis(Math.ceil(limit(member, silence))),
          onTimeout: () => new Gone({ reason: "LeaseExpired", cause: last })
        }),
        Effect.catchAll((error) =>
          Effect.fail(error._tag === "Gone" ? error : new Gone({ reason: "LeaseExpired", cause: last }))
        )
      )
    })

  // ---------------------------------------------------------------------------------------------
  // all heartbeats
  // ---------------------------------------------------------------------------------------------

  const roundOf = ({ clock }: Member): Round => {
    let round = rounds.get(clock)
    if (round === undefined) {
      round = new Round()
      rounds.set(clock, round)
    }
    return round
  }

  const enqueue = (round: Round, member: Member, after: number): void => {
    member.due = member.own.heardAt.monotonic + after
    round.add(member)
    // One whose publication took long is due before others that are there.
    if (round.alarm !== undefined && round.alarm.at - member.due > pause) {
      disarm(round, member)
    }
    arm(round, 0)
  }

  const disarm = (round: Round, { clock, fiber }: Member): void => {
    if (round.alarm !== undefined) {
      timerAt(clock).cancel(fiber, round.alarm)
      round.alarm = undefined
    }
  }

  /** Sees to it that the first one beats when it is due, and not before some time. */
  const arm = (round: Round, earliest: number): void => {
    const [late] = round.late
    const next = round.first ?? late
    if (next !== undefined && round.alarm === undefined) {
      const at = Math.max(late === undefined ? next.due : 0, earliest)
      round.alarm = { at, run: () => tick(round, next, at) }
      timerAt(next.clock).add(next.fiber, round.alarm)
    }
  }

  /** Beats for those that are due, as many as a group has, and for all that must not wait. */
  const tick = (round: Round, alarmed: Member, dueAt: number): void => {
    const { now } = alarmed
    // A timer that rings late makes up for the groups that it left out.
    let left = Math.ceil(round.size / groups * (1 + (now - dueAt) / pause))
    for (let member = round.first; member !== undefined && member.due <= now; member = round.first) {
      const mayWait = now - member.own.heardAt.monotonic < lease / 2
      if (left <= 0 && mayWait) {
        break
      }
      left -= 1
      round.delete(member)
      if (member.own.silence > allowed) {
        round.late.add(member)
      } else {
        beatNow(round, member)
      }
    }
    let spent = 0
    for (const member of round.late) {
      if (spent > longestTick) {
        break
      }
      const from = member.now
      round.late.delete(member)
      beatNow(round, member)
      spent += member.now - from
    }
    disarm(round, alarmed)
    arm(round, round.late.size > 0 ? now + spent + shortestPause : now + pause)
  }

  /** On a local disk an attempt has ended when it has begun, and takes no fiber. */
  const beatNow = (round: Round, member: Member): void => {
    const goOn = () => {
      if (!member.removed) {
        enqueue(round, member, interval)
      }
    }
    let first: Attempt
    if (underWay(member) !== undefined) {
      first = inTurn(member, Effect.suspend(() => attempt(member)))
    } else {
      const beat = attempt(member)
      if (Exit.isExit(beat)) {
        first = beat
      } else {
        const begun = begin(member, beat)
        first = begun.unsafePoll() ?? resultOf(begun)
      }
    }
    if (Exit.isExit(first) && Exit.isSuccess(first)) {
      return goOn()
    }
    insistent += 1
    member.insisting = Runtime.start(
      member.fiber,
      insist(member, first, Reserve.spend(reserve, Effect.suspend(() => attempt(member)))).pipe(
        Effect.matchCauseEffect({
          onSuccess: () => Effect.sync(goOn),
          onFailure: (cause) =>
            cause._tag === "Fail"
              ? Effect.sync(() => member.onGone(cause.error))
              : Effect.zipRight(
                Effect.logError(`The heartbeat of ${member.place.lockPath} failed`, cause),
                Effect.sync(() => member.onGone(new Gone({ reason: "LeaseExpired" })))
              )
        }),
        Effect.ensuring(Effect.sync(() => {
          insistent -= 1
        })),
        Effect.withClock(member.clock)
      )
    )
  }

  const look: Heartbeat["look"] = (member) =>
    Immediate.matchEffect(checkPath(member), {
      onSuccess: () => Exit.void,
      onFailure: (error) =>
        Exit.fail(error._tag === "Gone" ? error : new Gone({ reason: "BackendUnavailable", cause: error.cause }))
    })

  return {
    look,
    // The first heartbeat comes early: those of many locks that were acquired at once take the rest of the interval.
    add: (member) => enqueue(roundOf(member), member, member.own.outdated ? 0 : interval / 2),
    remove: (member) => {
      member.removed = true
      const round = roundOf(member)
      if (round.delete(member) && round.size + round.late.size === 0) {
        disarm(round, member)
      }
      if (member.insisting !== undefined) {
        Runtime.interrupt(member.insisting)
      }
      const last = underWay(member)
      return last === undefined ? Exit.void : Effect.asVoid(Fiber.await(last))
    },
    verify: (member) =>
      Immediate.suspend(() =>
        member.own.silence > allowed
          ? insist(member, inTurn(member, beatLate(member)), beatLate(member))
          : look(member)
      )
  }
}
