/**
 * Runs programs of `examples` as their users do: each in a process of its own, in the directory of the test.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"
import * as Compiler from "../../torture/Compiler.js"
import * as TemporaryDirectory from "../../torture/TemporaryDirectory.js"

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

/** The programs of a test: what runs one of them in a directory. */
export class Examples extends Context.Tag("test/Examples")<
  Examples,
  (file: string, cwd: string, ...args: ReadonlyArray<string>) => Effect.Effect<Result>
>() {}

const directory = fileURLToPath(new URL("../../../examples", import.meta.url))

/** Compiles all files of a directory of `examples` at once, for all tests of a file. */
export const layer = (name: string): Layer.Layer<Examples> =>
  Layer.scoped(
    Examples,
    Effect.gen(function*() {
      const scripts = yield* TemporaryDirectory.make("examples")
      const entries = Fs.readdirSync(`${directory}/${name}`).filter((file) => file.endsWith(".ts"))
      yield* Effect.promise(() => Compiler.bundle(entries.map((file) => `${directory}/${name}/${file}`), scripts))
      return (file, cwd, ...args) => run(Compiler.scriptOf(file, scripts), cwd, args)
    })
  )
