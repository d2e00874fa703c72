/**
 * Readers and writers: what `mode: "shared"` promises, on every file system.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import { expectSound, failureOf } from "./utils/failures.js"
import { onEveryFileSystem, type TestDirectory } from "./utils/fileSystems.js"
import { play } from "./utils/Scene.js"
import * as Scene from "./utils/Scene.js"

const shared = { mode: "shared" } as const

/** Holds the lock until it is told to leave. */
const hold = (
  { directory }: TestDirectory,
  { locks }: Effect.Effect.Success<ReturnType<TestDirectory["join"]>>,
  options: { readonly mode?: "shared" | "exclusive"; readonly label?: string } = shared
) =>
  Effect.gen(function*() {
    const entered = yield* Deferred.make<void>()
    const gate = yield* Deferred.make<void>()
    const fiber = yield* Effect.fork(
      locks.withLock(
        Effect.zipRight(Deferred.succeed(entered, undefined), Deferred.await(gate)),
        `${directory}/file`,
        options
      )
    )
    const isInside = Deferred.isDone(entered)
    return {
      entered: Deferred.await(entered),
      isInside,
      leave: Effect.zipRight(Deferred.succeed(gate, undefined), Fiber.join(fiber)),
      fiber
    }
  })

/** What the locks have left in the directory. */
const namesIn = ({ directory, fs }: TestDirectory) => fs.readDirectory(directory, { recursive: true })

