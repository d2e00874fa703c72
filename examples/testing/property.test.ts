import { FileSystem, Path } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, FastCheck, Layer } from "effect"
import { FileLock, MemoryFileSystem } from "effect-filelock"
import { addTask } from "./tasks.js"

const Memory = Layer.provideMerge(FileLock.layer, Layer.merge(MemoryFileSystem.layer, Path.layer))

const names = FastCheck.uniqueArray(FastCheck.stringMatching(/^[a-z]{1,8}$/), { minLength: 1, maxLength: 8 })

it.effect.prop(
  "whatever tasks are added at the same time, the list has each of them once",
  { names },
  ({ names }) =>
    Effect.gen(function*() {
      yield* Effect.forEach(names, (name) => addTask("/tasks.txt", name), { concurrency: "unbounded" })
      const fs = yield* FileSystem.FileSystem
      assert.sameMembers((yield* fs.readFileString("/tasks.txt")).trim().split("\n"), names)
    }).pipe(Effect.provide(Memory)),
  { fastCheck: { numRuns: 10 } }
)
