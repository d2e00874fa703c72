import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { FileLock, LockOptions } from "../../../src/FileLock.js"
import * as FakeBackend from "../../utils/FakeBackend.js"
import * as Scene from "../../utils/Scene.js"
import * as Simulation from "../../utils/Simulation.js"

const path = "/data/tasks.json"
const settle = Effect.sleep("100 millis")

type Locks = Context.Tag.Service<FileLock>

/** Lets so many fibers of a process come while one is inside; the token of the record that each of them had. */
const tokensOf = (
  locks: Locks,
  fibers: number,
  stay: Duration.DurationInput,
  options: (fiber: number) => LockOptions = () => ({})
) =>
  Effect.gen(function*() {
    const tokens: Array<string> = []
    const gate = yield* Deferred.make<void>()
    const holding = yield* Effect.fork(locks.withLock(Deferred.await(gate), path))
    yield* settle
    const enter = (fiber: number) =>
      Effect.scoped(Effect.gen(function*() {
        const lock = yield* locks.acquire(path, options(fiber))
        tokens.push(lock.holder.token)
        yield* Effect.sleep(stay)
        yield* lock.verify
      }))
    const waiting = yield* Effect.forEach(
      Array.from({ length: fibers }, (_, fiber) => fiber),
      (fiber) => Effect.fork(enter(fiber))
    )
    yield* settle
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.joinAll([holding, ...waiting])
    return tokens
  })

const distinct = (tokens: ReadonlyArray<string>): number => new Set(tokens).size

