import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { type LockHolder, maxLabelLength } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import { codeOf, mayHaveCreated } from "../errno.js"
import { type Judge, publishDoubt } from "./judge.js"
import * as Look from "./look.js"
import * as Moment from "./moment.js"
import { claimOf } from "./names.js"
import * as Record from "./record.js"

/** A record of ours that is, or may be, at some path. */
export interface Ours {
  readonly holder: LockHolder
  readonly text: string
  /** From here on somebody else may at the earliest have counted our silence. A heartbeat moves it. */
  heardAt: Moment.Moment
  /** Somebody may have judged it while it was unwritten: only the claim makes it safe to remove. */
  doubtful: boolean
  /** A removal was begun: if it is not known how that ended, somebody else's record may be there by now. */
  removing: boolean
}

/** `L` or a claim now carries our record. */
export interface Placed {
  readonly _tag: "Placed"
  readonly ours: Ours
}

/** Something is there that has to be judged. */
export interface Occupied {
  readonly _tag: "Occupied"
  readonly look: Look.Look
}

/** What was to be taken over has changed: look again. */
export interface Changed {
  readonly _tag: "Changed"
}

/** Somebody else who lives, or cannot be told dead yet, is taking it over; or something is where the claim should be. */
export interface Busy {
  readonly _tag: "Busy"
  readonly claimPath: string
  readonly look: Look.Look
  readonly lookAgain: Duration.Duration | undefined
}

const changed: Changed = { _tag: "Changed" }

/** Claims on claims on claims: each level needs one more process to die at the same spot. */
const maxLevels = 6

export interface Places {
  /** Puts a fresh record of ours at `path` if nothing is there; looks otherwise. */
  readonly place: (
    path: string,
    look: typeof Look.look,
    label?: string
  ) => Effect.Effect<Placed | Occupied, PlatformError>
  /** Replaces exactly what was judged by a fresh record of ours. */
  readonly takeOver: (
    path: string,
    judged: Look.Recorded | Look.Broken,
    label?: string
  ) => Effect.Effect<Placed | Changed | Busy, PlatformError>
  /** Runs `use` while nobody can take over what is at `path`; nothing if somebody is doing so. */
  readonly whileClaimed: <A, E>(
    path: string,
    use: Effect.Effect<A, E>
  ) => Effect.Effect<Option.Option<A>, E | PlatformError>
  /**
   * Removes our record from `path` and then retires its token; `false` if it was no longer there. Where that is not possible now,
   * it says so in the log and goes on trying in the background; the token lives as long, or somebody else of this process could
   * take the record over under our hands.
   */
  readonly remove: (path: string, ours: Ours) => Effect.Effect<boolean>
  /**
   * Removes our record from a path that excludes nobody, without looking: while we are in time nobody may replace it, and if
   * somebody did by hand, no more is lost than a place in line.
   */
  readonly discard: (path: string, ours: Ours) => Effect.Effect<void>
  /** Removes what a dead process left at `path`, by taking it over; answers with when to look again where that cannot be told yet. */
  readonly clear: (path: string) => Effect.Effect<Option.Option<Duration.Duration>, PlatformError>
}

/**
 * The three mutations of the protocol (`docs/protocol.md`): place, take over, remove. Each is to be run uninterruptibly.
 *
 * Only the owner of a record removes it, and everybody else replaces it by renaming a claim over it. There is one claim name for
 * a path, so between the check (T2) and the rename (T3) nobody else can have changed what is at the path, except its owner.
 */
