import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { LockHolder } from "../../LockHolder.js"
import { codeOf } from "../errno.js"
import * as Record from "./record.js"

export interface Absent {
  readonly _tag: "Absent"
}

/** A complete record of ours. `text` includes the beat, so that a holder that was heard of again is told from a silent one. */
export interface Recorded {
  readonly _tag: "Recorded"
  readonly text: string
  readonly holder: LockHolder
  /** Of the file: while that is the same, and nobody hints at a change, so is most likely the record. */
  readonly stamp: string
}

/** Created and not, or not wholly, written. */
export interface Broken {
  readonly _tag: "Broken"
  readonly identity: string
  readonly stamp: string
}

/** None of ours: it is never opened for writing, moved or removed. */
export interface Foreign {
  readonly _tag: "Foreign"
  readonly what: string
}

export interface Unreadable {
  readonly _tag: "Unreadable"
  readonly cause: PlatformError
}

export type Look = Absent | Recorded | Broken | Foreign | Unreadable

const absent: Absent = { _tag: "Absent" }

const foreign = (what: string): Foreign => ({ _tag: "Foreign", what })

/** Whether what is there now is what was judged. */
export const isSame = (judged: Recorded | Broken, now: Look): boolean =>
  judged._tag === "Recorded"
    ? now._tag === "Recorded" && now.text === judged.text
    : now._tag === "Broken" && now.identity === judged.identity

/** Whether what is there now is the record with this token. */
export const hasToken = (look: Look, token: string): boolean => look._tag === "Recorded" && look.holder.token === token

const inodeOf = (info: FileSystem.File.Info): number => Option.getOrElse(info.ino, () => -1)

const modifiedAt = (info: FileSystem.File.Info): number =>
  Option.match(info.mtime, { onNone: () => -1, onSome: (date) => date.getTime() })

const toStamp = (info: FileSystem.File.Info): string => `${inodeOf(info)}:${modifiedAt(info)}:${info.size}`

/** The stamp of the file at `path`; `undefined` where that cannot be told. */
export const stampOf = (fs: FileSystem.FileSystem, path: string): Effect.Effect<string | undefined> =>
  Effect.match(fs.stat(path), { onSuccess: toStamp, onFailure: () => undefined })

/** Nothing but a small regular file is opened: a FIFO would block a thread for ever. */
const read = (fs: FileSystem.FileSystem, path: string): Effect.Effect<Look> =>
  Effect.gen(function*() {
    const info = yield* fs.stat(path)
    if (info.type !== "File") {
      return foreign(`a ${info.type.toLowerCase()}`)
    }
    if (info.size > Record.maxRecordBytes) {
      return foreign(`a file of ${info.size} bytes`)
    }
    const bytes = yield* fs.readFile(path)
    if (bytes.length > Record.maxRecordBytes) {
      return foreign(`a file of ${bytes.length} bytes`)
    }
    const text = Record.textOf(bytes)
    const holder = Record.decode(text)
    if (Option.isSome(holder)) {
      return { _tag: "Recorded", text, holder: holder.value, stamp: toStamp(info) } as const
    }
    if (!Record.isTorn(text)) {
      return foreign("a file with other content")
    }
    return { _tag: "Broken", identity: `${inodeOf(info)}:${modifiedAt(info)}:${text}`, stamp: toStamp(info) } as const
  }).pipe(
    Effect.catchAll((cause) =>
      Effect.succeed<Look>(codeOf(cause) === "ENOENT" ? absent : { _tag: "Unreadable", cause })
    )
  )

/** What is at `path`. Everything else follows links, so a link is asked for first. */
export const look = (fs: FileSystem.FileSystem, path: string): Effect.Effect<Look> =>
  Effect.matchEffect(fs.readLink(path), {
    onSuccess: () => Effect.succeed(foreign("a symbolic link")),
    // EINVAL says that it is no link; whatever else is wrong shows again.
    onFailure: (error) => codeOf(error) === "ENOENT" ? Effect.succeed(absent) : read(fs, path)
  })

/**
 * Who is at `path`, for somebody who only wants to know whether to wait: to ask for a link costs as much as all the rest, since the
 * answer is a failure. A record beyond a link is shown as it is; nobody must act on that without a `look`.
 */
export const glance = (fs: FileSystem.FileSystem, path: string): Effect.Effect<Look> =>
  Effect.flatMap(read(fs, path), (seen) => seen._tag === "Recorded" ? Effect.succeed(seen) : look(fs, path))

/** Whether `path` has certainly this content; if not, a `look` tells why. */
export const hasText = (fs: FileSystem.FileSystem, path: string, text: string): Effect.Effect<boolean> =>
  fs.stat(path).pipe(
    Effect.flatMap((info) =>
      info.type === "File" && info.size <= Record.maxRecordBytes
        ? Effect.map(fs.readFile(path), (bytes) => Record.textOf(bytes) === text)
        : Effect.succeed(false)
    ),
    Effect.orElseSucceed(() => false)
  )
