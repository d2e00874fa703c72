import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { maxLabelLength } from "../../LockHolder.js"
import type { ProcessIdentity, ProcessInfo } from "../../ProcessIdentity.js"
import { syscallOf } from "../errno.js"
import * as Immediate from "../immediate.js"
import * as Reserve from "../process/reserve.js"
import * as Runtime from "../runtime.js"
import { type Disk, DiskError, type Entry } from "./disk.js"
import { OwnRecord } from "./ownRecord.js"
import { claimOf, claimRequestOf, prefixOf, requestOf } from "./paths.js"
import * as Record from "./record.js"
import type { Check } from "./staleness.js"

/** A lock file, and the names of the files beside it. */
export interface Place {
  readonly lockPath: string
  readonly prefix: string
}

let lastPlace: Place = { lockPath: "", prefix: "" }

/** The place of a lock file. */
export const placeOf = (lockPath: string): Place => {
  if (lastPlace.lockPath !== lockPath) {
    lastPlace = { lockPath, prefix: prefixOf(lockPath) }
  }
  return lastPlace
}

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

/** Something was at the path, and is not any more: look again. */
const nothing: Occupied = { _tag: "Occupied", seen: { _tag: "Absent" } }

const changed: Changed = { _tag: "Changed" }

/** Claims on claims on claims: each level needs one more process to die at the same spot. */
const maxLevels = 6

