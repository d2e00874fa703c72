import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** What a connection tells of itself. */
export interface ConnectionListener {
  /** The server can be asked, for the first time or again. */
  readonly onConnected: () => void
  /** The connection was lost, or could not be made. */
  readonly onDisconnected: (error: RedisError) => void
}

/** What a connection for messages tells. */
export interface MessageListener extends ConnectionListener {
  readonly onMessage: (channel: string, message: string) => void
}

/** A connection for messages. */
export interface Subscriber {
  /** Ends when the server has confirmed it. */
  readonly subscribe: (channel: string) => Effect.Effect<void, RedisError>
  readonly unsubscribe: (channel: string) => Effect.Effect<void, RedisError>
}

export class RedisError extends Data.TaggedError("RedisError")<{ readonly cause: unknown }> {}

export class RedisClient extends Context.Tag("effect-filelock/RedisBackend/RedisClient")<RedisClient, {
  /** What messages call the server, such as `127.0.0.1:6379`. */
  readonly address: string
  /**
   * Runs a script with `EVAL`. The engine stops waiting for a late answer by itself, and what it does not wait for is not interrupted. It
   * may be run twice where the answer to the first time was lost.
   */
  readonly eval: (
    script: string,
    keys: ReadonlyArray<string>,
    args: ReadonlyArray<string>
  ) => Effect.Effect<unknown, RedisError>
  /** Tells of the connection that `eval` uses, until the scope closes. */
  readonly listen: (listener: ConnectionListener) => Effect.Effect<void, never, Scope.Scope>
  /** Begins to open one more connection, for messages. It is opened again when it is lost, and closed with the scope. */
  readonly openSubscriber: (listener: MessageListener) => Effect.Effect<Subscriber, never, Scope.Scope>
}>() {}

export type Client = Context.Tag.Service<RedisClient>
