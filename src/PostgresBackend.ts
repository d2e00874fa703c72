/**
 * The engine over PostgreSQL: one holder for each lock on all machines that use one server.
 *
 * A lock is an advisory lock of a session. Each acquisition has a session of its own, in the server's queue while it waits: the lock is
 * handed over without polling, first come, first served. The server frees it when the session ends. So a holder that is killed is noticed
 * at once. A holder that is stopped, or cut off, loses its lock after a lease, and is told before.
 *
 * Each grant has a fencing number, `LockHandle.fence`, larger than that of every earlier grant. A resource that refuses a number lower than
 * one it has seen is safe from a holder that writes too late. `docs/engines.md` shows how.
 *
 * Needs `pg`, `@effect/sql-pg` and PostgreSQL 14 or newer; the primary, not a standby, and no connection pooler in transaction mode.
 *
 * @since 0.1.0
 */
import { PgClient, type PgClientConfig } from "@effect/sql-pg/PgClient"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as internal from "./internal/postgres/backend.js"
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
   * Locks of different namespaces have nothing to do with each other. Default `"effect-filelock"`. The number of an advisory lock is the
   * first 8 bytes of the SHA-256 of namespace, NUL and path.
   */
  readonly namespace?: string | undefined
  /**
   * How long the server keeps the lock of a session that it does not hear, default 30 seconds, from 1 second to 7 days. A session is heard each third
   * of a lease. A holder that has not heard the server for two thirds of a lease has lost its lock (`LockLostError`, `"LeaseExpired"`).
   */
  readonly lease?: Duration.DurationInput | undefined
  /**
   * The sequence that the fencing numbers come from, with its schema in front if need be. Default `"effect_filelock_fence"`. It is created
   * when it is missing, which takes the right to create in the schema.
   */
  readonly sequence?: string | undefined
  /**
   * How many sessions this process may have for its locks and its waiters, default 50. Further acquisitions wait. The server's
   * `max_connections` (100 by default) is for all its clients.
   */
  readonly maxSessions?: number | undefined
  /**
   * Whether a connection pooler is between this process and the server: `"session"` for one that gives each client a session of its own.
   * Default `"none"`: a pooler is refused, since one in transaction mode would lend the session that has a lock to other clients.
   */
  readonly pooler?: "none" | "session" | undefined
}

const defaultSequence = "effect_filelock_fence"

/** What is wrong with options; nothing if they are allowed. */
const problem = ({ maxSessions = 1, namespace = "", sequence = defaultSequence }: Options): string | undefined =>
  namespace.includes("\0")
    ? "namespace must not contain NUL"
    : !sequence.split(".").every((part) => /^[^\0\\]{1,63}$/.test(part))
    ? `sequence must be the name of a sequence, not ${JSON.stringify(sequence)}`
    : !Number.isSafeInteger(maxSessions) || maxSessions < 1
    ? `maxSessions must be a whole number from 1 on, not ${maxSessions}`
    : undefined

/**
 * Makes the engine over connections of its own. Dies with an `IllegalArgumentException` if the options are not allowed. It connects when a
 * lock is wanted. The scope ends the sessions that are kept for the next lock; a lock that is still held is kept until its release.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  config: PgClientConfig,
  options: Options = {}
): Effect.Effect<Context.Tag.Service<LockBackend>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { lease } = yield* Settings.decodeOrDie(options)
    const wrong = Duration.lessThan(lease, "1 second") ? "lease must be at least 1 second" : problem(options)
    if (wrong !== undefined) {
      return yield* Effect.die(new Cause.IllegalArgumentException(wrong))
    }
    return yield* Effect.acquireRelease(
      Effect.map(ProcessIdentity, (identity) =>
        internal.make({
          identity,
          config,
          lease: Duration.toMillis(lease),
          namespace: options.namespace ?? "effect-filelock",
          sequence: options.sequence ?? defaultSequence,
          maxSessions: options.maxSessions ?? 50,
          pooler: options.pooler ?? "none"
        })),
      (engine) => Effect.sync(engine.close)
    )
  })

/**
 * The engine on the server of the program's `PgClient`. Its sessions are connections of its own, with the parameters of that client.
 *
 * @example
 * ```ts
 * import * as PgClient from "@effect/sql-pg/PgClient"
 * import { Effect, Layer, Redacted } from "effect"
 * import * as FileLock from "effect-filelock/FileLock"
 * import * as PostgresBackend from "effect-filelock/PostgresBackend"
 *
 * const Locks = FileLock.layerBackend().pipe(
 *   Layer.provide(PostgresBackend.layer),
 *   Layer.provide(PgClient.layer({ url: Redacted.make("postgres://localhost/app") }))
 * )
 *
 * const program = Effect.log("the only one on all machines").pipe(
 *   FileLock.withLock("reports/nightly", { timeout: "10 seconds" }),
 *   Effect.provide(Locks)
 * )
 * ```
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<LockBackend, never, PgClient> = Layer.scoped(
  LockBackend,
  Effect.flatMap(PgClient, ({ config }) => make(config))
)

/**
 * The same with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: Options): Layer.Layer<LockBackend, never, PgClient> =>
  Layer.scoped(LockBackend, Effect.flatMap(PgClient, ({ config }) => make(config, options)))

/**
 * The engine for a program without a `PgClient`: nothing is connected until a lock is wanted.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConnection = (config: PgClientConfig, options: Options = {}): Layer.Layer<LockBackend> =>
  Layer.scoped(LockBackend, make(config, options))
