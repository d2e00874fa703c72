import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Layer } from "effect"
import * as FileLock from "effect-filelock/FileLock"
import * as FlockBackend from "effect-filelock/FlockBackend"

// The lock of `flock reports.lock …` is that of the path `reports`.
const program = FileLock.withLock(Console.log("alone"), "reports")

const Locks = FileLock.layerBackend().pipe(
  Layer.provide(FlockBackend.layer)
)

program.pipe(
  Effect.provide(Locks),
  NodeRuntime.runMain
)