describe("A lock that other processes wait for", () => {
  const nextTurn = Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void)))

  /** Time passes when it is told to, within one turn of the event loop. */
  class ManualClock {
    now = 0
    readonly clock: Clock.Clock = Object.assign<Clock.Clock, Partial<Clock.Clock>>(Object.create(Clock.make()), {
      unsafeCurrentTimeNanos: () => BigInt(this.now * 1e6)
    })
    pass(millis: number) {
      return Effect.sync(() => void (this.now += millis))
    }
  }

  interface Scene {
    readonly locks: Locks
    readonly backend: FakeBackend.FakeBackend
    /** Time passes before the turn ends. */
    readonly pass: (millis: number) => Effect.Effect<void>
    /** The process wants the lock again at once. */
    readonly again: Effect.Effect<void, unknown>
    readonly token: Effect.Effect<string | undefined>
  }

  const test = (
    behaviour: string,
    self: (scene: Scene) => Effect.Effect<void, unknown>,
    handoff: Duration.DurationInput = "5 millis"
  ) =>
    it.scopedLive(behaviour, () => {
      const time = new ManualClock()
      return Effect.gen(function*() {
        const backend = FakeBackend.make({ immediate: true })
        const locks = yield* FakeBackend.locksOver(backend, { handoff })
        const again = Effect.repeatN(locks.withLock(Effect.void, path), 1)
        yield* again
        backend.awaited = true
        yield* self({
          locks,
          backend,
          again,
          pass: (millis) => time.pass(millis),
          token: Effect.sync(() => backend.holders(path)[0]?.token)
        })
        yield* Effect.repeatN(nextTurn, 2)
        assert.deepStrictEqual(backend.holders(path), [])
        assert.strictEqual(backend.count("release"), backend.count("tryAcquire"))
      }).pipe(Effect.withClock(time.clock))
    })

  test("stays with its process until the end of the turn", ({ backend, locks, token }) =>
    Effect.gen(function*() {
      const first = yield* locks.withLock(token, path)
      assert.strictEqual(yield* locks.withLock(token, path), first)
      assert.strictEqual(yield* Effect.scoped(Effect.zipRight(locks.acquire(path), token)), first)
      assert.strictEqual(backend.count("release"), 2)
      yield* nextTurn
      assert.strictEqual(backend.count("release"), 3)
      assert.notStrictEqual(yield* locks.withLock(token, path), first)
    }))

  test("does not stay once its time slice is over", ({ locks, pass, token }) =>
    Effect.gen(function*() {
      const first = yield* locks.withLock(Effect.zipLeft(token, pass(5)), path)
      assert.notStrictEqual(yield* locks.withLock(token, path), first)
    }))

  test("does not stay where nobody waits", ({ backend, locks }) =>
    Effect.gen(function*() {
      backend.awaited = false
      yield* locks.withLock(Effect.void, path)
      assert.deepStrictEqual(backend.holders(path), [])
    }))

  test(
    "does not stay where its process does something else in between",
    ({ again, backend, locks, pass, token }) =>
      Effect.gen(function*() {
        const first = yield* locks.withLock(token, path)
        yield* pass(4)
        assert.strictEqual(yield* locks.withLock(token, path), first)
        yield* pass(5)
        assert.notStrictEqual(yield* locks.withLock(token, path), first, "it was kept for too long to be believed")
        assert.deepStrictEqual(backend.holders(path), [], "the same may come again")
        yield* again
        const last = yield* locks.withLock(token, path)
        assert.strictEqual(yield* locks.withLock(token, path), last)
      }),
    "1 minute"
  )

  test("goes to no section with another label, which need not wait for it", ({ locks, token }) =>
    Effect.gen(function*() {
      const first = yield* locks.withLock(token, path, { label: "import" })
      const second = yield* locks.withLock(token, path, { label: "export", timeout: 0 })
      assert.isString(second)
      assert.notStrictEqual(second, first)
    }))

  test("is not kept when it is lost, which its section hears of", ({ backend, locks }) =>
    Effect.gen(function*() {
      const lost = locks.withLock(Effect.sync(() => backend.steal(path)), path)
      assert.deepInclude(yield* Effect.flip(lost), { _tag: "LockLostError", reason: "Removed" })
      assert.strictEqual(backend.count("release"), 3)
    }))

  test("is asked for anew when it was lost in between", ({ backend, locks, token }) =>
    Effect.gen(function*() {
      const first = yield* locks.withLock(token, path)
      backend.lose(path)
      const second = yield* locks.withLock(token, path)
      assert.isString(second)
      assert.notStrictEqual(second, first)
    }))

  test("is free again where its release has a defect", ({ backend, locks }) =>
    Effect.gen(function*() {
      yield* locks.withLock(Effect.void, path, { label: "import" })
      const defect = Effect.zipRight(
        Effect.sync(() => {
          backend.steps.release = (step) => step
        }),
        Effect.dieMessage("a defect of the engine")
      )
      backend.steps.release = (step) => Effect.zipRight(step, defect)
      yield* locks.withLock(Effect.void, path, { label: "export" })
      yield* locks.withLock(Effect.void, path, { timeout: 0 })
    }))

  test("goes on after a long turn once others are heard, and its process waits for that", ({ backend, locks, pass, token }) =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      const first = yield* locks.withLock(token, path)
      backend.steps.release = (step) => Effect.zipRight(Effect.sync(() => heard.push("release")), step)
      setImmediate(() => heard.push("message"))
      yield* locks.withLock(pass(5), path)
      const second = yield* locks.withLock(token, path)
      assert.notStrictEqual(second, first)
      assert.deepStrictEqual(heard, ["message", "release"])
    }))

  test("goes on at once after a long turn for those that do not wait", ({ locks, pass, token }) =>
    Effect.gen(function*() {
      const first = yield* locks.withLock(token, path)
      yield* locks.withLock(pass(5), path)
      const second = yield* locks.withLock(token, path, { timeout: 0 })
      assert.isString(second)
      assert.notStrictEqual(second, first)
      assert.strictEqual(Effect.runSync(locks.withLock(Effect.succeed("done"), path)), "done")
    }))
})

