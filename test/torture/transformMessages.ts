/**
 * What the transformation of a file and its workers tell each other.
 */
import * as Schema from "effect/Schema"

/** A worker's settings. */
export const Settings = Schema.Struct({
  path: Schema.String,
  seed: Schema.Number,
  incarnation: Schema.Number,
  /** How many updates it makes. */
  runs: Schema.Number,
  /** So many of them are under way at a time. */
  fibers: Schema.Number,
  /** Whether to take the lock at all: without it the file is written over, which the check must find. */
  locked: Schema.Boolean,
  /** Whether to use `FileLock.layer` over the services of `@effect/platform-node`, and not `NodeFileLock.layer`. */
  platform: Schema.Boolean
})

/** All begin at once. */
export const Command = Schema.Literal("begin")

/** What has been found wrong, in sentences. */
export const Message = Schema.Union(
  Schema.TaggedStruct("ready", {}),
  Schema.TaggedStruct("done", { runs: Schema.Number, problems: Schema.Array(Schema.String) })
)

/** Any message. */
export type Message = typeof Message.Type
