/**
 * The subcommands, with their help, on `@effect/cli`.
 */
import * as Args from "@effect/cli/Args"
import * as CliConfig from "@effect/cli/CliConfig"
import * as Command from "@effect/cli/Command"
import * as HelpDoc from "@effect/cli/HelpDoc"
import * as Options from "@effect/cli/Options"
import * as ValidationError from "@effect/cli/ValidationError"
import * as NodeContext from "@effect/platform-node/NodeContext"
import type * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as NodeUtil from "node:util"
import * as FileLock from "../../FileLock.js"
import * as NodeFileLock from "../../NodeFileLock.js"
import * as Node from "../process/node.js"
import { printable } from "../text.js"
import * as Times from "./duration.js"
import * as Ending from "./ending.js"
import * as ExitCode from "./exitCode.js"
import * as Locks from "./locks.js"
import * as Output from "./output.js"
import * as Run from "./run.js"
import * as RunOptions from "./runOptions.js"
import * as Signals from "./signals.js"
import * as Status from "./status.js"
import * as Top from "./top.js"
import { version } from "./version.js"
import * as WaitLine from "./waitLine.js"

const done = Ending.exit(0)

/** Goes on once it is written. What cannot be written ends the process. */
const print = (text: string): Effect.Effect<void> =>
  text === ""
    ? Effect.void
    : Effect.async((resume) =>
      void process.stdout.write(`${text}\n`, (error) => {
        if (error === undefined || error === null) resume(Effect.void)
      })
    )

/** An error that a person can act on has a message for that. */
const explained = <R>(effect: Effect.Effect<Ending.Ending, Error, R>): Effect.Effect<Ending.Ending, never, R> =>
  Effect.catchAll(effect, (error) => Output.failed(error.message, ExitCode.refused))

// ---------------------------------------------------------------------------------------------
// what is asked for
// ---------------------------------------------------------------------------------------------

/** What looks like an option is none that is known. */
const argument = (name: string) =>
  Args.mapEffect(Args.text({ name }), (text) =>
    text === ""
      ? Effect.fail(HelpDoc.p(`${name} is empty`))
      : text.startsWith("-")
      ? Effect.fail(HelpDoc.p(`${text} is no option. A file of that name is ./${text}`))
      : Effect.succeed(text))

const path = argument("PATH").pipe(Args.withDescription("The guarded file. Its lock is the file PATH.lock beside it"))

const directory = argument("DIR").pipe(Args.withDescription("A directory"))

const json = Options.boolean("json").pipe(Options.withDescription("Write JSON: an array with one object for each lock"))

const flag = (name: "nonblock" | "shared" | "exclusive") =>
  Options.boolean(name).pipe(
    Options.withAlias(RunOptions.options[name].short),
    Options.withDescription(RunOptions.options[name].description)
  )

const text = (name: "timeout" | "label" | "conflict-exit-code" | "command", what: string) =>
  Options.text(name).pipe(
    Options.withAlias(RunOptions.options[name].short),
    Options.withPseudoName(what),
    Options.withDescription(RunOptions.options[name].description),
    Options.withDefault(undefined)
  )

const timeout = text("timeout", "TIME")

// ---------------------------------------------------------------------------------------------
// what is done
// ---------------------------------------------------------------------------------------------

/** Writes those that can be looked at, also where others cannot: a line says what is wrong with each of these. */
const show = ({ found, problems }: Locks.Found<Status.Located>, isJson: boolean) =>
  Effect.gen(function*() {
    for (const problem of problems) Output.complain(printable(problem))
    const now = yield* DateTime.now
    yield* print(isJson ? Status.toJson(found) : found.map((lock) => Status.describe(lock, now)).join("\n"))
    return problems.length === 0 ? done : Ending.exit(ExitCode.refused)
  })

const breakLock = (name: string, isForced: boolean) =>
  Effect.gen(function*() {
    const { path, status } = yield* Locks.inspect(name)
    const description = Status.describe({ path, status }, yield* DateTime.now)
    if (status === undefined) {
      yield* print(description)
      return done
    }
    if (status.holders.length === 0) {
      return yield* Output.failed(
        `${description}. Remove ${path}.lock by hand if no program needs it any more`,
        ExitCode.refused
      )
    }
    if (status.state !== "abandoned" && !isForced) {
      return yield* Output.failed(`${description}. With --force it is taken away all the same`, ExitCode.refused)
    }
    const broken = yield* Effect.forEach(status.holders, (holder) => FileLock.breakLock(path, holder))
    yield* print(broken.includes(true) ? `${path}.lock: broken` : `${path}.lock: its holder has released it meanwhile`)
    return done
  })

const waitFor = (name: string, timeout: string | undefined) =>
  Effect.gen(function*() {
    const duration = Times.parse(timeout ?? "infinity")
    if (Either.isLeft(duration)) return yield* Output.failed(`wait: ${duration.left}`, ExitCode.usage)
    const { path, status } = yield* Locks.inspect(name)
    // Nothing is made where there is nothing to wait for.
    if (status === undefined) return done
    const wait = Effect.gen(function*() {
      const endLine = yield* WaitLine.show(path, Node.make({}).info.instance)
      return yield* FileLock.withLock(Effect.succeed(done), path, {
        timeout: duration.right,
        label: "effect-filelock wait"
      }).pipe(Effect.ensuring(endLine))
    })
    return yield* Effect.scoped(wait).pipe(
      Effect.catchAll((error) => Output.failed(error.message, ExitCode.notObtained)),
      Signals.interrupting
    )
  })

