/**
 * `npm run demo`
 *
 * Four processes add tasks to one file: first without a lock, then with it, where one of them is killed while it holds it.
 * Ends with 0 only if nothing was lost under the lock, and no two of them were inside at once.
 *
 * Effect has hundreds of modules, and to load each of them takes seconds. So this file loads none of them: it prints the first
 * line, compiles the demonstration and its worker into one script each, and runs that.
 */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import * as Compiler from "../test/torture/Compiler.js"
import * as DemoOutput from "./demoOutput.js"
import * as DemoPlan from "./demoPlan.js"
import type * as DemoProgram from "./demoProgram.js"

DemoOutput.print(DemoOutput.standard, `${DemoPlan.headline}\nThey are compiled and started first.`)

let running = false
/** Once the program runs, it stops by itself, and a second signal does not keep it from cleaning up: npm repeats Ctrl-C. */
const stop = (): void => {
  if (running) return
  DemoOutput.print(DemoOutput.standard, "\nStopped before it began. Nothing is left.")
  process.exit(130)
}
process.on("SIGINT", stop)
process.on("SIGTERM", stop)
process.stdout.on("error", stop)

const directory = Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-filelock-demo-")))
process.on("exit", () => Fs.rmSync(directory, { recursive: true, force: true }))

const source = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
const programSource = source("./demoProgram.ts")
const workerSource = source("./demoWorker.ts")
await Compiler.bundle([programSource, workerSource], directory)

const program: typeof DemoProgram = await import(
  pathToFileURL(Compiler.scriptOf(programSource, directory)).href
)
running = true
program.run(directory, Compiler.scriptOf(workerSource, directory))
