/**
 * Locks on files, held by one fiber of one process at a time.
 *
 * `path` names the guarded file. The lock is the file `${path}.lock` beside it. The guarded file need not exist. A missing directory is
 * created. All spellings of one file (`./a`, `a`, a link to it) are one lock.
 *
 * The functions of this module need the service `FileLock`. `NodeFileLock.layer` provides it on Node and Bun, `layer` over any
 * `FileSystem`, and `layerBackend` over any engine.
 *
 * @since 0.1.0
 */
import * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import type * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { layerSettings } from "./internal/layerSettings.js"
import * as internal from "./internal/lock/fileLock.js"
import { WaitQueues } from "./internal/lock/waitQueue.js"
import * as FileSystemFiles from "./internal/lockedFile/fileSystemFiles.js"
import { decodeOrDie } from "./internal/settings.js"
import * as LockBackend from "./LockBackend.js"
import type { LockAcquisitionError, LockDirectoryError, LockLostError } from "./LockError.js"
import * as LockFileBackend from "./LockFileBackend.js"
import type { LockHolder } from "./LockHolder.js"

/**
 * Options of one acquisition.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockOptions {
  /**
   * One deadline for the whole acquisition: the queue of this process, the creation of the directory, the takeover from a dead holder,
   * the engine, and all locks where several are asked for. Default 60 seconds. 0 tries once. `"infinity"` never gives up.
   */
  readonly timeout?: Duration.DurationInput | "infinity" | undefined
  /**
   * Default `"exclusive"`: one holder. `"shared"`: any number of holders, none of them exclusive. Those that come later than a waiter in
   * exclusive mode wait behind it. An engine without shared locks grants an exclusive one to the process, whose fibers share it; the `mode`
   * of the handle says what was granted.
   */
  readonly mode?: LockBackend.Mode | undefined
  /**
   * When to look again. An engine may look sooner, as when the holder has died. When the schedule ends, the acquisition fails as at its
   * deadline. Default: exponential from 2 milliseconds up to `pollInterval`, with full jitter, without an end.
   */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
  /** Shown to processes that wait or inspect. Default none. It is cut after 200 characters. */
  readonly label?: string | undefined
}

/**
 * A lock that is held until its scope closes.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockHandle {
  /** The canonical path of the guarded file. */
  readonly path: string
  /** `${path}.lock` */
  readonly lockPath: string
  /** What was granted. */
  readonly mode: LockBackend.Mode
  /** This process, as others see it. Fibers that a lock was handed off to have the `token` and the `acquiredAt` of the first one. */
  readonly holder: LockHolder
  /**
   * A number that is larger than that of each earlier critical section on this lock, of any process, where the engine has one. Lock files
   * have none. It fits 63 bits.
   */
  readonly fence: Option.Option<bigint>
  /** Whether the lock is held, as far as this process knows. Does not ask the engine. */
  readonly isHeld: Effect.Effect<boolean>
  /**
   * Asks the engine now. Call it before a step that cannot be taken back. Fails with reason `"BackendUnavailable"` when the engine cannot
   * be asked; the lock is not known to be lost then.
   */
  readonly verify: Effect.Effect<void, LockLostError>
  /** Never succeeds; fails once the lock is known to be lost. */
  readonly lost: Effect.Effect<never, LockLostError>
}

/**
 * Settings of the locks of a layer.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  /**
   * How long an owner that cannot be checked (another machine, container or worker thread) may be silent before its lock is taken
   * over. Default 30 seconds, at least 100 milliseconds, at most 7 days. All processes that share a lock must have the same lease.
   */
  readonly lease?: Duration.DurationInput | undefined
  /**
   * How long one process may pass a lock among its own fibers, counted from the grant of the engine. Default 5 milliseconds, at most
   * 1 day. 0 turns it off. A lock is passed on only to a waiter with the same label and mode. All holders until the release have one
   * `token` and one `acquiredAt`.
   */
  readonly handoff?: Duration.DurationInput | undefined
  /** The longest pause of the default schedule. Default 100 milliseconds, at least 1 millisecond, at most 1 day. */
  readonly pollInterval?: Duration.DurationInput | undefined
}

/**
 * What is at a lock: a live holder (`held`), a holder that is dead by proof (`abandoned`), a holder that cannot be checked from here
 * (`unverifiable`), or something that is not a lock of this package (`foreign`).
 *
 * @since 0.1.0
 * @category models
 */
export interface LockStatus extends LockBackend.LockStatus {}

/**
 * The service behind the functions of this module.
 *
 * @since 0.1.0
 * @category services
 */
