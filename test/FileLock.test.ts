import { FileSystem, Path } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as FileLock from "../src/FileLock.js"
import * as Metrics from "../src/FileLockMetrics.js"
import { LockAcquisitionError, type LockDirectoryError, type LockLostError } from "../src/LockError.js"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"
import * as NodeFileLock from "../src/NodeFileLock.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import { makeRecord } from "./utils/records.js"
import * as Simulation from "./utils/Simulation.js"
import * as Tracer from "./utils/tracer.js"

type Platform = FileSystem.FileSystem | Path.Path

/** An engine with a file system below it. */
interface Ground {
  readonly name: string
  readonly layerWith: (settings: FileLock.Settings) => Layer.Layer<FileLock.FileLock, never, Platform>
  readonly layerConfig: typeof FileLock.layerConfig
  readonly platform: Layer.Layer<Platform>
  /** Whether time passes by itself. */
  readonly real: boolean
}

const grounds: ReadonlyArray<Ground> = [
  {
    name: "in memory",
    layerWith: FileLock.layerWith,
    layerConfig: FileLock.layerConfig,
    platform: Layer.merge(MemoryFileSystem.layer, Path.layer),
    real: false
  },
  {
    name: "over NodeContext",
    layerWith: FileLock.layerWith,
    layerConfig: FileLock.layerConfig,
    platform: NodeContext.layer,
    real: true
  },
  {
    name: "of NodeFileLock",
    layerWith: NodeFileLock.layerWith,
    layerConfig: NodeFileLock.layerConfig,
    platform: NodeContext.layer,
    real: true
  }
]

/** A fresh directory and a path in it. */
const makeArena = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped()
  const leftovers = Effect.map(fs.readDirectory(directory), (names) => names.filter((name) => name.includes(".lock")))
  return { fs, directory, path: `${directory}/tasks.json`, lockPath: `${directory}/tasks.json.lock`, leftovers }
})

/** Counts the fibers that are inside, and remembers the largest number. */
const makeOverlap = Effect.gen(function*() {
  const now = yield* Ref.make(0)
  const most = yield* Ref.make(0)
  const inside = <A, E, R>(body: Effect.Effect<A, E, R>) =>
    Effect.acquireUseRelease(
      Effect.flatMap(Ref.updateAndGet(now, (n) => n + 1), (n) => Ref.update(most, (m) => Math.max(m, n))),
      () => body,
      () => Ref.update(now, (n) => n - 1)
    )
  return { inside, most: Ref.get(most) }
})

/** Gives other fibers every opportunity. */
const pause = Effect.zipRight(Effect.repeatN(Effect.yieldNow(), 10), Effect.sleep("2 millis"))

/** Runs an effect as another process does, with an instance of a layer of its own. */
const as =
  (identity: ProcessIdentity.ProcessIdentity, layer: Layer.Layer<FileLock.FileLock, never, Platform>) =>
  <A, E, R>(self: Effect.Effect<A, E, R>) =>
    self.pipe(
      Effect.provide(Layer.fresh(layer)),
      Effect.provideService(ProcessIdentity.ProcessIdentity, identity)
    )

