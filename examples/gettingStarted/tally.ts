import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect, Option } from "effect"
import { LockedFile, NodeFileLock } from "effect-filelock"

const program = LockedFile.updateString(
  "count.txt",
  Option.match({ onNone: () => "1", onSome: (count) => String(Number(count) + 1) })
).pipe(Effect.tap((count) => Console.log(`count is ${count}`)))

program.pipe(Effect.provide(NodeFileLock.layer), NodeRuntime.runMain)
