import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import type { LostReason } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import { codeOf } from "../errno.js"
import * as Look from "./look.js"
import * as Moment from "./moment.js"
import type { Ours, Places } from "./place.js"
import * as Record from "./record.js"

/** The lock is gone from us. */
export class Gone extends Data.TaggedError("Gone")<{
  readonly reason: LostReason
  readonly holder: LockHolder | undefined
}> {}

/** What is at the path, seen by somebody who thought it was his. `undefined`: it still is, or cannot be read now. */
export const whyGone = (seen: Look.Look, token: string): Gone | undefined => {
  if (Look.hasToken(seen, token) || seen._tag === "Unreadable") {
    return undefined
  }
  return new Gone({
    reason: seen._tag === "Absent" ? "Removed" : "Replaced",
    holder: seen._tag === "Recorded" ? seen.holder : undefined
  })
}

export interface Heartbeat {
  /**
   * Tells observers that cannot check us that we live. Ends only by failing: when the lock is found gone,
   * or when no beat that started within the last 0.6 of a lease got through.
   */
  readonly run: Effect.Effect<never, Gone>
  /** Makes sure that the lock is ours now, and that nobody is about to take it over. */
  readonly verify: Effect.Effect<void, Gone>
}

/** Somebody is taking the lock over, or looks like it. */
class Claimed extends Data.TaggedError("Claimed")<{}> {}

type Trouble = PlatformError | Claimed

/** The record of a lock through a handle, which is bound to the inode: it can never refresh, or bring back, somebody else's. */
interface Opened {
  readonly file: FileSystem.File
  readonly inode: number
  readonly offset: number
}

/** Most locks are released before their first beat. */
export const firstBeatAfter = (lease: Duration.Duration): Duration.Duration => Duration.times(lease, 1 / 3)

export const make = (options: {
  readonly fs: FileSystem.FileSystem
  readonly places: Places
  readonly path: string
  readonly ours: Ours
  readonly lease: Duration.Duration
}): Heartbeat => {
  const { fs, ours, path, places } = options
  const lease = Duration.toMillis(options.lease)
  const interval = Duration.toMillis(firstBeatAfter(options.lease))
  const allowed = lease * 0.6
  const token = ours.holder.token
  let beats = 0

  /** What cannot be read now is not gone. */
  const checkPath = Effect.flatMap(Look.look(fs, path), (seen): Effect.Effect<void, PlatformError | Gone> => {
    const gone = whyGone(seen, token)
    return gone !== undefined ? gone : seen._tag === "Unreadable" ? seen.cause : Effect.void
  })

  const open: Effect.Effect<Opened, PlatformError | Gone, Scope.Scope> = Effect.gen(function*() {
    yield* checkPath
    const file = yield* fs.open(path, { flag: "r+" })
    const content = yield* file.readAlloc(Record.maxRecordBytes)
    const text = Record.textOf(Option.getOrElse(content, () => new Uint8Array()))
    const holder = Option.getOrUndefined(Record.decode(text))
    if (holder?.token !== token) {
      return yield* new Gone({ reason: "Replaced", holder })
    }
    const info = yield* file.stat
    return { file, inode: Option.getOrElse(info.ino, () => -1), offset: Number(info.size) - Record.beatFromEnd }
  })

  const beat = ({ file, inode, offset }: Opened): Effect.Effect<void, PlatformError | Gone> =>
    Effect.gen(function*() {
      const startedAt = yield* Moment.now
      yield* file.seek(offset, "start")
      yield* file.writeAll(new TextEncoder().encode(Record.formatBeat(++beats)))
      const info = yield* fs.stat(path).pipe(
        Effect.catchIf((error) => codeOf(error) === "ENOENT", () => new Gone({ reason: "Removed", holder: undefined }))
      )
      if (Option.getOrElse(info.ino, () => -1) !== inode) {
        yield* checkPath
        return yield* new Gone({ reason: "Replaced", holder: undefined })
      }
      ours.heardAt = startedAt
    })

  /** After a pause others may be about to take over: beat while nobody can. */
  const beatLate = (opened: Opened): Effect.Effect<void, Trouble | Gone> =>
    Effect.flatMap(
      places.whileClaimed(path, Effect.zipRight(checkPath, beat(opened))),
      Option.match({
        onNone: () => Effect.zipRight(checkPath, new Claimed()),
        onSome: Effect.succeed
      })
    )

  const silence = Effect.suspend(() => Moment.since(ours.heardAt))

  const beatOnce = (opened: Opened) =>
    Effect.flatMap(silence, (silent) => silent > allowed ? beatLate(opened) : beat(opened))

  /**
   * How long an attempt may take: the time in which nobody may have acted, and a tenth of a lease at least. Once the lease is over
   * whoever wanted to act has acted, and what matters is what we find.
   */
  const limit = (silent: number): number =>
    silent > lease ? Math.max(lease / 10, patience) : Math.max(allowed - silent, lease / 10)

  const inTime = <A, R>(attempt: Effect.Effect<A, Trouble | Gone, R>): Effect.Effect<A, Gone, R> =>
    Effect.flatMap(silence, (silent) =>
      Effect.retry(attempt, {
        while: (error): boolean => error._tag !== "Gone",
        schedule: Schedule.spaced(lease / 50)
      }).pipe(
        Effect.disconnect,
        Effect.timeoutFail({ duration: limit(silent), onTimeout: () => expired }),
        Effect.catchAll((error) => Effect.fail(error._tag === "Gone" ? error : expired))
      ))

  /**
   * A handle for one step at a time, none of which is cut off: a claim would stay, and on Node a write that was begun happens, when
   * its descriptor may be another file's already. So the handle is closed once no step is under way.
   */
  const handle = Effect.acquireRelease(
    Effect.all({ scope: Scope.make(), turn: Effect.makeSemaphore(1) }),
    ({ scope, turn }, exit) => Effect.forkDaemon(turn.withPermits(1)(Scope.close(scope, exit)))
  ).pipe(Effect.map(({ scope, turn }) => ({
    open: turn.withPermits(1)(Effect.uninterruptible(Scope.extend(open, scope))),
    beat: (opened: Opened) => turn.withPermits(1)(Effect.uninterruptible(beatOnce(opened)))
  })))

  const beating = handle.pipe(
    Effect.flatMap(({ beat, open }) =>
      Effect.flatMap(
        inTime(open),
        (opened) => Effect.forever(Effect.zipRight(inTime(beat(opened)), Effect.sleep(interval)))
      )
    ),
    Effect.scoped,
    Effect.catchAllDefect((defect) =>
      Effect.zipRight(Effect.logError(`The heartbeat of ${path} failed`, defect), expired)
    )
  )

  const verify = Effect.flatMap(silence, (silent) =>
    silent <= allowed
      ? Effect.catchAll(checkPath, (error) => Effect.fail(error._tag === "Gone" ? error : unavailable))
      : inTime(Effect.uninterruptible(Effect.scoped(Effect.flatMap(open, beatLate)))))

  return { run: beating, verify }
}

/** For a process that was stopped, and now has everything to do at once; in milliseconds. */
const patience = 500

const expired = new Gone({ reason: "LeaseExpired", holder: undefined })

const unavailable = new Gone({ reason: "BackendUnavailable", holder: undefined })
