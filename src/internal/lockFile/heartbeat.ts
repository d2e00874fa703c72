import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { LostReason } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import { codeOf } from "../errno.js"
import * as Look from "./look.js"
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

/**
 * Tells observers that cannot check us that we live, from a third of a lease on. Ends only by failing: when the lock is found
 * gone, or when no beat that started within the last 0.6 of a lease got through.
 *
 * A beat goes through a handle, which is bound to the inode: it can never refresh, or bring back, somebody else's record.
 */
export const heartbeat = (options: {
  readonly fs: FileSystem.FileSystem
  readonly places: Places
  readonly path: string
  readonly ours: Ours
  readonly lease: Duration.Duration
}): Effect.Effect<never, Gone> => {
  const { fs, lease, ours, path, places } = options
  const interval = Duration.times(lease, 1 / 3)
  const allowed = Duration.unsafeToNanos(Duration.times(lease, 0.6))
  const token = ours.holder.token
  let beats = 0

  const checkPath = Effect.flatMap(Look.look(fs, path), (seen) => {
    const gone = whyGone(seen, token)
    return gone === undefined ? Effect.void : Effect.fail(gone)
  })

  /** Opens what is at the path and makes sure, through the handle, that it is our record. */
  const open = Effect.gen(function*() {
    yield* checkPath
    const file = yield* fs.open(path, { flag: "r+" })
    const content = yield* file.readAlloc(Record.maxRecordBytes)
    const text = new TextDecoder().decode(Option.getOrElse(content, () => new Uint8Array()))
    const holder = Record.decode(text)
    if (Option.isNone(holder) || holder.value.token !== token) {
      return yield* new Gone({ reason: "Replaced", holder: Option.getOrUndefined(holder) })
    }
    const info = yield* file.stat
    return { file, inode: Option.getOrElse(info.ino, () => -1), offset: Number(info.size) - Record.beatFromEnd }
  })

  type Opened = Effect.Effect.Success<typeof open>

  const beat = ({ file, inode, offset }: Opened) =>
    Effect.gen(function*() {
      const startedAt = yield* Clock.currentTimeNanos
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

  /** After a pause others may be about to take over: beat while nobody can, or not at all. */
  const beatLate = (opened: Opened): Effect.Effect<void, PlatformError | Gone> =>
    Effect.gen(function*() {
      const result = yield* places.whileClaimed(path, Effect.either(Effect.zipRight(checkPath, beat(opened))))
      return yield* result === undefined ? checkPath : result
    })

  const silence = Effect.map(Clock.currentTimeNanos, (now) => now - ours.heardAt)

  const beatOnce = (opened: Opened) =>
    Effect.flatMap(silence, (silent) => silent > allowed ? Effect.uninterruptible(beatLate(opened)) : beat(opened))

  /** Within the time that is left, or within a tenth of a lease when none is: until then nobody may have acted. */
  const inTime = <A, R>(attempt: Effect.Effect<A, PlatformError | Gone, R>): Effect.Effect<A, Gone, R> =>
    Effect.gen(function*() {
      const left = allowed - (yield* silence)
      const tenth = Duration.times(lease, 0.1)
      const limit = left > 0n ? Duration.max(Duration.nanos(left), tenth) : tenth
      const retried = Effect.retry(attempt, {
        while: (error: PlatformError | Gone): boolean => error._tag !== "Gone",
        schedule: Schedule.spaced(Duration.times(lease, 0.02))
      })
      return yield* Effect.timeoutFail(Effect.disconnect(retried), {
        duration: limit,
        onTimeout: () => new Gone({ reason: "LeaseExpired", holder: undefined })
      })
    }).pipe(
      Effect.catchAll((error) =>
        error._tag === "Gone" ? Effect.fail(error) : new Gone({ reason: "LeaseExpired", holder: undefined })
      )
    )

  return Effect.sleep(interval).pipe(
    Effect.zipRight(inTime(open)),
    Effect.flatMap((opened) => Effect.forever(Effect.zipRight(inTime(beatOnce(opened)), Effect.sleep(interval)))),
    Effect.scoped
  )
}
