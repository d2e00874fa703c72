import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { FileLock, NodeFileLock } from "effect-filelock"

const compact = Console.log("compacting").pipe(
  Effect.zipRight(Effect.sleep("2 seconds")),
  FileLock.withLock("tasks.json", { timeout: "500 millis", label: "compaction" }),
  Effect.catchTag(
    "LockAcquisitionError",
    (error) => error.reason === "Timeout" ? Console.log(error.message) : Effect.fail(error)
  )
)

compact.pipe(Effect.provide(NodeFileLock.layer), NodeRuntime.runMain)
