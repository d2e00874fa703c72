import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { FileLock, NodeFileLock } from "effect-filelock"

const program = Console.log("alone").pipe(
  FileLock.withLock("backup", { timeout: "10 seconds" })
)

program.pipe(
  Effect.provide(NodeFileLock.layer),
  NodeRuntime.runMain
)
