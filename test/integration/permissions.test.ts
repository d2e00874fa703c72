import { assert } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { LockAcquisitionError, LockDirectoryError, LockLostError } from "../../src/LockError.js"
import * as Bundle from "../torture/Bundle.js"
import * as TemporaryDirectory from "../torture/TemporaryDirectory.js"
import { layer } from "../utils/layer.js"
import { makeRecord } from "../utils/records.js"
import { acquired, refused } from "./fixtures/answers.js"
import * as Program from "./fixtures/program.js"
import * as Scene from "./fixtures/scene.js"

const Outcomes = Schema.parseJson(
  Schema.Array(Schema.NullOr(Schema.Union(LockAcquisitionError, LockDirectoryError, LockLostError)))
)

/** Locks files below a directory as a user that is not root, one after the other; an error for each, or `null`. */
const lockAsUser = (directory: string, files: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const script = yield* Bundle.makeTemporary(new URL("./fixtures/lockAsUser.ts", import.meta.url))
    const paths = files.map((file) => Path.join(directory, file))
    const program = yield* Program.start(process.execPath, [script, ...paths], Scene.unprivileged)
    assert.strictEqual(yield* program.exit, 0, program.output())
    return yield* Schema.decode(Outcomes)(program.output())
  })

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

  it.scoped("4. A program whose lock directory became unwritable ends soon after it has finished, and says what it left", () =>
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

  it.scoped("FileLock.layer tells another user at once where it may not write, and locks where it may", () =>
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("permissions")
      const modes = { closed: 0o555, secret: 0o000, open: 0o777 }
      for (const [name, mode] of Object.entries(modes)) {
        Fs.mkdirSync(`${directory}/${name}`)
        // The user that runs the tests is another one, or it is the owner, for whom the mode is the same.
        Fs.chmodSync(`${directory}/${name}`, mode)
      }
      const [first, second, third, fourth] = yield* lockAsUser(
        directory,
        ["closed/file", "closed/below/file", "secret/file", "open/file"]
      )
      for (const error of [first, second, third]) {
        assert.propertyVal(error, "_tag", "LockDirectoryError")
        assert.include(error?.message, "EACCES")
      }
      assert.isNull(fourth)
      Fs.chmodSync(`${directory}/secret`, 0o700)
      for (const name of Object.keys(modes)) {
        assert.deepStrictEqual(Fs.readdirSync(`${directory}/${name}`), [])
      }
    }))

  it.scoped("A lock file that FileLock.layer may not read may be of another user, as the error says", () =>
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("permissions")
      Fs.chmodSync(directory, 0o777)
      Fs.writeFileSync(`${directory}/file.lock`, makeRecord())
      Fs.chmodSync(`${directory}/file.lock`, 0o000)
      const [error] = yield* lockAsUser(directory, ["file"])
      assert.propertyVal(error, "reason", "PermissionDenied")
      assert.include(error?.message, `${directory}/file.lock`)
      assert.include(error?.message, "another user")
      assert.deepStrictEqual(Fs.readdirSync(directory), ["file.lock"])
    }))
})
