/**
 * A simulated process: an identity of its own, its own view of a disk, its own locks.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import { FileSystem as FileSystemTag } from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as FileLock from "../../src/FileLock.js"
import { ProcessIdentity } from "../../src/ProcessIdentity.js"

export interface SimulatedProcess {
  readonly identity: ProcessIdentity
  readonly fs: FileSystem.FileSystem
  readonly locks: Context.Tag.Service<FileLock.FileLock>
}

/** Starts a process that sees a disk through `fs`. Its background work ends with the scope. */
export const start = (
  identity: ProcessIdentity,
  fs: FileSystem.FileSystem,
  settings: FileLock.Settings = {}
): Effect.Effect<SimulatedProcess, never, Scope.Scope> =>
  FileLock.layerWith(settings).pipe(
    Layer.provide([
      Layer.succeed(FileSystemTag, fs),
      Path.layer,
      Layer.succeed(ProcessIdentity, identity)
    ]),
    Layer.build,
    Effect.map((context) => ({ identity, fs, locks: Context.get(context, FileLock.FileLock) }))
  )
