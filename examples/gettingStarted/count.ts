import { FileSystem } from "@effect/platform"
import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import { FileLock, NodeFileLock } from "effect-filelock"

const addOne = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const count = (yield* fs.exists("count.txt")) ? Number(yield* fs.readFileString("count.txt")) : 0
  yield* fs.writeFileString("count.txt", String(count + 1))
  yield* Console.log(`count is ${count + 1}`)
})

const program = FileLock.withLock(addOne, "count.txt")

program.pipe(
  Effect.provide(Layer.merge(NodeFileLock.layer, NodeContext.layer)),
  NodeRuntime.runMain
)
