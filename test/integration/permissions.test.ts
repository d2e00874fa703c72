import { assert, layer } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Bundle from "../torture/Bundle.js"
import { acquired, refused } from "./fixtures/answers.js"
import * as Program from "./fixtures/program.js"
import * as Scene from "./fixtures/scene.js"

layer(Scene.Script.layer, { excludeTestServices: true })("Permissions", (it) => {
  it.scoped("A directory that may not be written is a LockDirectoryError at once", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      Fs.chmodSync(scene.directory, 0o555)
      const process = yield* scene.start(Scene.unprivileged)
      assert.deepInclude(yield* process.acquire(0), { _tag: "refused", error: "LockDirectoryError" })
      assert.deepInclude(yield* process.acquire("infinity"), { _tag: "refused", error: "LockDirectoryError" })
    }))

  it.scoped("A directory that may not be created is a LockDirectoryError at once", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      Fs.rmdirSync(scene.directory)
      const process = yield* scene.start(Scene.unprivileged)
      if (Scene.unprivileged.uid === undefined) Fs.chmodSync(Path.dirname(scene.directory), 0o555)
      assert.deepInclude(yield* process.acquire("infinity"), { _tag: "refused", error: "LockDirectoryError" })
    }))

  it.scoped("A lock file that may not be read is PermissionDenied, and stays", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      Fs.chmodSync(scene.directory, 0o777)
      Fs.writeFileSync(scene.lockPath, "", { mode: 0o000 })
      const process = yield* scene.start(Scene.unprivileged)
      assert.deepInclude(yield* process.acquire("infinity"), refused("PermissionDenied"))
      assert.deepStrictEqual(scene.files(), ["tasks.json.lock"])
    }))

  it.scoped("A lock file that its holder may not read any more stays at the release, and is recovered once the holder has ended", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      Fs.chmodSync(scene.directory, 0o777)
      const first = yield* scene.start(Scene.unprivileged)
      const second = yield* scene.start(Scene.unprivileged)
      assert.deepInclude(yield* first.acquire(0), acquired)
      Fs.chmodSync(scene.lockPath, 0o000)
      yield* first.release
      assert.deepStrictEqual(scene.files(), ["tasks.json.lock"])
      assert.include(first.output(), "Could not remove")
      Fs.chmodSync(scene.lockPath, 0o644)
      first.signal("SIGTERM")
      yield* first.exit
      assert.deepInclude(yield* second.acquire(0), acquired)
      yield* second.release
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("A program whose lock directory became unwritable ends soon after it has finished, and says what it left", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const script = yield* Bundle.make(
        fileURLToPath(new URL("./fixtures/finishingProgram.ts", import.meta.url)),
        Path.dirname(scene.directory)
      )
      Fs.chmodSync(scene.directory, 0o777)
      const program = yield* Program.start(process.execPath, [script, scene.path], Scene.unprivileged)
      yield* program.prints("locked")
      Fs.chmodSync(scene.directory, 0o555)
      const [elapsed, code] = yield* Effect.timed(Effect.zipRight(program.endInput, program.exit))
      assert.strictEqual(code, 0)
      assert.include(program.output(), `Could not remove ${scene.lockPath}`)
      assert.deepStrictEqual(scene.files(), ["tasks.json.lock"])
      assert.isBelow(Duration.toMillis(elapsed), 10_000)
      Fs.chmodSync(scene.directory, 0o777)
      const next = yield* scene.start(Scene.unprivileged)
      assert.deepInclude(yield* next.acquire(0), acquired)
      yield* next.release
      assert.deepStrictEqual(scene.files(), [])
    }))
})
