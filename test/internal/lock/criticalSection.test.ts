import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import type * as Scope from "effect/Scope"
import type { FileLock } from "../../../src/FileLock.js"
import * as CriticalSection from "../../../src/internal/lock/criticalSection.js"
import type { HeldLock } from "../../../src/internal/lock/heldLock.js"
import { WaitQueues } from "../../../src/internal/lock/waitQueue.js"
import { LockLostError } from "../../../src/LockError.js"
import * as FakeBackend from "../../utils/FakeBackend.js"

const path = "/data/tasks.json"
const other = "/data/other.json"

interface Scene {
  readonly backend: FakeBackend.FakeBackend
  readonly locks: Context.Tag.Service<FileLock>
  /** Loses the lock, from another fiber, when the current one is suspended. */
  readonly loseLater: (path: string) => Effect.Effect<void>
}

/** Over an engine whose calls run in the caller's fiber, and over one whose calls run in fibers of their own. */
const test = (
  behaviour: string,
  scene: (scene: Scene) => Effect.Effect<void, unknown, Scope.Scope>
): void => {
  for (const immediate of [true, false]) {
    it.scoped(`${behaviour} (${immediate ? "in the caller's fiber" : "in fibers of its own"})`, () =>
      Effect.gen(function*() {
        const backend = FakeBackend.make({ immediate })
        const locks = yield* FakeBackend.locksOver(backend)
        yield* scene({
          backend,
          locks,
          loseLater: (path) =>
            Effect.asVoid(Effect.forkDaemon(
              Effect.zipRight(Effect.repeatN(Effect.yieldNow(), 5), Effect.sync(() => backend.lose(path)))
            ))
        })
      }))
  }
}

const lostRightly = (error: unknown, of = path) => {
  assert.instanceOf(error, LockLostError)
  assert.propertyVal(error, "path", of)
}

