import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { FileLock } from "../../../src/FileLock.js"
import * as MemoryFileSystem from "../../../src/MemoryFileSystem.js"
import * as NodeFileLock from "../../../src/NodeFileLock.js"
import * as ProcessIdentity from "../../../src/ProcessIdentity.js"
import * as FakeBackend from "../../utils/FakeBackend.js"
import * as Scene from "../../utils/Scene.js"
import * as SimulatedProcess from "../../utils/SimulatedProcess.js"
import * as Simulation from "../../utils/Simulation.js"

type Locks = Context.Tag.Service<FileLock>

interface Ground {
  readonly locks: Locks
  readonly directory: string
  readonly names: Effect.Effect<ReadonlyArray<string>, unknown>
}

const ways: ReadonlyArray<readonly [string, (ground: Ground) => Effect.Effect<unknown, unknown>]> = [
  ["withLock", ({ directory, locks }) => locks.withLock(Effect.void, `${directory}/a`)],
  [
    "withLock in withLock",
    ({ directory, locks }) => locks.withLock(locks.withLock(Effect.void, `${directory}/a`), `${directory}/a`)
  ],
  ["withLockIfAvailable", ({ directory, locks }) => locks.withLockIfAvailable(Effect.void, `${directory}/a`)],
  ["withLocks", ({ directory, locks }) => locks.withLocks(Effect.void, [`${directory}/b`, `${directory}/a`])],
  ["acquire", ({ directory, locks }) => Effect.scoped(locks.acquire(`${directory}/a`))],
  ["acquireIfAvailable", ({ directory, locks }) => Effect.scoped(locks.acquireIfAvailable(`${directory}/a`))],
  ["acquireAll", ({ directory, locks }) => Effect.scoped(locks.acquireAll([`${directory}/b`, `${directory}/a`]))]
]

/** Interrupts a fiber at each moment of its life in turn, and looks each time at what is left. */
const interruptEverywhere = (ground: Ground, self: Effect.Effect<unknown, unknown>) =>
  Effect.gen(function*() {
    let moments = 0
    for (let done = false; !done; moments++) {
      const fiber = yield* Effect.fork(self)
      yield* Effect.repeatN(Effect.yieldNow(), moments)
      const exit = yield* Fiber.interrupt(fiber)
      done = Exit.isSuccess(exit)
      assert.isTrue(done || Exit.isInterrupted(exit), String(exit))
      for (const name of ["a", "b"]) {
        assert.isTrue(
          Option.isSome(yield* ground.locks.withLockIfAvailable(Effect.void, `${ground.directory}/${name}`)),
          `${name} is locked after moment ${moments}`
        )
      }
      assert.deepStrictEqual(yield* ground.names, [], `moment ${moments}`)
    }
    return moments
  })

describe("An interruption at any step of an acquisition", () => {
  for (const [name, want] of ways) {
    it.scopedLive(`leaves nothing of ${name} behind in memory`, () =>
      Effect.gen(function*() {
        const disk = yield* MemoryFileSystem.makeDisk()
        const machine = yield* ProcessIdentity.makeMachine()
        // Each system call is a step, and there is a break before each.
        const { locks } = yield* SimulatedProcess.start(yield* machine.spawn(), yield* disk.view())
        const fs = yield* disk.view({ step: () => Effect.void })
        const ground = { locks, directory: "/tmp", names: fs.readDirectory("/tmp") }
        assert.isAbove(yield* interruptEverywhere(ground, want(ground)), 10)
      }))

    it.scopedLive(`leaves nothing of ${name} behind on Node`, () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const directory = yield* Effect.flatMap(fs.makeTempDirectoryScoped(), fs.realPath)
        const locks = Context.get(yield* Layer.build(NodeFileLock.layer), FileLock)
        const ground = { locks, directory, names: fs.readDirectory(directory) }
        yield* want(ground)
        let moments = 0
        // A fiber that goes on without a break cannot be interrupted, so it is given breaks, at ever other steps.
        for (let steps = 10; steps < 40; steps += 7) {
          moments += yield* interruptEverywhere(ground, Effect.withMaxOpsBeforeYield(want(ground), steps))
        }
        assert.isAbove(moments, 10)
      }).pipe(Effect.provide(NodeFileSystem.layer)))
  }

  it.effect("does not cut the attempt off, and gives back what it obtains", () =>
    Scene.play((scene) =>
      Effect.gen(function*() {
        const process = yield* scene.join()
        for (const syscall of ["write", "close", "link", "unlink"]) {
          const stop = yield* process.stopAt(syscall, /tasks\.json\.lock/)
          const fiber = yield* Effect.fork(process.enter(syscall))
          yield* stop.reached
          const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
          yield* Effect.sleep("100 millis")
          yield* stop.goOn
          yield* Fiber.join(interruption)
          yield* Effect.sleep("100 millis")
          assert.deepStrictEqual(yield* scene.names, [], syscall)
        }
        assert.strictEqual(scene.occupancy.entries, 0)
      })
    ))
})

