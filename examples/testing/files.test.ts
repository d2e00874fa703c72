import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { NodeFileLock } from "effect-filelock"
import { addTask } from "./tasks.js"

it.scopedLive("tasks that are added at the same time are all in the list of a real directory", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const directory = yield* fs.makeTempDirectoryScoped()
    const tasks = ["sweep", "cook", "mend", "paint"]
    yield* Effect.forEach(tasks, (task) => addTask(`${directory}/tasks.txt`, task), { concurrency: "unbounded" })

    const list = yield* fs.readFileString(`${directory}/tasks.txt`)
    assert.sameMembers(list.trim().split("\n"), tasks)
    assert.deepStrictEqual(yield* fs.readDirectory(directory), ["tasks.txt"])
  }).pipe(Effect.provide(Layer.merge(NodeFileLock.layer, NodeContext.layer))))
