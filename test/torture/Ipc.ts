/**
 * The worker's side of the channel to its parent.
 */
import * as Effect from "effect/Effect"
import type { LazyArg } from "effect/Function"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"

/** What the parent sends, in order. A worker ends itself when its parent is gone. */
export const commands = <A, I>(schema: Schema.Schema<A, I>): Effect.Effect<Queue.Dequeue<A>> =>
  Effect.gen(function*() {
    const queue = yield* Queue.unbounded<A>()
    const decode = Schema.decodeUnknownSync(schema)
    process.on("message", (message) => {
      Queue.unsafeOffer(queue, decode(message))
    })
    process.on("disconnect", () => process.exit(0))
    return queue
  })

/** Sends to the parent what is made in the same step: messages with a time leave in the order of their times. */
export const sendLazy = <A, I>(schema: Schema.Schema<A, I>): (message: LazyArg<A>) => Effect.Effect<void> => {
  const encode = Schema.encodeSync(schema)
  return (message) =>
    Effect.async<void>((resume) => {
      process.send?.(encode(message()), () => resume(Effect.void))
    })
}

/** Sends to the parent; returns once the message has left this process. */
export const send = <A, I>(schema: Schema.Schema<A, I>): (message: A) => Effect.Effect<void> => {
  const lazily = sendLazy(schema)
  return (message) => lazily(() => message)
}

/** The worker's own settings, from its command line. */
export const argument = <A, I>(schema: Schema.Schema<A, I>): A =>
  Schema.decodeSync(Schema.parseJson(schema))(process.argv[2] ?? "")