for (const ground of grounds) {
  const test = (
    behaviour: string,
    self: () => Effect.Effect<void, unknown, FileLock.FileLock | Platform | Scope.Scope>,
    settings: FileLock.Settings = {}
  ): void => {
    const provided = Effect.suspend(self).pipe(
      Effect.scoped,
      Effect.provide(Layer.provideMerge(ground.layerWith(settings), ground.platform))
    )
    if (ground.real) {
      it.live(behaviour, () => Effect.provide(provided, Logger.remove(Logger.defaultLogger)))
    } else {
      it.effect(behaviour, () => Simulation.run(provided))
    }
  }

  describe(`FileLock ${ground.name}`, () => {
    test("holds the lock file while the scope is open and removes it afterwards", () =>
      Effect.gen(function*() {
        const { directory, fs, leftovers, lockPath, path } = yield* makeArena
        yield* Effect.scoped(Effect.gen(function*() {
          const handle = yield* FileLock.acquire(path, { label: "compaction" })
          expect(handle.path).toBe(`${yield* fs.realPath(directory)}/tasks.json`)
          expect(handle.lockPath).toBe(`${handle.path}.lock`)
          expect(handle.mode).toBe("exclusive")
          expect(Option.isNone(handle.fence)).toBe(true)
          expect(yield* handle.isHeld).toBe(true)
          yield* handle.verify
          const record: unknown = JSON.parse(yield* fs.readFileString(lockPath))
          expect(record).toMatchObject({ v: 1, token: handle.holder.token, pid: process.pid, label: "compaction" })
        }))
        expect(yield* leftovers).toEqual([])
      }))

    test("makes missing directories, however deep", () =>
      Effect.gen(function*() {
        const { directory, fs } = yield* makeArena
        yield* FileLock.withLock(
          Effect.map(fs.exists(`${directory}/a/b/c/tasks.json.lock`), (exists) => expect(exists).toBe(true)),
          `${directory}/a/b/c/tasks.json`
        )
        expect(yield* fs.readDirectory(`${directory}/a/b/c`)).toEqual([])
      }))

    test("keeps fibers out of each other's critical sections", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        const overlap = yield* makeOverlap
        yield* Effect.forEach(
          Array.from({ length: 40 }),
          () => overlap.inside(Effect.yieldNow()).pipe(FileLock.withLock(path)),
          { concurrency: "unbounded" }
        )
        expect(yield* overlap.most).toBe(1)
        expect(yield* leftovers).toEqual([])
      }))

    test("serves the fibers of a process first come, first served", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const order = yield* Ref.make<ReadonlyArray<number>>([])
        const gate = yield* Deferred.make<void>()
        const inside = yield* Deferred.make<void>()
        const first = yield* Effect.fork(
          Deferred.succeed(inside, undefined).pipe(Effect.zipRight(Deferred.await(gate)), FileLock.withLock(path))
        )
        yield* Deferred.await(inside)
        const others: Array<Fiber.Fiber<void, unknown>> = []
        for (let turn = 0; turn < 10; turn++) {
          others.push(yield* Effect.fork(FileLock.withLock(Ref.update(order, (all) => [...all, turn]), path)))
          yield* Effect.yieldNow()
        }
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(first)
        yield* Fiber.joinAll(others)
        expect(yield* Ref.get(order)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      }))

    test("excludes another copy of the service in the same process", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const other = yield* Layer.build(Layer.fresh(ground.layerWith({})))
        yield* FileLock.acquire(path)
        const taken = yield* FileLock.acquireIfAvailable(path).pipe(Effect.provide(other))
        expect(Option.isNone(taken)).toBe(true)
      }))

    test("releases on success, failure, defect and interruption alike", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        expect(yield* FileLock.withLock(Effect.succeed(1), path)).toBe(1)
        expect(yield* leftovers).toEqual([])
        expect(yield* Effect.flip(FileLock.withLock(Effect.fail("body"), path))).toBe("body")
        expect(yield* leftovers).toEqual([])
        const died = yield* Effect.exit(FileLock.withLock(Effect.die("defect"), path))
        expect(Exit.isFailure(died) && Cause.isDie(died.cause)).toBe(true)
        expect(yield* leftovers).toEqual([])
        const inside = yield* Deferred.make<void>()
        const fiber = yield* Effect.fork(
          Deferred.succeed(inside, undefined).pipe(Effect.zipRight(Effect.never), FileLock.withLock(path))
        )
        yield* Deferred.await(inside)
        expect(yield* leftovers).toEqual(["tasks.json.lock"])
        const exit = yield* Fiber.interrupt(fiber)
        expect(Exit.isInterrupted(exit)).toBe(true)
        expect(yield* leftovers).toEqual([])
      }))

    test("gives up at the timeout and says who holds the lock", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const scope = yield* Scope.make()
        yield* Scope.extend(FileLock.acquire(path, { label: "nightly" }), scope)
        const error = yield* FileLock.acquire(path, { timeout: "50 millis" }).pipe(
          Effect.scoped,
          Effect.flip,
          Effect.fork,
          Effect.flatMap(Fiber.join)
        )
        expect(error).toBeInstanceOf(LockAcquisitionError)
        expect(error).toMatchObject({ _tag: "LockAcquisitionError", reason: "Timeout", path, timeout: 50 })
        expect(error.message).toContain(`by pid ${process.pid}`)
        expect(error.message).toContain(`("nightly")`)
        if (error._tag === "LockAcquisitionError") {
          expect(error.waited).toBeGreaterThanOrEqual(50)
          expect(error.holder?.label).toBe("nightly")
        }
        yield* Scope.close(scope, Exit.void)
      }))

    test("tries once, and waits for nobody, when the timeout is zero", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        yield* Effect.scoped(FileLock.acquire(path, { timeout: 0 }))
        yield* FileLock.acquire(path)
        const error = yield* Effect.flip(FileLock.acquire(path, { timeout: 0 }))
        expect(error).toMatchObject({ reason: "Timeout", timeout: 0 })
        expect(Option.isNone(yield* FileLock.acquireIfAvailable(path))).toBe(true)
      }))

    test("stops waiting when the user's schedule is over", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const machine = yield* ProcessIdentity.makeMachine()
        const other = yield* machine.spawn()
        yield* FileLock.acquire(path).pipe(
          Effect.provide(Layer.fresh(FileLock.layer)),
          Effect.provideService(ProcessIdentity.ProcessIdentity, other)
        )
        const error = yield* Effect.flip(FileLock.acquire(path, {
          timeout: "infinity",
          schedule: Schedule.intersect(Schedule.recurs(2), Schedule.spaced("5 millis"))
        }))
        expect(error).toMatchObject({ reason: "Timeout", timeout: Infinity })
      }))

    test("takes one lock for all spellings of a file", () =>
      Effect.gen(function*() {
        const { directory, fs, path } = yield* makeArena
        yield* fs.writeFileString(path, "[]")
        yield* fs.makeDirectory(`${directory}/sub`)
        yield* fs.symlink(directory, `${directory}/link`)
        yield* fs.symlink(path, `${directory}/alias.json`)
        yield* fs.symlink(`${directory}/later.json`, `${directory}/dangling.json`)
        const spellings = [
          `${directory}/./tasks.json`,
          `${directory}//tasks.json`,
          `${directory}/sub/../tasks.json`,
          `${directory}/link/tasks.json`,
          `${directory}/link/sub/../../${directory.split("/").at(-1)}/tasks.json`,
          `${directory}/alias.json`
        ]
        yield* FileLock.acquire(path)
        for (const spelling of spellings) {
          expect(Option.isNone(yield* FileLock.acquireIfAvailable(spelling)), spelling).toBe(true)
        }
        const later = yield* FileLock.acquire(`${directory}/dangling.json`)
        expect(later.path.endsWith("/later.json")).toBe(true)
        expect(Option.isNone(yield* FileLock.acquireIfAvailable(`${directory}/later.json`))).toBe(true)
      }))

    test("lets a nested withLock in, and unlocks at the outermost exit", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        yield* Effect.gen(function*() {
          yield* FileLock.withLock(FileLock.withLock(Effect.void, path), path)
          expect(yield* leftovers).toEqual(["tasks.json.lock"])
          yield* FileLock.withLock(Effect.void, path).pipe(Effect.timeout("1 second"))
          const nested = yield* FileLock.withLockIfAvailable(Effect.succeed("in"), path)
          expect(nested).toEqual(Option.some("in"))
          expect(yield* leftovers).toEqual(["tasks.json.lock"])
        }).pipe(FileLock.withLock(path))
        expect(yield* leftovers).toEqual([])
      }))

    test("is re-entered where a handle on it was acquired inside another critical section", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const handle = yield* FileLock.withLock(FileLock.acquire(path), `${path}.other`)
        const token = yield* FileLock.withLock(Effect.succeed(handle.holder.token), path, { timeout: "1 second" })
        expect(token).toBe(handle.holder.token)
        expect(yield* handle.isHeld).toBe(true)
      }))

    test("interrupts what can be interrupted of a body, although its caller cannot be", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        const inside = yield* Deferred.make<void>()
        const stopped = yield* Ref.make(false)
        const work = Effect.zipRight(Deferred.succeed(inside, undefined), Effect.never).pipe(
          Effect.onInterrupt(() => Ref.set(stopped, true))
        )
        const caller = yield* Effect.fork(
          Effect.uninterruptibleMask((restore) => FileLock.withLock(restore(work), path))
        )
        yield* Deferred.await(inside)
        const exit = yield* Fiber.interrupt(caller).pipe(Effect.timeout("10 seconds"), Effect.disconnect)
        expect(Exit.isInterrupted(exit)).toBe(true)
        expect(yield* Ref.get(stopped)).toBe(true)
        expect(yield* leftovers).toEqual([])
      }))

    test("leaves a body alone that cannot be interrupted, and waits for it", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        const inside = yield* Deferred.make<void>()
        const gate = yield* Deferred.make<void>()
        const events: Array<string> = []
        const note = (event: string) => Effect.sync(() => void events.push(event))
        const work = Deferred.succeed(inside, undefined).pipe(
          Effect.zipRight(Deferred.await(gate)),
          Effect.zipRight(note("the body has ended")),
          Effect.uninterruptible
        )
        const caller = yield* Effect.fork(FileLock.withLock(work, path))
        yield* Deferred.await(inside)
        const interrupting = yield* Effect.fork(
          Effect.zipRight(Fiber.interrupt(caller), note("the caller is interrupted"))
        )
        yield* Effect.repeatN(Effect.yieldNow(), 10)
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(interrupting)
        expect(events).toEqual(["the body has ended", "the caller is interrupted"])
        expect(yield* leftovers).toEqual([])
      }))

    test("keeps siblings that re-enter out of each other's way", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        const overlap = yield* makeOverlap
        const nested = overlap.inside(pause).pipe(FileLock.withLock(path))
        yield* Effect.all([nested, nested, FileLock.withLock(nested, path)], { concurrency: "unbounded" }).pipe(
          FileLock.withLock(path)
        )
        expect(yield* overlap.most).toBe(1)
        expect(yield* leftovers).toEqual([])
      }))

    test("stays locked until the last fiber that re-entered has left", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        const inside = yield* Deferred.make<void>()
        const gate = yield* Deferred.make<void>()
        const daemon = yield* Deferred.succeed(inside, undefined).pipe(
          Effect.zipRight(Deferred.await(gate)),
          FileLock.withLock(path),
          Effect.forkDaemon,
          Effect.zipLeft(Deferred.await(inside)),
          FileLock.withLock(path)
        )
        expect(yield* leftovers).toEqual(["tasks.json.lock"])
        expect(Option.isNone(yield* FileLock.acquireIfAvailable(path).pipe(Effect.scoped))).toBe(true)
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(daemon)
        expect(yield* leftovers).toEqual([])
      }))

    test("does not let a fiber in that outlived the critical section it was started in", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const gate = yield* Deferred.make<void>()
        const overlap = yield* makeOverlap
        const daemon = yield* Deferred.await(gate).pipe(
          Effect.zipRight(overlap.inside(pause).pipe(FileLock.withLock(path))),
          Effect.forkDaemon,
          FileLock.withLock(path)
        )
        const other = yield* Effect.fork(
          Deferred.succeed(gate, undefined).pipe(
            Effect.zipRight(overlap.inside(pause)),
            FileLock.withLock(path)
          )
        )
        yield* Fiber.join(daemon)
        yield* Fiber.join(other)
        expect(yield* overlap.most).toBe(1)
      }))

    test("runs, and unlocks, where it cannot be interrupted", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        const ran = yield* Ref.make(0)
        const body = Ref.update(ran, (n) => n + 1).pipe(FileLock.withLock(path))
        yield* Effect.uninterruptible(body)
        yield* Effect.scoped(Effect.addFinalizer(() => Effect.orDie(body)))
        expect(yield* Effect.uninterruptible(FileLock.withLockIfAvailable(body, path))).toEqual(Option.some(undefined))
        expect(yield* Ref.get(ran)).toBe(3)
        expect(yield* leftovers).toEqual([])
      }))

    test("is free again after an interruption at any moment, the release included", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        for (let round = 0; round < 60; round++) {
          const fiber = yield* Effect.fork(FileLock.withLock(Effect.void, path))
          yield* Effect.repeatN(Effect.yieldNow(), round * 3)
          yield* Fiber.interrupt(fiber)
          yield* FileLock.withLock(Effect.void, path, { timeout: "5 seconds" })
        }
        expect(yield* leftovers).toEqual([])
      }))

    test("lets fibers that the body forked live as long as without a lock", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const gate = yield* Deferred.make<void>()
        const forked = yield* FileLock.withLock(Effect.fork(Effect.as(Deferred.await(gate), "done")), path)
        yield* Deferred.succeed(gate, undefined)
        expect(yield* Fiber.join(forked)).toBe("done")
      }))

    test("keeps what the body set in its fiber", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const ref = yield* FiberRef.make("before")
        yield* FileLock.withLock(FiberRef.set(ref, "after"), path)
        expect(yield* FiberRef.get(ref)).toBe("after")
      }))

    test("keeps siblings apart below a nested section that has ended before those it let in", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const overlap = yield* makeOverlap
        const gate = yield* Deferred.make<void>()
        const nestedIsIn = yield* Deferred.make<void>()
        yield* Effect.gen(function*() {
          // A section inside ours, which ends while a fiber that re-entered it is still inside.
          const daemon = yield* overlap.inside(
            Effect.zipRight(Deferred.succeed(nestedIsIn, undefined), Deferred.await(gate))
          ).pipe(
            FileLock.withLock(path),
            Effect.forkDaemon,
            Effect.zipLeft(Deferred.await(nestedIsIn)),
            FileLock.withLock(path)
          )
          const sibling = yield* Effect.fork(FileLock.withLock(overlap.inside(Effect.void), path))
          yield* Effect.repeatN(Effect.yieldNow(), 10)
          yield* Deferred.succeed(gate, undefined)
          yield* Fiber.join(sibling)
          yield* Fiber.join(daemon)
        }).pipe(FileLock.withLock(path))
        expect(yield* overlap.most).toBe(1)
      }))

    test("locks the same paths each time, whatever kind of iterable they came in", () =>
      Effect.gen(function*() {
        const { directory, leftovers } = yield* makeArena
        const names = new Set([`${directory}/a`, `${directory}/b`])
        const held = Effect.map(leftovers, (all) => all.length)
        const dataFirst = FileLock.withLocks(held, names.values())
        expect([yield* dataFirst, yield* dataFirst]).toEqual([2, 2])
        const dataLast = FileLock.withLocks(names.values())
        expect([yield* dataLast(held), yield* dataLast(held)]).toEqual([2, 2])
        expect(yield* FileLock.withLocks(held, `${directory}/one-string`)).toBe(1)
      }))

    test("says Deadlock at once where a fiber would wait for its own handle", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        yield* FileLock.acquire(path)
        const error = yield* Effect.flip(FileLock.acquire(path, { timeout: "infinity" }))
        expect(error).toMatchObject({ reason: "Deadlock" })
        expect(yield* FileLock.withLock(Effect.succeed("nested"), path)).toBe("nested")
      }))

    test("does not let another fiber in through a scoped handle, but makes it wait", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const events: Array<string> = []
        const note = (event: string) => Effect.sync(() => void events.push(event))
        const scope = yield* Scope.make()
        yield* Scope.extend(FileLock.acquire(path), scope)
        const waiting = yield* Effect.fork(Effect.scoped(Effect.zipRight(FileLock.acquire(path), note("acquired"))))
        yield* Effect.repeatN(Effect.yieldNow(), 10)
        yield* note("released")
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(waiting)
        expect(events).toEqual(["released", "acquired"])
      }))

    test("takes several locks in one order, so that nobody waits for ever", () =>
      Effect.gen(function*() {
        const { directory, leftovers } = yield* makeArena
        const paths = ["a", "b", "c"].map((name) => `${directory}/${name}`)
        const overlap = yield* makeOverlap
        yield* Effect.forEach(
          Array.from({ length: 12 }),
          (_, turn) =>
            overlap.inside(Effect.yieldNow()).pipe(
              FileLock.withLocks(turn % 2 === 0 ? paths : [...paths].reverse(), { timeout: "10 seconds" })
            ),
          { concurrency: "unbounded" }
        )
        expect(yield* overlap.most).toBe(1)
        expect(yield* leftovers).toEqual([])
        expect(yield* FileLock.withLocks(Effect.succeed("none wanted"), [])).toBe("none wanted")
      }))

    test("takes all of several locks or none", () =>
      Effect.gen(function*() {
        const { directory, leftovers } = yield* makeArena
        const [a, b, c] = [`${directory}/a`, `${directory}/b`, `${directory}/c`] as const
        yield* Effect.scoped(Effect.gen(function*() {
          const handles = yield* FileLock.acquireAll([c, a, `${directory}/./a`])
          expect(handles.map((handle) => handle.path.split("/").at(-1))).toEqual(["a", "c"])
        }))
        const scope = yield* Scope.make()
        yield* Scope.extend(FileLock.acquire(b), scope)
        const error = yield* Effect.flip(Effect.scoped(FileLock.acquireAll([a, b, c], { timeout: 0 })))
        expect(error).toMatchObject({ reason: "Timeout", path: b })
        expect(yield* leftovers).toEqual(["b.lock"])
        yield* Scope.close(scope, Exit.void)
      }))

    test("does not leave the lock to a caller whose own timeout came first", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        const scope = yield* Scope.make()
        yield* Scope.extend(FileLock.acquire(path), scope)
        const gaveUp = yield* FileLock.acquire(path).pipe(
          Effect.timeoutOption("30 millis"),
          Effect.fork,
          Effect.flatMap(Fiber.join)
        )
        expect(Option.isNone(gaveUp)).toBe(true)
        yield* Scope.close(scope, Exit.void)
        expect(yield* leftovers).toEqual([])
      }))

    test("tells who holds a lock, and breaks exactly that claim", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        expect(yield* FileLock.inspect(path)).toEqual(Option.none())
        const handle = yield* FileLock.acquire(path, { label: "me" })
        const status = Option.getOrThrow(yield* FileLock.inspect(path))
        expect(status).toMatchObject({ state: "held", mode: "exclusive" })
        expect(status.holders.map(({ label, token }) => ({ label, token }))).toEqual([
          { label: "me", token: handle.holder.token }
        ])
        expect(yield* FileLock.breakLock(path, { ...handle.holder, token: "some-other-token" })).toBe(false)
        yield* handle.verify
        expect(yield* FileLock.breakLock(path, handle.holder)).toBe(true)
        expect(yield* FileLock.breakLock(path, handle.holder)).toBe(false)
        expect(yield* leftovers).toEqual([])
        expect(yield* Effect.flip(handle.verify)).toMatchObject({ _tag: "LockLostError", reason: "Removed" })
        expect(yield* Effect.flip(handle.lost)).toMatchObject({ reason: "Removed" })
        expect(yield* handle.isHeld).toBe(false)
      }))

    test("takes over from a dead process at once, and counts it", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* makeArena
        const machine = yield* ProcessIdentity.makeMachine()
        const other = yield* machine.spawn()
        const here = yield* machine.spawn()
        const asHere = as(here, ground.layerWith({}))
        const stateHere = Effect.map(asHere(FileLock.inspect(path)), Option.map(({ state }) => state))
        const abandoned = yield* Scope.make()
        yield* FileLock.acquire(path).pipe(Scope.extend(abandoned), as(other, FileLock.layer))
        expect(yield* FileLock.acquireIfAvailable(path).pipe(asHere)).toEqual(Option.none())
        expect(yield* stateHere).toEqual(Option.some("held"))
        yield* machine.kill(other)
        expect(yield* stateHere).toEqual(Option.some("abandoned"))
        const before = (yield* Metric.value(Metrics.takeovers)).count
        yield* FileLock.withLock(Effect.void, path, { timeout: 0 }).pipe(asHere)
        expect((yield* Metric.value(Metrics.takeovers)).count).toBe(before + 1)
        expect(yield* leftovers).toEqual([])
      }))

    test("interrupts the body and fails when the lock is lost", () =>
      Effect.gen(function*() {
        const { fs, lockPath, path } = yield* makeArena
        const interrupted = yield* Ref.make(false)
        const error = yield* fs.remove(lockPath).pipe(
          Effect.zipRight(Effect.never),
          Effect.onInterrupt(() => Ref.set(interrupted, true)),
          FileLock.withLock(path),
          Effect.flip
        )
        expect(error).toMatchObject({ _tag: "LockLostError", reason: "Removed" })
        expect(yield* Ref.get(interrupted)).toBe(true)
      }), { lease: "1500 millis" })

    test("fails where only the release finds that the lock file was removed", () =>
      Effect.gen(function*() {
        const { fs, leftovers, lockPath, path } = yield* makeArena
        const error = yield* Effect.flip(FileLock.withLock(fs.remove(lockPath), path))
        expect(error).toMatchObject({
          _tag: "LockLostError",
          reason: "Removed",
          lockPath: yield* fs.realPath(path.slice(0, path.lastIndexOf("/"))).pipe(
            Effect.map((directory) => `${directory}/tasks.json.lock`)
          )
        })
        expect(yield* leftovers).toEqual([])
        expect(yield* FileLock.withLock(Effect.succeed("again"), path, { timeout: 0 })).toBe("again")
      }))

    test("fails where only the release finds that another holder has the lock, and leaves that one's file alone", () =>
      Effect.gen(function*() {
        const { fs, lockPath, path } = yield* makeArena
        const record = makeRecord({ token: "token-of-the-next-holder" })
        const replace = Effect.zipRight(fs.remove(lockPath), fs.writeFileString(lockPath, record))
        const error = yield* Effect.flip(FileLock.withLock(replace, path))
        expect(error).toMatchObject({
          _tag: "LockLostError",
          reason: "Replaced",
          holder: { token: "token-of-the-next-holder" }
        })
        expect(yield* fs.readFileString(lockPath)).toBe(record)
      }))

    test("keeps the failure of a body whose lock turns out to be gone at the release", () =>
      Effect.gen(function*() {
        const { fs, lockPath, path } = yield* makeArena
        const body = Effect.zipRight(fs.remove(lockPath), Effect.fail("of the body"))
        expect(yield* Effect.flip(FileLock.withLock(body, path))).toBe("of the body")
      }))

    test("keeps a lock for many leases, by heartbeats", () =>
      Effect.gen(function*() {
        const { fs, lockPath, path } = yield* makeArena
        const handle = yield* FileLock.acquire(path)
        const beatOf = Effect.map(fs.readFileString(lockPath), (text) => Number(/"beat":"(\d+)"/.exec(text)?.[1]))
        expect(yield* beatOf).toBe(0)
        yield* Effect.repeat(Effect.zipRight(Effect.sleep("20 millis"), beatOf), { until: (beat) => beat >= 5 })
        yield* handle.verify
        expect(yield* handle.isHeld).toBe(true)
      }), { lease: "600 millis" })

    test(
      "takes over a lock of an owner that cannot be checked after a whole lease of silence",
      () =>
        Effect.gen(function*() {
          const { fs, lockPath, path } = yield* makeArena
          yield* fs.writeFileString(lockPath, makeRecord())
          const took = yield* Effect.map(
            Effect.timed(FileLock.withLock(Effect.void, path, { timeout: "10 seconds" })),
            ([took]) => Duration.toMillis(took)
          )
          expect(took).toBeGreaterThanOrEqual(400)
        }),
      { lease: "400 millis" }
    )

    // Time that passes by itself shows no absence.
    const simulated = ground.real ? () => {} : test
    simulated(
      "never takes over a lock of an owner that cannot be checked while that one is heard of",
      () =>
        Effect.gen(function*() {
          const { path } = yield* makeArena
          const elsewhere = yield* Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => machine.spawn())
          const scope = yield* Scope.make()
          const held = yield* FileLock.acquire(path).pipe(
            Scope.extend(scope),
            as(elsewhere, FileLock.layerWith({ lease: "2 seconds" }))
          )
          const refused = yield* Effect.flip(FileLock.withLock(Effect.void, path, { timeout: "10 seconds" }))
          expect(refused).toMatchObject({ reason: "Timeout", holder: { token: held.holder.token } })
          expect(yield* held.isHeld).toBe(true)
          yield* held.verify
          yield* Scope.close(scope, Exit.void)
          yield* FileLock.withLock(Effect.void, path)
        }),
      { lease: "2 seconds" }
    )

    test("counts acquisitions, timeouts and who holds", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const acquired = (yield* Metric.value(Metrics.acquisitions)).count
        const timedOut = (yield* Metric.value(Metrics.timeouts)).count
        const held = (yield* Metric.value(Metrics.held)).value
        yield* Effect.gen(function*() {
          expect((yield* Metric.value(Metrics.held)).value).toBe(held + 1)
          yield* FileLock.acquire(path, { timeout: 0 }).pipe(Effect.scoped, Effect.flip)
        }).pipe(FileLock.withLock(path))
        expect((yield* Metric.value(Metrics.acquisitions)).count).toBe(acquired + 1)
        expect((yield* Metric.value(Metrics.timeouts)).count).toBe(timedOut + 1)
        expect((yield* Metric.value(Metrics.held)).value).toBe(held)
        expect((yield* Metric.value(Metrics.holdTime)).count).toBeGreaterThan(0)
        expect((yield* Metric.value(Metrics.waitTime)).count).toBeGreaterThan(0)
      }))

    test("tells a tracer what became of acquisitions and critical sections", () =>
      Effect.gen(function*() {
        const { fs, lockPath, path } = yield* makeArena
        const spans: Array<string> = []
        const tracer = Tracer.make({
          onEnd: (name, attributes) => {
            if (name.startsWith("FileLock.")) {
              spans.push(`${name} ${String(attributes.get("path") === path)} ${String(attributes.get("outcome"))}`)
            }
          }
        })
        const traced = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.exit(Effect.withTracer(effect, tracer))
        yield* traced(FileLock.withLock(Effect.void, path))
        yield* traced(FileLock.withLock(Effect.fail("body"), path))
        yield* traced(Effect.scoped(FileLock.acquire(path)))
        yield* fs.makeDirectory(lockPath)
        yield* traced(FileLock.withLock(Effect.void, path, { timeout: 0 }))
        expect(spans).toEqual([
          "FileLock.acquire true acquired",
          "FileLock.hold true succeeded",
          "FileLock.acquire true acquired",
          "FileLock.hold true failed",
          "FileLock.acquire true acquired",
          "FileLock.hold true succeeded",
          "FileLock.acquire true Foreign"
        ])
      }))

    test("takes its settings from the configuration", () =>
      Effect.gen(function*() {
        const { path } = yield* makeArena
        const configured = ground.layerConfig({ lease: Config.duration("LEASE") }).pipe(
          Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["LEASE", "45 seconds"]]))))
        )
        expect(yield* FileLock.withLock(Effect.succeed("ok"), path).pipe(Effect.provide(configured))).toBe("ok")
      }))
  })
}

describe("FileLock types", () => {
  it("keeps the body's own types in both call styles", () => {
    const dataFirst: Effect.Effect<
      number,
      "mine" | LockAcquisitionError | LockDirectoryError | LockLostError,
      FileLock.FileLock
    > = FileLock.withLock(
      Effect.fail("mine").pipe(Effect.as(1)) as Effect.Effect<number, "mine">,
      "a",
      { timeout: undefined, label: undefined }
    )
    const dataLast: typeof dataFirst = (Effect.fail("mine") as Effect.Effect<number, "mine">).pipe(
      FileLock.withLock("a")
    )
    expect(Effect.isEffect(dataFirst) && Effect.isEffect(dataLast)).toBe(true)
  })
})
