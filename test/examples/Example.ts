/**
 * Runs programs of `examples` as their users do: each in a process of its own, in the directory of the test.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import * as Bundle from "../torture/Bundle.js"

/** What a program has said, and its exit code. */
export interface Result {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a script in a directory until it ends. It is killed if the fiber is interrupted. */
const run = (script: string, cwd: string, args: ReadonlyArray<string>): Effect.Effect<Result> =>
  Effect.async((resume) => {
    const child = ChildProcess.execFile(process.execPath, [script, ...args], { cwd }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1
      resume(Effect.succeed({ code, stdout, stderr }))
    })
    return Effect.sync(() => child.kill("SIGKILL"))
  })

/** Compiles a file of `examples`, and answers with what runs it in a directory. */
export const makeExample = (
  file: string
): Effect.Effect<(cwd: string, ...args: ReadonlyArray<string>) => Effect.Effect<Result>, never, Scope.Scope> =>
  Effect.map(
    Bundle.makeTemporary(new URL(`../../examples/${file}`, import.meta.url)),
    (script) => (cwd, ...args) => run(script, cwd, args)
  )
