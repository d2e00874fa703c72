import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Dirent } from "node:fs"
import * as NodeFS from "node:fs/promises"
import * as NodePath from "node:path"
import * as FileLock from "../../FileLock.js"
import type { LockAcquisitionError } from "../../LockError.js"
import { codeOf } from "../errno.js"
import * as Output from "./output.js"
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

/** The guarded files below a directory, in order. A directory that cannot be read is left out, and a line says so. */
const pathsBelow = (directory: string): Effect.Effect<ReadonlyArray<string>, DirectoryError> => {
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
  return Effect.map(walk(directory), (paths) => [...new Set(paths)].sort())
}

/** It may have been removed meanwhile. */
const skip = (error: DirectoryError): Effect.Effect<ReadonlyArray<string>> =>
  Effect.sync(() => {
    if (error.code !== "ENOENT") Output.complain(error.message)
    return []
  })

/** The state of one lock. */
export const inspect = (path: string): Effect.Effect<Located, LockAcquisitionError, FileLock.FileLock> =>
  Effect.map(FileLock.inspect(path), (status) => ({ path, status: Option.getOrUndefined(status) }))

/** Those that can be looked at. A line says what is wrong with each of the others. */
export const inspectEach = (paths: ReadonlyArray<string>) =>
  Effect.map(Effect.partition(paths, inspect, { concurrency }), ([errors, locks]) => {
    for (const { message } of errors) Output.complain(message)
    return { locks, isComplete: errors.length === 0 }
  })

/** The locks below a directory. Files of other programs that end with `.lock` are none. */
export const below = (directory: string): Effect.Effect<ReadonlyArray<Located>, DirectoryError, FileLock.FileLock> =>
  Effect.map(
    Effect.flatMap(pathsBelow(directory), inspectEach),
    ({ locks }) => locks.filter(({ status }) => status !== undefined && status.state !== "foreign")
  )
