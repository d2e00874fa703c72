import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as FileLock from "../../src/FileLock.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"
import * as Bundle from "../torture/Bundle.js"
import * as ChildProcess from "../torture/ChildProcess.js"
import * as TemporaryDirectory from "../torture/TemporaryDirectory.js"
import * as Messages from "./fixtures/messages.js"
import * as Scene from "./fixtures/scene.js"

/** The script of the process that kills itself, and the record of a process that is dead. */
class Fixtures extends Context.Tag("test/Fixtures")<Fixtures, {
  readonly script: string
  readonly deadRecord: string
}>() {
  static readonly layer = Layer.scoped(
    Fixtures,
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("kill-points")
      const script = yield* Bundle.make(
        fileURLToPath(new URL("./fixtures/killedProcess.ts", import.meta.url)),
        directory
      )
      const scene = yield* Scene.make
      const process = yield* scene.start()
      yield* process.acquire(0)
      process.signal("SIGKILL")
      yield* process.exit
      return { script, deadRecord: Fs.readFileSync(scene.lockPath, "utf8") }
    })
  ).pipe(Layer.provide(Scene.Script.layer))
}

/** Some ninety processes are started and killed; in milliseconds. */
const testTimeout = 90_000

/** Acquires and releases a lock in a process that kills itself after so many calls on the disk, or never. */
const run = (path: string, calls: number | null) =>
  Effect.gen(function*() {
    const { script } = yield* Fixtures
    const child = yield* ChildProcess.spawn({
      script,
      argument: JSON.stringify({ path, calls }),
      commands: Schema.Never,
      messages: Messages.Calls
    })
    const { signal } = yield* child.exit
    return { signal, calls: (yield* child.messages.takeAll) }
  }).pipe(Effect.scoped)

/** A new directory, with what the name of a file beside the guarded one is to contain. */
const prepare = (files: Readonly<Record<string, string>>) =>
  Effect.map(TemporaryDirectory.make("kill-point"), (directory) => {
    for (const [name, content] of Object.entries(files)) Fs.writeFileSync(Path.join(directory, name), content)
    return { directory, path: Path.join(directory, "tasks.json") }
  })

/**
 * Waits until a directory is empty. The clean-up goes on in the background: a request file that was created and not written names no owner,
 * and is removed after a lease.
 */
const untilEmpty = (directory: string) =>
  Effect.sync(() => Fs.readdirSync(directory)).pipe(
    Effect.repeat({ until: (names) => names.length === 0, schedule: Schedule.spaced("5 millis") })
  )

const killAtEachCall = (files: Readonly<Record<string, string>>) =>
  Effect.gen(function*() {
    const complete = yield* Effect.scoped(Effect.flatMap(prepare(files), ({ path }) => run(path, null)))
    const [{ calls } = { calls: 0 }] = complete.calls
    assert.isAbove(calls, 10)
    yield* Effect.forEach(
      Array.from({ length: calls }, (_, index) => index + 1),
      (call) =>
        Effect.scoped(Effect.gen(function*() {
          const { directory, path } = yield* prepare(files)
          const { signal } = yield* run(path, call)
          assert.strictEqual(signal, "SIGKILL", `call ${call} of ${calls}`)
          yield* Effect.zipRight(
            FileLock.withLock(Effect.void, path, { timeout: 0 }),
            untilEmpty(directory)
          ).pipe(Effect.provide(NodeFileLock.layerWith({ lease: "200 millis" })))
        })),
      { concurrency: 2, discard: true }
    )
  })

layer(Fixtures.layer, { excludeTestServices: true })("A process that is killed at any call on the disk", (it) => {
  it.effect("leaves a free lock that the next process gets at once", () => killAtEachCall({}))

  it.effect(
    "leaves the lock of a dead holder so that the next process gets it at once",
    () => Effect.flatMap(Fixtures, ({ deadRecord }) => killAtEachCall({ "tasks.json.lock": deadRecord })),
    testTimeout
  )

  it.effect(
    "leaves the lock and the claim of dead processes so that the next process gets the lock at once",
    () =>
      Effect.flatMap(
        Fixtures,
        ({ deadRecord }) => killAtEachCall({ "tasks.json.lock": deadRecord, "tasks.json.lock.claim": deadRecord })
      ),
    testTimeout
  )
})