describe("Readers", () => {
  onEveryFileSystem(
    "of one process and of several are inside together, and leave nothing",
    (test) =>
      Effect.gen(function*() {
        const [one, other] = yield* Effect.all([test.join(), test.join()])
        const readers = yield* Effect.forEach([one, one, other, other], (process) => hold(test, process))
        yield* Effect.forEach(readers, ({ entered }) => entered)
        yield* Effect.forEach(readers, ({ leave }) => leave)
        assert.deepStrictEqual(yield* namesIn(test), [])
      })
  )

  onEveryFileSystem("keep writers of all processes out, until the last one has left", (test) =>
    Effect.gen(function*() {
      const [one, other] = yield* Effect.all([test.join(), test.join()])
      const first = yield* hold(test, one)
      const second = yield* hold(test, other)
      yield* Effect.zipRight(first.entered, second.entered)
      for (const process of [one, other]) {
        const refused = yield* failureOf(process.locks.withLock(Effect.void, `${test.directory}/file`, { timeout: 0 }))
        assert.propertyVal(refused, "reason", "Timeout")
        assert.isTrue(
          Option.isNone(yield* process.locks.withLockIfAvailable(Effect.void, `${test.directory}/file`))
        )
      }
      const writer = yield* hold(test, one, {})
      yield* first.leave
      yield* Effect.yieldNow()
      assert.isFalse(yield* writer.isInside)
      yield* second.leave
      yield* writer.entered
      yield* writer.leave
      assert.deepStrictEqual(yield* namesIn(test), [])
    }))

  onEveryFileSystem("wait for a writer, and come in together after it", (test) =>
    Effect.gen(function*() {
      const [one, other] = yield* Effect.all([test.join(), test.join()])
      const writer = yield* hold(test, one, {})
      yield* writer.entered
      const readers = yield* Effect.forEach([one, one, other, other], (process) => hold(test, process))
      const refused = yield* failureOf(
        other.locks.withLock(Effect.void, `${test.directory}/file`, { ...shared, timeout: 0 })
      )
      assert.propertyVal(refused, "reason", "Timeout")
      yield* writer.leave
      yield* Effect.forEach(readers, ({ entered }) => entered)
      yield* Effect.forEach(readers, ({ leave }) => leave)
      assert.deepStrictEqual(yield* namesIn(test), [])
    }))

  onEveryFileSystem(
    "that come after a writer wait for it, also when the readers before it never all leave",
    (test) =>
      Effect.gen(function*() {
        const [one, other] = yield* Effect.all([test.join(), test.join()])
        for (const process of [one, other]) {
          const before = yield* hold(test, one)
          yield* before.entered
          const writer = yield* hold(test, process, {})
          // It has the lock file, or stands in the queue of its process.
          const waits = Effect.flatMap(
            test.fs.exists(`${test.directory}/file.lock`),
            (there) => there || process === one ? Effect.void : Effect.fail("not yet")
          )
          yield* Effect.retry(Effect.zipRight(Effect.sleep("1 millis"), waits), { times: 1_000 })
          // For so long the fibers of one process come in together.
          yield* Effect.sleep("10 millis")
          const after = yield* hold(test, one)
          const last = yield* hold(test, other)
          // The writer of the other process has the lock file. The one of this process stands in its queue.
          if (process === one) yield* Effect.zipRight(last.entered, last.leave)
          else yield* Effect.sleep("20 millis")
          assert.isFalse((yield* after.isInside) || (process === other && (yield* last.isInside)))
          yield* before.leave
          yield* writer.entered
          yield* writer.leave
          yield* Effect.zipRight(after.entered, after.leave)
          if (process === other) yield* Effect.zipRight(last.entered, last.leave)
        }
        assert.deepStrictEqual(yield* namesIn(test), [])
      })
  )

  onEveryFileSystem("that are dead keep nobody out", (test) =>
    Effect.gen(function*() {
      const [process, writer] = yield* Effect.all([test.join(), test.join()])
      for (const reader of yield* Effect.replicateEffect(hold(test, process), 3)) yield* reader.entered
      yield* test.machine.kill(process.identity)
      yield* writer.locks.withLock(Effect.void, `${test.directory}/file`, { timeout: 0 })
      assert.deepStrictEqual(yield* namesIn(test), [])
    }))

  onEveryFileSystem("are shown with those that wait", (test) =>
    Effect.gen(function*() {
      const [one, other, writer] = yield* Effect.all([test.join(), test.join(), test.join()])
      const path = `${test.directory}/file`
      const readers = [yield* hold(test, one), yield* hold(test, other, { ...shared, label: "nightly" })]
      yield* Effect.forEach(readers, ({ entered }) => entered)
      const waiting = yield* hold(test, writer, {})
      yield* Effect.retry(
        Effect.filterOrFail(test.fs.exists(`${path}.lock`), (there) => there),
        { times: 10_000 }
      )
      const status = Option.getOrThrow(yield* writer.locks.inspect(path))
      assert.strictEqual(status.mode, "shared")
      assert.strictEqual(status.state, "held")
      assert.sameMembers(status.holders.map(({ pid }) => pid), [one.identity.info.pid, other.identity.info.pid])
      assert.sameMembers(status.holders.map(({ label }) => label), [undefined, "nightly"])
      assert.deepStrictEqual(status.waiters.map(({ pid }) => pid), [writer.identity.info.pid])
      yield* Effect.forEach(readers, ({ leave }) => leave)
      yield* waiting.entered
      assert.propertyVal(Option.getOrThrow(yield* one.locks.inspect(path)), "mode", "exclusive")
      yield* waiting.leave
      assert.isTrue(Option.isNone(yield* one.locks.inspect(path)))
    }))

  onEveryFileSystem("lose the lock when it is broken, all that share it", (test) =>
    Effect.gen(function*() {
      const [one, other] = yield* Effect.all([test.join(), test.join()])
      const path = `${test.directory}/file`
      const readers = yield* Effect.replicateEffect(hold(test, one), 3)
      yield* Effect.forEach(readers, ({ entered }) => entered)
      const status = Option.getOrThrow(yield* other.locks.inspect(path))
      yield* Effect.forEach(status.holders, (holder) => other.locks.breakLock(path, holder))
      for (const { fiber } of readers) {
        const error = yield* Effect.flip(Fiber.join(fiber))
        assert.propertyVal(error, "_tag", "LockLostError")
      }
      yield* other.locks.withLock(Effect.void, path, { timeout: 0 })
      assert.deepStrictEqual(yield* namesIn(test), [])
    }))

  onEveryFileSystem("say in a handle which mode they have, and may be checked", (test) =>
    Effect.gen(function*() {
      const process = yield* test.join()
      const path = `${test.directory}/file`
      yield* Effect.scoped(Effect.gen(function*() {
        const lock = yield* process.locks.acquire(path, shared)
        assert.strictEqual(lock.mode, "shared")
        assert.strictEqual(lock.holder.pid, process.identity.info.pid)
        yield* lock.verify
        assert.isTrue(yield* lock.isHeld)
        yield* test.fs.remove(`${path}.lock.shared`, { recursive: true })
        const lost = yield* Effect.flip(lock.verify)
        assert.strictEqual((yield* expectSound(lost)).reason, "Removed")
      }))
      assert.deepStrictEqual(yield* namesIn(test), [])
    }))

  onEveryFileSystem("may come in again while they are inside, whoever waits", (test) =>
    Effect.gen(function*() {
      const [one, other] = yield* Effect.all([test.join(), test.join()])
      const path = `${test.directory}/file`
      for (const process of [one, other]) {
        const isReading = yield* Deferred.make<void>()
        const isWaiting = yield* Deferred.make<void>()
        const inner = Effect.zipRight(
          one.locks.withLock(Effect.void, path, shared),
          Effect.scoped(one.locks.acquire(path, shared))
        )
        const reading = yield* Effect.fork(one.locks.withLock(
          Effect.zipRight(
            Effect.zipRight(Deferred.succeed(isReading, undefined), Deferred.await(isWaiting)),
            Effect.all([inner, inner], { concurrency: "unbounded" })
          ),
          path,
          shared
        ))
        yield* Deferred.await(isReading)
        const waiting = yield* hold(test, process, {})
        yield* Effect.sleep("20 millis")
        assert.isFalse(yield* waiting.isInside)
        yield* Deferred.succeed(isWaiting, undefined)
        yield* Fiber.join(reading)
        yield* waiting.entered
        yield* waiting.leave
      }
      assert.deepStrictEqual(yield* namesIn(test), [])
    }))

  onEveryFileSystem("may be inside a writer, and no writer inside a reader", (test) =>
    Effect.gen(function*() {
      const { locks } = yield* test.join()
      const path = `${test.directory}/file`
      yield* locks.withLock(locks.withLock(Effect.void, path, shared), path)
      const error = yield* failureOf(locks.withLock(locks.withLock(Effect.void, path), path, shared))
      assert.propertyVal(error, "reason", "Deadlock")
      assert.include(error.message, "in shared mode")
      const handle = yield* failureOf(locks.withLock(Effect.scoped(locks.acquire(path)), path, shared))
      assert.propertyVal(handle, "reason", "Deadlock")
      assert.deepStrictEqual(yield* namesIn(test), [])
    }))

  onEveryFileSystem("leave nothing when they are interrupted while they wait", (test) =>
    Effect.gen(function*() {
      const [one, other] = yield* Effect.all([test.join(), test.join()])
      const path = `${test.directory}/file`
      const writer = yield* hold(test, one, {})
      yield* writer.entered
      const readers = yield* Effect.forEach([one, other], (process) => hold(test, process))
      yield* Effect.sleep("10 millis")
      yield* Effect.forEach(readers, ({ fiber }) => Fiber.interrupt(fiber))
      yield* writer.leave
      const reader = yield* hold(test, one)
      yield* reader.entered
      const writers = yield* Effect.forEach([one, other], (process) => hold(test, process, {}))
      yield* Effect.sleep("10 millis")
      yield* Effect.forEach(writers, ({ fiber }) => Fiber.interrupt(fiber))
      yield* other.locks.withLock(Effect.void, path, shared)
      yield* reader.leave
      assert.deepStrictEqual(yield* namesIn(test), [])
    }))

  onEveryFileSystem("find a foreign file where their directory should be", (test) =>
    Effect.gen(function*() {
      const { locks } = yield* test.join()
      const path = `${test.directory}/file`
      const foreign = `${path}.lock.shared`
      yield* test.fs.writeFileString(foreign, "precious")
      yield* locks.withLock(Effect.void, path)
      const error = yield* failureOf(locks.withLock(Effect.void, path, shared))
      assert.propertyVal(error, "_tag", "LockAcquisitionError")
      assert.include(error.message, foreign)
      assert.strictEqual(yield* test.fs.readFileString(foreign), "precious")
      yield* test.fs.remove(foreign)
      yield* test.fs.makeDirectory(foreign)
      yield* test.fs.writeFileString(`${foreign}/notes`, "precious")
      yield* locks.withLock(locks.withLock(Effect.void, path, shared), path)
      yield* locks.withLock(Effect.void, path, shared)
      yield* locks.withLock(Effect.void, path, { timeout: 0 })
      assert.deepStrictEqual(yield* test.fs.readDirectory(foreign), ["notes"])
    }))
})

