import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type Dirent, lstatSync } from "node:fs"
import * as NodeFS from "node:fs/promises"
import * as NodePath from "node:path"
import * as FileLock from "../../FileLock.js"
import type { LockAcquisitionError } from "../../LockError.js"
import { codeOf } from "../errno.js"
import type { Located } from "./status.js"

/** A lock file, or the directory of the readers of a lock. */
const name = /^(.+)\.lock(?:\.shared)?$/

const isOfReaders = (entry: Dirent): boolean => entry.isDirectory() && entry.name.endsWith(".lock.shared")

/** A directory that cannot be read. */
export class DirectoryError extends Data.TaggedError("DirectoryError")<{
  readonly message: string
  readonly code: string
}> {}

const toError = (cause: unknown): DirectoryError =>
  new DirectoryError({ message: cause instanceof Error ? cause.message : String(cause), code: codeOf(cause) })

/** How many directories and locks are looked at side by side. */
const concurrency = 16

/** What there is, and what is wrong with each of those that cannot be looked at. */
export interface Found<A> {
  readonly found: ReadonlyArray<A>
  readonly problems: ReadonlyArray<string>
}

/** The guarded files below a directory, in order. */
const pathsBelow = (directory: string): Effect.Effect<Found<string>, DirectoryError> => {
  const problems: Array<string> = []
  const walk = (path: string): Effect.Effect<ReadonlyArray<string>, DirectoryError> =>
    Effect.flatMap(
      Effect.tryPromise({
        try: () => NodeFS.readdir(path, { withFileTypes: true }),
        catch: toError
      }),
      (entries) =>
        Effect.map(
          Effect.forEach(
            entries.filter((entry) => entry.isDirectory() && !isOfReaders(entry)),
            (entry) => Effect.catchAll(walk(NodePath.join(path, entry.name)), skip),
            { concurrency }
          ),
          (below) => [
            ...entries.flatMap((entry) => {
              const guarded = entry.isDirectory() && !isOfReaders(entry) ? undefined : name.exec(entry.name)?.[1]
              return guarded === undefined ? [] : [NodePath.join(path, guarded)]
            }),
            ...below.flat()
          ]
        )
    )
  const skip = (error: DirectoryError): Effect.Effect<ReadonlyArray<string>> =>
    Effect.sync(() => {
      // It may have been removed meanwhile.
      if (error.code !== "ENOENT") problems.push(error.message)
      return []
    })
  return Effect.map(walk(directory), (paths) => ({ found: [...new Set(paths)].sort(), problems }))
}

/** The state of one lock. The name of a lock file stands for the file that it guards, unless that is guarded itself. */
export const inspect = (path: string): Effect.Effect<Located, LockAcquisitionError, FileLock.FileLock> =>
  Effect.gen(function*() {
    const status = Option.getOrUndefined(yield* FileLock.inspect(path))
    const guarded = name.exec(path)?.[1]
    // The lock of a link is that of its file, and has another name.
    if (status !== undefined || guarded === undefined || /[/\\]$/.test(guarded) || isLink(guarded)) {
      return { path, status }
    }
    const own = Option.getOrUndefined(yield* FileLock.inspect(guarded))
    return own === undefined || own.state === "foreign" ? { path, status } : { path: guarded, status: own }
  })

const isLink = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true

/** The states of locks. */
export const inspectEach = (
  paths: ReadonlyArray<string>
): Effect.Effect<Found<Located>, never, FileLock.FileLock> =>
  Effect.map(Effect.partition(paths, inspect, { concurrency }), ([errors, found]) => ({
    found,
    problems: errors.map(({ message }) => message)
  }))

/** The locks below a directory. Files of other programs that end with `.lock` are none. */
export const below = (directory: string): Effect.Effect<Found<Located>, DirectoryError, FileLock.FileLock> =>
  Effect.gen(function*() {
    const paths = yield* pathsBelow(directory)
    const { found, problems } = yield* inspectEach(paths.found)
    return {
      found: found.filter(({ status }) => status !== undefined && status.state !== "foreign"),
      problems: [...paths.problems, ...problems]
    }
  })
