import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { type LockHolder, maxLabelLength } from "../../LockHolder.js"
import type { ProcessIdentity, ProcessInfo } from "../../ProcessIdentity.js"
import { syscallOf } from "../errno.js"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"
import { type Disk, DiskError } from "./disk.js"
import { claimOf, prefixOf, requestOf } from "./paths.js"
import * as Record from "./record.js"
import type { Check } from "./staleness.js"

/** A moment on both clocks: the monotonic one may stand still while a machine is suspended, the wall clock may be set. */
export interface Moment {
  readonly monotonic: number
  readonly wall: number
}

const momentOf = (fiber: Runtime.RuntimeFiber): Moment => ({
  monotonic: Runtime.monotonic(fiber),
  wall: Runtime.wallClock(fiber)
})

export const now: Effect.Effect<Moment> = Effect.withFiberRuntime((fiber) => Effect.succeed(momentOf(fiber)))

/** Milliseconds since a moment, by the clock that says more. */
export const since = (moment: Moment): Effect.Effect<number> =>
  Effect.map(now, ({ monotonic, wall }) => Math.max(monotonic - moment.monotonic, wall - moment.wall))

/** A record of this process that is, or may be, at some path. */
export interface OwnRecord {
  readonly holder: LockHolder
  /** As it is on the disk: a heartbeat changes it. */
  text: string
  beats: number
  /** The time of the last heartbeat. Other processes measure the lease from here at the earliest. */
  heardAt: Moment
  /** A removal was begun: when its answer is lost, what is at the path then may be a successor's. */
  removing: boolean
}

/** A lock file, and the names of the files beside it. */
export interface Place {
  readonly lockPath: string
  readonly prefix: string
}

/** The place of a lock file. */
export const placeOf = (lockPath: string): Place => ({ lockPath, prefix: prefixOf(lockPath) })

/** The lock file, or the claim of a level. */
export const pathOf = ({ lockPath, prefix }: Place, level: number): string =>
  level === 0 ? lockPath : claimOf(prefix, level)

/** The path has our record now. */
export interface Published {
  readonly _tag: "Published"
  readonly own: OwnRecord
}

/** Something is at the path. */
export interface Occupied {
  readonly _tag: "Occupied"
  readonly seen: Record.Seen
}

/** What was to be replaced is not there any more: look again. */
export interface Changed {
  readonly _tag: "Changed"
}

/** A process that lives, or cannot be checked, is taking the lock over; or something else is where the claim should be. */
export interface Busy {
  readonly _tag: "Busy"
  readonly claimPath: string
  readonly seen: Record.Seen
  readonly readAgainIn: number | undefined
}

const published = (own: OwnRecord): Published => ({ _tag: "Published", own })

const changed: Changed = { _tag: "Changed" }

/** Claims on claims on claims: each level needs one more process to die at the same spot. */
const maxLevels = 6

