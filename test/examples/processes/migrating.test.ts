import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Program from "../../integration/fixtures/program.js"
import * as Server from "../../servers/server.js"
import * as Bundle from "../../torture/Bundle.js"
import * as TemporaryDirectory from "../../torture/TemporaryDirectory.js"
import { layer } from "../../utils/layer.js"
import * as Example from "./Example.js"

/** What a program prints in a directory with these files, and what it leaves there. */
const outcome = (file: string, files: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function*() {
    const directory = yield* TemporaryDirectory.make("migrating")
    for (const [name, content] of Object.entries(files)) Fs.writeFileSync(`${directory}/${name}`, content)
    const { stderr, stdout } = yield* (yield* Example.Examples)(file, directory)
    assert.strictEqual(stderr, "")
    const left = Fs.readdirSync(directory).map((name) => [name, Fs.readFileSync(`${directory}/${name}`, "utf8")])
    return { stdout, left: Object.fromEntries(left) }
  })

layer(Example.layer("migrating"), { excludeTestServices: true })("The program that takes the place", (it) => {
  it.scoped("of proper-lockfile", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* outcome("properLockfile.ts", { "tasks.txt": "cook\n" }), {
        stdout: "",
        left: { "tasks.txt": "cook\nsweep\n" }
      })
    }))

  it.scoped("of lockfile", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* outcome("lockfile.ts"), { stdout: "alone\n", left: {} })
    }))

  it.scoped("of Python's filelock", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* outcome("filelock.ts"), { stdout: "alone\nagain\n", left: {} })
    }))

  it.scoped.skipIf(Server.find("flock") === undefined)("of flock(1), beside it", () =>
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("migrating")
      const script = yield* Bundle.makeTemporary(new URL("../../../examples/migrating/flock.ts", import.meta.url))
      const inDirectory = (line: string) => Program.start("sh", ["-c", `cd ${directory} && ${line}`])

      // `flock` has the lock until its input ends.
      const other = yield* inDirectory("exec flock reports.lock sh -c 'echo locked; exec cat'")
      yield* other.prints("locked")
      const program = yield* inDirectory(`exec ${process.execPath} ${script}`)
      yield* program.prints("Waiting for")
      yield* other.endInput
      assert.strictEqual(yield* program.exit, 0)
      assert.match(program.output(), /\nalone\n$/)
    }))
})
