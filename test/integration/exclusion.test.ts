import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { layer } from "../utils/layer.js"
import { acquired, timedOut } from "./fixtures/answers.js"
import * as Scene from "./fixtures/scene.js"

layer(Scene.Script.layer, { excludeTestServices: true })("Exclusion between processes", (it) => {
  it.scoped("One process holds a lock at a time, and the others are told which one", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start()
      const second = yield* scene.start()
      assert.deepInclude(yield* first.acquire(0), acquired)
      assert.deepInclude(yield* second.acquire(0), timedOut(first.pid))
      yield* second.ask("infinity")
      yield* first.release
      assert.deepInclude(yield* second.answer, acquired)
      assert.deepInclude(yield* first.acquire(0), timedOut(second.pid))
      yield* second.release
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("NodeFileLock.layer and FileLock.layer over the platform's services exclude each other", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const node = yield* scene.start({ layer: "node" })
      const platform = yield* scene.start({ layer: "platform" })
      assert.deepInclude(yield* node.acquire(0), acquired)
      assert.deepInclude(yield* platform.acquire(0), timedOut(node.pid))
      yield* platform.ask("infinity")
      yield* node.release
      assert.deepInclude(yield* platform.answer, acquired)
      assert.deepInclude(yield* platform.verify, { _tag: "verified" })
      assert.deepInclude(yield* node.acquire(0), timedOut(platform.pid))
      yield* node.ask("infinity")
      platform.signal("SIGKILL")
      assert.deepInclude(yield* node.answer, acquired)
      yield* node.release
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("A stopped holder of the same machine keeps its lock for longer than its lease", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start({ lease: 1_000 })
      const second = yield* scene.start({ lease: 1_000 })
      assert.deepInclude(yield* first.acquire(0), acquired)
      first.signal("SIGSTOP")
      assert.deepInclude(yield* second.acquire(2_500), timedOut(first.pid))
      first.signal("SIGCONT")
      assert.deepInclude(yield* first.verify, { _tag: "verified" })
      yield* first.release
      assert.deepInclude(yield* second.acquire(0), acquired)
    }))

  it.scoped("Each of several waiting processes gets the lock after its holder was killed", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start()
      const others = yield* Effect.replicateEffect(scene.start(), 3)
      assert.deepInclude(yield* first.acquire(0), acquired)
      yield* Effect.forEach(others, (other) => other.ask("infinity"))
      const served = yield* Effect.fork(Effect.forEach(
        others,
        (other) => Effect.zipRight(other.answer, other.release),
        { concurrency: "unbounded", discard: true }
      ))
      first.signal("SIGKILL")
      yield* Fiber.join(served)
      assert.deepStrictEqual(scene.files(), [])
    }))
})
