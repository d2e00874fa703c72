/**
 * The engine of locks on one Redis server (6.2 or later) or Valkey server, for processes on many machines.
 *
 * A lock is a key with an expiry, which its holder renews: a lease. When a holder dies, the lock is free after at most one lease. When a
 * holder cannot renew the key for two thirds of a lease, it is told that the lock is lost, before the key can expire. A holder that stands
 * still for longer, as in a paused virtual machine, is told when it goes on. What the lock guards should refuse a `fence` that is lower than
 * one it has seen.
 *
 * - The client has to be connected to a primary. Replication is asynchronous: a failover may lose a lock and grant it again. Redlock, which
 *   asks several servers, is no remedy: it still rests on the clocks of the servers and the holder, and it gives no fencing number.
 * - The server must not evict keys: `maxmemory-policy noeviction`.
 * - `fence` is at least 2048 times the server's time in microseconds. It keeps increasing when the server loses its data, as long as the clock of
 *   the server is not set back.
 * - A shared lock is granted as an exclusive one, and the fibers of one process share it. `Grant.mode` says so.
 * - A path is a name. `.`, `..` and `//` are resolved, and no file is looked at. It is POSIX also on Windows.
 * - The keys are `{namespace:path}` and `{namespace:path}:fence`, in one slot of a cluster. The channel `{namespace:path}` tells of a
 *   release. A user of an ACL needs `~{namespace:*`, `&{namespace:*`, and the commands `eval`, `get`, `set`, `del`, `pttl`, `pexpire`,
 *   `type`, `time`, `hget`, `hmget`, `hset`, `hdel`, `publish`, `pubsub|numsub`, `subscribe` and `unsubscribe`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as adapters from "./internal/redis/adapters.js"
import { RedisClient } from "./internal/redis/client.js"
import * as internal from "./internal/redis/engine.js"
import * as Settings from "./internal/settings.js"
import { LockBackend } from "./LockBackend.js"
import { ProcessIdentity } from "./ProcessIdentity.js"

export {
  /**
   * What the engine needs of a Redis library. `fromIoredis` and `fromNodeRedis` make it of a client of these libraries.
   *
   * @since 0.1.0
   * @category services
   */
  RedisClient,
  /**
   * A command failed. `cause` is the error of the library, whose message has the server's code, such as `NOAUTH`.
   *
   * @since 0.1.0
   * @category errors
   */
  RedisError
} from "./internal/redis/client.js"

/**
 * What is used of a client of `ioredis`, a `Redis` or a `Cluster`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ioredis extends adapters.Ioredis {}

/**
 * What is used of a client of `redis`, as `createClient` makes it.
 *
 * @since 0.1.0
 * @category models
 */
export interface NodeRedis extends adapters.NodeRedis {}

/**
 * Options of the engine.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * How long the key of a holder stays that does not renew it. Default 30 seconds, at least 100 milliseconds, at most 7 days. The holder
   * renews it each third of a lease. A command is waited for a quarter of a lease, and for at most 5 seconds; a release for 0.9 seconds.
   */
  readonly lease?: Duration.DurationInput | undefined
  /** The beginning of all keys and channels. Default `"effect-filelock"`. Not empty, and without braces. */
  readonly namespace?: string | undefined
}

const decodeNamespace = (namespace = "effect-filelock"): Effect.Effect<string> =>
  // The braces say which part of a key decides on its slot in a cluster.
  /^[^{}]+$/.test(namespace)
    ? Effect.succeed(namespace)
    : Effect.die(
      new Cause.IllegalArgumentException(
        `namespace must be a text without braces that is not empty, not ${JSON.stringify(namespace)}`
      )
    )

/**
 * Makes the engine. Dies with an `IllegalArgumentException` if an option is not allowed. It opens its connection for messages when it waits
 * for the first time. That ends with the scope. A lock that is held is renewed until it is released, also after that.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Context.Tag.Service<LockBackend>, never, RedisClient | Scope.Scope> =>
  Effect.gen(function*() {
    const { lease } = yield* Settings.decodeOrDie({ lease: options.lease })
    const namespace = yield* decodeNamespace(options.namespace)
    return yield* internal.make({ client: yield* RedisClient, identity: yield* ProcessIdentity, lease, namespace })
  })

/**
 * The engine with its default lease of 30 seconds.
 *
 * @example
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { FileLock } from "effect-filelock"
 * import * as RedisBackend from "effect-filelock/RedisBackend"
 *
 * // redis: new Redis("redis://127.0.0.1:6379")
 * const locksOn = (redis: RedisBackend.Ioredis) =>
 *   FileLock.layerBackend().pipe(
 *     Layer.provide(RedisBackend.layer),
 *     Layer.provide(Layer.succeed(RedisBackend.RedisClient, RedisBackend.fromIoredis(redis)))
 *   )
 *
 * const program = Effect.log("alone").pipe(FileLock.withLock("reports/nightly"))
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<LockBackend, never, RedisClient> = Layer.scoped(LockBackend, make())

/**
 * The engine with other options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<LockBackend, never, RedisClient> =>
  Layer.scoped(LockBackend, make(options))

/**
 * Uses a client of `ioredis`. The engine makes one more connection with its `duplicate()`, and closes only that. A `keyPrefix` of the client
 * comes in front of the keys.
 *
 * @since 0.1.0
 * @category clients
 */
export const fromIoredis: (redis: Ioredis) => Context.Tag.Service<RedisClient> = adapters.fromIoredis

/**
 * Uses a client of `redis` (node-redis 5), after its `connect()`. The engine makes one more connection with its `duplicate()`, and closes
 * only that.
 *
 * @since 0.1.0
 * @category clients
 */
export const fromNodeRedis: (client: NodeRedis) => Context.Tag.Service<RedisClient> = adapters.fromNodeRedis
