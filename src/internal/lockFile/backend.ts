import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as LockBackend from "../../LockBackend.js"
import { type LockDirectoryError, LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import * as Immediate from "../immediate.js"
import * as Polling from "../polling.js"
import * as Runtime from "../runtime.js"
import * as Cleanup from "./cleanup.js"
import type { Disk, DiskError } from "./disk.js"
import * as Heartbeat from "./heartbeat.js"
import * as Paths from "./paths.js"
import * as Protocol from "./protocol.js"
import type { Seen } from "./record.js"
import * as Staleness from "./staleness.js"

/** An attempt waits for no other process, so it looks only so often at a path that changes under its eyes. */
const maxRounds = 16

/**
 * How often a waiter asks whether the holder lives, or whether another process's takeover is over, in milliseconds: a fortieth of the time
 * that it has waited for this holder, within these bounds.
 */
const shortestProbe = 5
const longestProbe = 50

/** More waiters than this, on as many locks, poll and ask less often each. */
const maxPollers = 50

/** How often the breaking of a lock is tried again while other processes take it over, and for how long. */
const breakInterval = Duration.millis(5)
const breakTimeout = Duration.seconds(10)

/** A live holder whose lock is broken may be about to unlink it: our record stays for as long, so that it is ours that goes. */
const breakPause = Duration.seconds(1)

/** The engine of lock files over one disk. */
export interface Engine extends Context.Tag.Service<LockBackend.LockBackend> {
  /** Ends what goes on in the background. */
  readonly close: Effect.Effect<void>
}

type Answer = LockBackend.Grant | Blocked

/** The lock cannot be had now. */
interface Blocked extends LockBackend.Blocked {
  readonly _tag: "Blocked"
  /** In milliseconds: later, the count of an owner's silence would start anew. */
  readonly readAgainIn?: number | undefined
}

const reasonOf = ({ code }: DiskError): "PermissionDenied" | "StorageFull" | "SystemError" => {
  switch (code) {
    case "EACCES":
    case "EPERM":
      return "PermissionDenied"
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return "StorageFull"
    default:
      return "SystemError"
  }
}

const refused = (error: DiskError) => new LockBackend.BackendError({ reason: reasonOf(error), cause: error.cause })

/** A system call that failed for a reason that may pass. */
const blockedBy = (error: DiskError): Blocked => ({
  _tag: "Blocked",
  state: "held",
  reason: reasonOf(error),
  cause: error.cause
})

const blockedByForeign = (what: string): Blocked => ({
  _tag: "Blocked",
  state: "foreign",
  reason: "Foreign",
  cause: new Error(`it is ${what}`)
})

const holderOf = (seen: Seen): LockHolder | undefined => seen._tag === "Record" ? seen.holder : undefined

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
  const heartbeat = Heartbeat.make({ disk, protocol, lease })
  const cleanup = Cleanup.make({ disk, syntax, protocol, staleness })

  /** Locks that were granted just now. Most are released before their heartbeats would have been worth a timer. */
  const fresh = new Set<Heartbeat.Member>()
  let addsFresh = false
  let lastPlace: Protocol.Place | undefined

  const keep = (member: Heartbeat.Member): void => {
    const { fiber } = member
    fresh.add(member)
    if (addsFresh) {
      return
    }
    addsFresh = true
    Runtime.soon(fiber, () =>
      Runtime.soon(fiber, () => {
        addsFresh = false
        for (const member of fresh) {
          heartbeat.add(member)
        }
        fresh.clear()
      }))
  }

  /** A lock file that is ours. What is seldom asked for is made when it is. */
  class Grant implements LockBackend.Grant {
    readonly mode = "exclusive"
    readonly fence = Option.none()
    private readonly member: Heartbeat.Member

    constructor(
      private readonly key: LockBackend.LockKey,
      private readonly request: LockBackend.Request,
      private readonly own: Protocol.OwnRecord,
      readonly recovered: boolean,
      private readonly place: Protocol.Place,
      private readonly fiber: Runtime.RuntimeFiber
    ) {
      this.member = new Heartbeat.Member(place, own, fiber, (gone) => this.onGone(gone))
      keep(this.member)
      if (recovered || place !== lastPlace) {
        lastPlace = place
        cleanup.start(fiber, key.lockPath, recovered)
      }
    }

    get holder(): LockHolder {
      return this.own.holder
    }

    get verify(): Effect.Effect<void, LockLostError> {
      return Effect.mapError(Effect.suspend(() => heartbeat.verify(this.member)), (gone) => this.toLoss(gone))
    }

    get release(): Effect.Effect<void> {
      return Effect.suspend(() => {
        fresh.delete(this.member)
        return Immediate.flatMap(
          heartbeat.remove(this.member),
          () =>
            Effect.flatMap(
              protocol.remove(this.place, 0, this.own),
              (removed) => removed ? Exit.void : Effect.map(released(this.place), (gone) => this.onGone(gone))
            )
        )
      })
    }

    onGone(gone: Heartbeat.Gone): void {
      this.request.onLost(this.toLoss(gone))
    }

    private toLoss({ cause, holder, reason }: Heartbeat.Gone): LockLostError {
      const at = DateTime.unsafeMake(Runtime.wallClock(this.fiber))
      return new LockLostError({ ...this.key, reason, holder, cause, at })
    }
  }

  const grant = (
    key: LockBackend.LockKey,
    place: Protocol.Place,
    request: LockBackend.Request,
    own: Protocol.OwnRecord,
    recovered: boolean
  ): Effect.Effect<LockBackend.Grant> =>
    Effect.withFiberRuntime((fiber) => Effect.succeed(new Grant(key, request, own, recovered, place, fiber)))

  /** What became of a lock that was not ours any more when it was released. */
  const released = (place: Protocol.Place): Effect.Effect<Heartbeat.Gone> =>
    Immediate.matchEffect(protocol.read(place.lockPath), {
      onFailure: () => Effect.succeed(new Heartbeat.Gone({ reason: "Removed" })),
      onSuccess: (seen) =>
        Effect.as(
          Effect.logWarning(`The lock ${place.lockPath} was not ours any more when it was released`),
          new Heartbeat.Gone({ reason: seen._tag === "Absent" ? "Removed" : "Replaced", holder: holderOf(seen) })
        )
    })

  // ---------------------------------------------------------------------------------------------
  // one attempt
  // ---------------------------------------------------------------------------------------------

  /** A1 and A2. A waiter that has seen a record there reads first, since a request file costs more than a look. */
  const attempt = (
    key: LockBackend.LockKey,
    place: Protocol.Place,
    request: LockBackend.Request,
    occupied: boolean
  ): Effect.Effect<Answer, LockBackend.BackendError | LockDirectoryError> => {
    const first = occupied
      ? Immediate.matchEffect(protocol.read(key.lockPath), {
        onSuccess: (seen): ReturnType<typeof protocol.publish> =>
          seen._tag === "Absent"
            ? protocol.publish(place, 0, request.label)
            : Effect.succeed({ _tag: "Occupied", seen }),
        // Whether it is the directory or the file that refuses is told by a request file.
        onFailure: () => protocol.publish(place, 0, request.label)
      })
      : protocol.publish(place, 0, request.label)
    return Immediate.matchEffect(first, {
      onSuccess: (published) =>
        published._tag === "Published"
          ? grant(key, place, request, published.own, false)
          : takeOverStale(key, place, request, published.seen, 1),
      onFailure: (error) => explain(key, place, request, error, false)
    })
  }

  /** The directory is made at most once: where it is there and the create says that it is not, making it does not help. */
  const explain = (
    key: LockBackend.LockKey,
    place: Protocol.Place,
    request: LockBackend.Request,
    error: DiskError,
    directoryMade: boolean
  ): Effect.Effect<Answer, LockBackend.BackendError | LockDirectoryError> => {
    if (error.code === "ENOENT" && !directoryMade) {
      return Effect.zipRight(
        paths.makeDirectory(key),
        Effect.matchEffect(protocol.publish(place, 0, request.label), {
          onSuccess: (published) =>
            published._tag === "Published"
              ? grant(key, place, request, published.own, false)
              : takeOverStale(key, place, request, published.seen, 1),
          onFailure: (error) => explain(key, place, request, error, true)
        })
      )
    }
    if (error instanceof Protocol.Unreadable) {
      return refuse(error, undefined)
    }
    const explained = Paths.explain(syntax, key, error)
    return explained === undefined ? Effect.succeed(blockedBy(error)) : Effect.fail(explained)
  }

  /** No permission and no space do not pass. On Windows a file that is just being removed has no permission either. */
  const refuse = (
    error: DiskError,
    holder: LockHolder | undefined
  ): Effect.Effect<Answer, LockBackend.BackendError> => {
    const reason = reasonOf(error)
    return reason === "SystemError" || syntax.sep !== "/"
      ? Effect.succeed(blockedBy(error))
      : new LockBackend.BackendError({ reason, holder, cause: error.cause })
  }

  const takeOverStale = (
    key: LockBackend.LockKey,
    place: Protocol.Place,
    request: LockBackend.Request,
    seen: Seen,
    round: number
  ): Effect.Effect<Answer, LockBackend.BackendError | LockDirectoryError> =>
    Effect.gen(function*() {
      if (seen._tag === "Foreign") {
        return blockedByForeign(seen.what)
      }
      const holder = holderOf(seen)
      const blocked = (state: LockBackend.State, readAgainIn?: number): Blocked => ({
        _tag: "Blocked",
        state,
        reason: "Timeout",
        holder,
        readAgainIn
      })
      if (seen._tag !== "Absent") {
        const check = yield* staleness.check(key.lockPath, seen)
        if (check._tag === "Live") {
          return seen._tag === "Zeros"
            ? blockedByForeign("a file of NULs, written since the machine was booted")
            : blocked("held")
        }
        if (check._tag === "Unverifiable") {
          return blocked("unverifiable", check.readAgainIn)
        }
        const taken = yield* Effect.either(protocol.takeOver(place, 0, seen, request.label))
        if (taken._tag === "Left") {
          return yield* refuse(taken.left, holder)
        }
        if (taken.right._tag === "Published") {
          yield* Effect.logDebug(`Took over ${key.lockPath}`)
          return yield* grant(key, place, request, taken.right.own, true)
        }
        if (taken.right._tag === "Busy") {
          const { claimPath, readAgainIn, seen } = taken.right
          return seen._tag === "Foreign"
            ? blockedByForeign(`a dead holder's, but ${claimPath} is ${seen.what}`)
            : blocked("abandoned", readAgainIn)
        }
      }
      if (round >= maxRounds) {
        return blocked("held", 0)
      }
      const again = yield* Effect.either(protocol.publish(place, 0, request.label))
      if (again._tag === "Left") {
        return yield* explain(key, place, request, again.left, false)
      }
      return again.right._tag === "Published"
        ? yield* grant(key, place, request, again.right.own, false)
        : yield* takeOverStale(key, place, request, again.right.seen, round + 1)
    })

  const tryAcquire: Engine["tryAcquire"] = (key, request) =>
    Effect.map(Effect.suspend(() => attempt(key, Protocol.placeOf(key.lockPath), request, false)), (answer) => {
      if ("release" in answer) {
        return Option.some(answer)
      }
      request.onBlocked(answer)
      return Option.none()
    })

  // ---------------------------------------------------------------------------------------------
  // waiting
  // ---------------------------------------------------------------------------------------------

  /** How many waiters poll. */
  let pollers = 0

  /** Polls by the schedule, and looks at once when the holder has died. */
  const acquire: Engine["acquire"] = (key, request) =>
    Effect.suspend(() => {
      pollers += 1
      return Effect.ensuring(poll(key, request), Effect.sync(() => (pollers -= 1)))
    })

  /** What the pauses of a waiter are multiplied by: the many waiters of a process, on as many locks, poll no oftener than a few do. */
  const crowd = (): number => Math.max(1, pollers / maxPollers)

  const poll: Engine["acquire"] = (key, request) =>
    Effect.gen(function*() {
      const place = Protocol.placeOf(key.lockPath)
      const polling = yield* Polling.make(request.schedule)
      let occupied = false
      let scheduledAt = -Infinity
      let token: string | undefined
      let foundAt = 0
      const probe = (now: number) => crowd() * Math.min(Math.max((now - foundAt) / 40, shortestProbe), longestProbe)
      for (;;) {
        const began = yield* clock
        const answer = yield* attempt(key, place, request, occupied)
        if ("release" in answer) {
          return Option.some(answer)
        }
        request.onBlocked(answer)
        occupied = true
        let now = yield* clock
        if (now >= scheduledAt) {
          const pause = yield* polling.next
          if (pause === undefined) {
            return Option.none()
          }
          scheduledAt = now + (request.isDefaultSchedule ? pause * crowd() : pause)
        }
        const { holder, readAgainIn, state } = answer
        if (holder?.token !== token) {
          token = holder?.token
          foundAt = now
        }
        // From the beginning of the attempt: on a slow disk, the reads of one owner would come too far apart to tell its silence. A process
        // that takes a dead holder's lock over is done at once, unless it is stopped or its disk is slow.
        const again = readAgainIn === undefined
          ? state === "abandoned" ? now + probe(now) : Infinity
          : began + readAgainIn
        const lookAt = Math.min(scheduledAt, again)
        const mayProbe = holder !== undefined && state === "held"
        for (let due = false; !due;) {
          const wakeAt = mayProbe ? Math.min(lookAt, now + probe(now)) : lookAt
          yield* Effect.interruptible(Effect.sleep(Duration.millis(Math.max(1, Math.ceil(wakeAt - now)))))
          now = yield* clock
          due = now >= lookAt || (mayProbe && (yield* identity.isAlive(holder)) === "dead")
        }
      }
    })

  // ---------------------------------------------------------------------------------------------
  // inspection
  // ---------------------------------------------------------------------------------------------

  const inspect: Engine["inspect"] = (key) =>
    Effect.matchEffect(Effect.suspend(() => protocol.read(key.lockPath)), {
      onFailure: (error) => Effect.fail(refused(error)),
      onSuccess: (seen) => {
        const status = (state: LockBackend.State, holders: ReadonlyArray<LockHolder> = []) =>
          Option.some<LockBackend.LockStatus>({ state, mode: "exclusive", holders, waiters: [] })
        switch (seen._tag) {
          case "Absent":
            return Effect.succeedNone
          case "Foreign":
            return Effect.succeed(status("foreign"))
          case "Zeros":
            return Effect.map(
              staleness.check(key.lockPath, seen),
              ({ _tag }) => status(_tag === "Stale" ? "abandoned" : "foreign")
            )
          case "Record":
            return Effect.map(identity.isAlive(seen.holder), (liveness) =>
              status(
                liveness === "alive" ? "held" : liveness === "dead" ? "abandoned" : "unverifiable",
                [seen.holder]
              ))
        }
      }
    })

  /** A beat of a live holder, or a process that takes the lock over, can come between; both pass. */
  const breakOnce = (place: Protocol.Place, token: string): Effect.Effect<boolean, DiskError> =>
    Effect.gen(function*() {
      const seen = yield* protocol.read(place.lockPath)
      if (seen._tag !== "Record" || seen.holder.token !== token) {
        return false
      }
      const isDead = (yield* identity.isAlive(seen.holder)) === "dead"
      const broken = yield* Effect.uninterruptible(
        Effect.flatMap(protocol.takeOver(place, 0, seen, undefined), (taken) =>
          taken._tag === "Published"
            ? Effect.zipRight(
              isDead ? Effect.void : Effect.sleep(breakPause),
              Effect.as(protocol.remove(place, 0, taken.own), true)
            )
            : Effect.succeed(false))
      )
      if (broken) {
        return true
      }
      yield* Effect.sleep(breakInterval)
      return yield* breakOnce(place, token)
    })

  return {
    paths,
    canonical: (path) => Effect.suspend(() => paths.canonical(path)),
    tryAcquire,
    acquire,
    inspect,
    breakLock: (key, holder) =>
      breakOnce(Protocol.placeOf(key.lockPath), holder.token).pipe(
        Effect.mapError(refused),
        Effect.timeoutFail({
          duration: breakTimeout,
          onTimeout: () =>
            new LockBackend.BackendError({
              reason: "SystemError",
              cause: new Error("other processes are taking the lock over")
            })
        })
      ),
    close: cleanup.close
  }
}

/** Milliseconds on the monotonic clock. */
const clock: Effect.Effect<number> = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)
