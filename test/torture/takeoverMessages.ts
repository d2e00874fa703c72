/**
 * What the takeover rounds and their workers tell each other.
 */
import * as Schema from "effect/Schema"

/** A worker's settings. */
export const Settings = Schema.Struct({
  root: Schema.String,
  incarnation: Schema.Number
})

/**
 * To a worker: take the lock and stay inside for good; let a thread do that, and terminate the thread; or take the lock once and let it
 * go.
 */
export const Command = Schema.Literal("hold", "holdInThread", "terminate", "compete")

/** From a worker; what it says last is `served`, or that its thread was `terminated`. */
export const Message = Schema.Union(
  Schema.TaggedStruct("ready", {}),
  Schema.TaggedStruct("holding", {}),
  Schema.TaggedStruct("waiting", {}),
  Schema.TaggedStruct("served", {}),
  Schema.TaggedStruct("terminated", {}),
  Schema.TaggedStruct("failed", { failure: Schema.String })
)

/** Any message. */
export type Message = typeof Message.Type
