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

const byteLength = (text: string): number => new TextEncoder().encode(text).length

/** The file that gives one process the right to replace the record at `path`; hashed where the name would be too long. */
export const claimOf = (path: string): string => {
  const claim = `${path}.reap`
  const start = claim.lastIndexOf(claim.includes("/") ? "/" : "\\") + 1
  const name = claim.slice(start)
  return byteLength(name) <= nameMax
    ? claim
    : `${claim.slice(0, start)}${name.slice(0, 32)}-${(Hash.string(name) >>> 0).toString(36)}.lock.reap`
}

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
    return Effect.catchAll(fs.realPath(normal), (error) => {
      const directory = paths.dirname(normal)
      if (codeOf(error) !== "ENOENT" || directory === normal) {
        return Effect.fail(error)
      }
      return Effect.matchEffect(fs.readLink(normal), {
        onFailure: () =>
          Effect.map(canonicalize(directory, links), (parent) => paths.join(parent, paths.basename(normal))),
        onSuccess: (target) =>
          links >= maxLinks
            ? Effect.fail(invalid("too many symbolic links"))
            : canonicalize(paths.isAbsolute(target) ? target : `${directory}${paths.sep}${target}`, links + 1)
      })
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