export const make = (options: {
  readonly fs: FileSystem.FileSystem
  readonly identity: ProcessIdentity
  readonly judge: Judge
  readonly lease: Duration.Duration
  readonly scope: Scope.Scope
}): Places => {
  const { fs, identity, judge } = options
  const inTime = Duration.toMillis(options.lease) / 2
  const doubt = Duration.toMillis(publishDoubt)

  const freshRecord = (label: string | undefined): Effect.Effect<Ours> =>
    Effect.flatMap(identity.issueToken, (token) =>
      Effect.map(Moment.now, (heardAt) => {
        const holder: LockHolder = {
          ...identity.info,
          token,
          acquiredAt: DateTime.unsafeMake(heardAt.millis),
          ...(label === undefined ? {} : { label: label.slice(0, maxLabelLength) })
        }
        return { holder, text: Record.encode(holder), heardAt, doubtful: false, removing: false }
      }))

  /** Often enough for the judge to count somebody's silence. */
  const patiently = Schedule.exponential(Duration.millis(100)).pipe(
    Schedule.union(Schedule.spaced(Duration.min(Duration.seconds(1), Duration.times(options.lease, 0.1))))
  )

  /** How long a removal goes on after its engine has gone: a dead process of another machine may be in the way, and its claim too. */
  const afterwards = Duration.sum(Duration.seconds(30), Duration.times(options.lease, 3))

  const retire = (ours: Ours) => identity.retireToken(ours.holder.token)

  const placeAt = (
    path: string,
    level: number,
    label: string | undefined,
    look: typeof Look.look
  ): Effect.Effect<Placed | Occupied, PlatformError> =>
    Effect.gen(function*() {
      const ours = yield* freshRecord(label)
      const created = yield* Effect.either(fs.writeFileString(path, ours.text, { flag: "wx" }))
      if (created._tag === "Right" && (yield* Moment.since(ours.heardAt)) <= doubt) {
        return { _tag: "Placed", ours } as const
      }
      const seen = yield* look(fs, path)
      // Told that it failed, or that something is there, although our own record is: the answer was lost on its way.
      const isOurs = Look.hasToken(seen, ours.holder.token)
      if (created._tag === "Left") {
        const exists = codeOf(created.left) === "EEXIST"
        if (!isOurs) {
          // What cannot be seen now may be ours all the same. An unwritten file of ours is left to the grace: it cannot be
          // told, in the step of removing it, from what a taker has put in its place.
          ours.doubtful = true
          yield* seen._tag === "Unreadable" && !exists && mayHaveCreated(created.left)
            ? remove(path, ours)
            : retire(ours)
          return exists ? { _tag: "Occupied", look: seen } as const : yield* created.left
        }
        if (exists && (yield* Moment.since(ours.heardAt)) <= doubt) {
          return { _tag: "Placed", ours } as const
        }
      }
      return yield* settle(path, ours, level, label)
    })

  /** Somebody may have judged our record while it was unwritten, and be about to replace it: replace it ourselves, or lose it. */
  const settle = (
    path: string,
    ours: Ours,
    level: number,
    label: string | undefined
  ): Effect.Effect<Placed | Occupied, PlatformError> =>
    Effect.gen(function*() {
      ours.doubtful = true
      if (level >= maxLevels) {
        yield* removeLater(path, ours)
        return { _tag: "Occupied", look: yield* Look.look(fs, path) } as const
      }
      const judged: Look.Recorded = { _tag: "Recorded", text: ours.text, holder: ours.holder, stamp: "" }
      const taken = yield* takeOverAt(path, judged, level, label).pipe(Effect.tapError(() => remove(path, ours)))
      if (taken._tag === "Placed") {
        yield* retire(ours)
        return taken
      }
      yield* remove(path, ours)
      return { _tag: "Occupied", look: yield* Look.look(fs, path) } as const
    })

  /** T1: gets the claim on `path`. */
  const claim = (path: string, level: number, label?: string): Effect.Effect<Placed | Busy, PlatformError> =>
    Effect.gen(function*() {
      const claimPath = claimOf(path)
      const placed = yield* placeAt(claimPath, level + 1, label, Look.look)
      if (placed._tag === "Placed") {
        return placed
      }
      const { look } = placed
      const busy = (lookAgain?: Duration.Duration): Busy => ({ _tag: "Busy", claimPath, look, lookAgain })
      if (look._tag === "Absent") {
        return busy(Duration.zero)
      }
      if ((look._tag !== "Recorded" && look._tag !== "Broken") || level >= maxLevels) {
        return busy()
      }
      const verdict = yield* judge.judge(claimPath, look)
      if (verdict._tag !== "Stale") {
        return busy(verdict._tag === "Silent" ? verdict.lookAgain : undefined)
      }
      if (look._tag === "Broken") {
        yield* checkRoom(claimPath)
      }
      const taken = yield* takeOverAt(claimPath, look, level + 1, label)
      return taken._tag === "Changed" ? busy(Duration.zero) : taken
    })

  /** On a full disk each attempt would leave one more unwritten claim; what is written here means nothing. */
  const checkRoom = (claimPath: string) =>
    fs.writeFileString(roomOf(claimPath), " ".repeat(Record.maxRecordBytes)).pipe(
      Effect.tapError(() => Effect.ignore(removeRoom(roomOf(claimPath)))),
      Effect.zipRight(removeRoom(roomOf(claimPath)))
    )

  const removeRoom = (room: string) =>
    Effect.catchIf(fs.remove(room), (error) => codeOf(error) === "ENOENT", () => Effect.void)

  const isOverdue = (ours: Ours) => Effect.map(Moment.since(ours.heardAt), (silence) => silence > inTime)

  const takeOverAt = (
    path: string,
    judged: Look.Recorded | Look.Broken,
    level: number,
    label?: string
  ): Effect.Effect<Placed | Changed | Busy, PlatformError> =>
    Effect.gen(function*() {
      const claimed = yield* claim(path, level, label)
      if (claimed._tag === "Busy") {
        return claimed
      }
      const claimPath = claimOf(path)
      const { ours } = claimed
      // T2
      if (!Look.isSame(judged, yield* Look.look(fs, path)) || (yield* isOverdue(ours))) {
        yield* remove(claimPath, ours)
        return changed
      }
      // T3
      const renamed = yield* Effect.either(fs.rename(claimPath, path))
      if (renamed._tag === "Left") {
        // The answer may have been lost on its way.
        const seen = yield* Look.look(fs, path)
        if (!Look.hasToken(seen, ours.holder.token)) {
          if (seen._tag === "Unreadable") {
            yield* remove(path, ours)
          }
          yield* remove(claimPath, ours)
          return yield* renamed.left
        }
      }
      judge.forget(path)
      return claimed
    })

  const takeOver: Places["takeOver"] = (path, judged, label) => takeOverAt(path, judged, 0, label)

  const whileClaimed: Places["whileClaimed"] = (path, use) =>
    Effect.flatMap(claim(path, 0), (claimed) =>
      claimed._tag === "Busy"
        ? Effect.succeedNone
        : Effect.flatMap(use, (result) =>
          Effect.map(isOverdue(claimed.ours), (overdue) => overdue ? Option.none() : Option.some(result))).pipe(
            Effect.ensuring(remove(claimOf(path), claimed.ours))
          ))

  /** Whether our record is at `path`. One that may no longer be read is known by its size and time. */
  const isOurs = (path: string, ours: Ours) =>
    Effect.flatMap(
      Look.hasText(fs, path, ours.text),
      (same) => same ? Effect.succeed(true) : lookWhetherOurs(path, ours)
    )

  const lookWhetherOurs = (path: string, ours: Ours) =>
    Effect.flatMap(Look.look(fs, path), (seen) => {
      if (seen._tag !== "Unreadable") {
        return Effect.succeed(Look.hasToken(seen, ours.holder.token))
      }
      return codeOf(seen.cause) === "EACCES" && !ours.removing ? isLikeOurs(path, ours) : Effect.fail(seen.cause)
    })

  const isLikeOurs = (path: string, ours: Ours) =>
    Effect.map(
      fs.stat(path),
      (info) =>
        info.type === "File" &&
        Number(info.size) === new TextEncoder().encode(ours.text).length &&
        Option.exists(info.mtime, (mtime) => Math.abs(mtime.getTime() - ours.heardAt.millis) <= doubt)
    )

  const removeOnce = (path: string, ours: Ours): Effect.Effect<boolean, PlatformError | StillClaimed> =>
    Effect.gen(function*() {
      if (!(yield* isOurs(path, ours))) {
        return false
      }
      if (!ours.doubtful && !(yield* isOverdue(ours))) {
        ours.removing = true
        yield* fs.remove(path)
        return true
      }
      // Somebody may be taking it over: replace it by a fresh record, which is ours for certain.
      const seen = yield* Look.look(fs, path)
      const taken = seen._tag === "Recorded" && seen.holder.token === ours.holder.token
        ? yield* takeOver(path, seen)
        : changed
      if (taken._tag === "Placed") {
        return yield* remove(path, taken.ours)
      }
      return yield* new StillClaimed({ path })
    })

  const remove: Places["remove"] = (path, ours) =>
    Effect.matchEffect(Effect.orElse(removeOnce(path, ours), () => Effect.retry(removeOnce(path, ours), promptly)), {
      onSuccess: (removed) => Effect.as(retire(ours), removed),
      onFailure: (cause) =>
        Effect.logWarning(
          `Could not remove ${path} yet, going on in the background: others will wait for it as long as this process lives`,
          cause
        ).pipe(
          Effect.zipRight(removeLater(path, ours)),
          Effect.as(true)
        )
    })

  const discard: Places["discard"] = (path, ours) =>
    Effect.flatMap(
      isOverdue(ours),
      (overdue) =>
        overdue || ours.doubtful ? Effect.asVoid(remove(path, ours)) : Effect.matchEffect(fs.remove(path), {
          onSuccess: () => retire(ours),
          onFailure: (error) => codeOf(error) === "ENOENT" ? retire(ours) : Effect.asVoid(remove(path, ours))
        })
    )

  /**
   * Goes on while the engine is there, and for a while beyond: the process may live on without it, and its record would be in
   * the way of everybody who sees that it lives. No attempt is cut off, or a claim would stay.
   */
  const removeLater = (path: string, ours: Ours) => {
    const attempt = Effect.uninterruptible(removeOnce(path, ours))
    const farewell = Effect.retry(attempt, Schedule.upTo(patiently, afterwards)).pipe(
      Effect.ignore,
      Effect.ensuring(retire(ours))
    )
    return Effect.retry(attempt, patiently).pipe(
      Effect.zipRight(retire(ours)),
      Effect.interruptible,
      Effect.onInterrupt(() => Effect.forkDaemon(farewell)),
      Effect.ignore,
      Effect.forkIn(options.scope),
      Effect.uninterruptible
    )
  }

  const clear: Places["clear"] = (path) =>
    Effect.gen(function*() {
      if (path.endsWith(roomEnding)) {
        yield* removeRoom(path)
        return Option.none()
      }
      const seen = yield* Look.look(fs, path)
      if (seen._tag !== "Recorded" && seen._tag !== "Broken") {
        return Option.none()
      }
      const verdict = yield* judge.judge(path, seen)
      if (verdict._tag !== "Stale") {
        return verdict._tag === "Silent" ? Option.some(verdict.lookAgain) : Option.none()
      }
      const taken = yield* takeOver(path, seen)
      if (taken._tag === "Placed") {
        yield* remove(path, taken.ours)
      }
      return taken._tag === "Busy" ? Option.fromNullable(taken.lookAgain) : Option.none()
    })

  return { place: (path, look, label) => placeAt(path, 0, label, look), takeOver, whileClaimed, remove, discard, clear }
}

/** Beside the claim, by a name that is no longer than that of a claim on it. */
const roomOf = (claimPath: string): string => `${claimOf(claimPath).slice(0, -".reap".length)}${roomEnding}`

const roomEnding = ".room"

class StillClaimed extends Data.TaggedError("StillClaimed")<{ readonly path: string }> {}

const promptly = Schedule.exponential(Duration.millis(1)).pipe(Schedule.upTo(Duration.millis(100)))