export class FileLock extends Context.Tag("effect-filelock/FileLock")<FileLock, {
  readonly acquire: (
    path: string,
    options?: LockOptions
  ) => Effect.Effect<LockHandle, LockAcquisitionError | LockDirectoryError, Scope.Scope>
  readonly acquireIfAvailable: (
    path: string,
    options?: Omit<LockOptions, "timeout" | "schedule">
  ) => Effect.Effect<Option.Option<LockHandle>, LockAcquisitionError | LockDirectoryError, Scope.Scope>
  readonly acquireAll: (
    paths: Iterable<string>,
    options?: LockOptions
  ) => Effect.Effect<ReadonlyArray<LockHandle>, LockAcquisitionError | LockDirectoryError, Scope.Scope>
  readonly withLock: <A, E, R>(
    self: Effect.Effect<A, E, R>,
    path: string,
    options?: LockOptions
  ) => Effect.Effect<A, E | LockAcquisitionError | LockDirectoryError | LockLostError, R>
  readonly withLocks: <A, E, R>(
    self: Effect.Effect<A, E, R>,
    paths: Iterable<string>,
    options?: LockOptions
  ) => Effect.Effect<A, E | LockAcquisitionError | LockDirectoryError | LockLostError, R>
  readonly withLockIfAvailable: <A, E, R>(
    self: Effect.Effect<A, E, R>,
    path: string,
    options?: Omit<LockOptions, "timeout" | "schedule">
  ) => Effect.Effect<Option.Option<A>, E | LockAcquisitionError | LockDirectoryError | LockLostError, R>
  readonly inspect: (path: string) => Effect.Effect<Option.Option<LockStatus>, LockAcquisitionError>
  readonly breakLock: (path: string, holder: LockHolder) => Effect.Effect<boolean, LockAcquisitionError>
}>() {}

/**
 * Acquires the lock of `path`, and releases it when the scope closes.
 *
 * Waits at most for `timeout`, first in the queue of this process and then for other processes. The wait is interruptible. Fails with
 * `LockAcquisitionError`, whose `reason` says why, and at once with `LockDirectoryError` where the lock file can have no directory.
 *
 * `acquire` is not re-entrant: acquiring again in the same fiber fails with reason `"Deadlock"`. `withLock` is re-entrant. A lost lock
 * does not stop the fiber: race `lost` against the work, or call `verify` before it counts.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { FileLock } from "effect-filelock"
 *
 * const commit = Effect.scoped(Effect.gen(function*() {
 *   const lock = yield* FileLock.acquire("tasks.json", { timeout: "10 seconds", label: "nightly compaction" })
 *   // … prepare …
 *   yield* lock.verify // fails when the lock was lost
 *   // … commit …
 * }))
 * ```
 *
 * @since 0.1.0
 * @category acquisition
 */
export const acquire = (
  path: string,
  options?: LockOptions
): Effect.Effect<LockHandle, LockAcquisitionError | LockDirectoryError, FileLock | Scope.Scope> =>
  Effect.flatMap(FileLock, (locks) => locks.acquire(path, options))

/**
 * Acquires the lock of `path` if it is free: one attempt, no wait for another holder. `None` when it is taken. Fails for every other
 * reason, such as a foreign file.
 *
 * @since 0.1.0
 * @category acquisition
 */
export const acquireIfAvailable = (
  path: string,
  options?: Omit<LockOptions, "timeout" | "schedule">
): Effect.Effect<Option.Option<LockHandle>, LockAcquisitionError | LockDirectoryError, FileLock | Scope.Scope> =>
  Effect.flatMap(FileLock, (locks) => locks.acquireIfAvailable(path, options))

/**
 * Acquires several locks, all or none, under one deadline. They are sorted by their canonical path, without duplicates, so that two
 * programs that want the same locks cannot wait for each other. The handles come in that order.
 *
 * @since 0.1.0
 * @category acquisition
 */
export const acquireAll = (
  paths: Iterable<string>,
  options?: LockOptions
): Effect.Effect<ReadonlyArray<LockHandle>, LockAcquisitionError | LockDirectoryError, FileLock | Scope.Scope> =>
  Effect.flatMap(FileLock, (locks) => locks.acquireAll(paths, options))

