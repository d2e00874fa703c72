import { NodeRuntime } from "@effect/platform-node"
import { Console, Effect } from "effect"
import { FileLock, NodeFileLock } from "effect-filelock"

const publish = Effect.gen(function*() {
  const lock = yield* FileLock.acquire("site/index.html", { timeout: "1 minute", label: "publish" })
  yield* Console.log(`pid ${lock.holder.pid} holds ${lock.lockPath}`)
  // … prepare …
  yield* lock.verify
  // … commit …
}).pipe(Effect.scoped)

publish.pipe(Effect.provide(NodeFileLock.layer), NodeRuntime.runMain)
