import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as LockBackend from "../../LockBackend.js"
import type { LockDirectoryError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import * as Channel from "../handover/channel.js"
import { Others } from "../handover/others.js"
import { Requester } from "../handover/requester.js"
import * as Turns from "../handover/turns.js"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"
import * as Cleanup from "./cleanup.js"
import type { Disk, DiskError } from "./disk.js"
import * as Grant from "./grant.js"
import * as Heartbeat from "./heartbeat.js"
import * as Inspection from "./inspection.js"
import type { OwnRecord } from "./ownRecord.js"
import * as Paths from "./paths.js"
import * as Protocol from "./protocol.js"
import * as Readers from "./readers.js"
import { holderOf, type Seen } from "./record.js"
import {
  type Blocked,
  blockedBy,
  blockedByForeign,
  blockedByOwn,
  failed,
  ofUser,
  reasonOf,
  refused
} from "./refusal.js"
import * as Requests from "./requests.js"
import * as Sharing from "./sharing.js"
import * as Staleness from "./staleness.js"
import { Crowd, Wait } from "./waiting.js"

/** An attempt waits for no other process, so it looks only so often at a path that changes under its eyes. */
const maxRounds = 16

/** The engine of lock files over one disk. */
export interface Engine extends Context.Tag.Service<LockBackend.LockBackend> {
  /** Ends what goes on in the background. */
  readonly close: Effect.Effect<void>
}

type Answer = Grant.LockFileGrant | Blocked

type Entered = Protocol.Published | Protocol.Occupied

/** An acquisition on its way. */
interface Attempt {
  readonly key: LockBackend.LockKey
  readonly place: Protocol.Place
  readonly request: LockBackend.Request
  /** The waiter, as other processes see it; nothing for an attempt that does not wait. */
  readonly requester: Requester | undefined
  /** Puts a record at the lock if nothing is there. */
  readonly publish: () => Effect.Effect<Entered, DiskError>
}

/** One that waits, and why it was refused just now. */
interface Waiting extends Attempt {
  readonly requester: Requester
  readonly refused?: Blocked
  /** It begins in the next turn of the event loop. */
  readonly later?: boolean
}

export const make = (options: {
  readonly disk: Disk
  readonly syntax: Paths.Syntax
  readonly identity: ProcessIdentity
  readonly lease: Duration.Duration
}): Engine & { readonly paths: Paths.Paths } => {
  const { disk, identity, syntax } = options
  const lease = Duration.toMillis(options.lease)
  const paths = Paths.make(disk, syntax)
  const staleness = Staleness.make(identity, lease)
  const protocol = Protocol.make({ disk, identity, staleness, lease })
  const heartbeat = Heartbeat.make({ disk, protocol, lease, reserve: identity.reserve })
  const { canReach = () => false, channel = Channel.none } = identity
  const readers = Readers.make({ disk, identity, protocol, staleness, channel, canReach })
  const cleanup = Cleanup.make({ disk, syntax, protocol, readers, staleness })
  const requests = Requests.make({ disk, syntax, protocol, identity })
  const context: Grant.Context = {
    ...requests,
    disk,
    channel,
    protocol,
    canReach,
    others: new Others(),
    heartbeat,
    cleanup,
    readers,
    lastPath: ""
  }
  const turns = new Turns.Turns()
  const { breakLock, inspect } = Inspection.make({
    protocol,
    readers,
    requests,
    identity,
    staleness,
    channel,
    canReach
  })

  identity.reserve?.keep()

  /** The lock file is ours. */
  const hold = (
    { key, place, request, requester }: Attempt,
    own: OwnRecord,
    recovered: boolean,
    fiber: Runtime.RuntimeFiber
  ): Grant.LockFileGrant => {
    if (requester === undefined) {
      return new Grant.LockFileGrant(
        context,
        key,
        request,
        own,
        recovered,
        recovered ? "unknown" : undefined,
        place,
        fiber
      )
    }
    const queue = requester.queue ?? (recovered ? "unknown" : requester.hasWaited ? "untold" : undefined)
    if (requester.own === own) own.acquired()
    const granted = new Grant.LockFileGrant(context, key, request, own, recovered, queue, place, fiber)
    requester.end(granted.queue)
    return granted
  }

  /** The lock of a dead holder was taken over by another record than that of our request, which is not wanted any more. */
  const recover = (
    attempt: Attempt,
    own: OwnRecord,
    round: number,
    fiber: Runtime.RuntimeFiber
  ): Effect.Effect<Answer, LockBackend.BackendError | LockDirectoryError> => {
    const { place, requester } = attempt
    if (requester === undefined) {
      return Exit.succeed(hold(attempt, own, true, fiber))
    }
    channel.attach(own.token, requester)
    return Immediate.flatMap(requester.withdraw(), (given) => {
      const request = requester.own
      if (given && request !== undefined) {
        // We stood still, and lost what we had taken over: another process has had the lock since, and has given it to the request.
        channel.detach(own.token)
        requester.hasWaited = true
        return Immediate.flatMap(
          protocol.remove(place, 0, own),
          () => conclude(attempt, protocol.accept(place, request), round + 1)
        )
      }
      // If that took too long, the lock file is late, and does not count until it was looked at again (E1).
      return Exit.succeed(hold(attempt, own, true, fiber))
    })
  }

  // ---------------------------------------------------------------------------------------------
  // one attempt
  // ---------------------------------------------------------------------------------------------

  const attemptOnce = (key: LockBackend.LockKey, request: LockBackend.Request): Attempt => {
    const place = Protocol.placeOf(key.lockPath)
    return { key, place, request, requester: undefined, publish: () => protocol.publish(place, 0, request.label) }
  }

  const attemptOf = (
    key: LockBackend.LockKey,
    request: LockBackend.Request,
    fiber: Runtime.RuntimeFiber
  ): Waiting => {
    const place = Protocol.placeOf(key.lockPath)
    const requester = new Requester(channel, protocol, place, request.label, fiber)
    return { key, place, request, requester, publish: () => requester.enter() }
  }

  /** A1 and A2. The directory is made at most once: where it is there and the create says that it is not, making it does not help. */
  const conclude = (
    attempt: Attempt,
    first: Effect.Effect<Entered, DiskError>,
    round = 1,
    directoryMade = false
  ): Effect.Effect<Answer, LockBackend.BackendError | LockDirectoryError> =>
    Immediate.matchEffect(first, {
      onSuccess: (entered) =>
        entered._tag === "Published"
          ? Immediate.withFiber((fiber) => Exit.succeed(hold(attempt, entered.own, false, fiber)))
          : takeOverStale(attempt, entered.seen, round),
      onFailure: (error) =>
        error.code === "ENOENT" && !directoryMade
          ? Effect.zipRight(
            paths.makeDirectory(attempt.key),
            Effect.suspend(() => conclude(attempt, attempt.publish(), round, true))
          )
          : explain(attempt, error)
    })

  const explain = (
    attempt: Attempt,
    error: DiskError
  ): Effect.Effect<Answer, LockBackend.BackendError | LockDirectoryError> => {
    if (error instanceof Protocol.Unreadable) {
      return refuse(attempt.key, error, undefined)
    }
    const explained = Paths.explain(syntax, attempt.key, error)
    return explained === undefined ? Exit.succeed(failed(error)) : Exit.fail(explained)
  }

  /** No permission and no space do not pass. On Windows a file that is just being removed has no permission either. */
  const refuse = (
    { lockPath }: LockBackend.LockKey,
    error: DiskError,
    holder: LockHolder | undefined
  ): Effect.Effect<Answer, LockBackend.BackendError> => {
    const reason = reasonOf(error)
    if (reason === "SystemError" || syntax.sep !== "/") {
      return Exit.succeed(failed(error))
    }
    return reason !== "PermissionDenied" ? refused(error, holder) : Effect.flatMap(
      Effect.orElseSucceed(disk.owner(lockPath), () => undefined),
      (user) => refused(user === undefined ? error : ofUser(error, user), holder)
    )
  }

  /** What was seen is in the way, as long as it lives. */
  const takeOverStale = (
    attempt: Attempt,
    seen: Seen,
    round: number
  ): Effect.Effect<Answer, LockBackend.BackendError | LockDirectoryError> => {
    if (seen._tag === "Foreign") {
      return Exit.succeed(blockedByForeign(seen.what))
    }
    return seen._tag === "Absent"
      ? lookAgain(attempt, seen, round)
      : Immediate.flatMap(staleness.check(attempt.key.lockPath, seen), (check) =>
        seen._tag === "Flock"
          ? Exit.succeed(blockedByFlock(check._tag === "Live" ? seen.holder : undefined))
          : check._tag === "Stale"
          ? takeOver(attempt, seen, round)
          : Exit.succeed(
            check._tag === "Unverifiable"
              ? blockedBy("unverifiable", holderOf(seen), check.readAgainIn)
              : seen._tag === "Zeros"
              ? blockedByForeign("a file of NULs, written since the machine was booted")
              : blockedByLive(holderOf(seen))
          ))
  }

  /** The file stays: only the engine that locks it can tell whether other programs wait for it. */
  const blockedByFlock = (holder: LockHolder | undefined): Blocked =>
    holder === undefined
      ? blockedByForeign("a file that is locked with flock(2), by FlockBackend or another program")
      : { cause: new Error("with flock(2), by FlockBackend"), ...blockedByLive(holder) }

  const blockedByLive = (holder: LockHolder | undefined): Blocked =>
    holder?.instance === identity.info.instance ? blockedByOwn(holder) : blockedBy("held", holder)

  /** T1 to T3. */
  const takeOver = (
    attempt: Attempt,
    seen: Seen,
    round: number
  ): Effect.Effect<Answer, LockBackend.BackendError | LockDirectoryError> =>
    Effect.matchEffect(protocol.takeOver(attempt.place, 0, seen, attempt.request.label), {
      // It stood still for a lease, and another process has cleaned up its claim before it was put there; or the directory is gone.
      onFailure: (error) =>
        error.code === "ENOENT" && round < maxRounds
          ? lookAgain(attempt, seen, round)
          : refuse(attempt.key, error, holderOf(seen)),
      onSuccess: (taken) => {
        switch (taken._tag) {
          case "Published":
            return Effect.zipRight(
              Effect.logDebug(`Took over ${attempt.key.lockPath}`),
              Immediate.withFiber((fiber) => recover(attempt, taken.own, round, fiber))
            )
          case "Busy":
            return Exit.succeed(
              taken.seen._tag === "Foreign"
                ? blockedByForeign(`a dead holder's, but ${taken.claimPath} is ${taken.seen.what}`)
                : blockedBy("abandoned", holderOf(seen), taken.readAgainIn)
            )
          case "Changed":
            return lookAgain(attempt, seen, round)
        }
      }
    })

  /** Something else is there by now, or nothing. */
  const lookAgain = (
    attempt: Attempt,
    seen: Seen,
    round: number
  ): Effect.Effect<Answer, LockBackend.BackendError | LockDirectoryError> =>
    round >= maxRounds
      ? Exit.succeed(blockedBy("held", holderOf(seen), 0))
      : conclude(attempt, Immediate.suspend(attempt.publish), round + 1)

  /** Those that `acquire` goes on with: what they were refused by, or that they begin in the next turn only. */
  const begun = new WeakMap<LockBackend.Request, Waiting>()

  const tryAcquire = (key: LockBackend.LockKey, request: LockBackend.Request) =>
    Immediate.withFiber(
      (fiber): Effect.Effect<Option.Option<Grant.LockFileGrant>, LockBackend.BackendError | LockDirectoryError> => {
        if (request.waits && turns.isOverdue(fiber, request.handoff)) {
          begun.set(request, { ...attemptOf(key, request, fiber), later: true })
          return Exit.succeed(Option.none())
        }
        const waiting = request.waits ? attemptOf(key, request, fiber) : undefined
        const now = waiting ?? attemptOnce(key, request)
        const answered = Immediate.map(Immediate.suspend(() => conclude(now, now.publish())), (answer) => {
          if ("release" in answer) {
            return Option.some(answer)
          }
          request.onBlocked(answer)
          if (waiting !== undefined) begun.set(request, { ...waiting, refused: answer })
          return Option.none()
        })
        return waiting === undefined ? answered : Immediate.matchCauseEffect(answered, {
          onSuccess: Exit.succeed,
          onFailure: (cause) => Effect.zipRight(giveUp(waiting), Effect.failCause(cause))
        })
      }
    )

  // ---------------------------------------------------------------------------------------------
  // waiting
  // ---------------------------------------------------------------------------------------------

  const crowd = new Crowd()

  /**
   * Waits until another process hands the lock over, or the file says that it is free, or that its holder is dead. An interruption, and the
   * end of the schedule, leave nothing behind.
   */
  const acquire = (key: LockBackend.LockKey, request: LockBackend.Request) =>
    Immediate.withFiber(
      (fiber): Effect.Effect<Option.Option<Grant.LockFileGrant>, LockBackend.BackendError | LockDirectoryError> => {
        const waiting: Waiting = begun.get(request) ?? attemptOf(key, request, fiber)
        begun.delete(request)
        const { later = false, place, refused, requester } = waiting
        const wait = new Wait(
          Runtime.clockOf(fiber),
          crowd,
          request,
          requester,
          () => conclude(waiting, requester.own === undefined ? requester.enter() : requester.look()),
          (holder) => canReach(holder) && !Requests.isShared(place),
          identity.isAlive,
          disk.isSynchronous?.(key.lockPath) === true
        )
        crowd.size += 1
        const waited = later
          ? Effect.flatMap(Turns.next, () => wait.run())
          : Immediate.begin(Immediate.suspend(() => wait.run(refused)))
        const end = (
          exit: Exit.Exit<Option.Option<Grant.LockFileGrant>, LockBackend.BackendError | LockDirectoryError>
        ) => {
          crowd.size -= 1
          if (Exit.isSuccess(exit) && Option.isSome(exit.value)) {
            return exit
          }
          const { underWay } = wait
          if (underWay === undefined) {
            return Effect.zipRight(giveUp(waiting), exit)
          }
          // An interruption may come in the moment in which the step ends, or before it has begun.
          const undo = (late: Exit.Exit<Answer, unknown>) =>
            Exit.isSuccess(late) && "release" in late.value ? late.value.release : giveUp(waiting)
          const ended = underWay.unsafePoll()
          if (ended !== null) {
            return Effect.zipRight(undo(ended), exit)
          }
          Runtime.startUninterruptible(fiber, Effect.flatMap(Fiber.await(underWay), undo))
          return exit
        }
        return Effect.matchCauseEffect(waited, {
          onSuccess: (grant) => end(Exit.succeed(grant)),
          onFailure: (cause) => end(Exit.failCause(cause))
        })
      }
    )

  /** Withdraws the request. If the lock was given to it meanwhile, the next one gets it. */
  const giveUp = (attempt: Waiting): Effect.Effect<void> => {
    const { requester } = attempt
    const { own } = requester
    return Immediate.flatMap(requester.withdraw(), (given) => {
      if (given && own !== undefined) {
        return Immediate.withFiber((fiber) => hold(attempt, own, false, fiber).release)
      }
      requester.end(undefined)
      return Exit.void
    })
  }

  return {
    paths,
    canonical: (path) => Effect.suspend(() => paths.canonical(path)),
    ...Sharing.make(context, identity.info.instance, { tryAcquire, acquire }),
    inspect,
    breakLock,
    close: cleanup.close
  }
}