/**
 * Runs an effect while the lock of `path` is held.
 *
 * The lock is released when the effect succeeds, fails or is interrupted. When the lock is lost, the effect is interrupted, and the
 * result is `LockLostError`; also when only the release finds that the lock is gone. A failure of the effect itself is kept.
 *
 * Nested calls on one path are re-entrant: the lock is released at the outermost exit. Fibers that re-enter beside each other exclude one
 * another, except in shared mode inside shared mode. Re-entry from shared to exclusive mode fails with reason `"Deadlock"`.
 *
 * @example
 * ```ts
 * import { FileSystem } from "@effect/platform"
 * import { Effect } from "effect"
 * import { FileLock } from "effect-filelock"
 *
 * const count = Effect.gen(function*() {
 *   const fs = yield* FileSystem.FileSystem
 *   const now = Number(yield* fs.readFileString("count.txt"))
 *   yield* fs.writeFileString("count.txt", String(now + 1))
 * }).pipe(FileLock.withLock("count.txt", { timeout: "10 seconds" }))
 * ```
 *
 * @since 0.1.0
 * @category critical sections
 */
export const withLock: {
  /**
   * Runs an effect while the lock of `path` is held.
   *
   * The lock is released when the effect succeeds, fails or is interrupted. When the lock is lost, the effect is interrupted, and the
   * result is `LockLostError`; also when only the release finds that the lock is gone. A failure of the effect itself is kept.
   *
   * Nested calls on one path are re-entrant: the lock is released at the outermost exit. Fibers that re-enter beside each other exclude one
   * another, except in shared mode inside shared mode. Re-entry from shared to exclusive mode fails with reason `"Deadlock"`.
   *
   * @example
   * ```ts
   * import { FileSystem } from "@effect/platform"
   * import { Effect } from "effect"
   * import { FileLock } from "effect-filelock"
   *
   * const count = Effect.gen(function*() {
   *   const fs = yield* FileSystem.FileSystem
   *   const now = Number(yield* fs.readFileString("count.txt"))
   *   yield* fs.writeFileString("count.txt", String(now + 1))
   * }).pipe(FileLock.withLock("count.txt", { timeout: "10 seconds" }))
   * ```
   *
   * @since 0.1.0
   * @category critical sections
   */
  (path: string, options?: LockOptions): <A, E, R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | LockAcquisitionError | LockDirectoryError | LockLostError, R | FileLock>
  /**
   * Runs an effect while the lock of `path` is held.
   *
   * The lock is released when the effect succeeds, fails or is interrupted. When the lock is lost, the effect is interrupted, and the
   * result is `LockLostError`; also when only the release finds that the lock is gone. A failure of the effect itself is kept.
   *
   * Nested calls on one path are re-entrant: the lock is released at the outermost exit. Fibers that re-enter beside each other exclude one
   * another, except in shared mode inside shared mode. Re-entry from shared to exclusive mode fails with reason `"Deadlock"`.
   *
   * @example
   * ```ts
   * import { FileSystem } from "@effect/platform"
   * import { Effect } from "effect"
   * import { FileLock } from "effect-filelock"
   *
   * const count = Effect.gen(function*() {
   *   const fs = yield* FileSystem.FileSystem
   *   const now = Number(yield* fs.readFileString("count.txt"))
   *   yield* fs.writeFileString("count.txt", String(now + 1))
   * }).pipe(FileLock.withLock("count.txt", { timeout: "10 seconds" }))
   * ```
   *
   * @since 0.1.0
   * @category critical sections
   */
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    path: string,
    options?: LockOptions
  ): Effect.Effect<A, E | LockAcquisitionError | LockDirectoryError | LockLostError, R | FileLock>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, path: string, options?: LockOptions) =>
    Effect.flatMap(FileLock, (locks) => locks.withLock(self, path, options))
)

/**
 * Runs an effect while the locks of several paths are held, under one deadline. See `withLock` and `acquireAll`.
 *
 * @since 0.1.0
 * @category critical sections
 */
export const withLocks: {
  /**
   * Runs an effect while the locks of several paths are held, under one deadline. See `withLock` and `acquireAll`.
   *
   * @since 0.1.0
   * @category critical sections
   */
  (paths: Iterable<string>, options?: LockOptions): <A, E, R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | LockAcquisitionError | LockDirectoryError | LockLostError, R | FileLock>
  /**
   * Runs an effect while the locks of several paths are held, under one deadline. See `withLock` and `acquireAll`.
   *
   * @since 0.1.0
   * @category critical sections
   */
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    paths: Iterable<string>,
    options?: LockOptions
  ): Effect.Effect<A, E | LockAcquisitionError | LockDirectoryError | LockLostError, R | FileLock>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, paths: Iterable<string>, options?: LockOptions) =>
    Effect.flatMap(FileLock, (locks) => locks.withLocks(self, paths, options))
)

/**
 * Runs an effect under the lock of `path` if the lock is free: one attempt, no wait for another holder. `None` when it is taken.
 *
 * @since 0.1.0
 * @category critical sections
 */
