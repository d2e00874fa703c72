/**
 * The messages between the questions and the processes with one competitor. Times are milliseconds on the machine's monotonic
 * clock; processor times are microseconds.
 */
import * as Schema from "effect/Schema"
import * as Competitors from "./Competitors.js"

/** The argument of a process. */
export const Settings = Schema.Struct({
  competitor: Competitors.Name,
  servers: Competitors.Servers,
  /** A file in the directory where the peers are installed. */
  installation: Schema.String
})

/** What a process does while it holds the contended lock. */
export const Body = Schema.Literal("increment", "empty")

/** One of the bodies. */
export type Body = typeof Body.Type

/** To a process. */
export const Command = Schema.Union(
  /** Acquire and release `times` times. */
  Schema.TaggedStruct("cycle", { path: Schema.String, times: Schema.Number }),
  /** Acquire and release once in each of `size` fibers. */
  Schema.TaggedStruct("fibers", { path: Schema.String, size: Schema.Number }),
  /** Acquire and release as often as possible between two instants. */
  Schema.TaggedStruct("contend", {
    path: Schema.String,
    from: Schema.Number,
    until: Schema.Number,
    body: Body
  }),
  /** Acquire, and hold until the command `release`. */
  Schema.TaggedStruct("hold", { path: Schema.String }),
  /** Release after so many milliseconds. */
  Schema.TaggedStruct("release", { after: Schema.Number }),
  /** Acquire and release at once. */
  Schema.TaggedStruct("acquire", { path: Schema.String })
)

/** Any command. */
export type Command = typeof Command.Type

/** From a process. */
export const Message = Schema.Union(
  Schema.TaggedStruct("ready", {}),
  Schema.TaggedStruct("measured", { millis: Schema.Number, cpu: Schema.Number }),
  Schema.TaggedStruct("contended", {
    /** Each array has one entry for each acquisition. */
    requested: Schema.Array(Schema.Number),
    acquired: Schema.Array(Schema.Number),
    released: Schema.Array(Schema.Number),
    failures: Schema.Number,
    cpu: Schema.Number
  }),
  Schema.TaggedStruct("holding", {}),
  /** `at` is the instant before the release. */
  Schema.TaggedStruct("released", { at: Schema.Number }),
  Schema.TaggedStruct("waiting", {}),
  /** `at` is the instant of the acquisition; `cpu` is the processor time of the wait. */
  Schema.TaggedStruct("acquired", { at: Schema.Number, waited: Schema.Number, cpu: Schema.Number }),
  Schema.TaggedStruct("failed", { failure: Schema.String })
)

/** Any message. */
export type Message = typeof Message.Type
