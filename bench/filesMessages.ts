/**
 * The messages between the questions about files and the processes that read and update them.
 */
import * as Schema from "effect/Schema"

/** The argument of a process. */
export const Settings = Schema.Struct({
  /** A file in the directory where the peers are installed. */
  installation: Schema.String
})

/** What a process does with a file, again and again, in each of its fibers. */
export const Work = Schema.Literal(
  "read, exclusive",
  "read, shared",
  "updateString",
  "updateString, fsync: false",
  "updateString, one by one",
  "proper-lockfile + write-file-atomic"
)

/** One of these. */
export type Work = typeof Work.Type

/** To a process. */
export const Command = Schema.Union(
  /** Do it in so many fibers, between two instants on the machine's monotonic clock, in milliseconds. */
  Schema.TaggedStruct("work", {
    work: Work,
    path: Schema.String,
    fibers: Schema.Number,
    from: Schema.Number,
    until: Schema.Number
  })
)

/** From a process. */
export const Message = Schema.Union(
  Schema.TaggedStruct("ready", {}),
  /** How often it was done, and the processor time in microseconds. */
  Schema.TaggedStruct("worked", { times: Schema.Number, failures: Schema.Number, cpu: Schema.Number }),
  Schema.TaggedStruct("failed", { failure: Schema.String })
)
