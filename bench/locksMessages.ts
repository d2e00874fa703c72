/**
 * The messages between the questions and the processes with many locks of this package. Times are milliseconds on the machine's
 * monotonic clock unless they say otherwise; memory is bytes.
 */
import * as Schema from "effect/Schema"

/** The argument of a process. */
export const Settings = Schema.Struct({
  /** Milliseconds; the default lease if absent. */
  lease: Schema.optionalWith(Schema.Number, { exact: true })
})

/** Where a process gets its locks from. */
export const LayerName = Schema.Literal("NodeFileLock.layer", "FileLock.layer, NodeContext")

/** One of the layers. */
export type LayerName = typeof LayerName.Type

/** To a process. The paths are the numbers below `count` (or `paths`) in `directory`. */
export const Command = Schema.Union(
  /** Acquire all paths and release them, `times` times. */
  Schema.TaggedStruct("cycle", { directory: Schema.String, count: Schema.Number, times: Schema.Number }),
  /** Acquire all paths and hold them until the command `release`. */
  Schema.TaggedStruct("hold", { directory: Schema.String, count: Schema.Number }),
  Schema.TaggedStruct("release", {}),
  /** Acquire all paths, hold them for so long, and release them. */
  Schema.TaggedStruct("keep", { directory: Schema.String, count: Schema.Number, millis: Schema.Number }),
  /** Wait with so many fibers, and measure memory and processor time after `settle` and during `watch` milliseconds. */
  Schema.TaggedStruct("wait", {
    directory: Schema.String,
    paths: Schema.Number,
    fibers: Schema.Number,
    settle: Schema.Number,
    watch: Schema.Number
  }),
  /** Run concurrent jobs, each of which acquires `times` times. */
  Schema.TaggedStruct("jobs", {
    directory: Schema.String,
    paths: Schema.Number,
    jobs: Schema.Number,
    times: Schema.Number,
    layer: LayerName,
    /** Whether each job provides the layer, or all jobs together. */
    each: Schema.Boolean
  })
)

/** Any command. */
export type Command = typeof Command.Type

/** From a process. */
export const Message = Schema.Union(
  Schema.TaggedStruct("ready", {}),
  /** Times in microseconds for each lock, or for each file without one; memory in bytes. */
  Schema.TaggedStruct("cycled", {
    acquire: Schema.Number,
    release: Schema.Number,
    create: Schema.Number,
    remove: Schema.Number,
    heap: Schema.Number,
    rss: Schema.Number
  }),
  Schema.TaggedStruct("holding", {}),
  /** `at` is the instant before the first release. */
  Schema.TaggedStruct("released", { at: Schema.Number }),
  Schema.TaggedStruct("kept", {
    /** Percent of a core while the locks are held. */
    share: Schema.Number,
    /** Bytes for each lock, at the end of the hold. */
    heap: Schema.Number,
    /** How many locks were lost. */
    lost: Schema.Number,
    acquire: Schema.Number,
    release: Schema.Number
  }),
  /** Bytes for each waiter, and percent of a core for all waiters together. */
  Schema.TaggedStruct("waiting", { heap: Schema.Number, rss: Schema.Number, share: Schema.Number }),
  /** The instants when the first and the last waiter acquired. */
  Schema.TaggedStruct("acquired", { first: Schema.Number, last: Schema.Number }),
  Schema.TaggedStruct("done", { millis: Schema.Number }),
  Schema.TaggedStruct("failed", { failure: Schema.String })
)

/** Any message. */
export type Message = typeof Message.Type
