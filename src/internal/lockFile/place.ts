import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Hash from "effect/Hash"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { type LockHolder, maxLabelLength } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import { codeOf, failedAfterOpen } from "../errno.js"
import { type Judge, publishDoubt } from "./judge.js"
import * as Look from "./look.js"
import * as Record from "./record.js"

/** A record of ours that is at some path. */
export interface Ours {
  readonly holder: LockHolder
  readonly text: string
  /** From here on, on our monotonic clock, somebody else may at the earliest count our silence. A heartbeat moves it. */
  heardAt: bigint
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

/** Somebody else who lives, or cannot be told dead yet, is taking it over. */
export interface Busy {
  readonly _tag: "Busy"
  readonly look: Look.Look
  readonly lookAgain: Duration.Duration | undefined
}

const changed: Changed = { _tag: "Changed" }

/** Claims on claims on claims: each level needs one more process to die at the same spot. */
const maxLevels = 6

const nameMax = 255

/** The file that gives one process the right to replace the record at `path`; hashed where the name would be too long. */
export const claimOf = (path: string): string => {
  const claim = `${path}.reap`
  const start = claim.lastIndexOf("/") + 1
  const name = claim.slice(start)
  return new TextEncoder().encode(name).length <= nameMax
    ? claim
    : `${claim.slice(0, start)}${name.slice(0, 32)}-${(Hash.string(name) >>> 0).toString(36)}.lock.reap`
}

export interface Places {
  /** Puts a fresh record of ours at `path` if nothing is there. */
  readonly place: (path: string, label?: string) => Effect.Effect<Placed | Occupied, PlatformError>
  /** Replaces exactly what was judged by a fresh record of ours. */
  readonly takeOver: (
    path: string,
    judged: Look.Recorded | Look.Broken,
    label?: string
  ) => Effect.Effect<Placed | Changed | Busy, PlatformError>
  /** Runs `use` while nobody can take over what is at `path`; nothing if somebody is doing so. */
  readonly whileClaimed: <A>(path: string, use: Effect.Effect<A>) => Effect.Effect<A | undefined, PlatformError>
  /**
   * Removes our record from `path` and then retires its token; `false` if it was no longer there. Where the file system refuses,
   * it says so in the log and goes on trying in the background for half a minute; the token lives as long, or somebody else of this
   * process could take the record over under our hands.
   */
  readonly remove: (path: string, ours: Ours) => Effect.Effect<boolean>
  /**
   * Takes over and removes what dead processes left of the claims on `path`; answers with when to come again where some of it
   * cannot be judged yet.
   */
  readonly sweep: (path: string) => Effect.Effect<Option.Option<Duration.Duration>, PlatformError>
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
}): Places => {
  const { fs, identity, judge } = options
  const inTime = Duration.unsafeToNanos(options.lease) / 2n
  const doubtNanos = Duration.unsafeToNanos(publishDoubt)
  const doubtMillis = Duration.toMillis(publishDoubt)

  const freshRecord = (label: string | undefined): Effect.Effect<Ours> =>
    Effect.gen(function*() {
      const token = yield* identity.issueToken
      const holder: LockHolder = {
        ...identity.info,
        token,
        acquiredAt: yield* DateTime.now,
        ...(label === undefined ? {} : { label: label.slice(0, maxLabelLength) })
      }
      return { holder, text: Record.encode(holder), heardAt: yield* Clock.currentTimeNanos }
    })

  const retire = (ours: Ours) => identity.retireToken(ours.holder.token)

  /** A write that failed after its file was created leaves a file without a record, and it is certainly ours. */
  const removeUnwritten = (path: string, error: PlatformError, doubtful: boolean) =>
    failedAfterOpen(error) && !doubtful
      ? fs.remove(path).pipe(
        Effect.catchAll((cause) => Effect.logWarning(`Could not remove the unwritten lock file ${path}`, cause))
      )
      : Effect.void

  const place = (path: string, label?: string): Effect.Effect<Placed | Occupied, PlatformError> =>
    Effect.gen(function*() {
      const ours = yield* freshRecord(label)
      const wallBefore = yield* Clock.currentTimeMillis
      const created = yield* Effect.either(fs.writeFileString(path, ours.text, { flag: "wx" }))
      const error = created._tag === "Left" ? created.left : undefined
      const seen = error === undefined ? undefined : yield* Look.look(fs, path)
      const elapsed = (yield* Clock.currentTimeNanos) - ours.heardAt
      // The monotonic clock stands still while the machine is suspended.
      const wallElapsed = (yield* Clock.currentTimeMillis) - wallBefore
      const doubtful = elapsed > doubtNanos || wallElapsed > doubtMillis

      // Told that it failed, or that something is there, although our own record is: the answer was lost on its way.
      if (error !== undefined && seen !== undefined && !Look.hasToken(seen, ours.holder.token)) {
        if (codeOf(error) === "EEXIST") {
          yield* retire(ours)
          return { _tag: "Occupied", look: seen } as const
        }
        // What cannot be seen now may be ours all the same.
        yield* seen._tag === "Unreadable" ? remove(path, ours) : retire(ours)
        if (seen._tag === "Broken") {
          yield* removeUnwritten(path, error, doubtful)
        }
        return yield* error
      }
      if (!doubtful) {
        return { _tag: "Placed", ours } as const
      }
      // Somebody may have judged our file while it was unwritten, and be about to replace it.
      const taken = yield* takeOver(path, { _tag: "Recorded", text: ours.text, holder: ours.holder }, label)
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
      const placed = yield* place(claimPath, label)
      if (placed._tag === "Placed") {
        return placed
      }
      const { look } = placed
      if ((look._tag !== "Recorded" && look._tag !== "Broken") || level >= maxLevels) {
        return { _tag: "Busy", look, lookAgain: undefined } as const
      }
      const verdict = yield* judge.judge(claimPath, look)
      if (verdict._tag !== "Stale") {
        const lookAgain = verdict._tag === "Silent" ? verdict.lookAgain : undefined
        return { _tag: "Busy", look, lookAgain } as const
      }
      const taken = yield* takeOverAt(claimPath, look, level + 1, label)
      return taken._tag === "Changed" ? { _tag: "Busy", look, lookAgain: Duration.zero } as const : taken
    })

  const isOverdue = (ours: Ours) => Effect.map(Clock.currentTimeNanos, (now) => now - ours.heardAt > inTime)

  const takeOverAt = (
    path: string,
    judged: Look.Recorded | Look.Broken,
    level: number,
    label?: string
  ): Effect.Effect<Placed | Changed | Busy, PlatformError> =>
    Effect.gen(function*() {
      const claimPath = claimOf(path)
      const claimed = yield* claim(path, level, label)
      if (claimed._tag === "Busy") {
        return claimed
      }
      const { ours } = claimed
      const giveUp = remove(claimPath, ours)
      // T2
      if (!Look.isSame(judged, yield* Look.look(fs, path)) || (yield* isOverdue(ours))) {
        yield* giveUp
        return changed
      }
      // T3
      return yield* fs.rename(claimPath, path).pipe(
        Effect.as(claimed),
        Effect.catchAll((error) =>
          Effect.gen(function*() {
            // The answer may have been lost on its way.
            const seen = yield* Look.look(fs, path)
            if (Look.hasToken(seen, ours.holder.token)) {
              return claimed
            }
            yield* seen._tag === "Unreadable" ? Effect.zipRight(remove(path, ours), giveUp) : giveUp
            return yield* error
          })
        )
      )
    }).pipe(Effect.tap((taken) => taken._tag === "Placed" ? Effect.sync(() => judge.forget(path)) : Effect.void))

  const takeOver: Places["takeOver"] = (path, judged, label) => takeOverAt(path, judged, 0, label)

  const whileClaimed: Places["whileClaimed"] = (path, use) =>
    Effect.flatMap(
      claim(path, 0),
      (claimed) =>
        claimed._tag === "Busy"
          ? Effect.succeed(undefined)
          : Effect.zipLeft(use, remove(claimOf(path), claimed.ours))
    )

  /** Whether our record is at `path`. One that may no longer be read is known by its size and time. */
  const isOurs = (path: string, ours: Ours) =>
    Effect.flatMap(Look.look(fs, path), (seen) => {
      if (seen._tag !== "Unreadable") {
        return Effect.succeed(Look.hasToken(seen, ours.holder.token))
      }
      return codeOf(seen.cause) === "EACCES" ? isLikeOurs(path, ours) : Effect.fail(seen.cause)
    })

  const isLikeOurs = (path: string, ours: Ours) =>
    Effect.gen(function*() {
      const info = yield* fs.stat(path)
      const silence = Duration.toMillis(Duration.nanos((yield* Clock.currentTimeNanos) - ours.heardAt))
      const heardAt = (yield* Clock.currentTimeMillis) - silence
      return info.type === "File" &&
        Number(info.size) === new TextEncoder().encode(ours.text).length &&
        Option.exists(info.mtime, (mtime) => Math.abs(mtime.getTime() - heardAt) <= doubtMillis)
    })

  const removeOnce = (path: string, ours: Ours): Effect.Effect<boolean, PlatformError | StillClaimed> =>
    Effect.gen(function*() {
      if (!(yield* isOurs(path, ours))) {
        return false
      }
      if (!(yield* isOverdue(ours))) {
        yield* fs.remove(path)
        return true
      }
      // Too late to be sure that nobody is taking it over: replace it by a fresh record, which is ours for certain.
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
    Effect.matchEffect(Effect.retry(removeOnce(path, ours), promptly), {
      onSuccess: (removed) => Effect.as(retire(ours), removed),
      onFailure: (cause) =>
        Effect.logWarning(`Could not remove ${path} yet, going on in the background`, cause).pipe(
          Effect.zipRight(Effect.forkDaemon(removePatiently(path, ours))),
          Effect.as(true)
        )
    })

  const removePatiently = (path: string, ours: Ours) =>
    Effect.retry(removeOnce(path, ours), patiently).pipe(
      Effect.catchAll((cause) =>
        Effect.logError(
          `Could not remove ${path}: others will wait for it until this process ends or it is removed by hand`,
          cause
        )
      ),
      Effect.ensuring(retire(ours))
    )

  const sweepLevels = (path: string, levels: number): Effect.Effect<Option.Option<Duration.Duration>, PlatformError> =>
    Effect.gen(function*() {
      const claimPath = claimOf(path)
      const above = levels > 1 ? yield* sweepLevels(claimPath, levels - 1) : Option.none()
      const seen = yield* Look.look(fs, claimPath)
      if (seen._tag !== "Recorded" && seen._tag !== "Broken") {
        return above
      }
      const verdict = yield* judge.judge(claimPath, seen)
      if (verdict._tag === "Silent") {
        return Option.some(verdict.lookAgain)
      }
      const taken = verdict._tag === "Stale" ? yield* takeOver(claimPath, seen) : changed
      if (taken._tag === "Placed") {
        yield* remove(claimPath, taken.ours)
      }
      return above
    })

  return { place, takeOver, whileClaimed, remove, sweep: (path) => sweepLevels(path, 2) }
}

class StillClaimed extends Data.TaggedError("StillClaimed")<{ readonly path: string }> {}

const promptly = Schedule.exponential(Duration.millis(1)).pipe(Schedule.upTo(Duration.millis(100)))

const patiently = Schedule.exponential(Duration.millis(100)).pipe(
  Schedule.union(Schedule.spaced(Duration.seconds(1))),
  Schedule.upTo(Duration.seconds(30))
)
