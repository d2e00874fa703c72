/**
 * Locks for programs on Node and Bun. The layers of this module need no other service, and are the fastest.
 *
 * The lock files are those of `FileLock.layer` over `NodeContext`, and both exclude each other. Calls on local file systems are
 * synchronous. Calls on all others, and in directories where calls turn out to be slow, run on Node's threads. All layers of this module
 * in a process, and all copies of the package in it, share one queue for each lock.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Layer from "effect/Layer"
import { FileLock, type Settings } from "./FileLock.js"
import { layerSettings } from "./internal/layerSettings.js"
import * as internal from "./internal/nodeFileLock.js"

/**
 * Locks with other settings than the default ones. Building the layer dies with an `IllegalArgumentException` if a setting is not
 * allowed.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (settings: Settings): Layer.Layer<FileLock> => Layer.scoped(FileLock, internal.make(settings))

/**
 * Locks with the default settings.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { FileLock, NodeFileLock } from "effect-filelock"
 *
 * // to be run with NodeRuntime.runMain, or Effect.runPromise
 * const main = Effect.log("alone with tasks.json").pipe(
 *   FileLock.withLock("tasks.json", { timeout: "10 seconds" }),
 *   Effect.provide(NodeFileLock.layer)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<FileLock> = layerWith({})

/**
 * Locks with settings from the program's configuration. A setting that is left out has its default. One that is not allowed is a
 * `ConfigError`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (settings: Config.Config.Wrap<Settings>): Layer.Layer<FileLock, ConfigError> =>
  layerSettings(settings, layerWith)
