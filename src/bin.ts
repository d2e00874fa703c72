#!/usr/bin/env node
/**
 * The command `effect-filelock`. `run` is loaded alone: each script that uses it pays for its start.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Ending from "./internal/cli/ending.js"
import * as ExitCode from "./internal/cli/exitCode.js"
import * as Output from "./internal/cli/output.js"
import * as RunOptions from "./internal/cli/runOptions.js"
import * as Terminal from "./internal/cli/terminal.js"

const [name, ...args] = process.argv.slice(2)

const run = async (options: RunOptions.RunOptions): Promise<Effect.Effect<Ending.Ending>> => {
  const { run } = await import("./internal/cli/run.js")
  return run(options)
}

const others = async (): Promise<Effect.Effect<Ending.Ending>> => {
  const { main } = await import("./internal/cli/commands.js")
  return main(process.argv)
}

const program = (): Promise<Effect.Effect<Ending.Ending>> => {
  if (name !== "run" || RunOptions.asksForHelp(args)) return others()
  const options = RunOptions.parse(args)
  if (Either.isRight(options)) return run(options.right)
  return Promise.resolve(Output.failed(`run: ${options.left}. See effect-filelock run --help`, ExitCode.usage))
}

// It changes them itself, and writes at its end.
if (name !== "top") Terminal.leaveAlone()

process.stdout.on("error", (error) => {
  // It writes nothing there by itself.
  if (name === "run") return
  // Output that nobody reads any more, as with `| head`.
  if ("code" in error && error.code === "EPIPE") process.exit(0)
  Output.complain(error.message)
  process.exit(1)
})

// A terminal that is gone, or a disk that is full: there is no other place to say that, and what is done goes on.
process.stderr.on("error", () => {})

program().then((program) => Effect.runPromise(Effect.provide(program, Output.logger))).then(Ending.end, (error) => {
  Output.complain(error instanceof Error ? error.message : String(error))
  process.exit(1)
})
