/**
 * The messages between the demonstration and its workers.
 */
import * as Schema from "effect/Schema"

/** A worker's settings. */
export const Settings = Schema.Struct({ name: Schema.String })

/** A task in the file they all write to. */
export const Task = Schema.Struct({ worker: Schema.String, number: Schema.Number })

/** The file's content. */
export const Tasks = Schema.parseJson(Schema.Array(Task))

/** To a worker. */
export const Command = Schema.Union(
  /** Add so many tasks to the file, one by one. */
  Schema.TaggedStruct("work", { file: Schema.String, tasks: Schema.Number, locked: Schema.Boolean }),
  /** In the next critical section, stay there after reading and before writing, for ever. */
  Schema.TaggedStruct("linger", {})
)

/** From a worker; `at` is the machine's monotonic clock in milliseconds. */
export const Message = Schema.Union(
  Schema.TaggedStruct("ready", {}),
  Schema.TaggedStruct("waiting", {}),
  Schema.TaggedStruct("inside", { at: Schema.Number, lingers: Schema.Boolean }),
  /** The task is in the file, as far as the worker can tell. */
  Schema.TaggedStruct("added", { number: Schema.Number }),
  Schema.TaggedStruct("finished", {}),
  Schema.TaggedStruct("failed", { failure: Schema.String })
)

/** Any message. */
export type Message = typeof Message.Type
