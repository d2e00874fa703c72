import { Args, Command, Options } from "@effect/cli"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer, Logger, Option, Schema } from "effect"
import { LockedFile, NodeFileLock } from "effect-filelock"

const Notes = LockedFile.json(Schema.Array(Schema.String))

const file = Options.text("file").pipe(Options.withDefault("notes.json"))
const wait = Options.integer("wait").pipe(Options.withDefault(10), Options.withDescription("seconds"))

const add = Command.make(
  "add",
  { file, wait, text: Args.text({ name: "text" }) },
  ({ file, text, wait }) =>
    Notes.update(file, (notes) => [...Option.getOrElse(notes, () => []), text], {
      timeout: `${wait} seconds`,
      label: `notes add ${text}`
    })
)

const list = Command.make(
  "list",
  { file },
  ({ file }) => Notes.read(file).pipe(Effect.flatMap((notes) => Effect.forEach(notes, (note) => Console.log(note))))
)

const run = Command.make("notes").pipe(
  Command.withSubcommands([add, list]),
  Command.run({ name: "notes", version: "1.0.0" })
)

// The output is the notes. What waits is told on standard error.
const toStandardError = Logger.replace(Logger.defaultLogger, Logger.withConsoleError(Logger.logfmtLogger))

run(process.argv).pipe(
  Effect.catchTag("LockAcquisitionError", (error) =>
    Effect.zipRight(
      Console.error(error.message),
      // EX_TEMPFAIL: the shell may try again later.
      Effect.sync(() => process.exitCode = 75)
    )),
  Effect.provide(Layer.mergeAll(NodeFileLock.layer, NodeContext.layer, toStandardError)),
  NodeRuntime.runMain
)