describe("A hand-off", () => {
  const over = (
    settings: { readonly handoff?: Duration.DurationInput; readonly shared?: boolean },
    test: (locks: Locks, backend: FakeBackend.FakeBackend) => Effect.Effect<void, unknown>
  ) =>
    Effect.gen(function*() {
      const { handoff, shared } = settings
      const backend = FakeBackend.make({ immediate: true, shared })
      yield* test(yield* FakeBackend.locksOver(backend, { handoff }), backend)
      assert.deepStrictEqual(backend.holders(path), [])
    }).pipe(Effect.scoped, Simulation.run)

  it.effect("brings the lock to all waiters of a process, in turn, with one step of the engine", () =>
    over({}, (locks, backend) =>
      Effect.gen(function*() {
        const tokens = yield* tokensOf(locks, 100, 0)
        assert.strictEqual(tokens.length, 100)
        assert.strictEqual(distinct(tokens), 1)
        // One for the holder before, whose time slice had ended.
        assert.strictEqual(backend.count("release"), 2)
      })))

  it.effect("does not happen when it is turned off", () =>
    over({ handoff: 0 }, (locks) =>
      Effect.gen(function*() {
        assert.strictEqual(distinct(yield* tokensOf(locks, 20, 0)), 20)
      })))

  it.effect("ends 5 ms after the grant unless told otherwise", () =>
    over({}, (locks) =>
      Effect.gen(function*() {
        // Two sections of 4 ms each begin within 5 ms of a grant.
        assert.strictEqual(distinct(yield* tokensOf(locks, 12, "4 millis")), 6)
      })))

  it.effect("ends with its time slice, counted from the grant", () =>
    over({ handoff: "10 millis" }, (locks) =>
      Effect.gen(function*() {
        assert.strictEqual(distinct(yield* tokensOf(locks, 12, "4 millis")), 4)
      })))

  it.effect("does not let others see a label that is not the holder's", () =>
    over({}, (locks) =>
      Effect.gen(function*() {
        const tokens = yield* tokensOf(locks, 6, 0, (fiber) => ({ label: fiber < 3 ? "import" : "export" }))
        assert.strictEqual(distinct(tokens), 2)
        assert.strictEqual(distinct(tokens.slice(0, 3)), 1)
      })))

  it.effect("does not turn a lock of one mode into one of another", () =>
    over({ shared: true }, (locks) =>
      Effect.gen(function*() {
        const tokens = yield* tokensOf(locks, 4, 0, (fiber) => ({ mode: fiber % 2 === 0 ? "shared" : "exclusive" }))
        assert.strictEqual(distinct(tokens), 4)
      })))

  it.effect("does not hand off a lock that is lost", () =>
    over({ handoff: "1 minute" }, (locks, backend) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const holding = yield* Effect.fork(
          Effect.flip(locks.withLock(Effect.uninterruptible(Deferred.await(gate)), path))
        )
        yield* settle
        const next = yield* Effect.fork(locks.withLock(Effect.sync(() => backend.holders(path)), path))
        yield* settle
        const [before] = backend.holders(path)
        backend.lose(path)
        yield* Deferred.succeed(gate, undefined)
        assert.propertyVal(yield* Fiber.join(holding), "_tag", "LockLostError")
        const [after] = yield* Fiber.join(next)
        assert.notStrictEqual(after?.token, before?.token)
      })))

  it.effect("tells the fiber that has the lock now when it is lost, and not the one before", () =>
    over({ handoff: "1 minute" }, (locks, backend) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        const first = yield* Effect.fork(
          Effect.scoped(Effect.zipLeft(locks.acquire(path), Deferred.await(gate)))
        )
        yield* settle
        const second = yield* Effect.fork(Effect.flip(locks.withLock(Effect.never, path)))
        yield* settle
        yield* Deferred.succeed(gate, undefined)
        const before = yield* Fiber.join(first)
        yield* settle
        assert.isFalse(yield* before.isHeld)
        assert.propertyVal(yield* Effect.flip(before.verify), "reason", "Removed")
        backend.lose(path, "Replaced")
        assert.deepInclude(yield* Fiber.join(second), { _tag: "LockLostError", reason: "Replaced" })
      })))

  it.scoped("does not make the body before fail when the lock is lost right after it", () =>
    Effect.gen(function*() {
      const backend = FakeBackend.make({ immediate: true })
      const locks = yield* FakeBackend.locksOver(backend, { handoff: "1 minute" })
      // A fiber that yields after every 20 steps, at ever other moments of its end.
      for (let steps = 0; steps < 25; steps++) {
        const gate = yield* Deferred.make<void>()
        let body: Effect.Effect<void> = Deferred.await(gate)
        for (let step = 0; step < steps; step++) {
          body = Effect.flatMap(body, () => Effect.void)
        }
        const first = yield* Effect.fork(locks.withLock(body, path).pipe(Effect.withMaxOpsBeforeYield(20)))
        yield* Effect.repeatN(Effect.yieldNow(), 40)
        const loss = Effect.sync(() => backend.lose(path))
        const second = yield* Effect.fork(Effect.flip(locks.withLock(Effect.zipRight(loss, Effect.never), path)))
        yield* Effect.repeatN(Effect.yieldNow(), 40)
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual((yield* Fiber.await(first))._tag, "Success", `${steps} steps`)
        assert.propertyVal(yield* Fiber.join(second), "_tag", "LockLostError")
      }
    }))

  it.effect("leaves one record in the lock file, which goes with the last fiber", () =>
    Scene.play((scene) =>
      Effect.gen(function*() {
        const process = yield* scene.join()
        const records: Array<string> = []
        const inside = Effect.flatMap(scene.fs.readFileString(Scene.lockPath), (record) =>
          Effect.sync(() => records.push(record)))
        yield* process.run(Effect.forEach(
          Array.from({ length: 20 }),
          () =>
            process.locks.withLock(inside, Scene.path),
          { concurrency: "unbounded" }
        ))
        assert.strictEqual(records.length, 20)
        assert.strictEqual(new Set(records).size, 1)
      })
    ))

  it.effect("loses nothing with a fiber that is interrupted at any moment of it", () =>
    Scene.play((scene) =>
      Effect.gen(function*() {
        const { locks, run } = yield* scene.join({ settings: { handoff: "1 minute" } })
        const other = yield* scene.join()
        for (let moment = 0; moment < 40; moment++) {
          for (const alone of [true, false]) {
            const gate = yield* Deferred.make<void>()
            const holding = yield* Effect.fork(run(locks.withLock(Deferred.await(gate), Scene.path)))
            yield* settle
            const first = yield* Effect.fork(run(locks.withLock(Effect.void, Scene.path)))
            yield* settle
            const second = alone ? [] : [yield* Effect.fork(run(locks.withLock(Effect.void, Scene.path)))]
            yield* settle
            yield* Deferred.succeed(gate, undefined)
            yield* Effect.repeatN(Effect.yieldNow(), moment)
            yield* Fiber.interrupt(first)
            yield* Fiber.joinAll([holding, ...second])
            assert.isFalse(yield* scene.fs.exists(Scene.lockPath), `interrupted at moment ${moment}`)
            assert.isTrue(Option.isSome(yield* other.run(other.locks.withLockIfAvailable(Effect.void, Scene.path))))
          }
        }
      })
    ))
})

