import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as FileLock from "../../../src/FileLock.js"
import * as NodeFileLock from "../../../src/NodeFileLock.js"
import * as TemporaryDirectory from "../../torture/TemporaryDirectory.js"
import { layer } from "../../utils/layer.js"
import * as Example from "./Example.js"

const Programs = Layer.merge(Example.layer("commandLine"), NodeFileLock.layer)

layer(Programs, { excludeTestServices: true })("The command-line tool", (it) => {
  it.scoped("adds notes beside itself, lists them, and exits with 75 where the file stays locked", () =>
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("notes")
      const run = yield* Example.Examples
      const notes = (...args: ReadonlyArray<string>) => run("notes.ts", directory, ...args)
      const added = yield* Effect.all([notes("add", "sweep"), notes("add", "cook")], { concurrency: "unbounded" })
      assert.deepStrictEqual(added.map(({ code }) => code), [0, 0])
      assert.sameMembers((yield* notes("list")).stdout.trim().split("\n"), ["sweep", "cook"])

      const refused = yield* FileLock.withLock(notes("add", "--wait", "0", "mend"), `${directory}/notes.json`)
      assert.strictEqual(refused.code, 75)
      assert.match(refused.stderr, /notes\.json\.lock is taken: held for .* by pid/)
      assert.strictEqual(refused.stdout, "")
    }))
})
