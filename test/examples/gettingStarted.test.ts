import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as FileLock from "../../src/FileLock.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"
import * as TemporaryDirectory from "../torture/TemporaryDirectory.js"
import * as Example from "./Example.js"

it.scopedLive("the first two programs of the guide count together, and no count is lost", () =>
  Effect.gen(function*() {
    const directory = yield* TemporaryDirectory.make("started")
    const count = yield* Example.makeExample("gettingStarted/count.ts")
    const tally = yield* Example.makeExample("gettingStarted/tally.ts")
    const results = yield* Effect.forEach([count, tally, count, tally], (program) => program(directory), {
      concurrency: "unbounded"
    })
    assert.sameMembers(results.map(({ stdout }) => stdout), [1, 2, 3, 4].map((count) => `count is ${count}\n`))
    assert.deepStrictEqual(Fs.readdirSync(directory), ["count.txt"])
    assert.strictEqual(Fs.readFileSync(`${directory}/count.txt`, "utf8"), "4")
  }))

it.scopedLive("the program that does not wait for long says who has the lock", () =>
  Effect.gen(function*() {
    const directory = yield* TemporaryDirectory.make("busy")
    const busy = yield* Example.makeExample("gettingStarted/busy.ts")
    const { stdout } = yield* FileLock.withLock(busy(directory), `${directory}/tasks.json`, { label: "a test" })
    assert.match(
      stdout,
      /^Timed out after \d+ms waiting for .*\/tasks\.json\.lock: held for .* by pid \d+ on \S+ \("a test"\)\n$/
    )
    assert.strictEqual((yield* busy(directory)).stdout, "compacting\n")
  }).pipe(Effect.provide(NodeFileLock.layer)))

it.scopedLive("the program with a handle says what it holds, and makes the missing directory", () =>
  Effect.gen(function*() {
    const directory = yield* TemporaryDirectory.make("publish")
    const { stdout } = yield* (yield* Example.makeExample("gettingStarted/publish.ts"))(directory)
    assert.match(stdout, /^pid \d+ holds .*\/site\/index\.html\.lock\n$/)
    assert.deepStrictEqual(Fs.readdirSync(`${directory}/site`), [])
  }))
