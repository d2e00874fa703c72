import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import * as FileLock from "../../../src/FileLock.js"
import * as NodeFileLock from "../../../src/NodeFileLock.js"
import * as TemporaryDirectory from "../../torture/TemporaryDirectory.js"
import { layer } from "../../utils/layer.js"
import * as Example from "./Example.js"

const Programs = Layer.merge(Example.layer("gettingStarted"), NodeFileLock.layer)

layer(Programs, { excludeTestServices: true })("The programs of the guide", (it) => {
  it.scoped("that count do so together, and no count is lost", () =>
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("started")
      const run = yield* Example.Examples
      const results = yield* Effect.forEach(
        ["count.ts", "tally.ts", "count.ts", "tally.ts"],
        (program) => run(program, directory),
        { concurrency: "unbounded" }
      )
      assert.sameMembers(results.map(({ stdout }) => stdout), [1, 2, 3, 4].map((count) => `count is ${count}\n`))
      assert.deepStrictEqual(Fs.readdirSync(directory), ["count.txt"])
      assert.strictEqual(Fs.readFileSync(`${directory}/count.txt`, "utf8"), "4")
    }))

  it.scoped("say who has the lock where they do not wait for long", () =>
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("busy")
      const busy = (yield* Example.Examples)("busy.ts", directory)
      const { stdout } = yield* FileLock.withLock(busy, `${directory}/tasks.json`, { label: "a test" })
      assert.match(
        stdout,
        /^Timed out after \d+ms waiting for .*\/tasks\.json\.lock: held for .* by pid \d+ on \S+ \("a test"\)\n$/
      )
      assert.strictEqual((yield* busy).stdout, "compacting\n")
    }))

  it.scoped("say what they hold, and make the missing directory", () =>
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("publish")
      const { stdout } = yield* (yield* Example.Examples)("publish.ts", directory)
      assert.match(stdout, /^pid \d+ holds .*\/site\/index\.html\.lock\n$/)
      assert.deepStrictEqual(Fs.readdirSync(`${directory}/site`), [])
    }))
})
