/**
 * The messages between the demonstration and its workers.
 */
import * as Schema from "effect/Schema"

/** A worker's settings. */
export const Settings = Schema.Struct({ name: Schema.String })

/** A task in the file they all write to. */
export const Task = Schema.Struct({ worker: Schema.String, number: Schema.Number })

/** The file's content. */
export const Tasks = Schema.Array(Task)

/** To a worker. */
export const Command = Schema.Union(
  /** Add so many tasks to the file, one by one. */
  Schema.TaggedStruct("work", { file: Schema.String, tasks: Schema.Number, locked: Schema.Boolean }),
  /** In the next critical section, stay there after reading and before writing, for ever. */
  Schema.TaggedStruct("linger", {})
)

/** When it was sent, on the machine's monotonic clock, in milliseconds. */
const at = Schema.Number

/** From a worker, which sends them in the order of their times. */
export const Message = Schema.Union(
  Schema.TaggedStruct("ready", { at }),
  /** Sent regularly: what happened to the worker before `at`, it has told. */
  Schema.TaggedStruct("alive", { at }),
  Schema.TaggedStruct("waiting", { at }),
  Schema.TaggedStruct("inside", { at, lingers: Schema.Boolean }),
  /** Out of the critical section; sent before the lock is released. */
  Schema.TaggedStruct("left", { at }),
  /** The task is in the file, as far as the worker can tell. */
  Schema.TaggedStruct("added", { at, number: Schema.Number }),
  Schema.TaggedStruct("finished", { at }),
  Schema.TaggedStruct("failed", { at, failure: Schema.String })
)

/** Any message. */
export type Message = typeof Message.Type
