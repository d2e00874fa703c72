import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { expect, test } from "tstyche"
import * as FileLock from "../../src/FileLock.js"
import type { LockAcquisitionError, LockDirectoryError, LockLostError } from "../../src/LockError.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"

test("layer and layerWith need nothing, and cannot fail", () => {
  expect(NodeFileLock.layer).type.toBe<Layer.Layer<FileLock.FileLock>>()
  expect(NodeFileLock.layerWith({ lease: "1 minute" })).type.toBe<Layer.Layer<FileLock.FileLock>>()
  expect(NodeFileLock.layerWith).type.not.toBeCallableWith({ lease: "long" })
  expect(NodeFileLock.layerWith).type.not.toBeCallableWith({ mode: "shared" })
})

test("layerConfig may fail with a ConfigError", () => {
  expect(NodeFileLock.layerConfig({ lease: Config.duration("LEASE") })).type.toBe<
    Layer.Layer<FileLock.FileLock, ConfigError>
  >()
  expect(NodeFileLock.layerConfig).type.not.toBeCallableWith({ lease: Config.boolean("LEASE") })
})

test("a program with the layer needs nothing more", () => {
  expect(Effect.succeed(1).pipe(FileLock.withLock("file"), Effect.provide(NodeFileLock.layer))).type.toBe<
    Effect.Effect<number, LockAcquisitionError | LockDirectoryError | LockLostError>
  >()
  expect(
    Effect.succeed(1).pipe(
      FileLock.withLock("file"),
      Effect.provide(NodeFileLock.layerConfig({ lease: Config.duration("LEASE") }))
    )
  ).type.toBe<Effect.Effect<number, LockAcquisitionError | LockDirectoryError | LockLostError | ConfigError>>()
})
