import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { expect, test } from "tstyche"
import * as FileLock from "../../src/FileLock.js"
import * as FlockBackend from "../../src/FlockBackend.js"
import type { LockBackend } from "../../src/LockBackend.js"

test("the layers need nothing, and cannot fail: without koffi each acquisition does", () => {
  expect(FlockBackend.layer).type.toBe<Layer.Layer<LockBackend>>()
  expect(FlockBackend.layerWith({ lease: "10 seconds" })).type.toBe<Layer.Layer<LockBackend>>()
  expect(FlockBackend.make()).type.toBe<
    Effect.Effect<Context.Tag.Service<LockBackend>, never, Scope.Scope>
  >()
  expect(Layer.provide(FileLock.layerBackend(), FlockBackend.layer)).type.toBe<Layer.Layer<FileLock.FileLock>>()
})

test("options", () => {
  expect(FlockBackend.layerWith).type.toBeCallableWith({ lease: undefined })
  expect(FlockBackend.layerWith).type.not.toBeCallableWith({ lease: "long" })
  expect(FlockBackend.layerWith).type.not.toBeCallableWith({ namespace: "locks" })
})
