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
import * as Tracer from "effect/Tracer"
import * as FileLock from "../src/FileLock.js"
import * as Metrics from "../src/FileLockMetrics.js"
import { LockAcquisitionError, type LockDirectoryError, type LockLostError } from "../src/LockError.js"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"

const fileSystems: ReadonlyArray<readonly [string, Layer.Layer<FileSystem.FileSystem | Path.Path>]> = [
  ["in memory", Layer.merge(MemoryFileSystem.layer, Path.layer)],
  ["on Node", NodeContext.layer]
]

/** A fresh directory and a path in it; nothing may be left in the directory when the test is over. */
const arena = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* fs.makeTempDirectoryScoped()
  const leftovers = Effect.map(fs.readDirectory(directory), (names) => names.filter((name) => name.includes(".lock")))
  return { fs, directory, path: `${directory}/tasks.json`, lockPath: `${directory}/tasks.json.lock`, leftovers }
})

/** A latch that counts who is inside and tells when two were. */
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

const settle = Effect.sleep("20 millis")

for (const [where, platform] of fileSystems) {
  const locks = FileLock.layer.pipe(Layer.provideMerge(platform))

  describe(`FileLock ${where}`, () => {
    it.scopedLive("holds the lock file while the scope is open and removes it afterwards", () =>
      Effect.gen(function*() {
        const { directory, fs, leftovers, lockPath, path } = yield* arena
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("makes missing directories, however deep", () =>
      Effect.gen(function*() {
        const { directory, fs } = yield* arena
        yield* FileLock.withLock(
          Effect.map(fs.exists(`${directory}/a/b/c/tasks.json.lock`), (exists) => expect(exists).toBe(true)),
          `${directory}/a/b/c/tasks.json`
        )
        expect(yield* fs.readDirectory(`${directory}/a/b/c`)).toEqual([])
      }).pipe(Effect.provide(locks)))

    it.scopedLive("keeps fibers out of each other's critical sections", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
        const overlap = yield* makeOverlap
        yield* Effect.forEach(
          Array.from({ length: 40 }),
          () => overlap.inside(Effect.yieldNow()).pipe(FileLock.withLock(path)),
          { concurrency: "unbounded" }
        )
        expect(yield* overlap.most).toBe(1)
        expect(yield* leftovers).toEqual([])
      }).pipe(Effect.provide(locks)))

    it.scopedLive("serves the fibers of a process first come, first served", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
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
          yield* settle
        }
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(first)
        yield* Fiber.joinAll(others)
        expect(yield* Ref.get(order)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      }).pipe(Effect.provide(locks)))

    it.scopedLive("excludes another copy of the service in the same process", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
        const other = yield* Layer.build(Layer.fresh(FileLock.layer))
        yield* FileLock.acquire(path)
        const taken = yield* FileLock.acquireIfAvailable(path).pipe(Effect.provide(other))
        expect(Option.isNone(taken)).toBe(true)
      }).pipe(Effect.provide(locks)))

    it.scopedLive("releases on success, failure, defect and interruption alike", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("gives up at the timeout and says who holds the lock", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("tries once, and waits for nobody, when the timeout is zero", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
        yield* Effect.scoped(FileLock.acquire(path, { timeout: 0 }))
        yield* FileLock.acquire(path)
        const error = yield* Effect.flip(FileLock.acquire(path, { timeout: 0 }))
        expect(error).toMatchObject({ reason: "Timeout", timeout: 0 })
        expect(Option.isNone(yield* FileLock.acquireIfAvailable(path))).toBe(true)
      }).pipe(Effect.provide(locks)))

    it.scopedLive("stops waiting when the user's schedule is over", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("takes one lock for all spellings of a file", () =>
      Effect.gen(function*() {
        const { directory, fs, path } = yield* arena
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("lets a nested withLock in, and unlocks at the outermost exit", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
        yield* Effect.gen(function*() {
          yield* FileLock.withLock(FileLock.withLock(Effect.void, path), path)
          expect(yield* leftovers).toEqual(["tasks.json.lock"])
          yield* FileLock.withLock(Effect.void, path).pipe(Effect.timeout("1 second"))
          const nested = yield* FileLock.withLockIfAvailable(Effect.succeed("in"), path)
          expect(nested).toEqual(Option.some("in"))
          expect(yield* leftovers).toEqual(["tasks.json.lock"])
        }).pipe(FileLock.withLock(path))
        expect(yield* leftovers).toEqual([])
      }).pipe(Effect.provide(locks)))

    it.scopedLive("is re-entered where a handle on it was acquired inside another critical section", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
        const handle = yield* FileLock.withLock(FileLock.acquire(path), `${path}.other`)
        const token = yield* FileLock.withLock(Effect.succeed(handle.holder.token), path, { timeout: "1 second" })
        expect(token).toBe(handle.holder.token)
        expect(yield* handle.isHeld).toBe(true)
      }).pipe(Effect.provide(locks)))

    it.scopedLive("interrupts what can be interrupted of a body, although its caller cannot be", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("leaves a body alone that cannot be interrupted, and waits for it", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
        const inside = yield* Deferred.make<void>()
        const gate = yield* Deferred.make<void>()
        const ended = yield* Ref.make(false)
        const work = Deferred.succeed(inside, undefined).pipe(
          Effect.zipRight(Deferred.await(gate)),
          Effect.zipRight(Ref.set(ended, true)),
          Effect.uninterruptible
        )
        const caller = yield* Effect.fork(FileLock.withLock(work, path))
        yield* Deferred.await(inside)
        const interrupting = yield* Effect.fork(Fiber.interrupt(caller))
        yield* settle
        expect(interrupting.unsafePoll()).toBe(null)
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(interrupting)
        expect(yield* Ref.get(ended)).toBe(true)
        expect(yield* leftovers).toEqual([])
      }).pipe(Effect.provide(locks)))

    it.scopedLive("keeps siblings that re-enter out of each other's way", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
        const overlap = yield* makeOverlap
        const nested = overlap.inside(settle).pipe(FileLock.withLock(path))
        yield* Effect.all([nested, nested, FileLock.withLock(nested, path)], { concurrency: "unbounded" }).pipe(
          FileLock.withLock(path)
        )
        expect(yield* overlap.most).toBe(1)
        expect(yield* leftovers).toEqual([])
      }).pipe(Effect.provide(locks)))

    it.scopedLive("stays locked until the last fiber that re-entered has left", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("does not let a fiber in that outlived the critical section it was started in", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
        const gate = yield* Deferred.make<void>()
        const overlap = yield* makeOverlap
        const daemon = yield* Deferred.await(gate).pipe(
          Effect.zipRight(overlap.inside(settle).pipe(FileLock.withLock(path))),
          Effect.forkDaemon,
          FileLock.withLock(path)
        )
        const other = yield* Effect.fork(
          Deferred.succeed(gate, undefined).pipe(
            Effect.zipRight(overlap.inside(settle)),
            FileLock.withLock(path)
          )
        )
        yield* Fiber.join(daemon)
        yield* Fiber.join(other)
        expect(yield* overlap.most).toBe(1)
      }).pipe(Effect.provide(locks)))

    it.scopedLive("runs, and unlocks, where it cannot be interrupted", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
        const ran = yield* Ref.make(0)
        const body = Ref.update(ran, (n) => n + 1).pipe(FileLock.withLock(path))
        yield* Effect.uninterruptible(body)
        yield* Effect.scoped(Effect.addFinalizer(() => Effect.orDie(body)))
        expect(yield* Effect.uninterruptible(FileLock.withLockIfAvailable(body, path))).toEqual(Option.some(undefined))
        expect(yield* Ref.get(ran)).toBe(3)
        expect(yield* leftovers).toEqual([])
      }).pipe(Effect.provide(locks)))

    it.scopedLive("is free again after an interruption at any moment, the release included", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
        for (let round = 0; round < 60; round++) {
          const fiber = yield* Effect.fork(FileLock.withLock(Effect.void, path))
          yield* Effect.repeatN(Effect.yieldNow(), round * 3)
          yield* Fiber.interrupt(fiber)
          yield* FileLock.withLock(Effect.void, path, { timeout: "5 seconds" })
        }
        expect(yield* leftovers).toEqual([])
      }).pipe(Effect.provide(locks)))

    it.scopedLive("lets fibers that the body forked live as long as without a lock", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
        const gate = yield* Deferred.make<void>()
        const forked = yield* FileLock.withLock(Effect.fork(Effect.as(Deferred.await(gate), "done")), path)
        yield* Deferred.succeed(gate, undefined)
        expect(yield* Fiber.join(forked)).toBe("done")
      }).pipe(Effect.provide(locks)))

    it.scopedLive("keeps what the body set in its fiber", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
        const ref = yield* FiberRef.make("before")
        yield* FileLock.withLock(FiberRef.set(ref, "after"), path)
        expect(yield* FiberRef.get(ref)).toBe("after")
      }).pipe(Effect.provide(locks)))

    it.scopedLive("keeps siblings apart below a nested section that has ended before those it let in", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
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
          yield* settle
          yield* Deferred.succeed(gate, undefined)
          yield* Fiber.join(sibling)
          yield* Fiber.join(daemon)
        }).pipe(FileLock.withLock(path))
        expect(yield* overlap.most).toBe(1)
      }).pipe(Effect.provide(locks)))

    it.scopedLive("locks the same paths each time, whatever kind of iterable they came in", () =>
      Effect.gen(function*() {
        const { directory, leftovers } = yield* arena
        const names = new Set([`${directory}/a`, `${directory}/b`])
        const held = Effect.map(leftovers, (all) => all.length)
        const dataFirst = FileLock.withLocks(held, names.values())
        expect([yield* dataFirst, yield* dataFirst]).toEqual([2, 2])
        const dataLast = FileLock.withLocks(names.values())
        expect([yield* dataLast(held), yield* dataLast(held)]).toEqual([2, 2])
        expect(yield* FileLock.withLocks(held, `${directory}/one-string`)).toBe(1)
      }).pipe(Effect.provide(locks)))

    it.scopedLive("says Deadlock at once where a fiber would wait for its own handle", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
        yield* FileLock.acquire(path)
        const error = yield* Effect.flip(FileLock.acquire(path, { timeout: "infinity" }))
        expect(error).toMatchObject({ reason: "Deadlock" })
        expect(yield* FileLock.withLock(Effect.succeed("nested"), path)).toBe("nested")
      }).pipe(Effect.provide(locks)))

    it.scopedLive("does not let a scoped handle in through the section it is in, but waits where another fiber holds it", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
        const scope = yield* Scope.make()
        yield* Scope.extend(FileLock.acquire(path), scope)
        const waiting = yield* Effect.fork(Effect.scoped(FileLock.acquire(path)))
        yield* settle
        expect(Option.isNone(yield* Fiber.poll(waiting))).toBe(true)
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(waiting)
      }).pipe(Effect.provide(locks)))

    it.scopedLive("takes several locks in one order, so that nobody waits for ever", () =>
      Effect.gen(function*() {
        const { directory, leftovers } = yield* arena
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("takes all of several locks or none", () =>
      Effect.gen(function*() {
        const { directory, leftovers } = yield* arena
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("does not leave the lock to a caller whose own timeout came first", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
        const scope = yield* Scope.make()
        yield* Scope.extend(FileLock.acquire(path), scope)
        const gaveUp = yield* FileLock.acquire(path).pipe(
          Effect.timeoutOption("30 millis"),
          Effect.fork,
          Effect.flatMap(Fiber.join)
        )
        expect(Option.isNone(gaveUp)).toBe(true)
        yield* Scope.close(scope, Exit.void)
        yield* settle
        expect(yield* leftovers).toEqual([])
      }).pipe(Effect.provide(locks)))

    it.scopedLive("tells who holds a lock, and breaks exactly that claim", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("takes over from a dead process at once, and counts it", () =>
      Effect.gen(function*() {
        const { leftovers, path } = yield* arena
        const machine = yield* ProcessIdentity.makeMachine()
        const dead = yield* machine.spawn()
        const heir = yield* machine.spawn()
        const as = (identity: ProcessIdentity.ProcessIdentity) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          effect.pipe(
            Effect.provide(Layer.fresh(FileLock.layer)),
            Effect.provideService(ProcessIdentity.ProcessIdentity, identity)
          )
        const abandoned = yield* Scope.make()
        yield* FileLock.acquire(path).pipe(Scope.extend(abandoned), as(dead))
        expect(Option.isNone(yield* FileLock.acquireIfAvailable(path).pipe(as(heir)))).toBe(true)
        expect(Option.map(yield* FileLock.inspect(path).pipe(as(heir)), (_) => _.state)).toEqual(Option.some("held"))
        yield* machine.kill(dead)
        expect(Option.map(yield* FileLock.inspect(path).pipe(as(heir)), (_) => _.state)).toEqual(
          Option.some("abandoned")
        )
        const before = (yield* Metric.value(Metrics.takeovers)).count
        yield* FileLock.withLock(Effect.void, path, { timeout: 0 }).pipe(as(heir))
        expect((yield* Metric.value(Metrics.takeovers)).count).toBe(before + 1)
        expect(yield* leftovers).toEqual([])
      }).pipe(Effect.provide(locks)))

    it.scopedLive("interrupts the body and fails when the lock is lost", () =>
      Effect.gen(function*() {
        const { fs, lockPath, path } = yield* arena
        const interrupted = yield* Ref.make(false)
        const error = yield* Effect.sleep("50 millis").pipe(
          Effect.zipRight(fs.remove(lockPath)),
          Effect.zipRight(Effect.never),
          Effect.onInterrupt(() => Ref.set(interrupted, true)),
          FileLock.withLock(path),
          Effect.flip
        )
        expect(error).toMatchObject({ _tag: "LockLostError", reason: "Removed" })
        expect(yield* Ref.get(interrupted)).toBe(true)
      }).pipe(Effect.provide(FileLock.layerWith({ lease: "1500 millis" }).pipe(Layer.provideMerge(platform)))))

    it.scopedLive("keeps a lock for many leases, beating", () =>
      Effect.gen(function*() {
        const { fs, lockPath, path } = yield* arena
        const handle = yield* FileLock.acquire(path)
        const beatOf = Effect.map(fs.readFileString(lockPath), (text) => /"beat":"(\d+)"/.exec(text)?.[1])
        expect(yield* beatOf).toBe("0000000000")
        yield* Effect.sleep("3500 millis")
        expect(Number(yield* beatOf)).toBeGreaterThan(2)
        yield* handle.verify
        expect(yield* handle.isHeld).toBe(true)
      }).pipe(Effect.provide(FileLock.layerWith({ lease: "1500 millis" }).pipe(Layer.provideMerge(platform)))))

    it.scopedLive("waits a whole lease of silence for an owner that cannot be checked", () =>
      Effect.gen(function*() {
        const { fs, lockPath, path } = yield* arena
        const lease = Duration.millis(400)
        const here = yield* Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => machine.spawn())
        const elsewhere = yield* Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => machine.spawn())
        const as = (identity: ProcessIdentity.ProcessIdentity) => <A, E, R>(effect: Effect.Effect<A, E, R>) =>
          effect.pipe(
            Effect.provide(Layer.fresh(FileLock.layerWith({ lease }))),
            Effect.provideService(ProcessIdentity.ProcessIdentity, identity)
          )
        const scope = yield* Scope.make()
        const living = yield* FileLock.acquire(path).pipe(Scope.extend(scope), as(elsewhere))
        const robbed = yield* FileLock.acquire(path, { timeout: "1 second" }).pipe(Effect.scoped, as(here), Effect.flip)
        expect(robbed).toMatchObject({ reason: "Timeout" })
        expect(yield* living.isHeld).toBe(true)
        yield* Scope.close(scope, Exit.void)

        // A record from elsewhere that nobody refreshes.
        yield* fs.writeFileString(
          lockPath,
          JSON.stringify({
            v: 1,
            token: "elsewhere-silent-1",
            ...elsewhere.info,
            acquiredAt: new Date(0).toISOString(),
            label: null,
            beat: "0000000000"
          }) + "\n"
        )
        const tooEarly = yield* FileLock.acquire(path, { timeout: "200 millis" }).pipe(
          Effect.scoped,
          as(here),
          Effect.flip
        )
        expect(tooEarly).toMatchObject({ reason: "Timeout" })
        yield* FileLock.withLock(Effect.void, path, { timeout: "10 seconds" }).pipe(as(here))
      }).pipe(Effect.provide(locks)))

    it.scopedLive("counts acquisitions, timeouts and who holds", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("tells a tracer what became of acquisitions and critical sections", () =>
      Effect.gen(function*() {
        const { fs, lockPath, path } = yield* arena
        const spans: Array<string> = []
        const tracer = Tracer.make({
          context: (f) => f(),
          span: (name, parent, context, links, startTime, kind) => {
            const attributes = new Map<string, unknown>()
            return {
              _tag: "Span",
              name,
              parent,
              context,
              links,
              kind,
              attributes,
              spanId: name,
              traceId: name,
              sampled: true,
              status: { _tag: "Started", startTime },
              attribute: (key, value) => void attributes.set(key, value),
              event: () => {},
              addLinks: () => {},
              end: () => {
                if (name.startsWith("FileLock.")) {
                  spans.push(`${name} ${String(attributes.get("path") === path)} ${String(attributes.get("outcome"))}`)
                }
              }
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
      }).pipe(Effect.provide(locks)))

    it.scopedLive("says once in the log for whom it waits for more than a second", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
        const lines: Array<string> = []
        const logger = Logger.replace(
          Logger.defaultLogger,
          Logger.make(({ message }) => void lines.push(String(message)))
        )
        const scope = yield* Scope.make()
        yield* Scope.extend(FileLock.acquire(path, { label: "slow one" }), scope)
        yield* FileLock.acquire(path, { timeout: "1300 millis" }).pipe(
          Effect.scoped,
          Effect.flip,
          Effect.provide(logger),
          Effect.fork,
          Effect.flatMap(Fiber.join)
        )
        const waits = lines.filter((line) => line.includes("Waiting for"))
        expect(waits).toHaveLength(1)
        expect(waits[0]).toContain(`("slow one")`)
        yield* Scope.close(scope, Exit.void)
      }).pipe(Effect.provide(locks)))

    it.scopedLive("takes its settings from the configuration", () =>
      Effect.gen(function*() {
        const { path } = yield* arena
        const configured = FileLock.layerConfig({ lease: Config.duration("LEASE") }).pipe(
          Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["LEASE", "45 seconds"]]))))
        )
        expect(yield* FileLock.withLock(Effect.succeed("ok"), path).pipe(Effect.provide(configured))).toBe("ok")
      }).pipe(Effect.provide(locks)))
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
