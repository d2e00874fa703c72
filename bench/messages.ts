/**
 * What the questions and the processes they measure tell each other. Times are milliseconds on the machine's clock unless they
 * say otherwise; processor time is microseconds.
 */
import * as Schema from "effect/Schema"
import * as Contestants from "./Contestants.js"

/** A process's settings. */
export const Settings = Schema.Struct({
  contestant: Contestants.Name,
  /** A file in the folder that has the peers. */
  installation: Schema.String
})

/** To a process. */
export const Command = Schema.Union(
  Schema.TaggedStruct("cycle", { path: Schema.String, times: Schema.Number }),
  Schema.TaggedStruct("crowd", { path: Schema.String, size: Schema.Number }),
  /** Raise the counter in the file as often as possible between two instants. */
  Schema.TaggedStruct("contend", {
    path: Schema.String,
    from: Schema.Number,
    until: Schema.Number,
    work: Schema.Number
  }),
  /** Take it and stay inside, until told to leave. */
  Schema.TaggedStruct("hold", { path: Schema.String }),
  Schema.TaggedStruct("leave", { after: Schema.Number }),
  /** Take it and let it go. */
  Schema.TaggedStruct("take", { path: Schema.String })
)

/** Any command. */
export type Command = typeof Command.Type

/** From a process. */
export const Message = Schema.Union(
  Schema.TaggedStruct("ready", {}),
  Schema.TaggedStruct("measured", { millis: Schema.Number, cpu: Schema.Number }),
  Schema.TaggedStruct("contended", {
    /** One of each per acquisition. */
    asked: Schema.Array(Schema.Number),
    entered: Schema.Array(Schema.Number),
    left: Schema.Array(Schema.Number),
    failures: Schema.Number,
    cpu: Schema.Number
  }),
  Schema.TaggedStruct("holding", {}),
  /** Noted just before the release. */
  Schema.TaggedStruct("left", { at: Schema.Number }),
  Schema.TaggedStruct("waiting", {}),
  /** Noted as soon as it was inside; `waited` and `cpu` are what the wait took. */
  Schema.TaggedStruct("taken", { at: Schema.Number, waited: Schema.Number, cpu: Schema.Number }),
  Schema.TaggedStruct("failed", { failure: Schema.String })
)

/** Any message. */
export type Message = typeof Message.Type
