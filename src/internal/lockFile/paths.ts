import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { BackendError, type LockKey } from "../../LockBackend.js"
import { LockDirectoryError } from "../../LockError.js"
import * as Errno from "../errno.js"
import { type Disk, DiskError } from "./disk.js"

/** What is used of a `Path`, or of `node:path`. */
export interface Syntax {
  readonly sep: string
  readonly basename: (path: string) => string
  readonly dirname: (path: string) => string
  readonly isAbsolute: (path: string) => boolean
  readonly join: (...paths: Array<string>) => string
  readonly normalize: (path: string) => string
}

const maxLinks = 40

/** The longest name of a file, in bytes. Some file systems take less, and say so. */
const maxName = 255

/** The names beside a lock file that is called longer than this, in bytes, are hashed: they fit 143 bytes, the limit of eCryptfs. */
const maxPlainName = 96

const byteLength = (text: string): number => new TextEncoder().encode(text).length

/** What the names of the files beside a lock file begin with; the same for every process. */
export const prefixOf = (lockPath: string): string => {
  const start = lockPath.lastIndexOf(lockPath.includes("/") ? "/" : "\\") + 1
  const name = lockPath.slice(start)
  return name.length <= maxPlainName / 3 || byteLength(name) <= maxPlainName
    ? lockPath
    : `${lockPath.slice(0, start)}.lock-${hash(name)}`
}

/**
 * 53 bits (cyrb53). Part of the format: processes with different versions of this package, or of Effect, must find the same claim. Two names
 * with one hash share their claims, and so wait for each other's takeovers.
 */
const hash = (name: string): string => {
  let high = 0xdeadbeef
  let low = 0x41c6ce57
  for (let index = 0; index < name.length; index++) {
    const unit = name.charCodeAt(index)
    high = Math.imul(high ^ unit, 2_654_435_761)
    low = Math.imul(low ^ unit, 1_597_334_677)
  }
  high = Math.imul(high ^ (high >>> 16), 2_246_822_507) ^ Math.imul(low ^ (low >>> 13), 3_266_489_909)
  low = Math.imul(low ^ (low >>> 16), 2_246_822_507) ^ Math.imul(high ^ (high >>> 13), 3_266_489_909)
  return (2 ** 32 * (low & 0x1f_ffff) + (high >>> 0)).toString(36)
}

/** The request file: a whole record by a name that no other acquisition has. */
export const requestOf = (prefix: string, token: string): string => `${prefix}.${token}`

/** The request file of a claim, which no other process may link. */
export const claimRequestOf = (prefix: string, token: string): string => `${prefix}.claim-${token}`

/** The claim of a level: the right to replace the record at the level below. Level 0 is the lock file. */
export const claimOf = (prefix: string, level: number): string => `${prefix}.claim${level === 1 ? "" : level}`

/** The directory of the readers: it is there while the lock is shared. */
export const readersOf = (prefix: string): string => `${prefix}.shared`

/** What the names of the files beside a lock begin with, from the directory of its readers. */
export const prefixOfReaders = (directory: string): string => directory.slice(0, -".shared".length)

/** The file of a reader. */
export const readerOf = (prefix: string, token: string): string => `${readersOf(prefix)}/${token}`

/** Whether a directory is, by its name, one of readers. */
export const isOfReaders = (directory: string): boolean => /\.lock(-[0-9a-z]+)?\.shared$/.test(directory)

/** What the names of new contents begin with, of the file that a lock guards, until they are renamed to it. A token follows. */
export const contentsOf = (prefix: string): string => `${prefix}.write-`

/** A file that is of no use once the process that made it is dead, and where it belongs. */
export interface Leftover {
  readonly prefix: string
  /** Of a claim. */
  readonly level?: number
  /** Of a request file. */
  readonly token?: string
  /** Whether that is one of a claim. */
  readonly isOfClaim?: boolean
  /** Whether it is the new content of the guarded file instead, written by the process that has the lock with this token. */
  readonly isContent?: boolean
}

/** What the name of a file beside a lock says. */
export const parseLeftover = (path: string): Leftover | undefined => {
  const [, prefix, ending] = /^(.*(?:\.lock|\.lock-[0-9a-z]+))\.([\w-]+)$/s.exec(path) ?? []
  if (prefix === undefined || ending === undefined || ending === "shared") {
    return undefined
  }
  const level = /^claim([2-9]?)$/.exec(ending)?.[1]
  if (level !== undefined) {
    return { prefix, level: level === "" ? 1 : Number(level) }
  }
  return ending.startsWith("write-")
    ? { prefix, token: ending.slice("write-".length), isContent: true }
    : ending.startsWith("claim-")
    ? { prefix, token: ending.slice("claim-".length), isOfClaim: true }
    : { prefix, token: ending }
}

const invalid = (why: string) => new BackendError({ reason: "InvalidPath", cause: new Error(why) })

/** What a refused call on a lock file means, where waiting does not help; `undefined` where it may. */
export const explain = (
  syntax: Syntax,
  { lockPath, path }: LockKey,
  { cause, code }: DiskError
): BackendError | LockDirectoryError | undefined => {
  switch (code) {
    case "EACCES":
    case "EPERM":
    case "EROFS":
    case "ENOENT":
    case "ENOTDIR":
      return new LockDirectoryError({ path, lockPath, directory: syntax.dirname(lockPath), cause })
    case "ENAMETOOLONG":
    case "ELOOP":
    case "EINVAL":
    case "EISDIR":
      return new BackendError({ reason: "InvalidPath", cause })
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return new BackendError({ reason: "StorageFull", cause })
    default:
      return undefined
  }
}

