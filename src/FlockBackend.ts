/**
 * The engine of the kernel's flock(2) on the `.lock` file. It shares its locks with every program that locks that file with flock(2): flock(1)
 * in a shell, `fcntl.flock` of Python, Cargo.
 *
 * It needs the package `koffi`, version 3, and a system that has flock(2): Linux or macOS. Without them each step fails with a `BackendError`
 * with reason `"BackendUnavailable"` that says what is missing.
 *
 * The kernel frees the lock of a process that dies. So there are no heartbeats and no lease. Waiting is polling: processes of this package
 * that have the lock for themselves say when it is free, all other programs do not. There is no order among those that wait. A lock has no fencing
 * number, and that of a live process cannot be broken.
 *
 * A release removes the file, unless another program has it open, or may have: then it stays, and says what it is for. On Linux that is
 * known, elsewhere the file always stays.
 *
 * Lock files of `NodeFileLock` and `LockFileBackend` at the same path are respected, and the other way round: one of all holds the lock. What
 * this engine has left is not replaced by the other one, which waits until this engine, or a person, has removed it. Where both are used for one
 * path, the engine of lock files hands its lock to its own waiters first.
 *
 * Its calls on files are synchronous, also on a file system that is not local. Over NFS, flock(2) of Linux is emulated by locks of byte ranges.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as internal from "./internal/flock/nodeBackend.js"
import * as Kernel from "./internal/flock/nodeKernel.js"
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
   * How long the holder of a lock file of the other engine that cannot be checked from here may be silent before its lock is taken over.
   * Default 30 seconds, at least 100 milliseconds, at most 7 days: that of the processes that make those lock files.
   */
  readonly lease?: Duration.DurationInput | undefined
}

/**
 * Makes the engine, and loads `koffi`. Dies with an `IllegalArgumentException` if the lease is not allowed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Context.Tag.Service<LockBackend>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { lease } = yield* Settings.decodeOrDie(options)
    const kernel = yield* Effect.either(Kernel.load)
    if (kernel._tag === "Left") {
      return internal.unavailable(kernel.left)
    }
    const engine = internal.make({ kernel: kernel.right, identity: yield* ProcessIdentity, lease })
    yield* Effect.addFinalizer(() => engine.close)
    return engine
  })

/**
 * The engine with default options.
 *
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { FileLock } from "effect-filelock"
 * import * as FlockBackend from "effect-filelock/FlockBackend"
 *
 * const Locks = FileLock.layerBackend().pipe(Layer.provide(FlockBackend.layer))
 *
 * // meanwhile in a shell: flock --nonblock reports/nightly.lock echo nobody else
 * const main = Effect.log("alone, among all programs that use flock(2)").pipe(
 *   FileLock.withLock("reports/nightly", { timeout: "10 seconds" }),
 *   Effect.provide(Locks)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<LockBackend> = Layer.scoped(LockBackend, make())

/**
 * The engine with other options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<LockBackend> => Layer.scoped(LockBackend, make(options))