describe("A reader of another machine", () => {
  it.effect("keeps writers out while it is heard, and for a lease at most when it is silent", () =>
    play((scene) =>
      Effect.gen(function*() {
        const elsewhere = yield* ProcessIdentity.makeMachine()
        const reader = yield* scene.join({ machine: elsewhere, settings: { lease: "10 seconds" } })
        const writer = yield* scene.join({ settings: { lease: "10 seconds" } })
        const reading = yield* Effect.fork(
          reader.run(Effect.either(reader.locks.withLock(Effect.sleep("2 minutes"), Scene.path, shared)))
        )
        yield* Effect.sleep("1 seconds")
        const refused = yield* failureOf(writer.locks.withLock(Effect.void, Scene.path, { timeout: "1 minutes" }))
        assert.propertyVal(refused, "reason", "Timeout")
        yield* reader.suspend
        yield* writer.locks.withLock(Effect.void, Scene.path, { timeout: "30 seconds" })
        yield* reader.resume
        const outcome = yield* Fiber.join(reading)
        assert.isTrue(Either.isLeft(outcome))
        assert.deepStrictEqual(yield* scene.names, [])
      })
    ))
})

describe("The directory of readers", () => {
  it.effect("is removed by the clean-up only while nobody can come in", () =>
    play((scene) =>
      Effect.gen(function*() {
        const dead = yield* scene.join()
        yield* Effect.forkDaemon(dead.enter("dead", { ...shared, stay: "1 hours" }))
        yield* Effect.sleep("100 millis")
        yield* dead.kill
        const cleaner = yield* scene.join()
        const stop = yield* cleaner.stopAt("rmdir", `${Scene.lockPath}.shared`)
        yield* Effect.fork(cleaner.run(cleaner.locks.withLock(Effect.void, `${Scene.directory}/other`)))
        yield* stop.reached
        const [reader, writer] = yield* Effect.all([scene.join(), scene.join()])
        let isReading = false
        const read = Effect.sync(() => {
          isReading = true
        }).pipe(
          Effect.zipRight(Effect.sleep("1 seconds")),
          Effect.ensuring(Effect.sync(() => {
            isReading = false
          }))
        )
        const reading = yield* Effect.fork(reader.run(reader.locks.withLock(read, Scene.path, shared)))
        yield* Effect.sleep("50 millis")
        yield* stop.goOn
        yield* Effect.sleep("50 millis")
        const wasReading = yield* writer.run(writer.locks.withLock(Effect.sync(() => isReading), Scene.path))
        yield* Fiber.join(reading)
        assert.isFalse(wasReading)
      })
    ))
})