export const withLockIfAvailable: {
  /**
   * Runs an effect under the lock of `path` if the lock is free: one attempt, no wait for another holder. `None` when it is taken.
   *
   * @since 0.1.0
   * @category critical sections
   */
  (path: string, options?: Omit<LockOptions, "timeout" | "schedule">): <A, E, R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<
    Option.Option<A>,
    E | LockAcquisitionError | LockDirectoryError | LockLostError,
    R | FileLock
  >
  /**
   * Runs an effect under the lock of `path` if the lock is free: one attempt, no wait for another holder. `None` when it is taken.
   *
   * @since 0.1.0
   * @category critical sections
   */
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    path: string,
    options?: Omit<LockOptions, "timeout" | "schedule">
  ): Effect.Effect<Option.Option<A>, E | LockAcquisitionError | LockDirectoryError | LockLostError, R | FileLock>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, path: string, options?: Omit<LockOptions, "timeout" | "schedule">) =>
    Effect.flatMap(FileLock, (locks) => locks.withLockIfAvailable(self, path, options))
)

/**
 * Answers who holds the lock of `path` now; `None` if it is free. Changes nothing. Does not wait for a holder.
 *
 * @since 0.1.0
 * @category inspection
 */
export const inspect = (path: string): Effect.Effect<Option.Option<LockStatus>, LockAcquisitionError, FileLock> =>
  Effect.flatMap(FileLock, (locks) => locks.inspect(path))

/**
 * Removes the lock of exactly this `holder`, as `inspect` gave it, from `path`; `false` if it was already gone.
 *
 * Meant for abandoned locks. A live holder loses its lock. It is told at its next heartbeat, `verify` or release, and until then two
 * processes may be inside. Breaking a live holder's lock takes about a second.
 *
 * @since 0.1.0
 * @category inspection
 */
export const breakLock = (
  path: string,
  holder: LockHolder
): Effect.Effect<boolean, LockAcquisitionError, FileLock> =>
  Effect.flatMap(FileLock, (locks) => locks.breakLock(path, holder))

/**
 * Makes the service over the engine in the context. Dies with an `IllegalArgumentException` if a setting is not allowed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  settings: Settings = {}
): Effect.Effect<Context.Tag.Service<FileLock>, never, LockBackend.LockBackend | Scope.Scope> =>
  Effect.gen(function*() {
    const fs = Option.getOrUndefined(yield* Effect.serviceOption(FileSystem.FileSystem))
    return internal.make(
      yield* LockBackend.LockBackend,
      yield* decodeOrDie(settings),
      new WaitQueues(),
      fs === undefined ? undefined : () => FileSystemFiles.make(fs)
    )
  })

/**
 * Locks over any engine. `settings.lease` has no effect here: an engine has a lease of its own, if it needs one.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerBackend = (settings?: Settings): Layer.Layer<FileLock, never, LockBackend.LockBackend> =>
  Layer.scoped(FileLock, make(settings))

/**
 * Locks as lock files over any `FileSystem`, with other settings than the default ones. Building the layer dies with an
 * `IllegalArgumentException` if a setting is not allowed.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  settings: Settings
): Layer.Layer<FileLock, never, FileSystem.FileSystem | Path.Path> =>
  Layer.provide(layerBackend(settings), LockFileBackend.layerWith(settings))

/**
 * Locks as lock files over any `FileSystem`, with the default settings. On Node and Bun, `NodeFileLock.layer` is faster.
 *
 * @example
 * ```ts
 * import { NodeContext } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { FileLock } from "effect-filelock"
 *
 * const program = FileLock.withLock(Effect.log("alone with tasks.json"), "tasks.json")
 *
 * // to be run with NodeRuntime.runMain
 * const main = program.pipe(Effect.provide(Layer.provide(FileLock.layer, NodeContext.layer)))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<FileLock, never, FileSystem.FileSystem | Path.Path> = layerWith({})

/**
 * Locks as lock files over any `FileSystem`, with settings from the program's configuration. A setting that is left out has its default.
 * One that is not allowed is a `ConfigError`.
 *
 * @example
 * ```ts
 * import { Config } from "effect"
 * import { FileLock } from "effect-filelock"
 *
 * const Locks = FileLock.layerConfig({
 *   lease: Config.duration("LOCK_LEASE").pipe(Config.withDefault("30 seconds"))
 * })
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  settings: Config.Config.Wrap<Settings>
): Layer.Layer<FileLock, ConfigError, FileSystem.FileSystem | Path.Path> => layerSettings(settings, layerWith)