describe("The loss of a lock", () => {
  test("interrupts the body and makes withLock fail", ({ locks, loseLater }) =>
    Effect.gen(function*() {
      let interrupted = 0
      const body = Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      const error = yield* Effect.flip(locks.withLock(Effect.zipRight(loseLater(path), body), path))
      lostRightly(error)
      assert.strictEqual(interrupted, 1)
    }))

  test("does not interrupt the fiber: it goes on once the error was caught", ({ backend, locks, loseLater }) =>
    Effect.gen(function*() {
      const steps: Array<string> = []
      const note = (step: string) => Effect.sync(() => void steps.push(step))
      const caller = locks.withLock(Effect.zipRight(loseLater(path), Effect.never), path).pipe(
        Effect.catchTag("LockLostError", () => note("caught")),
        Effect.zipRight(Effect.yieldNow()),
        Effect.zipRight(note("after a yield")),
        Effect.zipRight(Effect.async<void>((resume) => void setImmediate(() => resume(note("after an async step"))))),
        Effect.zipRight(Effect.interruptible(note("in an interruptible part"))),
        Effect.zipRight(locks.withLock(note("in the next section"), path))
      )
      const exit = yield* Fiber.await(yield* Effect.fork(caller))
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(steps, [
        "caught",
        "after a yield",
        "after an async step",
        "in an interruptible part",
        "in the next section"
      ])
      assert.deepStrictEqual(backend.holders(path), [])
    }))

  test("is told to a fiber that can still be interrupted afterwards", ({ locks, loseLater }) =>
    Effect.gen(function*() {
      const caught = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        locks.withLock(Effect.zipRight(loseLater(path), Effect.never), path).pipe(
          Effect.catchTag("LockLostError", () => Deferred.succeed(caught, undefined)),
          Effect.zipRight(Effect.never)
        )
      )
      yield* Deferred.await(caught)
      assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
    }))

  test("keeps what the body set in its fiber", ({ locks, loseLater }) =>
    Effect.gen(function*() {
      const ref = yield* FiberRef.make("before")
      const body = Effect.zipRight(FiberRef.set(ref, "set in the body"), Effect.zipRight(loseLater(path), Effect.never))
      lostRightly(yield* Effect.flip(locks.withLock(body, path)))
      assert.strictEqual(yield* FiberRef.get(ref), "set in the body")
    }))

  test("runs the body in the caller's own fiber", ({ locks }) =>
    Effect.gen(function*() {
      const own = yield* Effect.fiberId
      assert.deepStrictEqual(yield* locks.withLock(Effect.fiberId, path), own)
    }))

  test("leaves fibers alone that the caller forked before", ({ locks, loseLater }) =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const caller = Effect.gen(function*() {
        const before = yield* Effect.fork(Effect.as(Deferred.await(gate), "went on"))
        lostRightly(yield* Effect.flip(locks.withLock(Effect.zipRight(loseLater(path), Effect.never), path)))
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual(yield* Fiber.join(before), "went on")
      })
      yield* Fiber.join(yield* Effect.fork(caller))
    }))

  test("leaves those fibers to their parent's end all the same", ({ locks, loseLater }) =>
    Effect.gen(function*() {
      let ended = ""
      const caller = Effect.gen(function*() {
        yield* Effect.fork(Effect.onInterrupt(Effect.never, () => Effect.sync(() => (ended = "with the parent"))))
        yield* Effect.yieldNow()
        lostRightly(yield* Effect.flip(locks.withLock(Effect.zipRight(loseLater(path), Effect.never), path)))
        assert.strictEqual(ended, "")
      })
      yield* Fiber.join(yield* Effect.fork(caller))
      yield* Effect.repeatN(Effect.yieldNow(), 5)
      assert.strictEqual(ended, "with the parent")
    }))

  test("interrupts fibers that the body forked", ({ locks, loseLater }) =>
    Effect.gen(function*() {
      let interrupted = 0
      const inBody = Effect.onInterrupt(Effect.never, () => Effect.sync(() => interrupted++))
      const caller = Effect.gen(function*() {
        const before = yield* Effect.fork(Effect.never)
        const body = Effect.gen(function*() {
          yield* Effect.fork(inBody)
          yield* Effect.fork(inBody)
          yield* loseLater(path)
          yield* Effect.never
        })
        lostRightly(yield* Effect.flip(locks.withLock(body, path)))
        yield* Effect.repeatN(Effect.yieldNow(), 5)
        assert.strictEqual(interrupted, 2)
        assert.isNull(before.unsafePoll())
      })
      yield* Fiber.join(yield* Effect.fork(caller))
    }))

  test("interrupts the interruptible parts of a caller that cannot be interrupted", ({ locks, loseLater }) =>
    Effect.gen(function*() {
      const steps: Array<string> = []
      const note = (step: string) => Effect.sync(() => void steps.push(step))
      const body = Effect.gen(function*() {
        yield* note("before")
        yield* loseLater(path)
        yield* Effect.onInterrupt(Effect.interruptible(Effect.never), () => note("interrupted"))
        yield* note("never comes here")
      })
      const error = yield* Effect.flip(Effect.uninterruptible(locks.withLock(body, path)))
      lostRightly(error)
      assert.deepStrictEqual(steps, ["before", "interrupted"])
    }))

  test("waits for what cannot be interrupted, and then fails", ({ backend, locks }) =>
    Effect.gen(function*() {
      const steps: Array<string> = []
      const note = (step: string) => Effect.sync(() => void steps.push(step))
      const body = Effect.uninterruptible(
        Effect.gen(function*() {
          backend.lose(path)
          yield* Effect.yieldNow()
          yield* note("ended")
        })
      )
      for (const self of [locks.withLock(body, path), Effect.uninterruptible(locks.withLock(body, path))]) {
        lostRightly(yield* Effect.flip(self))
      }
      assert.deepStrictEqual(steps, ["ended", "ended"])
    }))

  test("does not hide a true interruption that comes at the same time", ({ backend, locks }) =>
    Effect.gen(function*() {
      for (const order of ["the loss first", "the interruption first"]) {
        const inside = yield* Deferred.make<void>()
        let went = ""
        const fiber = yield* Effect.fork(
          locks.withLock(Effect.zipRight(Deferred.succeed(inside, undefined), Effect.never), path).pipe(
            Effect.catchTag("LockLostError", () => Effect.sync(() => (went = "on after the loss")))
          )
        )
        yield* Deferred.await(inside)
        const interruption = Effect.sync(() => fiber.unsafeInterruptAsFork(fiber.id()))
        const loss = Effect.sync(() => backend.lose(path))
        yield* order === "the loss first" ? Effect.zipRight(loss, interruption) : Effect.zipRight(interruption, loss)
        const exit = yield* Fiber.await(fiber)
        assert.isTrue(Exit.isInterrupted(exit), order)
        assert.strictEqual(went, "", order)
        assert.deepStrictEqual(backend.holders(path), [])
      }
    }))

  test("keeps the failure of a body that has failed by itself", ({ backend, locks }) =>
    Effect.gen(function*() {
      const body = Effect.uninterruptible(
        Effect.suspend(() => {
          backend.lose(path)
          return Effect.zipRight(Effect.yieldNow(), Effect.fail("of the body"))
        })
      )
      assert.strictEqual(yield* Effect.flip(locks.withLock(body, path)), "of the body")
      const died = yield* Effect.exit(locks.withLock(
        Effect.uninterruptible(Effect.suspend(() => {
          backend.lose(path)
          return Effect.die("a defect of the body")
        })),
        path
      ))
      assert.isTrue(Exit.isFailure(died) && Cause.isDie(died.cause))
    }))

  test("is found by verify, within the body", ({ backend, locks }) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.scoped(Effect.gen(function*() {
        const handle = yield* locks.acquire(path)
        yield* handle.verify
        backend.steal(path)
        assert.isTrue(yield* handle.isHeld)
        lostRightly(yield* Effect.flip(handle.verify))
        assert.isFalse(yield* handle.isHeld)
        lostRightly(yield* Effect.flip(handle.lost))
        yield* handle.verify
      })))
      lostRightly(error)
    }))

  test("that came before the body began does not let it begin", ({ backend, locks }) =>
    Effect.gen(function*() {
      backend.steps.tryAcquire = (step) => Effect.tap(step, () => Effect.sync(() => backend.lose(path)))
      let began = false
      const error = yield* Effect.flip(locks.withLock(Effect.sync(() => (began = true)), path))
      lostRightly(error)
      assert.isFalse(began)
    }))

  test("ends a race, a timeout and fibers in parallel inside the body before withLock fails", ({ backend, locks }) =>
    Effect.gen(function*() {
      let started = 0
      let interrupted = 0
      const never = Effect.onInterrupt(
        Effect.zipRight(Effect.sync(() => started++), Effect.never),
        () => Effect.sync(() => interrupted++)
      )
      const bodies = [
        Effect.race(never, never),
        Effect.timeout(never, "1 hour"),
        Effect.all([never, never], { concurrency: "unbounded" })
      ]
      for (const body of bodies) {
        started = interrupted = 0
        const loss = Effect.repeat(Effect.yieldNow(), { until: () => started > 0 }).pipe(
          Effect.zipRight(Effect.sync(() => backend.lose(path)))
        )
        yield* Effect.forkDaemon(loss)
        lostRightly(yield* Effect.flip(locks.withLock(Effect.asVoid(body), path)))
        assert.isAtLeast(started, 1)
        assert.strictEqual(interrupted, started)
      }
      assert.deepStrictEqual(backend.holders(path), [])
    }))
})

