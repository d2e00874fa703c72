import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import { type Client, RedisError } from "./client.js"

/** What an emitter calls. */
type Listener = (...args: Array<unknown>) => void

interface Emitter {
  on(event: string, listener: Listener): unknown
  off(event: string, listener: Listener): unknown
}

export interface Ioredis extends Emitter {
  /** Where the server is. */
  readonly options: object
  readonly status: string
  eval(script: string, keyCount: number, ...keysAndArgs: Array<string>): Promise<unknown>
  subscribe(channel: string): Promise<unknown>
  unsubscribe(channel: string): Promise<unknown>
  duplicate(): Ioredis
  connect(): Promise<unknown>
  disconnect(): void
}

export interface NodeRedis extends Emitter {
  readonly options?: { readonly url?: string | undefined; readonly socket?: object | undefined } | undefined
  readonly isOpen: boolean
  eval(script: string, options: { keys: Array<string>; arguments: Array<string> }): Promise<unknown>
  subscribe(channel: string, listener: (message: string, channel: string) => unknown): Promise<unknown>
  unsubscribe(channel: string): Promise<unknown>
  duplicate(): NodeRedis
  connect(): Promise<unknown>
  destroy(): void
}

const attempt = <A>(call: () => Promise<A>): Effect.Effect<A, RedisError> =>
  Effect.tryPromise({ try: call, catch: (cause) => new RedisError({ cause }) })

/** Where a server is, as the options of a connection say; nothing for a cluster, whose options have no address. */
const format = (options: object): string | undefined =>
  Predicate.hasProperty(options, "path") && Predicate.isString(options.path)
    ? options.path
    : Predicate.hasProperty(options, "host") && Predicate.isString(options.host)
    ? `${options.host}:${Predicate.hasProperty(options, "port") ? options.port : 6379}`
    : undefined

const toError = (cause: unknown): RedisError => new RedisError({ cause })

/** Listens to an emitter until the scope closes. */
const listenTo = (emitter: Emitter, listeners: Readonly<Record<string, Listener>>) =>
  Effect.acquireRelease(
    Effect.sync(() => Object.entries(listeners).forEach(([event, listener]) => emitter.on(event, listener))),
    () => Effect.sync(() => Object.entries(listeners).forEach(([event, listener]) => emitter.off(event, listener)))
  )

const ignore = () => {}

export const fromIoredis = (redis: Ioredis): Client => {
  const closed = new Error("the connection was closed")
  return {
    address: format(redis.options) ?? "a cluster",
    eval: (script, keys, args) => attempt(() => redis.eval(script, keys.length, ...keys, ...args)),
    listen: ({ onConnected, onDisconnected }) =>
      listenTo(redis, {
        ready: onConnected,
        error: (error) => onDisconnected(toError(error)),
        end: () => onDisconnected(toError(closed))
      }),
    openSubscriber: ({ onConnected, onDisconnected, onMessage }) =>
      Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            const subscriber = redis.duplicate()
            subscriber.on("error", (error) => onDisconnected(toError(error)))
            subscriber.on("close", () => onDisconnected(toError(closed)))
            subscriber.on("message", (channel, message) => onMessage(String(channel), String(message)))
            subscriber.on("ready", onConnected)
            // As the original does, it may wait to be told so.
            if (subscriber.status === "wait") subscriber.connect().catch(ignore)
            return subscriber
          }),
          (subscriber) => Effect.sync(() => subscriber.disconnect())
        ),
        (subscriber) => ({
          subscribe: (channel) => attempt(() => subscriber.subscribe(channel)),
          unsubscribe: (channel) => attempt(() => subscriber.unsubscribe(channel))
        })
      )
  }
}

const addressOf = ({ options }: NodeRedis): string =>
  options?.url !== undefined && URL.canParse(options.url)
    ? new URL(options.url).host
    : format(options?.socket ?? {}) ?? "localhost:6379"

export const fromNodeRedis = (client: NodeRedis): Client => ({
  address: addressOf(client),
  eval: (script, keys, args) => attempt(() => client.eval(script, { keys: [...keys], arguments: [...args] })),
  listen: ({ onConnected, onDisconnected }) =>
    listenTo(client, { ready: onConnected, error: (error: unknown) => onDisconnected(toError(error)) }),
  openSubscriber: ({ onConnected, onDisconnected, onMessage }) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.sync(() => {
          const subscriber = client.duplicate()
          const failed = (error: unknown) => onDisconnected(toError(error))
          subscriber.on("error", failed)
          subscriber.on("ready", onConnected)
          subscriber.connect().catch(failed)
          return subscriber
        }),
        (subscriber) =>
          Effect.sync(() => {
            if (subscriber.isOpen) subscriber.destroy()
          })
      ),
      (subscriber) => {
        // One and the same listener is called once for a message, however often it is added.
        const hear = (message: string, channel: string) => onMessage(channel, message)
        return {
          subscribe: (channel) => attempt(() => subscriber.subscribe(channel, hear)),
          unsubscribe: (channel) => attempt(() => subscriber.unsubscribe(channel))
        }
      }
    )
})