describe("A writer that waits for readers", () => {
  it.effect("begins anew when it has lost the lock file meanwhile", () =>
    play((scene) =>
      Effect.gen(function*() {
        const elsewhere = yield* ProcessIdentity.makeMachine()
        const settings = { lease: "2 seconds" } as const
        const [reader, writer] = yield* Effect.all([scene.join({ settings }), scene.join({ settings })])
        const other = yield* scene.join({ settings, machine: elsewhere })
        const reading = yield* Effect.fork(reader.enter("reader", { ...shared, stay: "10 seconds" }))
        yield* Effect.sleep("100 millis")
        const writing = yield* Effect.fork(writer.enter("writer", { stay: "1 seconds" }))
        yield* Effect.sleep("500 millis")
        yield* writer.suspend
        const writingToo = yield* Effect.fork(other.enter("other", { stay: "5 seconds" }))
        yield* Effect.sleep("11 seconds")
        yield* writer.resume
        yield* Effect.all([Fiber.join(reading), Fiber.join(writing), Fiber.join(writingToo)])
        assert.deepStrictEqual(scene.occupancy.overlaps, [])
        assert.deepStrictEqual(yield* scene.names, [])
      })
    ))

  it.effect("leaves a silent reader alone that is heard of again before it is evicted", () =>
    play((scene) =>
      Effect.gen(function*() {
        const elsewhere = yield* ProcessIdentity.makeMachine()
        const settings = { lease: "2 seconds" } as const
        const reader = yield* scene.join({ settings })
        const writer = yield* scene.join({ settings, machine: elsewhere })
        const reading = yield* Effect.fork(reader.enter("reader", { ...shared, stay: "12 seconds" }))
        yield* Effect.sleep("50 millis")
        const stop = yield* writer.stopAt("link", Scene.claimPath)
        const writing = yield* Effect.fork(writer.enter("writer", { timeout: "1 minutes" }))
        yield* reader.suspend
        yield* stop.reached
        yield* reader.resume
        yield* Effect.sleep("100 millis")
        yield* stop.goOn
        yield* Effect.all([Fiber.join(reading), Fiber.join(writing)])
        assert.deepStrictEqual(scene.occupancy.overlaps, [])
        assert.deepStrictEqual(yield* scene.names, [])
      })
    ))
})
