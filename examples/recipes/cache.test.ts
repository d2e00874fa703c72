import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { FileLock, LockedFile, NodeFileLock } from "effect-filelock"

/** Those who come while it is computed wait for the result, in this process and in all others. */
const cached = <E, R>(file: string, compute: Effect.Effect<string, E, R>) => {
  const stored = LockedFile.readString(file)
  const missing = <E2>(error: E2) => error instanceof Object && "reason" in error && error.reason === "NotFound"
  const store = Effect.tap(compute, (content) => LockedFile.writeString(file, content))
  return stored.pipe(
    Effect.catchIf(missing, () =>
      // Another one may have stored it meanwhile.
      FileLock.withLock(Effect.catchIf(stored, missing, () => store), file))
  )
}

it.scopedLive("a result is computed once", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const file = `${yield* fs.makeTempDirectoryScoped()}/weather.txt`
    let computations = 0
    const compute = Effect.delay(
      Effect.sync(() => {
        computations += 1
        return "sunny"
      }),
      "20 millis"
    )
    const results = yield* Effect.all(Array.from({ length: 20 }, () => cached(file, compute)), {
      concurrency: "unbounded"
    })
    assert.deepStrictEqual(new Set(results), new Set(["sunny"]))
    assert.strictEqual(computations, 1)
  }).pipe(Effect.provide(Layer.merge(NodeFileLock.layer, NodeContext.layer))))
