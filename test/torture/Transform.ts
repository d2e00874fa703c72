/**
 * Many fibers of several processes replace the chunk in a file by another one, as Go tests its `lockedfile`: what each of them finds is a
 * whole chunk.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Bundle from "./Bundle.js"
import * as ChildProcess from "./ChildProcess.js"
import * as TemporaryDirectory from "./TemporaryDirectory.js"
import * as Messages from "./transformMessages.js"
import * as Words from "./Words.js"

/** What to do. */
export interface Options {
  readonly processes: number
  /** In each process. */
  readonly fibers: number
  /** Of all processes together. */
  readonly runs: number
  readonly seed: number
  readonly locked: boolean
  /** Every second process uses `FileLock.layer` over the services of `@effect/platform-node`, the others `NodeFileLock.layer`. */
  readonly mixed: boolean
}

/** What was seen. */
export interface Report {
  readonly runs: number
  /** What must not happen and did, in sentences. */
  readonly violations: ReadonlyArray<string>
}

const workerSource = fileURLToPath(new URL("./transformWorker.ts", import.meta.url))

const isOf = ChildProcess.isOf<Messages.Message>()

/** Runs the transformations; everything it started has ended when it returns. */
export const run = (options: Options): Effect.Effect<Report, ChildProcess.UnexpectedExit> =>
  Effect.scoped(Effect.gen(function*() {
    const root = yield* TemporaryDirectory.make("transform")
    const script = yield* Bundle.make(workerSource, root)
    const directory = Path.join(root, "locked")
    const path = Path.join(directory, "words")
    Fs.mkdirSync(directory)
    Fs.writeFileSync(path, Words.first)
    const workers = yield* Effect.forEach(
      Array.from({ length: options.processes }, (_, index) => index),
      (index) =>
        ChildProcess.spawn({
          script,
          argument: JSON.stringify(
            {
              path,
              seed: options.seed,
              incarnation: index,
              runs: Math.ceil((options.runs - index) / options.processes),
              fibers: options.fibers,
              locked: options.locked,
              platform: options.mixed && index % 2 === 1
            } satisfies typeof Messages.Settings.Type
          ),
          commands: Messages.Command,
          messages: Messages.Message
        })
    )
    yield* Effect.forEach(workers, (worker) => ChildProcess.receive(worker, isOf("ready")))
    yield* Effect.forEach(workers, (worker) => worker.send("begin"))
    const done = yield* Effect.forEach(workers, (worker) => ChildProcess.receive(worker, isOf("done")))
    yield* Effect.forEach(workers, (worker) => worker.exit)
    const problem = Words.problemOf(Fs.readFileSync(path))
    const left = Fs.readdirSync(directory).filter((name) => name !== "words")
    return {
      runs: done.reduce((sum, { runs }) => sum + runs, 0),
      violations: [
        ...done.flatMap(({ problems }) => problems),
        ...problem === undefined ? [] : [`at the end: ${problem}`],
        ...left.map((name) => `left beside the file: ${name}`)
      ]
    }
  }))