describe("Nested locks", () => {
  test("fail inside where the inner one is lost, and the outer section goes on", ({ backend, locks, loseLater }) =>
    Effect.gen(function*() {
      const result = yield* locks.withLock(
        locks.withLock(Effect.zipRight(loseLater(other), Effect.never), other).pipe(
          Effect.catchTag("LockLostError", (error) => Effect.succeed(error)),
          Effect.zipLeft(Effect.yieldNow())
        ),
        path
      )
      lostRightly(result, other)
      assert.deepStrictEqual(backend.holders(path), [])
    }))

  test("both end where the outer one is lost, and nothing between catches it", ({ backend, locks, loseLater }) =>
    Effect.gen(function*() {
      let caught = false
      const inner = locks.withLock(Effect.zipRight(loseLater(path), Effect.never), other).pipe(
        Effect.catchAll(() => Effect.sync(() => (caught = true)))
      )
      const error = yield* Effect.flip(locks.withLock(inner, path))
      lostRightly(error)
      assert.isFalse(caught)
      assert.deepStrictEqual([...backend.holders(path), ...backend.holders(other)], [])
    }))

  test("go on after both were lost at once and the error was caught", ({ backend, locks }) =>
    Effect.gen(function*() {
      const inside = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        locks.withLocks(Effect.zipRight(Deferred.succeed(inside, undefined), Effect.never), [path, other]).pipe(
          Effect.catchTag("LockLostError", () => Effect.void),
          Effect.zipRight(Effect.yieldNow()),
          Effect.as("went on")
        )
      )
      yield* Deferred.await(inside)
      backend.lose(path)
      backend.lose(other)
      assert.strictEqual(yield* Fiber.join(fiber), "went on")
    }))

  test("on one lock all end when it is lost, the outermost with LockLostError", ({ locks, loseLater }) =>
    Effect.gen(function*() {
      let went = 0
      const nested = locks.withLock(
        locks.withLock(Effect.zipRight(loseLater(path), Effect.never), path).pipe(
          Effect.catchAll(() => Effect.sync(() => went++))
        ),
        path
      )
      const exit = yield* Fiber.await(
        yield* Effect.fork(Effect.catchTag(nested, "LockLostError", () => Effect.as(Effect.yieldNow(), "went on")))
      )
      assert.deepStrictEqual(exit, Exit.succeed("went on"))
      assert.strictEqual(went, 0)
    }))
})

