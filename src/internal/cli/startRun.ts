import * as Either from "effect/Either"
import * as ExitCode from "./exitCode.js"
import * as Output from "./output.js"
import { run } from "./run.js"
import * as RunOptions from "./runOptions.js"
import * as Start from "./start.js"
import * as Terminal from "./terminal.js"

/** `effect-filelock run`, without all that its help and the other subcommands need. It writes nothing on stdout by itself. */
export const start = async (argv: ReadonlyArray<string>): Promise<void> => {
  const args = argv.slice(3)
  if (RunOptions.asksForHelp(args)) {
    const others = await import("./startOthers.js")
    return others.start(argv)
  }
  Terminal.leaveAlone()
  Start.start(Either.match(RunOptions.parse(args), {
    onLeft: (problem) => Output.failed(`run: ${problem}. See effect-filelock run --help`, ExitCode.usage),
    onRight: run
  }))
}
