import * as Effect from "effect/Effect"
import * as Ending from "./ending.js"
import * as Output from "./output.js"

/** Runs what this process is for, and ends the process as that says. */
export const start = (program: Effect.Effect<Ending.Ending>): void => {
  // A terminal that is gone, or a disk that is full: there is no other place to say that, and what is done goes on.
  process.stderr.on("error", () => {})
  void Effect.runPromise(Effect.provide(program, Output.logger)).then(Ending.end, (error) => {
    Output.complain(error instanceof Error ? error.message : String(error))
    process.exit(1)
  })
}
