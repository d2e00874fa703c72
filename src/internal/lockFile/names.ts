import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Effect from "effect/Effect"
import * as Hash from "effect/Hash"
import type { LockName } from "../../LockBackend.js"
import { Refused } from "../../LockBackend.js"
import { LockDirectoryError } from "../../LockError.js"
import { codeOf } from "../errno.js"

const maxLinks = 40

const nameMax = 255

const maxAbsent = 4096

const byteLength = (text: string): number => new TextEncoder().encode(text).length

/** A name beside `path`; hashed where it would be too long. */
const beside = (path: string, ending: ".reap" | ".next"): string => {
  const whole = `${path}${ending}`
  const start = whole.lastIndexOf(whole.includes("/") ? "/" : "\\") + 1
  const name = whole.slice(start)
  return byteLength(name) <= nameMax
    ? whole
    : `${whole.slice(0, start)}${name.slice(0, 32)}-${(Hash.string(name) >>> 0).toString(36)}.lock${ending}`
}

/** The file that gives one process the right to replace the record at `path`. */
export const claimOf = (path: string): string => beside(path, ".reap")

/** The file of the process that is to have the lock next. */
export const nextOf = (lockPath: string): string => beside(lockPath, ".next")

/** Whether a file of this name would be of no use once the process that made it is dead. */
export const isLeftover = (name: string): boolean =>
  /\.lock(?:\.next)?(?:\.reap)+(?:\.room)?$/.test(name) || name.endsWith(".lock.next")

const invalid = (why: string) => new Refused({ reason: "InvalidPath", cause: new Error(why) })

export interface Names {
  readonly resolve: (path: string) => Effect.Effect<LockName, Refused | LockDirectoryError>
  /**
   * Makes the directory of a lock file, one missing parent at a time: a recursive mkdir never ends where a parent is there and
   * refuses nevertheless, as below /proc.
   */
  readonly makeDirectoryFor: (name: LockName) => Effect.Effect<void, Refused | LockDirectoryError>
  /** What a refused creation of a lock file means, or nothing if it may succeed later. */
  readonly explain: (name: LockName, error: PlatformError) => Refused | LockDirectoryError | undefined
}

export const make = (fs: FileSystem.FileSystem, paths: Path.Path): Names => {
  /** Longer ones are refused by every system, but only after each of their directories was asked for. */
  const pathMax = paths.sep === "/" ? 4095 : 32_767

  /**
   * Where nothing was at the last look, and its canonical name. To ask what is not there costs more than all the rest, so it is
   * asked once only.
   */
  const absent = new Map<string, string>()

  const directoryError = (name: LockName, directory: string, cause: unknown) =>
    new LockDirectoryError({ path: name.path, lockPath: name.lockPath, directory, cause })

  /** As the kernel would walk it: `..` after a link leads out of the link's target, not back. */
  const canonicalize = (path: string, links: number): Effect.Effect<string, PlatformError | Refused> => {
    const segments = path.split(paths.sep)
    const up = segments.indexOf("..")
    if (up > 0) {
      return Effect.flatMap(
        canonicalize(segments.slice(0, up).join(paths.sep) || paths.sep, links),
        (before) => canonicalize(paths.join(paths.dirname(before), ...segments.slice(up + 1)), links)
      )
    }
    const normal = paths.resolve(path)
    return absent.has(normal) ? followLink(normal, links) : realPathOr(normal, () => followLink(normal, links))
  }

  const realPathOr = <E>(normal: string, otherwise: () => Effect.Effect<string, PlatformError | E>) =>
    Effect.catchIf(
      fs.realPath(normal),
      (error) => codeOf(error) === "ENOENT" && paths.dirname(normal) !== normal,
      otherwise
    )

  /** A link leads to a path that may not be there yet; what is no link either is named by its directory. */
  const followLink = (normal: string, links: number): Effect.Effect<string, PlatformError | Refused> => {
    const directory = paths.dirname(normal)
    const inDirectory = () =>
      Effect.map(canonicalize(directory, links), (parent) => paths.join(parent, paths.basename(normal)))
    return Effect.matchEffect(fs.readLink(normal), {
      onFailure: (error) => {
        if (codeOf(error) !== "ENOENT") {
          absent.delete(normal)
          return realPathOr(normal, inDirectory)
        }
        // A file beside this name is the same, whatever has become of the directories on the way to it.
        if (absent.get(normal) === normal) {
          return Effect.succeed(normal)
        }
        if (absent.size >= maxAbsent) {
          absent.clear()
        }
        return Effect.tap(inDirectory(), (canonical) => Effect.sync(() => absent.set(normal, canonical)))
      },
      onSuccess: (target) =>
        links >= maxLinks
          ? Effect.fail(invalid("too many symbolic links"))
          : canonicalize(paths.isAbsolute(target) ? target : `${directory}${paths.sep}${target}`, links + 1)
    })
  }

  const explain: Names["explain"] = (name, error) => {
    switch (codeOf(error)) {
      case "EACCES":
      case "EPERM":
      case "EROFS":
      case "ENOENT":
      case "ENOTDIR":
        return directoryError(name, paths.dirname(name.lockPath), error)
      case "ENAMETOOLONG":
      case "ELOOP":
      case "EINVAL":
      case "EISDIR":
        return new Refused({ reason: "InvalidPath", cause: error })
      case "ENOSPC":
      case "EDQUOT":
        return new Refused({ reason: "StorageFull", cause: error })
      default:
        return undefined
    }
  }

  const resolve: Names["resolve"] = (path) =>
    Effect.gen(function*() {
      if (path === "") {
        return yield* invalid("it is empty")
      }
      if (path.includes("\0")) {
        return yield* invalid("it contains a NUL")
      }
      if (byteLength(path) > pathMax) {
        return yield* invalid(`it is longer than ${pathMax} bytes`)
      }
      const absolute = paths.isAbsolute(path) ? path : `${paths.resolve(".")}${paths.sep}${path}`
      const canonical = yield* canonicalize(absolute, 0)
      const name = { path: canonical, lockPath: `${canonical}.lock` }
      if (byteLength(paths.basename(name.lockPath)) > nameMax) {
        return yield* invalid(`the name of its lock file is longer than ${nameMax} bytes`)
      }
      return name
    }).pipe(Effect.catchAll((error) => {
      if (error._tag === "Refused") {
        return Effect.fail(error)
      }
      return Effect.fail(
        explain({ path, lockPath: `${path}.lock` }, error) ?? new Refused({ reason: "SystemError", cause: error })
      )
    }))

  const makeDirectory = (directory: string): Effect.Effect<void, PlatformError> =>
    makeOnce(directory).pipe(Effect.catchIf((error) => codeOf(error) === "ENOENT", (error) => {
      const parent = paths.dirname(directory)
      return parent === directory
        ? Effect.fail(error)
        : Effect.zipRight(makeDirectory(parent), makeOnce(directory))
    }))

  const makeOnce = (directory: string): Effect.Effect<void, PlatformError> =>
    Effect.catchIf(fs.makeDirectory(directory), (error) => codeOf(error) === "EEXIST", () => Effect.void)

  const makeDirectoryFor: Names["makeDirectoryFor"] = (name) => {
    const directory = paths.dirname(name.lockPath)
    return Effect.catchAll(makeDirectory(directory), (error) => {
      const explained = explain(name, error)
      return Effect.fail(
        explained?._tag === "Refused" && explained.reason !== "InvalidPath"
          ? explained
          : directoryError(name, directory, error)
      )
    })
  }

  return { resolve, makeDirectoryFor, explain }
}
