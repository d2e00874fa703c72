/**
 * What the growth question and its processes tell each other. Times are milliseconds on the machine's clock unless they say otherwise;
 * processor time is microseconds, memory is bytes.
 */
import * as Schema from "effect/Schema"

/** To a process; a path is `directory` and a number below `count`. */
export const Command = Schema.Union(
  /** Hold so many at once, `times` times; say what each cost. */
  Schema.TaggedStruct("locks", { directory: Schema.String, count: Schema.Number, times: Schema.Number }),
  /** Hold so many until told to release. */
  Schema.TaggedStruct("hold", { directory: Schema.String, count: Schema.Number }),
  Schema.TaggedStruct("release", {}),
  /** Wait with so many fibers for that many paths, and look how it is after `settle` and during `watch` milliseconds. */
  Schema.TaggedStruct("wait", {
    directory: Schema.String,
    paths: Schema.Number,
    fibers: Schema.Number,
    settle: Schema.Number,
    watch: Schema.Number
  })
)

/** Any command. */
export type Command = typeof Command.Type

/** From a process. */
export const Message = Schema.Union(
  Schema.TaggedStruct("ready", {}),
  /** Microseconds and bytes per lock. */
  Schema.TaggedStruct("locked", {
    acquire: Schema.Number,
    release: Schema.Number,
    heap: Schema.Number,
    rss: Schema.Number
  }),
  Schema.TaggedStruct("holding", {}),
  /** Noted just before the first release. */
  Schema.TaggedStruct("releasing", { at: Schema.Number }),
  /** Bytes per waiter, and the share of a core of all of them. */
  Schema.TaggedStruct("waiting", { heap: Schema.Number, rss: Schema.Number, share: Schema.Number }),
  /** Noted when the last one was inside. */
  Schema.TaggedStruct("served", { at: Schema.Number }),
  Schema.TaggedStruct("failed", { failure: Schema.String })
)

/** Any message. */
export type Message = typeof Message.Type
