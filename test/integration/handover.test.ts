import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Bundle from "../torture/Bundle.js"
import { layer } from "../utils/layer.js"
import { acquired } from "./fixtures/answers.js"
import * as Program from "./fixtures/program.js"
import * as Scene from "./fixtures/scene.js"

/** The lease is an hour: whatever is noticed here is noticed by other means. */
layer(Scene.Script.layer, { excludeTestServices: true })("The hand-over between processes", (it) => {
  it.scoped("does not wait for a lease when the holder of another pid namespace is killed", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const container = yield* scene.start(Scene.container)
      const outside = yield* scene.start()
      assert.deepInclude(yield* container.acquire(0), acquired)
      yield* outside.ask("infinity")
      container.signal("SIGKILL")
      assert.deepInclude(yield* outside.answer, acquired)
      yield* outside.release
      assert.deepInclude(yield* outside.acquire(0), acquired)
      yield* outside.release
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("does not wait for a lease when a worker thread is terminated", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const script = yield* Bundle.makeTemporary(new URL("./fixtures/threadHolder.ts", import.meta.url))
      const program = yield* Program.start(process.execPath, [script, scene.path])
      yield* program.prints("the thread holds the lock")
      const other = yield* scene.start()
      yield* other.ask("infinity")
      yield* program.endInput
      // Whichever of the two was faster.
      assert.deepInclude(yield* other.answer, acquired)
      yield* other.release
      // The process may be inside by now, since it tries just once.
      yield* program.exit
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("happens when the process exits before its turn of the event loop ends", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const script = yield* Bundle.makeTemporary(new URL("./fixtures/exitingProgram.ts", import.meta.url))
      const program = yield* Program.start(process.execPath, [script, scene.path])
      yield* program.prints("locked")
      const other = yield* scene.start()
      yield* other.ask("infinity")
      // Until the holder has heard of it.
      yield* Effect.repeat(Effect.sleep("5 millis"), { until: () => scene.files().length > 1 })
      yield* Effect.sleep("50 millis")
      yield* program.endInput
      assert.strictEqual(yield* program.exit, 0, program.output())
      assert.include(program.output(), "passed on")
      assert.deepInclude(yield* other.answer, acquired)
      yield* other.release
      assert.deepStrictEqual(scene.files(), [])
    }))

  it.scoped("keeps no process alive that has handed its lock over, and none that has waited", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const script = yield* Bundle.makeTemporary(new URL("./fixtures/finishingProgram.ts", import.meta.url))
      const first = yield* Program.start(process.execPath, [script, scene.path])
      yield* first.prints("locked")
      const second = yield* Program.start(process.execPath, [script, scene.path])
      yield* Effect.repeat(Effect.sleep("5 millis"), { until: () => scene.files().length > 1 })
      yield* first.endInput
      assert.strictEqual(yield* first.exit, 0)
      yield* second.prints("locked")
      yield* second.endInput
      assert.strictEqual(yield* second.exit, 0)
      assert.deepStrictEqual(scene.files(), [])
    }))
})
