import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { FileLock, NodeFileLock } from "effect-filelock"

const inner = Console.log("again").pipe(
  FileLock.withLock("data.txt") // re-entrant
)

const program = Effect.zipRight(Console.log("alone"), inner).pipe(
  FileLock.withLock("data.txt", { timeout: "5 seconds" }),
  Effect.catchTag("LockAcquisitionError", () => Console.log("in use"))
)

program.pipe(
  Effect.provide(NodeFileLock.layer),
  NodeRuntime.runMain
)
