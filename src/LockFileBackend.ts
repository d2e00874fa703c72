/**
 * The engine of lock files over any `FileSystem`. `docs/protocol.md` describes how it keeps one holder for each lock.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as internal from "./internal/lockFile/backend.js"
import * as FileSystemDisk from "./internal/lockFile/fileSystemDisk.js"
import * as Settings from "./internal/settings.js"
import { LockBackend } from "./LockBackend.js"
import { ProcessIdentity } from "./ProcessIdentity.js"

/**
 * Options of the engine.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * How long an owner that cannot be checked from here (another machine, container or worker thread) may be silent before its lock is
   * taken over. Default 30 seconds, at least 100 milliseconds, at most 7 days. All processes that share a lock must have the same lease.
   * Owners on the same machine are checked in the process table. The lease does not matter for them.
   */
  readonly lease?: Duration.DurationInput | undefined
}

/**
 * Makes the engine. Dies with an `IllegalArgumentException` if the lease is not allowed. The clean-up of what dead processes have left ends
 * with the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Context.Tag.Service<LockBackend>, never, FileSystem.FileSystem | Path.Path | Scope.Scope> =>
  Effect.gen(function*() {
    const { lease } = yield* Settings.decodeOrDie(options)
    const syntax = yield* Path.Path
    const disk = FileSystemDisk.make(yield* FileSystem.FileSystem)
    const engine = internal.make({ disk, syntax, identity: yield* ProcessIdentity, lease })
    yield* Effect.addFinalizer(() => engine.close)
    return engine
  })

/**
 * The engine with its default lease of 30 seconds.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<LockBackend, never, FileSystem.FileSystem | Path.Path> = Layer.scoped(
  LockBackend,
  make()
)

/**
 * The engine with another lease.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<LockBackend, never, FileSystem.FileSystem | Path.Path> =>
  Layer.scoped(LockBackend, make(options))
