import { isPlatformError, type PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { absent, type Disk, DiskError, type Entry, maxBytes, modeForOthers, toError } from "./disk.js"
import { isOfReaders } from "./paths.js"

/** Keeps a byte order mark, which no record begins with. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

const mapError = <A>(call: Effect.Effect<A, PlatformError>): Effect.Effect<A, DiskError> =>
  Effect.mapError(call, toError)

const inodeOf = (info: FileSystem.File.Info): number => Option.getOrElse(info.ino, () => -1)

const modifiedAt = (info: FileSystem.File.Info): number =>
  Option.match(info.mtime, { onNone: () => -1, onSome: (date) => date.getTime() })

/** The disk over any `FileSystem`. The service has no lstat: whether a path is a link is asked for first. */
export const make = (fs: FileSystem.FileSystem): Disk => {
  const readLink: Disk["readLink"] = (path) =>
    Effect.catchIf(
      mapError(fs.readLink(path)),
      // EINVAL says that it is no link. Windows says UNKNOWN, and some file systems have no links at all.
      ({ code }) => code === "EINVAL" || code === "UNKNOWN" || code === "ENOENT",
      () => Effect.succeed(undefined)
    )

  const peek: Disk["peek"] = (path) =>
    Effect.gen(function*() {
      const info = yield* fs.stat(path)
      if (info.type !== "File") {
        return { _tag: "Other", what: `a ${info.type.toLowerCase()}` } as const
      }
      if (info.size > maxBytes) {
        return { _tag: "Other", what: `a file of ${info.size} bytes` } as const
      }
      const bytes = yield* fs.readFile(path)
      if (bytes.length > maxBytes) {
        return { _tag: "Other", what: `a file of ${bytes.length} bytes` } as const
      }
      return { _tag: "File", text: decoder.decode(bytes), inode: inodeOf(info), modifiedAt: modifiedAt(info) } as const
    }).pipe(
      Effect.mapError(toError),
      Effect.catchIf(({ code }) => code === "ENOENT", () => Effect.succeed<Entry>(absent))
    )

  const list: Disk["list"] = (directory) => mapError(fs.readDirectory(directory))

  return {
    create: (path, text) => mapError(fs.writeFileString(path, text, { flag: "wx" })),
    link: (from, to) => mapError(fs.link(from, to)),
    rename: (from, to) => mapError(fs.rename(from, to)),
    unlink: (path) => mapError(fs.remove(path)),
    exists: (path) => mapError(fs.exists(path)),
    peek,
    read: (path) =>
      Effect.flatMap(
        readLink(path),
        (target) =>
          target === undefined ? peek(path) : Effect.succeed<Entry>({ _tag: "Other", what: "a symbolic link" })
      ),
    rewrite: (path, expected, offset, text) =>
      Effect.gen(function*() {
        // A FIFO that has taken the place of the file would block a thread.
        if ((yield* fs.stat(path)).type === "FIFO") {
          return { content: "", inPlace: false }
        }
        const file = yield* fs.open(path, { flag: "r+" })
        const bytes = yield* file.readAlloc(maxBytes)
        const content = decoder.decode(Option.getOrElse(bytes, () => new Uint8Array()))
        if (content !== expected) {
          return { content, inPlace: false }
        }
        const { ino } = yield* file.stat
        yield* file.seek(offset, "start")
        yield* file.writeAll(new TextEncoder().encode(text))
        const now = yield* fs.stat(path)
        return { content, inPlace: Option.isSome(ino) && Option.contains(now.ino, ino.value) }
      }).pipe(
        Effect.scoped,
        Effect.mapError(toError),
        // That a file cannot be closed is a defect to the service.
        Effect.catchSomeDefect((defect) =>
          isPlatformError(defect) ? Option.some(Effect.fail(toError(defect))) : Option.none()
        )
      ),
    list,
    makeDirectory: (path) =>
      mapError(
        isOfReaders(path)
          ? Effect.zipRight(
            fs.makeDirectory(path),
            Effect.flatMap(fs.stat(path.slice(0, Math.max(1, path.lastIndexOf("/")))), (info) => {
              const mode = modeForOthers(info.mode)
              return mode === undefined ? Effect.void : fs.chmod(path, mode)
            })
          )
          : fs.makeDirectory(path)
      ),
    // The service removes no directory but with all that is in it.
    removeDirectory: (path) =>
      Effect.flatMap(list(path), (names) =>
        names.length === 0
          ? mapError(fs.remove(path, { recursive: true }))
          : Effect.fail(new DiskError("ENOTEMPTY", undefined))),
    removesInOneStep: false,
    realPath: (path) => mapError(fs.realPath(path)),
    readLink,
    owner: (path) => mapError(Effect.map(fs.stat(path), ({ uid }) => Option.getOrUndefined(uid))),
    // Asked of the file system: one in memory has a working directory of its own. Node throws where it has been removed, and its service
    // passes the error on as that of an argument.
    workingDirectory: Effect.mapError(
      fs.realPath("."),
      (error) => toError(error._tag === "BadArgument" ? error.cause ?? error : error)
    )
  }
}
