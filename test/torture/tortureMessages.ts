/**
 * What the torture and its workers tell each other.
 */
import * as Schema from "effect/Schema"
import * as Engines from "./Engines.js"

/** A worker's settings. */
export const Settings = Schema.Struct({
  root: Schema.String,
  incarnation: Schema.Number,
  seed: Schema.Number,
  /** Fibers that compete inside the process. */
  fibers: Schema.Number,
  /** The share of sections that only read. */
  readers: Schema.Number,
  /** The longest work in a section, in milliseconds. */
  work: Schema.Number,
  /** How many sections before it ends by itself. */
  sections: Schema.NullOr(Schema.Number),
  /** In milliseconds; the library's default unless given. */
  lease: Schema.NullOr(Schema.Number),
  /** Whether to take the lock at all: without it the analysis must find violations. */
  locked: Schema.Boolean,
  /** How the guarded file is written: by this harness, through `LockedFile`, or over the old content, which the analysis must find. */
  writes: Schema.Literal("rename", "LockedFile", "inPlace"),
  engine: Engines.Settings
})

/** Spares are started ahead of need and wait for this. */
export const Command = Schema.Literal("begin")

/** Loaded and waiting; or a failure of the lock, in words. */
export const Message = Schema.Union(
  Schema.TaggedStruct("ready", {}),
  Schema.TaggedStruct("failed", { failure: Schema.String })
)

/** Any message. */
export type Message = typeof Message.Type
