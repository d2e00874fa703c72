import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NodeProcess from "node:child_process"
import * as Fs from "node:fs"
import { layer } from "../utils/layer.js"
import { acquired, refused } from "./fixtures/answers.js"
import * as Program from "./fixtures/program.js"
import * as Scene from "./fixtures/scene.js"

/** Locks a file with flock(2), as the `filelock` of Python does, and creates it where it is missing. */
const flock = (path: string) =>
  Effect.tap(
    Program.start("flock", [path, "sh", "-c", "echo locked; exec sleep 600"]),
    (program) => program.prints("locked")
  )

/** Whether another program holds the file with flock(2). */
const isFlocked = (path: string): boolean =>
  NodeProcess.spawnSync("flock", ["--nonblock", "--conflict-exit-code", "75", path, "true"]).status === 75

layer(Scene.Script.layer, { excludeTestServices: true })("Something else at the path of a lock", (it) => {
  it.scoped.each([
    ["that existed before", true],
    ["that flock(1) created", false]
  ])(
    "An empty file %s and is locked by flock(1) is foreign, and stays as it is",
    ([_, exists]) =>
      Effect.gen(function*() {
        const scene = yield* Scene.make
        if (exists) Fs.writeFileSync(scene.lockPath, "")
        yield* flock(scene.lockPath)
        const before = Fs.statSync(scene.lockPath)
        const process = yield* scene.start()
        assert.deepInclude(yield* process.acquire(0), refused("Foreign"))
        assert.deepInclude(yield* process.acquire(300), refused("Foreign"))
        const after = Fs.statSync(scene.lockPath)
        assert.strictEqual(after.ino, before.ino)
        assert.strictEqual(after.mtimeMs, before.mtimeMs)
        assert.strictEqual(after.size, 0)
        assert.isTrue(isFlocked(scene.lockPath))
        assert.deepStrictEqual(scene.files(), ["tasks.json.lock"])
      })
  )

  it.scoped("A process waits for a foreign file until it is gone", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      Fs.writeFileSync(scene.lockPath, "")
      const process = yield* scene.start()
      yield* process.ask("infinity")
      Fs.unlinkSync(scene.lockPath)
      assert.deepInclude(yield* process.answer, acquired)
      yield* process.release
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("A file with other content, a directory and a FIFO are foreign, and stay", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const process = yield* scene.start()
      Fs.writeFileSync(scene.lockPath, "4242\n")
      assert.deepInclude(yield* process.acquire(0), refused("Foreign"))
      assert.strictEqual(Fs.readFileSync(scene.lockPath, "utf8"), "4242\n")
      Fs.unlinkSync(scene.lockPath)
      Fs.mkdirSync(scene.lockPath)
      assert.deepInclude(yield* process.acquire(0), refused("Foreign"))
      Fs.rmdirSync(scene.lockPath)
      Scene.makeFifo(scene.lockPath)
      assert.deepInclude(yield* process.acquire(0), refused("Foreign"))
      assert.deepStrictEqual(scene.files(), ["tasks.json.lock"])
      Fs.unlinkSync(scene.lockPath)
      assert.deepInclude(yield* process.acquire(0), acquired)
    }))

  it.scoped("A holder learns that its lock file was replaced, and leaves the other file in place", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const process = yield* scene.start()
      assert.deepInclude(yield* process.acquire(0), acquired)
      Fs.writeFileSync(scene.lockPath, "not a lock\n")
      assert.deepInclude(yield* process.verify, { _tag: "lost", reason: "Replaced" })
      yield* process.release
      assert.strictEqual(Fs.readFileSync(scene.lockPath, "utf8"), "not a lock\n")
    }))
})
