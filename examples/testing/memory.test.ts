import { FileSystem, Path } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { FileLock, MemoryFileSystem } from "effect-filelock"
import { addTask } from "./tasks.js"

const Memory = Layer.provideMerge(FileLock.layer, Layer.merge(MemoryFileSystem.layer, Path.layer))

it.effect("tasks that are added at the same time are all in the list", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const tasks = ["sweep", "cook", "mend", "paint"]
    yield* Effect.forEach(tasks, (task) => addTask("/home/tasks.txt", task), { concurrency: "unbounded" })

    const list = yield* fs.readFileString("/home/tasks.txt")
    assert.sameMembers(list.trim().split("\n"), tasks)
    // No lock file is left.
    assert.deepStrictEqual(yield* fs.readDirectory("/home"), ["tasks.txt"])
  }).pipe(Effect.provide(Memory)))
