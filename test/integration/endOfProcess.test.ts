import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { layer } from "../utils/layer.js"
import { acquired } from "./fixtures/answers.js"
import * as Scene from "./fixtures/scene.js"

layer(Scene.Script.layer, { excludeTestServices: true })("The end of a process", (it) => {
  it.scoped("A holder that is killed with SIGKILL loses the lock, however long the lease is", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start()
      const second = yield* scene.start()
      assert.deepInclude(yield* first.acquire(0), acquired)
      yield* second.ask("infinity")
      first.signal("SIGKILL")
      assert.deepInclude(yield* second.answer, acquired)
      yield* second.release
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("A holder that calls process.exit loses the lock to an acquisition that tries only once", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start()
      const second = yield* scene.start()
      assert.deepInclude(yield* first.acquire(0), acquired)
      yield* first.exitInside
      assert.deepStrictEqual(scene.files(), ["tasks.json.lock"])
      assert.deepInclude(yield* second.acquire(0), acquired)
      yield* second.release
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped.each<NodeJS.Signals>(["SIGTERM", "SIGINT"])(
    "NodeRuntime.runMain releases the lock on %s",
    (signal) =>
      Effect.gen(function*() {
        const scene = yield* Scene.make
        const holder = yield* scene.start()
        assert.deepInclude(yield* holder.acquire(0), acquired)
        assert.deepStrictEqual(scene.files(), ["tasks.json.lock"])
        holder.signal(signal)
        yield* holder.exit
        assert.deepStrictEqual(scene.files(), [])
      })
  )

  it.scoped("A waiting process that is told to end leaves nothing behind, and the holder keeps the lock", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start()
      const second = yield* scene.start()
      assert.deepInclude(yield* first.acquire(0), acquired)
      yield* second.ask("infinity")
      second.signal("SIGTERM")
      yield* second.exit
      assert.deepStrictEqual(scene.files(), ["tasks.json.lock"])
      assert.deepInclude(yield* first.verify, { _tag: "verified" })
      yield* first.release
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("A holder that cannot be checked keeps the lock by its heartbeats, and loses it a lease after the last one", () =>
    Effect.gen(function*() {
      const lease = 2_000
      const scene = yield* Scene.make
      const first = yield* scene.start({ lease, ...Scene.unverifiable })
      const second = yield* scene.start({ lease })
      assert.deepInclude(yield* first.acquire(0), acquired)
      assert.deepInclude(yield* second.acquire(1.5 * lease), { _tag: "refused", reason: "Timeout" })
      assert.deepInclude(yield* first.verify, { _tag: "verified" })
      first.signal("SIGKILL")
      yield* first.exit
      assert.deepInclude(yield* second.acquire(0), { _tag: "refused", reason: "Timeout" })
      assert.deepInclude(yield* second.acquire("infinity"), acquired)
      yield* second.release
      assert.deepStrictEqual(scene.files(), [])
    }))
})