// ---------------------------------------------------------------------------------------------
// the command
// ---------------------------------------------------------------------------------------------

/** Reads the arguments and does what they say. */
export const main = (argv: ReadonlyArray<string>): Effect.Effect<Ending.Ending> => {
  if (argv.length <= 2) {
    return Output.failed(
      "which subcommand? run, status, list, wait, break, or top. See effect-filelock --help",
      ExitCode.usage
    )
  }
  let ending = done
  const finish = <R>(effect: Effect.Effect<Ending.Ending, Error, R>): Effect.Effect<void, never, R> =>
    Effect.map(explained(effect), (result) => {
      ending = result
    })

  const run = Command.make("run", {
    ...{ timeout, nonblock: flag("nonblock"), shared: flag("shared"), exclusive: flag("exclusive") },
    ...{ label: text("label", "TEXT"), "conflict-exit-code": text("conflict-exit-code", "NUMBER") },
    command: text("command", "SHELL COMMAND"),
    path,
    rest: Args.repeated(Args.text({ name: "COMMAND" })).pipe(
      Args.withDescription("What to run, with its arguments; -- may stand in front of it")
    )
  }, ({ path, rest, ...values }) =>
    finish(Either.match(RunOptions.make(values, [path, ...rest]), {
      onLeft: (message) => Output.failed(`run: ${message}`, ExitCode.usage),
      onRight: Run.run
    }))).pipe(Command.withDescription(
      `Runs a command under the lock of a file, and exits as it does; with ${ExitCode.notObtained} if the lock is not obtained`
    ))

  const status = Command.make(
    "status",
    { json, paths: Args.atLeast(path, 1) },
    ({ json, paths }) => finish(Effect.flatMap(Locks.inspectEach(paths), (locks) => show(locks, json)))
  ).pipe(Command.withDescription("Says who holds a lock, since when, whether the holder lives, and how many wait"))

  const list = Command.make(
    "list",
    { json, directory },
    ({ directory, json }) => finish(Effect.flatMap(Locks.below(directory), (locks) => show(locks, json)))
  ).pipe(Command.withDescription("Lists every lock below a directory"))

  const breaking = Command.make("break", {
    force: Options.boolean("force").pipe(
      Options.withAlias("f"),
      Options.withDescription("Break the lock of a live holder, too, which is told that it has lost it")
    ),
    path
  }, ({ force, path }) => finish(breakLock(path, force))).pipe(
    Command.withDescription("Removes the lock of a dead holder")
  )

  const wait = Command.make("wait", { timeout, path }, ({ path, timeout }) => finish(waitFor(path, timeout))).pipe(
    Command.withDescription(`Returns when a lock is free; with ${ExitCode.notObtained} if it is not in time`)
  )

  const top = Command.make("top", { directory }, ({ directory }) => finish(Top.run(directory))).pipe(
    Command.withDescription("Shows the locks below a directory, their holders and who waits, while they change")
  )

  const command = Command.make("effect-filelock").pipe(
    Command.withDescription("Locks files: one holder at a time, whatever crashes"),
    Command.withSubcommands([run, status, list, wait, breaking, top])
  )
  const cli = Command.run(command, {
    name: "effect-filelock",
    version,
    executable: "effect-filelock",
    footer: HelpDoc.p(
      `Exit status: that of COMMAND; ${ExitCode.notObtained}: the lock was not obtained; ${ExitCode.lost}: it was lost; ` +
        `${ExitCode.usage}: wrong usage. More is in man effect-filelock`
    )
  })
  // The help of a subcommand is about that.
  const showBuiltIns = argv.slice(2).every((argument) => argument.startsWith("-"))
  return Effect.consoleWith((console) => Effect.withConsole(cli(argv), plain(console))).pipe(
    Effect.map(() => ending),
    Effect.catchAll((error) =>
      ValidationError.isValidationError(error)
        ? Effect.succeed(Ending.exit(ExitCode.usage))
        : Output.failed(String(error), ExitCode.refused)
    ),
    Effect.provide(
      Layer.mergeAll(NodeContext.layer, NodeFileLock.layer, CliConfig.layer({ isCaseSensitive: true, showBuiltIns }))
    )
  )
}

const isPlain = !process.stdout.isTTY || (process.env["NO_COLOR"] ?? "") !== ""

/** What is wrong with the arguments, in one line; the help without colors where they are not wanted. */
const plain = (console: Console.Console): Console.Console => ({
  ...console,
  log: (...parts) =>
    console.log(...isPlain ? parts.map((part) => NodeUtil.stripVTControlCharacters(String(part))) : parts),
  error: (...parts) =>
    Effect.sync(() =>
      Output.complain(NodeUtil.stripVTControlCharacters(parts.map(String).join(" ")).replace(/\s+/g, " ").trim())
    )
})
