import { FileSystem, Path } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Schedule, TestClock } from "effect"
import { FileLock, MemoryFileSystem } from "effect-filelock"
import { addTask } from "./tasks.js"

const Memory = Layer.provideMerge(FileLock.layer, Layer.merge(MemoryFileSystem.layer, Path.layer))

it.effect("adding a task fails when the list is locked for 10 seconds", () =>
  Effect.gen(function*() {
    const locked = yield* Effect.makeLatch()
    yield* locked.open.pipe(
      Effect.zipRight(Effect.never),
      FileLock.withLock("/tasks.txt", { label: "nightly compaction" }),
      Effect.fork
    )
    yield* locked.await

    const adding = yield* Effect.fork(addTask("/tasks.txt", "sweep"))
    yield* TestClock.adjust("9 seconds")
    assert.isNull(adding.unsafePoll())
    yield* TestClock.adjust("1 second")
    const error = yield* Effect.flip(Fiber.join(adding))
    assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Timeout", waited: 10_000 })
    assert.include(error.message, "nightly compaction")
  }).pipe(Effect.provide(Memory)))

it.effect("a waiter that polls finds the lock free at its next look", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    // The file of another tool. Nothing tells the waiter that it is removed.
    yield* fs.writeFileString("/tasks.txt.lock", "")

    const adding = yield* Effect.fork(addTask("/tasks.txt", "sweep", { schedule: Schedule.spaced("3 seconds") }))
    yield* TestClock.adjust("4 seconds")
    yield* fs.remove("/tasks.txt.lock")
    yield* TestClock.adjust("1 second")
    assert.isNull(adding.unsafePoll())
    yield* TestClock.adjust("1 second")
    yield* Fiber.join(adding)
  }).pipe(Effect.provide(Memory)))
