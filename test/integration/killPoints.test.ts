import { assert } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as FileLock from "../../src/FileLock.js"
import * as LockedFile from "../../src/LockedFile.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"
import * as Bundle from "../torture/Bundle.js"
import * as ChildProcess from "../torture/ChildProcess.js"
import * as TemporaryDirectory from "../torture/TemporaryDirectory.js"
import { distanceOf } from "../utils/killPoints.js"
import { layer } from "../utils/layer.js"
import * as Messages from "./fixtures/messages.js"

/** In milliseconds: some forty processes are started and killed. */
const testTimeout = 120_000

/** The script of the process that kills itself. */
class Script extends Context.Tag("test/Script")<Script, string>() {
  static readonly layer = Layer.scoped(
    Script,
    Bundle.makeTemporary(new URL("./fixtures/killedProcess.ts", import.meta.url))
  )
}

const distance = distanceOf(3)

type Files = Readonly<Record<string, string>>

/**
 * Acquires and releases a lock, perhaps to write a file, in a process that kills itself after so many changes of the disk, or never. `files`
 * are there when it begins.
 */
const run = (directory: string, changes: number | null, files: Files, content: string | null = null) =>
  Effect.gen(function*() {
    const script = yield* Script
    const path = Path.join(directory, "tasks.json")
    const settings: typeof Messages.KillSettings.Type = {
      path,
      changes,
      content,
      files: Object.fromEntries(
        Object.entries(files).map(([name, content]) => [Path.join(directory, name), content])
      )
    }
    const child = yield* ChildProcess.spawn({
      script,
      argument: JSON.stringify(settings),
      commands: Schema.Never,
      messages: Messages.Changes
    })
    const { code, signal } = yield* child.exit
    const [answer] = yield* child.messages.takeAll
    return { path, code, signal, answer, output: child.output() }
  }).pipe(Effect.scoped)

/** How many changes the whole takes. */
const countChanges = (files: Files, content: string | null = null) =>
  Effect.gen(function*() {
    const { answer, code, output } = yield* run(yield* TemporaryDirectory.make("kill-point"), null, files, content)
    assert.strictEqual(code, 0, output)
    return answer?.changes ?? 0
  }).pipe(Effect.scoped)

/** The record of a process that was killed while it held the lock: the first file that the lock leaves when it is killed ever later. */
const deadRecord = Effect.gen(function*() {
  const changes = yield* countChanges({})
  for (let change = changes; change > 0; change--) {
    const directory = yield* TemporaryDirectory.make("kill-point")
    const { path } = yield* run(directory, change, {})
    if (Fs.existsSync(`${path}.lock`)) return Fs.readFileSync(`${path}.lock`, "utf8")
  }
  return yield* Effect.dieMessage("no process has left a lock file")
}).pipe(Effect.scoped)

/** A request file that was created and not written names no owner: the clean-up removes it after a lease. */
const untilOnly = (directory: string, expected: ReadonlyArray<string>) =>
  Effect.sync(() => Fs.readdirSync(directory)).pipe(
    Effect.repeat({ until: (names) => names.join() === expected.join(), schedule: Schedule.spaced("5 millis") })
  )

const killAtEachChange = (files: Files, atLeast: number) =>
  Effect.gen(function*() {
    const changes = yield* countChanges(files)
    assert.isAtLeast(changes, atLeast)
    yield* Effect.forEach(
      Array.range(1, changes).filter((change) => (changes - change) % distance === 0),
      (change) =>
        Effect.scoped(Effect.gen(function*() {
          const directory = yield* TemporaryDirectory.make("kill-point")
          const { path, signal } = yield* run(directory, change, files)
          assert.strictEqual(signal, "SIGKILL", `change ${change} of ${changes}`)
          const left = Fs.readdirSync(directory).sort().join(", ")
          // The default lease: a takeover is given up when half a lease has passed, as on a machine that is very busy.
          const outcome = yield* FileLock.withLockIfAvailable(Effect.void, path).pipe(
            Effect.provide(NodeFileLock.layer)
          )
          assert.strictEqual(outcome._tag, "Some", `killed after change ${change} of ${changes}, which left ${left}`)
          yield* Effect.zipRight(FileLock.withLock(Effect.void, path), untilOnly(directory, [])).pipe(
            Effect.provide(NodeFileLock.layerWith({ lease: "100 millis" }))
          )
        })),
      { concurrency: 2, discard: true }
    )
  })

/** More than a page. */
const contents = ["old", "new"].map((word) => `${word}\n`.repeat(10_000))

const killAtEachChangeOfWrite = Effect.gen(function*() {
  const [old = "", written = ""] = contents
  const files = { "tasks.json": old }
  const changes = yield* countChanges(files, written)
  assert.isAtLeast(changes, 8)
  const found = yield* Effect.forEach(
    Array.range(1, changes).filter((change) => (changes - change) % distance === 0),
    (change) =>
      Effect.scoped(Effect.gen(function*() {
        const directory = yield* TemporaryDirectory.make("kill-point")
        const { path, signal } = yield* run(directory, change, files, written)
        assert.strictEqual(signal, "SIGKILL", `change ${change} of ${changes}`)
        const left = Fs.readFileSync(path, "utf8")
        assert.include(contents, left, `killed after change ${change} of ${changes}`)
        yield* LockedFile.updateString(path, Option.match({ onNone: () => "none", onSome: (now) => `${now}next` }), {
          timeout: 0
        }).pipe(Effect.provide(NodeFileLock.layer))
        assert.strictEqual(Fs.readFileSync(path, "utf8"), `${left}next`)
        yield* Effect.zipRight(FileLock.withLock(Effect.void, path), untilOnly(directory, ["tasks.json"])).pipe(
          Effect.provide(NodeFileLock.layerWith({ lease: "100 millis" }))
        )
        return contents.indexOf(left)
      })),
    { concurrency: 2 }
  )
  assert.deepStrictEqual([...new Set(found)].sort(), [0, 1])
})

layer(Script.layer, { excludeTestServices: true })("A process that is killed after any change of the disk", (it) => {
  it.effect("leaves a free lock that the next process gets at once", () => killAtEachChange({}, 5), testTimeout)

  it.effect(
    "leaves the lock of a dead holder so that the next process gets it at once",
    () => Effect.flatMap(deadRecord, (record) => killAtEachChange({ "tasks.json.lock": record }, 6)),
    testTimeout
  )

  it.effect(
    "leaves the lock and the claim of dead processes so that the next process gets the lock at once",
    () =>
      Effect.flatMap(
        deadRecord,
        (record) => killAtEachChange({ "tasks.json.lock": record, "tasks.json.lock.claim": record }, 8)
      ),
    testTimeout
  )

  it.effect(
    "leaves the file that it writes as it was or as it was to be, and the next process updates it at once",
    () => killAtEachChangeOfWrite,
    testTimeout
  )
})
