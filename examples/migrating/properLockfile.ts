import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Option } from "effect"
import { FileLock, NodeFileLock } from "effect-filelock"

const addTask = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const tasks = yield* fs.readFileString("tasks.txt")
  yield* fs.writeFileString("tasks.txt", `${tasks}sweep\n`)
})

const program = Effect.gen(function*() {
  yield* FileLock.withLock(addTask, "tasks.txt", {
    timeout: "10 seconds"
  })
  const status = yield* FileLock.inspect("tasks.txt")
  if (Option.isSome(status) && status.value.state !== "abandoned") {
    yield* Console.log("locked")
  }
})

program.pipe(
  Effect.provide([NodeFileLock.layer, NodeContext.layer]),
  NodeRuntime.runMain
)
