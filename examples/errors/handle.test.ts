import { FileSystem, Path } from "@effect/platform"
import type { PlatformError } from "@effect/platform/Error"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, TestClock } from "effect"
import { FileLock, MemoryFileSystem } from "effect-filelock"

/** Compacts a list. A list that is in use is left for the next time, and a lost lock is no success. */
const compact = (path: string, body: Effect.Effect<void, PlatformError>) =>
  FileLock.withLock(body, path, { timeout: "1 second" }).pipe(
    Effect.as("compacted"),
    Effect.catchTags({
      LockAcquisitionError: (error) =>
        error.reason === "Timeout"
          ? Effect.as(Effect.logInfo(error.message), "in use")
          : Effect.fail(error),
      LockLostError: (error) => Effect.as(Effect.logError(error.message), "lost")
    })
  )

it.effect("each outcome has an answer", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    assert.strictEqual(yield* compact("/tasks.json", Effect.void), "compacted")

    const locked = yield* Effect.makeLatch()
    const holding = yield* Effect.fork(FileLock.withLock(Effect.zipRight(locked.open, Effect.never), "/tasks.json"))
    yield* locked.await
    const waiting = yield* Effect.fork(compact("/tasks.json", Effect.void))
    yield* TestClock.adjust("1 second")
    assert.strictEqual(yield* Fiber.join(waiting), "in use")
    yield* Fiber.interrupt(holding)

    const removed = compact("/tasks.json", fs.remove("/tasks.json.lock"))
    assert.strictEqual(yield* removed, "lost")
  }).pipe(
    Effect.provide(Layer.provideMerge(FileLock.layer, Layer.merge(MemoryFileSystem.layer, Path.layer)))
  ))
