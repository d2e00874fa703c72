/**
 * Locks on files, held by one fiber of one process at a time.
 *
 * `path` names the guarded file; the lock is the file `${path}.lock` beside it. The guarded file need not exist, the directory is
 * made when missing, and all spellings of one file (`./a`, `a`, a link to it) are one lock.
 *
 * @since 0.1.0
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import type * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { layerSettings } from "./internal/layerSettings.js"
import * as internal from "./internal/lock/fileLock.js"
import { WaitQueues } from "./internal/lock/waitQueue.js"
import { decodeOrDie } from "./internal/settings.js"
import * as LockBackend from "./LockBackend.js"
import type { LockAcquisitionError, LockDirectoryError, LockLostError } from "./LockError.js"
import * as LockFileBackend from "./LockFileBackend.js"
import type { LockHolder } from "./LockHolder.js"

/**
 * How one lock is wanted.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockOptions {
  /**
   * One deadline over everything: the line of this process, the making of the directory, the clean-up after dead holders, the
   * engine. Default 60 seconds; 0 tries once; `"infinity"` never gives up.
   */
  readonly timeout?: Duration.DurationInput | "infinity" | undefined
  /** Default `"exclusive"`. An engine that does not know `"shared"`, as yet the lock files, takes the lock exclusively for it. */
  readonly mode?: LockBackend.Mode | undefined
  /**
   * When to look again, besides whenever the engine hints that it is worth it. The wait is over, as at the timeout, when the
   * schedule is. Default: exponential from 2 milliseconds up to `pollInterval`, with full jitter.
   */
  readonly schedule?: Schedule.Schedule<unknown> | undefined
  /** Shown to whoever waits or inspects; cut at 200 characters. */
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
  readonly mode: LockBackend.Mode
  /** Us, as others see us. A holder that the lock was passed on to within the process is seen as the one that obtained it. */
  readonly holder: LockHolder
  /** Grows with every holder of this lock, where the engine has such a number; lock files have none. */
  readonly fence: Option.Option<bigint>
  /** Whether the lock is ours, as far as this process knows; asks nobody. */
  readonly isHeld: Effect.Effect<boolean>
  /** Asks the engine now. Call it before a step that cannot be taken back. */
  readonly verify: Effect.Effect<void, LockLostError>
  /** Never succeeds; fails once the lock is known to be lost. */
  readonly lost: Effect.Effect<never, LockLostError>
}

/**
 * How the locks of a layer behave.
 *
 * @since 0.1.0
 * @category models
 */
export interface Settings {
  /**
   * How long an owner that cannot be checked (another machine, container or worker thread) may be silent before its lock is taken
   * over. Default 30 seconds. All processes that share a lock must agree on it.
   */
  readonly lease?: Duration.DurationInput | undefined
  /**
   * How long one process may pass a lock among its own fibers, counted from when it got it from the engine. Default 10 milliseconds; 0
   * turns it off. Meanwhile the lock file stays as it is: the holders have one `token` and one `acquiredAt`, and a lock is
   * passed on only to a waiter with the same label.
   */
  readonly handoff?: Duration.DurationInput | undefined
  /** The longest pause of the default schedule. Default 100 milliseconds. */
  readonly pollInterval?: Duration.DurationInput | undefined
}

/**
 * What is at a lock's place: a living holder (`held`), one that is dead by proof (`abandoned`), one whose life cannot be
 * checked from here (`unverifiable`), or something that is none of ours (`foreign`).
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
 * Acquires the lock of `path` and releases it when the scope closes, however it closes.
 *
 * Waits, interruptibly and at most for `timeout`, first in the line of this process and then for other processes. Fails with
 * `LockAcquisitionError` (its `reason` says why) or at once with `LockDirectoryError`. A handle is a claim of its own: in the
 * fiber that already holds the lock it fails at once with reason `"Deadlock"`; to nest, use `withLock`.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { FileLock } from "effect-filelock"
 *
 * const commit = Effect.scoped(Effect.gen(function*() {
 *   const lock = yield* FileLock.acquire("tasks.json", { timeout: "10 seconds", label: "nightly compaction" })
 *   // … prepare …
 *   yield* lock.verify // the last moment to find out that somebody removed it
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
 * Acquires the lock of `path` if nobody has it: one attempt, no wait. `None` when it was taken; fails for every other reason.
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
 * Acquires several locks, all or none, under one deadline. They are sorted and freed of duplicates, so that two programs that
 * want the same locks cannot wait for each other; the handles come in that order.
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
 * The lock is released whatever becomes of the effect. If the lock is lost, the effect is interrupted and `LockLostError` raised.
 * Nested calls on one path are re-entrant: the lock is given back at the outermost exit, and fibers that re-enter beside each
 * other exclude one another.
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
  (path: string, options?: LockOptions): <A, E, R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | LockAcquisitionError | LockDirectoryError | LockLostError, R | FileLock>
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
 * Runs an effect while the locks of several paths are held, see `withLock` and `acquireAll`.
 *
 * @since 0.1.0
 * @category critical sections
 */
export const withLocks: {
  (paths: Iterable<string>, options?: LockOptions): <A, E, R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | LockAcquisitionError | LockDirectoryError | LockLostError, R | FileLock>
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
 * Runs an effect under the lock of `path` if nobody has it: one attempt, no wait. `None` when it was taken.
 *
 * @since 0.1.0
 * @category critical sections
 */
export const withLockIfAvailable: {
  (path: string, options?: Omit<LockOptions, "timeout" | "schedule">): <A, E, R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<
    Option.Option<A>,
    E | LockAcquisitionError | LockDirectoryError | LockLostError,
    R | FileLock
  >
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
 * Who holds the lock of `path` now; `None` if it is free. Changes nothing and waits for nobody.
 *
 * @since 0.1.0
 * @category inspection
 */
export const inspect = (path: string): Effect.Effect<Option.Option<LockStatus>, LockAcquisitionError, FileLock> =>
  Effect.flatMap(FileLock, (locks) => locks.inspect(path))

/**
 * Removes exactly the claim of `holder` (as `inspect` gave it) on the lock of `path`; `false` if it was already gone. Never removes
 * a successor's.
 *
 * Made for locks that nobody holds any more. A living holder is robbed by it: it learns that at its next heartbeat or `verify`, and
 * two may believe they hold the lock until then.
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
 * Makes the service over the engine in the context. Dies with an `IllegalArgumentException` of settings that are not allowed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  settings: Settings = {}
): Effect.Effect<Context.Tag.Service<FileLock>, never, LockBackend.LockBackend | Scope.Scope> =>
  Effect.gen(function*() {
    return internal.make(yield* LockBackend.LockBackend, yield* decodeOrDie(settings), new WaitQueues())
  })

/**
 * Locks over any engine. `settings.lease` is the engine's matter, and read by lock files only.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerBackend = (settings?: Settings): Layer.Layer<FileLock, never, LockBackend.LockBackend> =>
  Layer.scoped(FileLock, make(settings))

/**
 * Locks as lock files, with other settings than the default ones.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (
  settings: Settings
): Layer.Layer<FileLock, never, FileSystem.FileSystem | Path.Path> =>
  Layer.provide(layerBackend(settings), LockFileBackend.layerWith(settings))

/**
 * Locks as lock files, with the default settings.
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
 * Locks as lock files, with settings from the program's configuration.
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