describe("The sections that a fiber is in", () => {
  /** Sections that count how often they are asked whether they are over. */
  const makeSections = () => {
    const queues = new WaitQueues()
    let asked = 0
    return {
      queues,
      asked: (): number => {
        const before = asked
        asked = 0
        return before
      },
      enter: (fiber: Fiber.RuntimeFiber<unknown, unknown>, name: string) => {
        const section = {
          isOpen: true,
          key: { path: name, lockPath: name },
          registry: queues,
          get open() {
            asked += 1
            return this.isOpen
          }
        }
        // What is used of a lock here.
        CriticalSection.enter(fiber, section as unknown as HeldLock)
        return section
      }
    }
  }

  it.effect("are not looked for among all that it ever was in", () =>
    Effect.withFiberRuntime((fiber) => {
      const { asked, enter, queues } = makeSections()
      queues.at("/sought")
      // It always is in two sections while it enters the next one.
      const sections = Array.from({ length: 2 }, (_, index) => enter(fiber, `/${index}`))
      for (let index = 2; index < 5_000; index++) {
        sections.push(enter(fiber, `/${index}`))
        const [oldest] = sections.splice(0, 1)
        if (oldest !== undefined) oldest.isOpen = false
      }
      assert.isAtMost(asked(), 100_000)
      assert.isUndefined(CriticalSection.find(fiber, queues, "/sought"))
      assert.isAtMost(asked(), 200)
      return Effect.void
    }))

  it.effect("are not looked through with each fiber that is joined, and none is forgotten", () =>
    Effect.withFiberRuntime((fiber) => {
      const { asked, enter, queues } = makeSections()
      const names = Array.from({ length: 1_000 }, (_, index) => `/${index}`)
      for (const name of names) enter(fiber, name)
      const children = Array.from({ length: 1_000 }, (_, index) => `/child/${index}`)
      asked()
      return Effect.forEach(children, (name) =>
        Effect.flatMap(
          Effect.fork(Effect.withFiberRuntime((child) => Effect.sync(() => enter(child, name)))),
          Fiber.join
        ), { discard: true }).pipe(
          Effect.map(() => {
            assert.isAtMost(asked(), 100_000)
            for (const name of [...names, ...children]) {
              queues.at(name)
              assert.strictEqual(CriticalSection.find(fiber, queues, name)?.key.path, name)
            }
          })
        )
    }))
})