/** The names of locks on a disk. */
export interface Paths {
  readonly canonical: (path: string) => Effect.Effect<LockKey, BackendError | LockDirectoryError>
  /** Refuses what no system takes. */
  readonly check: (path: string) => BackendError | undefined
  /** The key of a canonical path; `None` if the name of its lock file would be too long. */
  readonly key: (path: string) => Option.Option<LockKey>
  /**
   * Makes the directory of a lock file, one missing parent at a time: a recursive mkdir never ends where a parent is there and
   * refuses nevertheless, as below /proc.
   */
  readonly makeDirectory: (key: LockKey) => Effect.Effect<void, BackendError | LockDirectoryError>
}

export const make = (disk: Disk, syntax: Syntax): Paths => {
  /** Longer ones are refused by every system, but only after each of their directories was asked for. */
  const maxPath = syntax.sep === "/" ? 4095 : 32_767

  /**
   * Directories that were their own canonical name. A lock file that is named through one of them is the same file, whatever has become
   * of the directories on the way to it.
   */
  const plain = new Set<string>()
  const maxPlain = 4096

  /** As the kernel walks it: `..` after a link leads out of the link's target, not back. */
  const canonicalize = (path: string, links: number): Effect.Effect<string, DiskError | BackendError> => {
    const segments = path.split(syntax.sep)
    const up = segments.indexOf("..")
    if (up > 0) {
      return Effect.flatMap(
        canonicalize(segments.slice(0, up).join(syntax.sep) || syntax.sep, links),
        (before) => canonicalize(syntax.join(syntax.dirname(before), ...segments.slice(up + 1)), links)
      )
    }
    const normal = withoutEnd(syntax.normalize(path))
    const directory = syntax.dirname(normal)
    if (directory === normal) {
      return Effect.succeed(normal)
    }
    return Effect.flatMap(disk.readLink(normal), (target) => {
      if (target === undefined) {
        return Effect.map(
          canonicalDirectory(directory, links),
          (parent) => syntax.join(parent, syntax.basename(normal))
        )
      }
      return links >= maxLinks
        ? invalid("too many symbolic links")
        : canonicalize(syntax.isAbsolute(target) ? target : `${directory}${syntax.sep}${target}`, links + 1)
    })
  }

  const withoutEnd = (path: string): string =>
    path.length > 1 && path.endsWith(syntax.sep) && syntax.dirname(path) !== path ? path.slice(0, -1) : path

  const canonicalDirectory = (directory: string, links: number): Effect.Effect<string, DiskError | BackendError> => {
    if (plain.has(directory)) {
      return Effect.succeed(directory)
    }
    return disk.realPath(directory).pipe(
      Effect.tap((canonical) =>
        Effect.sync(() => {
          if (canonical === directory) {
            if (plain.size >= maxPlain) {
              plain.clear()
            }
            plain.add(directory)
          }
        })
      ),
      Effect.catchIf(
        (error) => error.code === "ENOENT" && syntax.dirname(directory) !== directory,
        () => canonicalize(directory, links)
      )
    )
  }

  const check: Paths["check"] = (path) =>
    path === ""
      ? invalid("it is empty")
      : path.includes("\0")
      ? invalid("it contains a NUL")
      : path.length > maxPath / 3 && byteLength(path) > maxPath
      ? invalid(`it is longer than ${maxPath} bytes`)
      : undefined

  const key: Paths["key"] = (path) => {
    const name = `${syntax.basename(path)}.lock`
    return name.length > maxName / 3 && byteLength(name) > maxName
      ? Option.none()
      : Option.some({ path, lockPath: `${path}.lock` })
  }

  const toKey = (path: string): Effect.Effect<LockKey, BackendError> =>
    Option.match(key(path), {
      onNone: () => invalid(`the name of its lock file is longer than ${maxName} bytes`),
      onSome: Effect.succeed
    })

  const canonical: Paths["canonical"] = (path) => {
    const refused = check(path)
    if (refused !== undefined) {
      return refused
    }
    const absolute = syntax.isAbsolute(path)
      ? Effect.succeed(path)
      : Effect.mapBoth(disk.workingDirectory, {
        onSuccess: (directory) => `${directory}${syntax.sep}${path}`,
        onFailure: ({ cause, code }) => new DiskError(code, Errno.explain(cause, "the working directory is gone"))
      })
    return Effect.flatMap(absolute, (path) => Effect.flatMap(canonicalize(path, 0), toKey)).pipe(
      Effect.catchTag("DiskError", (error) =>
        Effect.fail(
          explain(syntax, { path, lockPath: `${path}.lock` }, error) ??
            new BackendError({ reason: "SystemError", cause: error.cause })
        ))
    )
  }

  const make = (directory: string): Effect.Effect<void, DiskError> =>
    makeOne(directory).pipe(Effect.catchIf(({ code }) => code === "ENOENT", (error) => {
      const parent = syntax.dirname(directory)
      return parent === directory ? Effect.fail(error) : Effect.flatMap(make(parent), () => makeOne(directory))
    }))

  const makeOne = (directory: string): Effect.Effect<void, DiskError> =>
    Effect.catchIf(disk.makeDirectory(directory), ({ code }) => code === "EEXIST", () => Effect.void)

  const makeDirectory: Paths["makeDirectory"] = (key) => {
    const directory = syntax.dirname(key.lockPath)
    return Effect.catchAll(make(directory), (error) => {
      const explained = explain(syntax, key, error)
      return Effect.fail(
        explained?._tag === "BackendError" && explained.reason === "StorageFull"
          ? explained
          : new LockDirectoryError({ ...key, directory, cause: error.cause })
      )
    })
  }

  return { canonical, check, key, makeDirectory }
}
