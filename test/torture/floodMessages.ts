/**
 * What a flood and its attackers tell each other.
 */
import * as Schema from "effect/Schema"

/** An attacker's settings. */
export const Settings = Schema.Struct({
  /** The directory of the lock, which it may read. */
  directory: Schema.String,
  connections: Schema.Number
})

/** To an attacker: begin; or say what you have done. */
export const Command = Schema.Literal("attack", "end")

/** From an attacker. */
export const Message = Schema.Union(
  Schema.TaggedStruct("ready", {}),
  Schema.TaggedStruct("done", {
    /** The most connections that were open at once. */
    open: Schema.Number,
    /** All that were made. */
    made: Schema.Number,
    /** Bytes that were sent. */
    sent: Schema.Number
  })
)

/** Any message. */
export type Message = typeof Message.Type