/** Some file systems have no hard links; these are the ways in which they say so. */
export const noLinks = new Set(["EACCES", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EPERM", "EXDEV", "EMLINK"])

/** Errors of a read that our own record cannot have: we may read it, and its name was not too long. */
const notOurs = new Set(["EACCES", "EPERM", "ENAMETOOLONG"])

/** Something is at the path, and cannot be read. */
export class Unreadable extends DiskError {}

/** What is done where a record may, or may not, have come to a path. */
interface Otherwise {
  /** Something else is there. */
  readonly notOurs: Effect.Effect<void>
  /** What is there cannot be read. */
  readonly unreadable: Effect.Effect<unknown>
}

/** A request that waits on looks again later. */
const waiting: Otherwise = { notOurs: Exit.void, unreadable: Exit.void }

/** Whether a failed create has made the file nevertheless. Not every file system says which call failed. */
const mayHaveCreated = ({ cause, code }: DiskError): boolean => code !== "EEXIST" && syscallOf(cause) !== "open"

/** Another process is taking the record over just now. */
class StillClaimed extends Data.TaggedError("StillClaimed")<{}> {}

/** A removal is tried again a few times, within less than a second. */
export const promptly = Schedule.exponential(Duration.millis(2)).pipe(Schedule.upTo(Duration.millis(400)))

/** What became of a request that another process was to be given the lock by. */
export type Given = "given" | "withdrawn" | "occupied" | "refused"

/** A request file is tried for longer, in the background. */
const patiently = Schedule.exponential(Duration.millis(50)).pipe(Schedule.upTo(Duration.seconds(30)))

/** The steps of `docs/protocol.md`. Those that change something are to be run uninterruptibly. */
export interface Protocol {
  /** Puts a fresh record at the lock file, or at the claim of a level, if nothing is there. */
  readonly publish: (
    place: Place,
    level: number,
    label: string | undefined
  ) => Effect.Effect<Published | Occupied, DiskError>
  /** Writes the request file of a record for the lock file, or for a level of claims; of the latter no other process makes use. */
  readonly prepare: (place: Place, level: number, label: string | undefined) => Effect.Effect<OwnRecord, DiskError>
  /** A record is so old that a process that cannot check us may have taken it over, or be about to. */
  readonly isLate: (own: OwnRecord) => boolean
  /** The token of a record counts as that of a dead process. */
  readonly retire: (own: OwnRecord) => Effect.Effect<void>
  /** Writes a request file. Until it is withdrawn, any holder may put it at the lock file. */
  readonly request: (place: Place, label: string | undefined) => Effect.Effect<OwnRecord, DiskError>
  /** Puts the record of a request at the lock file, if nothing is there. Otherwise the request file stays. */
  readonly enter: (place: Place, own: OwnRecord) => Effect.Effect<Published | Occupied, DiskError>
  /** The record of a request was seen at the lock file: the request file goes. `Occupied` by nothing if that was too long ago. */
  readonly accept: (place: Place, own: OwnRecord) => Effect.Effect<Published | Occupied>
  /** Removes a request file. `true` if its record was at the lock file by then: the lock is ours, and has to be released. */
  readonly withdraw: (place: Place, own: OwnRecord) => Effect.Effect<boolean>
  /** Overwrites the beat in a request file. */
  readonly beatRequest: (own: OwnRecord) => Effect.Effect<void, DiskError>
  /** Puts the record of another process's request at the lock file, if nothing is there. */
  readonly give: (place: Place, token: string) => Effect.Effect<Given>
  /** Whether our record is at the lock file. */
  readonly holds: (place: Place, own: OwnRecord) => Effect.Effect<boolean, DiskError>
  /** What is at the lock file, or at the claim of a level. */
  readonly read: (path: string) => Effect.Effect<Record.Seen, DiskError>
  /** What the request file with a token says. */
  readonly readRequest: (place: Place, token: string) => Effect.Effect<Record.Seen, DiskError>
  /** Replaces exactly what was seen by a fresh record. */
  readonly takeOver: (
    place: Place,
    level: number,
    seen: Record.Seen,
    label: string | undefined
  ) => Effect.Effect<Published | Changed | Busy, DiskError>
  /** Runs something while nobody can take the lock file over, as long as the claim is not late; nothing if another process is doing so. */
  readonly whileClaimed: <A, E>(
    place: Place,
    use: (isLate: () => boolean) => Effect.Effect<A, E>
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
  const { reserve } = identity
  /** A record that is older may be taken over by a process that cannot check us, or be about to be. */
  const inTime = lease / 2
  let saidNoLinks = false

  const retire = (own: OwnRecord): Effect.Effect<void> =>
    Immediate.suspend(() => {
      own.retired = true
      return identity.retireToken(own.token)
    })

  const unreachable = { ...identity.info, network: "" }

  /** The process that the records for a lock describe: this one, or another one on whose behalf it acquires. */
  const described = (lockPath: string): ProcessInfo =>
    identity.leavesCalls === true && disk.isSynchronous?.(lockPath) !== true ? unreachable : identity.info

  const read: Protocol["read"] = (path) => Immediate.map(disk.read(path), Record.toSeen)

  const isOwn = (entry: Entry, own: OwnRecord): boolean =>
    entry._tag === "File" && (entry.text === own.text || Record.hasToken(Record.toSeen(entry), own.token))

  const holds: Protocol["holds"] = (place, own) =>
    Immediate.map(disk.peek(place.lockPath), (entry) => isOwn(entry, own))

  const isLate = ({ silence }: OwnRecord): boolean => silence > inTime

  /** P1. The token counts as alive before it can be seen. */
  const prepare = (
    place: Place,
    level: number,
    label: string | undefined,
    self?: ProcessInfo
  ): Effect.Effect<OwnRecord, DiskError> =>
    Immediate.flatMap(
      identity.issueToken,
      (token) =>
        Immediate.withFiber((fiber): Effect.Effect<OwnRecord, DiskError> => {
          const own = new OwnRecord(
            token,
            level === 0 ? requestOf(place.prefix, token) : claimRequestOf(place.prefix, token),
            self ?? described(place.lockPath),
            label?.slice(0, maxLabelLength),
            Runtime.clockOf(fiber),
            identity.self !== undefined && self === undefined
          )
          return Immediate.matchEffect(disk.create(own.requestPath, own.text), {
            onFailure: (error) =>
              Immediate.andThen(unlinkRequest(own), () => Immediate.andThen(retire(own), () => Exit.fail(error))),
            onSuccess: () => Exit.succeed(own)
          })
        })
    )

  /** P2 and P3. */
  const link = (
    place: Place,
    level: number,
    own: OwnRecord
  ): Effect.Effect<Published | Occupied, DiskError> =>
    Immediate.matchEffect(disk.link(own.requestPath, pathOf(place, level)), {
      onSuccess: () => Immediate.flatMap(unlinkRequest(own), () => confirm(place, level, own)),
      // The request file goes first: a link that takes effect after its error was reported finds nothing to link.
      onFailure: (error) =>
        Immediate.flatMap(unlinkRequest(own), () =>
          noLinks.has(error.code)
            ? publishWithoutLink(place, level, own, error, retired(place, level, own))
            : settle(place, level, own, error, retired(place, level, own)))
    })

  const publish = (place: Place, level: number, label: string | undefined, self?: ProcessInfo) =>
    Immediate.flatMap(prepare(place, level, label, self), (own) => link(place, level, own))

  /** P2, for a waiter: its request file stays until it has the lock, or does not want it any more. */
  const enter: Protocol["enter"] = (place, own) =>
    Immediate.matchEffect(disk.link(own.requestPath, place.lockPath), {
      onSuccess: () => accept(place, own),
      onFailure: (error) =>
        Immediate.flatMap(
          noLinks.has(error.code)
            ? publishWithoutLink(place, 0, own, error, waiting)
            : settle(place, 0, own, error, waiting),
          (entered) => entered._tag === "Published" ? accept(place, own) : Exit.succeed(entered)
        )
    })

  const accept: Protocol["accept"] = (place, own) => Immediate.flatMap(unlinkRequest(own), () => confirm(place, 0, own))

  const withdraw: Protocol["withdraw"] = (place, own) =>
    Immediate.flatMap(unlinkRequest(own), () =>
      Immediate.matchEffect(read(place.lockPath), {
        onSuccess: (seen) =>
          Record.hasToken(seen, own.token)
            ? Exit.succeed(true)
            : Immediate.as(Immediate.andThen(retire(own), () => discard(place, own)), false),
        onFailure: ({ code }) => Immediate.as(notOurs.has(code) ? retire(own) : remove(place, 0, own), false)
      }))

  const beatRequest: Protocol["beatRequest"] = (own) => {
    const beat = own.nextBeat()
    return Immediate.map(
      disk.rewrite(own.requestPath, own.text, beat.offset, beat.part),
      ({ content }) => void own.beaten(beat, content)
    )
  }

  const give: Protocol["give"] = (place, token) =>
    Immediate.matchEffect(disk.link(requestOf(place.prefix, token), place.lockPath), {
      onSuccess: () => Exit.succeed<Given>("given"),
      onFailure: ({ code }) =>
        Exit.succeed<Given>(code === "ENOENT" ? "withdrawn" : code === "EEXIST" ? "occupied" : "refused")
    })

  /** If that took too long, a process that cannot check us may have taken it over, or be about to. */
  const confirm = (place: Place, level: number, own: OwnRecord): Effect.Effect<Published | Occupied> =>
    isLate(own)
      ? Immediate.as(remove(place, level, own), nothing)
      : Exit.succeed({ _tag: "Published", own })

  /** An attempt that is made once. What cannot be read may be ours, also where the answer was EEXIST: a network disk may have lost the first one. */
  const retired = (place: Place, level: number, own: OwnRecord): Otherwise => ({
    notOurs: retire(own),
    unreadable: Immediate.suspend(() => remove(place, level, own))
  })

  /** Something is at the path, or an answer was lost: what is there says which. */
  const settle = (
    place: Place,
    level: number,
    own: OwnRecord,
    error: DiskError,
    otherwise: Otherwise
  ): Effect.Effect<Published | Occupied, DiskError> =>
    Immediate.matchEffect(read(pathOf(place, level)), {
      onSuccess: (seen): Effect.Effect<Published | Occupied, DiskError> =>
        Record.hasToken(seen, own.token)
          ? confirm(place, level, own)
          : Immediate.andThen(
            otherwise.notOurs,
            (): Exit.Exit<Occupied, DiskError> =>
              error.code === "EEXIST" ? Exit.succeed({ _tag: "Occupied", seen }) : Exit.fail(error)
          ),
      onFailure: (unreadable) =>
        Immediate.andThen(
          notOurs.has(unreadable.code) ? otherwise.notOurs : otherwise.unreadable,
          () => Exit.fail(error.code === "EEXIST" ? new Unreadable(unreadable.code, unreadable.cause) : error)
        )
    })

  const unlinkRequestOnce = ({ requestPath }: OwnRecord): Effect.Effect<void, DiskError> =>
    Immediate.matchEffect(disk.unlink(requestPath), {
      onSuccess: () => Exit.void,
      onFailure: (error) => error.code === "ENOENT" ? Exit.void : Exit.fail(error)
    })

  /**
   * The request file goes, or another process could link it at any time. What cannot be removed within less than a second is tried
   * again, and what that has led to is looked for, once the record is not wanted any more: see `discard`.
   */
  const unlinkRequest = (own: OwnRecord): Effect.Effect<void> =>
    Immediate.matchEffect(unlinkRequestOnce(own), {
      onSuccess: () => Exit.void,
      onFailure: () =>
        Effect.catchAll(
          Effect.retry(Effect.suspend(() => unlinkRequestOnce(own)), promptly),
          ({ cause }) => {
            own.requestLeft = true
            return Effect.logWarning(`Could not remove ${own.requestPath}`, cause)
          }
        )
    })

  /** The request file of a record that is not wanted any more could not be removed: another process may have put it to the lock. */
  const discard = (place: Place, own: OwnRecord): Effect.Effect<void> =>
    own.requestLeft
      ? Immediate.withFiber((fiber) => {
        own.requestLeft = false
        Runtime.start(
          fiber,
          Effect.retry(Effect.suspend(() => unlinkRequestOnce(own)), patiently).pipe(
            Effect.ignore,
            Effect.zipRight(Effect.suspend(() => remove(place, 0, own))),
            Effect.uninterruptible
          )
        )
        return Exit.void
      })
      : Exit.void

  /**
   * Where the file system has no links: exclusive create. Until it is written the file is foreign to everyone else, so that nobody but
   * us may remove it; if we die before, a person has to.
   */
  const publishWithoutLink = (
    place: Place,
    level: number,
    own: OwnRecord,
    noLink: DiskError,
    otherwise: Otherwise
  ): Effect.Effect<Published | Occupied, DiskError> => {
    const path = pathOf(place, level)
    const say = saidNoLinks ? Effect.void : Effect.logWarning(
      `The file system of ${path} has no hard links. Locks work there, except that a process that is killed in the microseconds ` +
        `between creating its lock file and writing it leaves a file that has to be removed by hand`,
      noLink.cause
    )
    saidNoLinks = true
    const unlink = Effect.suspend(() => Effect.ignore(disk.unlink(path)))
    return Effect.flatMap(say, () =>
      Immediate.matchEffect(disk.create(path, own.text), {
        onSuccess: () => confirm(place, level, own),
        onFailure: (error) =>
          settle(
            place,
            level,
            own,
            error,
            mayHaveCreated(error)
              ? { ...otherwise, notOurs: Effect.zipRight(unlink, otherwise.notOurs) }
              : otherwise
          )
      }))
  }

  /** T1: gets the claim of a level. */
  const claim = (
    place: Place,
    level: number,
    label?: string,
    self?: ProcessInfo
  ): Effect.Effect<Published | Busy, DiskError> =>
    Effect.gen(function*() {
      const claimPath = pathOf(place, level)
      const published = yield* publish(place, level, label, self)
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
      const taken = yield* takeOver(place, level, seen, label, self)
      return taken._tag === "Changed" ? busy(0) : taken
    })

  const takeOver = (
    place: Place,
    level: number,
    seen: Record.Seen,
    label: string | undefined,
    self?: ProcessInfo
  ): Effect.Effect<Published | Changed | Busy, DiskError> =>
    Effect.gen(function*() {
      const claimed = yield* claim(place, level + 1, label, self)
      if (claimed._tag === "Busy") {
        return claimed
      }
      const { own } = claimed
      const path = pathOf(place, level)
      // T2
      const there = yield* Effect.either(read(path))
      if (there._tag === "Left" || !Record.isSame(seen, there.right) || isLate(own)) {
        yield* remove(place, level + 1, own)
        return there._tag === "Left" ? yield* Effect.fail(there.left) : changed
      }
      // T3
      const renamed = yield* Effect.either(disk.rename(pathOf(place, level + 1), path))
      if (renamed._tag === "Left" || own.onBehalf || isLate(own)) {
        // The answer may have been lost on its way. After a pause, it may be another process's claim that was renamed.
        const there = yield* Effect.either(read(path))
        if (there._tag === "Left" || !Record.hasToken(there.right, own.token)) {
          if (there._tag === "Left" && !notOurs.has(there.left.code)) {
            // It may be there.
            yield* remove(place, level, own)
          }
          yield* remove(place, level + 1, own)
          return renamed._tag === "Left" ? yield* Effect.fail(renamed.left) : changed
        }
      }
      staleness.forget(path)
      return claimed
    })

  const whileClaimed: Protocol["whileClaimed"] = (place, use) =>
    Effect.flatMap(claim(place, 1, undefined, identity.self), (claimed) =>
      claimed._tag === "Busy"
        ? Effect.succeedNone
        : Effect.flatMap(Effect.suspend(() => use(() => isLate(claimed.own))), (result) =>
          Effect.sync(() => isLate(claimed.own) ? Option.none() : Option.some(result)))
          .pipe(
            Effect.ensuring(Effect.suspend(() =>
              remove(place, 1, claimed.own)
            ))
          ))

  const removeOnce = (
    place: Place,
    level: number,
    own: OwnRecord
  ): Effect.Effect<boolean, DiskError | StillClaimed> => {
    const path = pathOf(place, level)
    return Immediate.flatMap(disk.peek(path), (entry): Effect.Effect<boolean, DiskError | StillClaimed> => {
      if (!isOwn(entry, own)) {
        return Exit.succeed(own.removing)
      }
      if (!own.onBehalf && !isLate(own)) {
        own.removing = true
        return Immediate.map(disk.unlink(path), () => true)
      }
      // Another process may be taking it over: replace it by a fresh record, which is ours for certain.
      return Effect.flatMap(
        takeOver(place, level, Record.toSeen(entry), undefined, identity.self),
        (taken) => taken._tag === "Published" ? remove(place, level, taken.own) : new StillClaimed()
      )
    })
  }

  const remove: Protocol["remove"] = (place, level, own) =>
    Immediate.matchEffect(removeOnce(place, level, own), {
      onSuccess: (removed) => Immediate.as(Immediate.andThen(retire(own), () => discard(place, own)), removed),
      onFailure: () => removeAgain(place, level, own)
    })

  const removeAgain = (place: Place, level: number, own: OwnRecord): Effect.Effect<boolean> =>
    Effect.matchEffect(
      Effect.retry(Reserve.spend(reserve, Effect.suspend(() => removeOnce(place, level, own))), promptly),
      {
        onSuccess: (removed) => Effect.as(retire(own), removed),
        onFailure: (error) =>
          Effect.logWarning(
            `Could not remove ${
              pathOf(place, level)
            }: other processes wait for it until process ${identity.info.pid} ` +
              `ends or the file is removed by hand`,
            error instanceof DiskError ? error.cause : "another process is taking it over"
          ).pipe(Effect.zipRight(retire(own)), Effect.as(true))
      }
    )

  return {
    publish,
    prepare,
    isLate,
    retire,
    request: (place, label) => prepare(place, 0, label),
    enter,
    accept,
    withdraw,
    beatRequest,
    give,
    holds,
    read,
    readRequest: (place, token) => Immediate.map(disk.peek(requestOf(place.prefix, token)), Record.toSeen),
    takeOver,
    whileClaimed,
    remove
  }
}