/** Some file systems have no hard links; these are the ways in which they say so. */
const noLinks = new Set(["EACCES", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EPERM", "EXDEV", "EMLINK"])

/** Another process is taking the record over just now. */
class StillClaimed extends Data.TaggedError("StillClaimed")<{}> {}

/** A removal is tried again a few times, within less than a second. */
const promptly = Schedule.exponential(Duration.millis(2)).pipe(Schedule.upTo(Duration.millis(400)))

/** The steps of `docs/protocol.md`. Those that change something are to be run uninterruptibly. */
export interface Protocol {
  /** Puts a fresh record at the lock file, or at the claim of a level, if nothing is there. */
  readonly publish: (
    place: Place,
    level: number,
    label: string | undefined
  ) => Effect.Effect<Published | Occupied, DiskError>
  /** What is at the lock file, or at the claim of a level. */
  readonly read: (path: string) => Effect.Effect<Record.Seen, DiskError>
  /** Replaces exactly what was seen by a fresh record. */
  readonly takeOver: (
    place: Place,
    level: number,
    seen: Record.Seen,
    label: string | undefined
  ) => Effect.Effect<Published | Changed | Busy, DiskError>
  /** Runs something while nobody can take the lock file over; nothing if another process is doing so. */
  readonly whileClaimed: <A, E>(
    place: Place,
    use: Effect.Effect<A, E>
  ) => Effect.Effect<Option.Option<A>, E | DiskError>
  /**
   * Removes our record, and retires its token; `false` if something else, or nothing, was there. What cannot be removed within less than
   * a second is left, and the log says so.
   */
  readonly remove: (place: Place, level: number, own: OwnRecord) => Effect.Effect<boolean>
}

export const make = (options: {
  readonly disk: Disk
  readonly identity: ProcessIdentity
  readonly staleness: Check
  /** In milliseconds. */
  readonly lease: number
}): Protocol => {
  const { disk, identity, lease, staleness } = options
  /** A record that is older may be taken over by a process that cannot check us, or be about to be. */
  const inTime = lease / 2
  let saidNoLinks = false

  const freshRecord = (label: string | undefined): Effect.Effect<OwnRecord> =>
    // The token counts as alive before it can be seen.
    Effect.flatMap(identity.issueToken, (token) =>
      Effect.withFiberRuntime((fiber) => {
        const heardAt = momentOf(fiber)
        const holder = toHolder(identity.info, token, heardAt, label)
        return Effect.succeed({ holder, text: Record.encode(holder), beats: 0, heardAt, removing: false })
      }))

  const retire = (own: OwnRecord): Effect.Effect<void> => identity.retireToken(own.holder.token)

  const read: Protocol["read"] = (path) => Immediate.map(disk.read(path), Record.toSeen)

  const isOverdue = (own: OwnRecord): Effect.Effect<boolean> => Effect.map(since(own.heardAt), (age) => age > inTime)

  /** P1 to P3. */
  const publish: Protocol["publish"] = (place, level, label) =>
    Effect.flatMap(freshRecord(label), (own): Effect.Effect<Published | Occupied, DiskError> => {
      const request = requestOf(place.prefix, own.holder.token)
      const discard = () => Immediate.flatMap(unlinkRequest(request), () => retire(own))
      return Immediate.matchEffect(disk.create(request, own.text), {
        onFailure: (error) => Immediate.flatMap(discard(), () => Exit.fail(error)),
        onSuccess: () =>
          Immediate.matchEffect(disk.link(request, pathOf(place, level)), {
            onSuccess: (): Effect.Effect<Published | Occupied, DiskError> =>
              Immediate.map(unlinkRequest(request), () => published(own)),
            onFailure: (error): Effect.Effect<Published | Occupied, DiskError> =>
              noLinks.has(error.code)
                ? Immediate.flatMap(unlinkRequest(request), () => publishWithoutLink(place, level, own, error))
                : settle(place, level, own, error, () => unlinkRequest(request))
          })
      })
    })

  /** Something is at the path, or the answer was lost: what is at the path says which. `discard` removes what is not needed any more. */
  const settle = (
    place: Place,
    level: number,
    own: OwnRecord,
    error: DiskError,
    discard: (isPublished: boolean) => Effect.Effect<void>
  ): Effect.Effect<Published | Occupied, DiskError> =>
    Immediate.matchEffect(read(pathOf(place, level)), {
      onSuccess: (seen): Effect.Effect<Published | Occupied, DiskError> => {
        const isPublished = Record.hasToken(seen, own.holder.token)
        return Immediate.flatMap(discard(isPublished), (): Effect.Effect<Published | Occupied, DiskError> =>
          isPublished
            ? Exit.succeed(published(own))
            : Immediate.flatMap(
              retire(own),
              () => error.code === "EEXIST" ? Exit.succeed<Occupied>({ _tag: "Occupied", seen }) : Exit.fail(error)
            ))
      },
      onFailure: (unreadable) =>
        Immediate.flatMap(discard(false), () =>
          error.code === "EEXIST"
            ? Immediate.flatMap(retire(own), () => Exit.fail(unreadable))
            // It may be there.
            : Immediate.flatMap(remove(place, level, own), () => Exit.fail(error)))
    })

  /** The request file is ours alone, and whether it goes decides nothing. */
  const unlinkRequest = (request: string): Effect.Effect<void> =>
    Immediate.matchEffect(disk.unlink(request), {
      onSuccess: () => Exit.void,
      onFailure: ({ cause, code }) =>
        code === "ENOENT"
          ? Exit.void
          : Effect.logDebug(`Left ${request} behind: a process that cleans up will remove it`, cause)
    })

  /**
   * Where the file system has no links: exclusive create. Until it is written the file is foreign to everyone else, so that nobody but
   * us may remove it; if we die before, a person has to.
   */
  const publishWithoutLink = (
    place: Place,
    level: number,
    own: OwnRecord,
    noLink: DiskError
  ): Effect.Effect<Published | Occupied, DiskError> => {
    const path = pathOf(place, level)
    const say = saidNoLinks ? Effect.void : Effect.logWarning(
      `The file system of ${path} has no hard links. Locks work there, except that a process that is killed in the microseconds ` +
        `between creating its lock file and writing it leaves a file that has to be removed by hand`,
      noLink.cause
    )
    saidNoLinks = true
    return Effect.zipRight(
      say,
      Immediate.matchEffect(disk.create(path, own.text), {
        onSuccess: () => Exit.succeed(published(own)),
        onFailure: (error) =>
          settle(
            place,
            level,
            own,
            error,
            (isPublished) =>
              isPublished || syscallOf(error.cause) === "open" ? Effect.void : Effect.ignore(disk.unlink(path))
          )
      })
    )
  }

  /** T1: gets the claim of a level. */
  const claim = (place: Place, level: number, label?: string): Effect.Effect<Published | Busy, DiskError> =>
    Effect.gen(function*() {
      const claimPath = pathOf(place, level)
      const published = yield* publish(place, level, label)
      if (published._tag === "Published") {
        return published
      }
      const { seen } = published
      const busy = (readAgainIn?: number): Busy => ({ _tag: "Busy", claimPath, seen, readAgainIn })
      if (seen._tag === "Absent") {
        return busy(0)
      }
      const check = yield* staleness.check(claimPath, seen)
      if (check._tag !== "Stale" || level > maxLevels) {
        return busy(check._tag === "Unverifiable" ? check.readAgainIn : undefined)
      }
      const taken = yield* takeOver(place, level, seen, label)
      return taken._tag === "Changed" ? busy(0) : taken
    })

  const takeOver: Protocol["takeOver"] = (place, level, seen, label) =>
    Effect.gen(function*() {
      const claimed = yield* claim(place, level + 1, label)
      if (claimed._tag === "Busy") {
        return claimed
      }
      const { own } = claimed
      const path = pathOf(place, level)
      // T2
      const there = yield* Effect.either(read(path))
      if (there._tag === "Left" || !Record.isSame(seen, there.right) || (yield* isOverdue(own))) {
        yield* remove(place, level + 1, own)
        return there._tag === "Left" ? yield* Effect.fail(there.left) : changed
      }
      // T3
      const renamed = yield* Effect.either(disk.rename(pathOf(place, level + 1), path))
      if (renamed._tag === "Left") {
        // The answer may have been lost on its way.
        const there = yield* Effect.either(read(path))
        if (there._tag === "Left" || !Record.hasToken(there.right, own.holder.token)) {
          yield* remove(place, level + 1, own)
          return yield* Effect.fail(renamed.left)
        }
      }
      staleness.forget(path)
      return claimed
    })

  const whileClaimed: Protocol["whileClaimed"] = (place, use) =>
    Effect.flatMap(claim(place, 1), (claimed) =>
      claimed._tag === "Busy"
        ? Effect.succeedNone
        : Effect.flatMap(use, (result) =>
          Effect.map(isOverdue(claimed.own), (overdue) => overdue ? Option.none() : Option.some(result))).pipe(
            Effect.ensuring(remove(place, 1, claimed.own))
          ))

  const removeOnce = (
    place: Place,
    level: number,
    own: OwnRecord
  ): Effect.Effect<boolean, DiskError | StillClaimed> => {
    const path = pathOf(place, level)
    return Immediate.flatMap(disk.read(path), (entry): Effect.Effect<boolean, DiskError | StillClaimed> => {
      const isOwn = entry._tag === "File" &&
        (entry.text === own.text || Record.hasToken(Record.toSeen(entry), own.holder.token))
      if (!isOwn) {
        return Exit.succeed(own.removing)
      }
      return Effect.flatMap(isOverdue(own), (overdue) => {
        if (!overdue) {
          own.removing = true
          return Immediate.map(disk.unlink(path), () => true)
        }
        // Another process may be taking it over: replace it by a fresh record, which is ours for certain.
        return Effect.flatMap(
          takeOver(place, level, Record.toSeen(entry), undefined),
          (taken) => taken._tag === "Published" ? remove(place, level, taken.own) : new StillClaimed()
        )
      })
    })
  }

  const remove: Protocol["remove"] = (place, level, own) => {
    const once = Effect.suspend(() => removeOnce(place, level, own))
    return Effect.matchEffect(once, {
      onSuccess: (removed) => Effect.as(retire(own), removed),
      onFailure: () =>
        Effect.matchEffect(Effect.retry(once, promptly), {
          onSuccess: (removed) => Effect.as(retire(own), removed),
          onFailure: (error) =>
            Effect.logWarning(
              `Could not remove ${
                pathOf(place, level)
              }: other processes wait for it until process ${own.holder.pid} ends or ` +
                `the file is removed by hand`,
              error instanceof DiskError ? error.cause : "another process is taking it over"
            ).pipe(Effect.zipRight(retire(own)), Effect.as(true))
        })
    })
  }

  return { publish, read, takeOver, whileClaimed, remove }
}

/** Field by field: a lock takes a tenth less time than with spreads. */
const toHolder = (
  { bootId, hostname, instance, pid, pidNamespace, startTime, timeNamespace }: ProcessInfo,
  token: string,
  heardAt: Moment,
  label: string | undefined
): LockHolder => {
  const acquiredAt = DateTime.unsafeMake(heardAt.wall)
  const holder = { token, pid, startTime, bootId, pidNamespace, timeNamespace, hostname, instance, acquiredAt }
  return label === undefined ? holder : { ...holder, label: label.slice(0, maxLabelLength) }
}