describe("A lock", () => {
  it.effect("is released once, whatever ends its scope", () =>
    Effect.gen(function*() {
      const backend = FakeBackend.make()
      const locks = yield* FakeBackend.locksOver(backend)
      const ends: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        Effect.void,
        Effect.fail("failure"),
        Effect.die("defect"),
        Effect.interrupt
      ]
      for (const end of ends) {
        for (
          const self of [
            Effect.scoped(Effect.zipRight(locks.acquire(path), end)),
            Effect.scoped(Effect.zipRight(locks.acquireAll([path]), end)),
            locks.withLock(end, path),
            locks.withLocks(end, [path]),
            locks.withLockIfAvailable(end, path)
          ]
        ) {
          backend.calls.length = 0
          yield* Effect.exit(Effect.flatMap(Effect.fork(self), Fiber.await))
          assert.deepStrictEqual(backend.calls, [`canonical ${path}`, `tryAcquire ${path}`, `release ${path}`])
        }
      }
    }).pipe(Effect.scoped, Simulation.run))

  it.effect("that another fiber lost is found lost by all who watch it", () =>
    Effect.gen(function*() {
      const backend = FakeBackend.make()
      const locks = yield* FakeBackend.locksOver(backend)
      const handle = yield* locks.acquire(path)
      const watching = yield* Effect.fork(Effect.flip(handle.lost))
      const waiting = yield* Effect.fork(Effect.flip(handle.lost))
      yield* settle
      assert.isNull(watching.unsafePoll())
      backend.lose(path, "LeaseExpired")
      assert.propertyVal(yield* Fiber.join(watching), "reason", "LeaseExpired")
      assert.propertyVal(yield* Fiber.join(waiting), "reason", "LeaseExpired")
      assert.propertyVal(yield* Effect.flip(handle.verify), "reason", "LeaseExpired")
      assert.isFalse(yield* handle.isHeld)
    }).pipe(Effect.scoped, Simulation.run))

  it.effect("goes to the next waiter when its release dies", () =>
    Effect.gen(function*() {
      const backend = FakeBackend.make({ immediate: true })
      const locks = yield* FakeBackend.locksOver(backend, { handoff: 0 })
      let deaths = 0
      backend.steps.release = (step) =>
        deaths++ === 0 ? Effect.zipRight(step, Effect.dieMessage("a defect of the engine")) : step
      const exit = yield* Effect.exit(locks.withLock(Effect.void, path))
      assert.strictEqual(exit._tag, "Failure")
      yield* locks.withLock(Effect.void, path, { timeout: "1 second" })
    }).pipe(Effect.scoped, Simulation.run))
})
