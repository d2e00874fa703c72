/**
 * The default engine: lock files, over nothing but the `FileSystem` service. `docs/protocol.md` says how it keeps one holder
 * per lock.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as internal from "./internal/lockFile/engine.js"
import * as LockBackend from "./LockBackend.js"
import { ProcessIdentity } from "./ProcessIdentity.js"

/**
 * The default `lease`: 30 seconds.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultLease: Duration.Duration = Duration.seconds(30)

/**
 * Makes the engine. `lease` is how long an owner that cannot be checked from here (another machine, another container, another
 * worker thread) may be silent before its lock is taken over; all processes that share a lock must agree on it. Owners on
 * the same machine are judged by the process table, and never by the lease.
 *
 * Background work of the engine (the sweeping of what a dead process left) ends with the scope.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options?: {
  readonly lease?: Duration.DurationInput | undefined
}): Effect.Effect<LockBackend.LockBackend, never, FileSystem.FileSystem | Path.Path | Scope.Scope> =>
  Effect.gen(function*() {
    return internal.make({
      fs: yield* FileSystem.FileSystem,
      paths: yield* Path.Path,
      identity: yield* ProcessIdentity,
      lease: Duration.decode(options?.lease ?? defaultLease),
      scope: yield* Effect.scope
    })
  })

/**
 * The engine with its default lease of 30 seconds.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<LockBackend.LockBackend, never, FileSystem.FileSystem | Path.Path> = Layer.scoped(
  LockBackend.LockBackend,
  make()
)

/**
 * The engine with another lease.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: {
  readonly lease?: Duration.DurationInput | undefined
}): Layer.Layer<LockBackend.LockBackend, never, FileSystem.FileSystem | Path.Path> =>
  Layer.scoped(LockBackend.LockBackend, make(options))