describe.each([
  ["in the background", false],
  ["in the caller's fiber", true]
])("A deadline of a wait %s", (_, immediate) => {
  const path = "/data/tasks.json"
  const paths = ["/data/a", "/data/b", "/data/c", "/data/d"]

  const timed = <A, E>(self: Effect.Effect<A, E>) =>
    Effect.map(Effect.timed(Effect.exit(self)), ([took, exit]) => ({ took: Duration.toMillis(took), exit }))

  const reasonOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
    Exit.match(exit, {
      onSuccess: () => "acquired",
      onFailure: (cause) => cause._tag === "Fail" ? cause.error : String(cause)
    })

  const test = (
    behaviour: string,
    self: (locks: Locks, backend: FakeBackend.FakeBackend) => Effect.Effect<void, unknown>
  ) =>
    it.effect(behaviour, () =>
      Effect.gen(function*() {
        const backend = FakeBackend.make({ immediate })
        yield* self(yield* FakeBackend.locksOver(backend), backend)
      }).pipe(Effect.scoped, Simulation.run))

  /** The ways to several locks. */
  const several = (locks: Locks, timeout: number) => {
    const options = { timeout, schedule: Schedule.spaced("10 millis") }
    return [Effect.scoped(locks.acquireAll(paths, options)), locks.withLocks(Effect.void, paths, options)]
  }

  test("is one for several locks that are held by another process", (locks, backend) =>
    Effect.gen(function*() {
      backend.occupy("/data/a")
      backend.occupy("/data/b")
      for (const self of several(locks, 500)) {
        const { exit, took } = yield* timed(self)
        assert.strictEqual(took, 500)
        assert.deepInclude(reasonOf(exit), { reason: "Timeout", path: "/data/a", waited: 500, timeout: 500 })
      }
    }))

  test(
    "is one for several locks that come free one after the other, too late",
    (locks, backend) =>
      Effect.gen(function*() {
        for (let way = 0; way < 2; way++) {
          paths.forEach((path) => backend.occupy(path))
          const freeing = yield* Effect.fork(
            Effect.forEach(
              paths,
              (path) => Effect.zipRight(Effect.sleep("450 millis"), Effect.sync(() => backend.free(path)))
            )
          )
          const self = several(locks, 500)[way] ?? Effect.void
          const { exit, took } = yield* timed(self)
          assert.strictEqual(took, 500)
          assert.deepInclude(reasonOf(exit), { reason: "Timeout", path: "/data/b", waited: 500 })
          assert.deepStrictEqual(backend.holders("/data/a"), [], "the lock that it had is given back at once")
          yield* Fiber.join(freeing)
        }
      })
  )

  test("is one for several locks that other fibers hold", (locks) =>
    Effect.gen(function*() {
      const holding = yield* Effect.fork(locks.withLocks(Effect.sleep("1 minute"), ["/data/b", "/data/c"]))
      yield* Effect.sleep("1 millis")
      for (const self of several(locks, 500)) {
        const { exit, took } = yield* timed(self)
        assert.strictEqual(took, 500)
        assert.deepInclude(reasonOf(exit), { reason: "Timeout", path: "/data/b" })
      }
      yield* Fiber.interrupt(holding)
    }))

  test(
    "counts the time in the queue and the time with the engine together",
    (locks, backend) =>
      Effect.gen(function*() {
        const holding = yield* Effect.fork(locks.withLock(Effect.sleep("300 millis"), path))
        yield* Effect.sleep("1 millis")
        const waiting = yield* Effect.fork(timed(locks.withLock(Effect.void, path, { timeout: "500 millis" })))
        yield* Effect.sleep("298 millis")
        backend.steps.release = (step) => Effect.tap(step, () => Effect.sync(() => backend.occupy(path)))
        yield* Fiber.join(holding)
        const { exit, took } = yield* Fiber.join(waiting)
        assert.strictEqual(took, 500)
        assert.deepInclude(reasonOf(exit), { reason: "Timeout", waited: 500 })
      })
  )

  test(
    "counts the time that the name of the lock takes, where it takes some",
    (locks, backend) =>
      Effect.gen(function*() {
        backend.occupy(path)
        backend.steps.canonical = (step) => Effect.delay(step, "300 millis")
        const { exit, took } = yield* timed(locks.withLock(Effect.void, path, { timeout: "500 millis" }))
        assert.strictEqual(took, 500)
        assert.deepInclude(reasonOf(exit), { reason: "Timeout", waited: 500 })
      })
  )

  test("names the holder, and the path as the caller spelled it", (locks, backend) =>
    Effect.gen(function*() {
      backend.occupy(path, { pid: 77, label: "nightly" })
      const error = yield* Effect.flip(locks.withLock(Effect.void, path, { timeout: "2 seconds" }))
      assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Timeout", path })
      assert.include(error.message, "by pid 77")
      assert.include(error.message, "nightly")
    }))

  test("of zero tries once and waits for nothing", (locks, backend) =>
    Effect.gen(function*() {
      backend.occupy(path)
      const { exit, took } = yield* timed(locks.withLock(Effect.void, path, { timeout: 0 }))
      assert.strictEqual(took, 0)
      assert.deepInclude(reasonOf(exit), { reason: "Timeout" })
      assert.strictEqual(backend.count("tryAcquire"), 1)
      assert.deepStrictEqual(yield* locks.withLockIfAvailable(Effect.void, path), Option.none())
      assert.strictEqual(backend.count("tryAcquire"), 2)
    }))

  test("that is infinite never comes", (locks, backend) =>
    Effect.gen(function*() {
      backend.occupy(path)
      const waiting = yield* Effect.fork(locks.withLock(Effect.void, path, { timeout: "infinity" }))
      yield* Effect.sleep("5 minutes")
      assert.isNull(waiting.unsafePoll())
      backend.free(path)
      yield* Fiber.join(waiting)
    }))

  test("leaves no step of the wait behind when it has passed", (locks, backend) =>
    Effect.gen(function*() {
      backend.occupy(path)
      yield* Effect.flip(locks.withLock(Effect.void, path, { timeout: "1 second" }))
      const before = backend.calls.length
      yield* Effect.sleep("10 seconds")
      assert.strictEqual(backend.calls.length, before)
      backend.free(path)
      yield* locks.withLock(Effect.void, path, { timeout: 0 })
    }))

  test("ends no fiber that the caller has forked before", (locks, backend) =>
    Effect.gen(function*() {
      backend.occupy(path)
      yield* Effect.gen(function*() {
        const child = yield* Effect.fork(Effect.sleep("1 minute"))
        yield* Effect.flip(locks.withLock(Effect.void, path, { timeout: "1 second" }))
        yield* Effect.sleep("1 second")
        assert.isNull(child.unsafePoll())
        yield* Fiber.join(child)
      })
    }))

  test("is no interruption of the caller", (locks, backend) =>
    Effect.gen(function*() {
      backend.occupy(path)
      const caller = yield* Effect.fork(Effect.gen(function*() {
        yield* Effect.flip(locks.withLock(Effect.void, path, { timeout: "1 second" }))
        yield* Effect.sleep("1 second")
        return "went on"
      }))
      assert.strictEqual(yield* Fiber.join(caller), "went on")
    }))

  test("is all that ends the wait of a caller that may not be interrupted", (locks, backend) =>
    Effect.gen(function*() {
      for (const isFreed of [true, false]) {
        backend.occupy(path)
        let outcome: unknown
        const caller = yield* locks.withLock(Effect.void, path, { timeout: "1 second" }).pipe(
          Effect.exit,
          Effect.flatMap((exit) => Effect.sync(() => outcome = reasonOf(exit))),
          Effect.uninterruptible,
          Effect.fork
        )
        yield* Effect.sleep("100 millis")
        const interruption = yield* Effect.fork(Fiber.interrupt(caller))
        yield* Effect.sleep("100 millis")
        assert.isNull(caller.unsafePoll())
        if (isFreed) backend.free(path)
        yield* Fiber.join(interruption)
        if (isFreed) assert.strictEqual(outcome, "acquired")
        else assert.deepInclude(outcome, { reason: "Timeout", waited: 1_000 })
      }
    }))

  test(
    "counts while the first attempt of a waiter goes on that has waited in the queue before",
    (locks, backend) =>
      Effect.gen(function*() {
        const first = yield* Effect.fork(locks.withLock(Effect.sleep("100 millis"), path))
        yield* Effect.sleep("10 millis")
        const second = yield* Effect.fork(Effect.exit(locks.withLock(Effect.void, path, { timeout: "200 millis" })))
        yield* Effect.sleep("10 millis")
        backend.steps.release = (step) => Effect.tap(step, () => Effect.sync(() => backend.occupy(path)))
        backend.steps.tryAcquire = (step) => Effect.delay(step, "300 millis")
        yield* Fiber.join(first)
        yield* Effect.sleep("1 second")
        assert.deepInclude(reasonOf(Exit.flatten(yield* Effect.fromNullable(second.unsafePoll()))), {
          reason: "Timeout"
        })
      })
  )

  test(
    "that comes with the loss of an outer lock ends no fiber that the caller has forked before",
    (locks, backend) =>
      Effect.gen(function*() {
        backend.occupy(path)
        const caller = yield* Effect.fork(Effect.gen(function*() {
          const child = yield* Effect.fork(Effect.sleep("1 hour"))
          const inner = locks.withLock(Effect.void, path, { timeout: "1 second" })
          yield* Effect.exit(locks.withLock(inner, "/data/outer"))
          yield* Effect.sleep("1 second")
          return child.unsafePoll()
        }))
        yield* Effect.sleep("1 second")
        backend.lose("/data/outer")
        assert.isNull(yield* Fiber.join(caller))
      })
  )

  test("that comes with an interruption leaves the lock alone", (locks, backend) =>
    Effect.gen(function*() {
      backend.occupy(path)
      const caller = yield* Effect.fork(locks.withLock(Effect.void, path, { timeout: "1 second" }))
      yield* Effect.sleep("1 second")
      assert.isTrue(Exit.isFailure(yield* Fiber.interrupt(caller)))
      backend.free(path)
      yield* locks.withLock(Effect.void, path, { timeout: 0 })
      assert.deepStrictEqual(backend.holders(path), [])
    }))
})

describe("A failure that waiting does not change", () => {
  it.effect("is told at once, also to all who come later", () =>
    Effect.gen(function*() {
      const backend = FakeBackend.make()
      const locks = yield* FakeBackend.locksOver(backend)
      backend.steps.tryAcquire = (step) => Effect.zipRight(Effect.dieMessage("a defect of the engine"), step)
      for (const _ of [1, 2, 3]) {
        const exit = yield* Effect.exit(locks.withLock(Effect.void, "/data/a", { timeout: "1 minute" }))
        assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die")
      }
      backend.steps.tryAcquire = (step) => step
      yield* locks.withLock(Effect.void, "/data/a", { timeout: 0 })
    }).pipe(Effect.scoped, Simulation.run))
})
