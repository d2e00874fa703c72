import type * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { expect, test } from "tstyche"
import * as FileLock from "../../src/FileLock.js"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"

test("the layers need nothing, and cannot fail", () => {
  expect(MemoryFileSystem.layer).type.toBe<Layer.Layer<FileSystem.FileSystem>>()
  expect(MemoryFileSystem.layerWith({ uid: 0, cwd: "/srv" })).type.toBe<Layer.Layer<FileSystem.FileSystem>>()
  expect(MemoryFileSystem.make).type.toBe<Effect.Effect<FileSystem.FileSystem>>()
})

test("a plan of faults answers with a fault, or with undefined", () => {
  expect(
    MemoryFileSystem.layerFaults({
      fault: (operation) => {
        expect(operation).type.toBe<MemoryFileSystem.Operation>()
        return operation.method === "rename" ? MemoryFileSystem.Fault.Fail({ errno: "EIO" }) : undefined
      }
    })
  ).type.toBe<Layer.Layer<FileSystem.FileSystem>>()
  expect(MemoryFileSystem.layerFaults).type.not.toBeCallableWith({ fault: () => "EIO" })
  expect(MemoryFileSystem.Fault.Hang).type.not.toBeCallableWith({ moment: "during" })
})

test("FileLock over it needs nothing", () => {
  const machine = Layer.merge(MemoryFileSystem.layer, Path.layer)
  expect(Layer.provide(FileLock.layer, machine)).type.toBe<Layer.Layer<FileLock.FileLock>>()
})
