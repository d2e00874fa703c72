import { FileSystem, Path } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, TestClock } from "effect"
import { FileLock, MemoryFileSystem, ProcessIdentity } from "effect-filelock"
import { start } from "./processes.js"
import { addTask } from "./tasks.js"

const { Fault } = MemoryFileSystem

const locksOver = (fileSystem: Layer.Layer<FileSystem.FileSystem>) =>
  Layer.provideMerge(FileLock.layer, Layer.merge(fileSystem, Path.layer))

it.effect("a full disk has no room for the lock file", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const error = yield* Effect.flip(addTask("/home/tasks.txt", "sweep"))
    assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "StorageFull" })
    assert.deepStrictEqual(yield* fs.readDirectory("/home"), [])
  }).pipe(Effect.provide(locksOver(MemoryFileSystem.layerWith({ capacity: 100 })))))

it.effect("a disk that cannot be written is told at once", () =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(addTask("/home/tasks.txt", "sweep"))
    assert.deepInclude(error, { _tag: "LockDirectoryError", directory: "/home" })
  }).pipe(Effect.provide(locksOver(MemoryFileSystem.layerWith({ readOnly: true })))))

it.effect("the lock is released when the list cannot be written", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const error = yield* Effect.flip(addTask("/home/tasks.txt", "sweep"))
    assert.deepInclude(error, { _tag: "SystemError", method: "rename" })
    assert.deepStrictEqual(yield* fs.readDirectory("/home"), ["tasks.txt.new"])
  }).pipe(Effect.provide(locksOver(MemoryFileSystem.layerFaults({
    fault: ({ method }) => method === "rename" ? Fault.Fail({ errno: "EIO" }) : undefined
  })))))

it.effect("adding a task fails when the disk does not answer", () =>
  Effect.gen(function*() {
    const adding = yield* Effect.fork(addTask("/home/tasks.txt", "sweep"))
    // One second more than the timeout is allowed for the operation that is under way.
    yield* TestClock.adjust("11 seconds")
    const error = yield* Effect.flip(Fiber.join(adding))
    assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Timeout" })
    assert.include(error.message, "the storage did not answer in time")
  }).pipe(Effect.provide(locksOver(MemoryFileSystem.layerFaults({
    fault: ({ method }) => method === "link" ? Fault.Hang() : undefined
  })))))

it.effect("the body is interrupted when the lock file is removed by hand", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const locked = yield* Effect.makeLatch()
    const working = yield* locked.open.pipe(
      Effect.zipRight(Effect.never),
      FileLock.withLock("/tasks.txt"),
      Effect.fork
    )
    yield* locked.await
    yield* fs.remove("/tasks.txt.lock")
    // The holder finds out at its next heartbeat.
    yield* TestClock.adjust("10 seconds")
    const error = yield* Effect.flip(Fiber.join(working))
    assert.deepInclude(error, { _tag: "LockLostError", reason: "Removed" })
  }).pipe(Effect.provide(locksOver(MemoryFileSystem.layer))))

it.scoped("a process that is killed at any operation leaves a whole list, and its lock holds up nobody", () =>
  Effect.gen(function*() {
    const disk = yield* MemoryFileSystem.makeDisk()
    const fs = yield* disk.view()
    const machine = yield* ProcessIdentity.makeMachine()
    const second = yield* start(machine, disk)
    for (let index = 0, ended = false; !ended; index++) {
      yield* fs.writeFileString("/tasks.txt", "cook\n")
      const first = yield* start(machine, disk, {
        fault: (operation) => operation.index === index ? Fault.Crash({ moment: "during", written: 3 }) : undefined
      })
      const adding = yield* first.fork(addTask("/tasks.txt", "sweep"))
      // The fiber runs until it has ended, or the process is dead.
      yield* TestClock.adjust(0)
      ended = adding.unsafePoll() !== null
      yield* second.run(addTask("/tasks.txt", "mend", { timeout: 0 }))
      assert.oneOf(yield* fs.readFileString("/tasks.txt"), ["cook\nmend\n", "cook\nsweep\nmend\n"])
      assert.isFalse(yield* fs.exists("/tasks.txt.lock"))
    }
  }))
