import { main } from "./commands.js"
import * as Output from "./output.js"
import * as Start from "./start.js"
import * as Terminal from "./terminal.js"

/** Any other subcommand, and the help. */
export const start = (argv: ReadonlyArray<string>): void => {
  // It changes them itself, and writes at its end.
  if (argv[2] !== "top") Terminal.leaveAlone()
  process.stdout.on("error", (error) => {
    // Output that nobody reads any more, as with `| head`.
    if ("code" in error && error.code === "EPIPE") process.exit(0)
    Output.complain(error.message)
    process.exit(1)
  })
  Start.start(main(argv))
}
