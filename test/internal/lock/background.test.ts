import { assert, describe, it } from "@effect/vitest"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import type { FileLock } from "../../../src/FileLock.js"
import * as FakeBackend from "../../utils/FakeBackend.js"
import * as Simulation from "../../utils/Simulation.js"

const path = "/data/tasks.json"

/** A step of the engine that does not answer until it is told to. */
interface Stuck {
  readonly around: FakeBackend.Around
  readonly goOn: Effect.Effect<void>
}

interface Scene {
  readonly backend: FakeBackend.FakeBackend
  readonly locks: Context.Tag.Service<FileLock>
  readonly stuck: Stuck
  /** What was logged. */
  readonly lines: ReadonlyArray<string>
}

const test = (behaviour: string, self: (scene: Scene) => Effect.Effect<void, unknown>) =>
  it.effect(behaviour, () =>
    Effect.gen(function*() {
      const backend = FakeBackend.make()
      const gate = yield* Deferred.make<void>()
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(({ message }) => void lines.push(String(message)))
      yield* Effect.flatMap(FakeBackend.locksOver(backend), (locks) =>
        self({
          backend,
          locks,
          stuck: {
            around: (step) => Effect.zipRight(Effect.uninterruptible(Deferred.await(gate)), step),
            goOn: Effect.zipRight(Deferred.succeed(gate, undefined), Effect.sleep("1 millis"))
          },
          lines
        })).pipe(Effect.provide(Logger.add(logger)))
    }).pipe(Effect.scoped, Simulation.run))

const timed = <A, E>(self: Effect.Effect<A, E>) =>
  Effect.map(Effect.timed(Effect.exit(self)), ([took, exit]) => ({ took: Duration.toMillis(took), exit }))

const failureOf = (exit: Exit.Exit<unknown, unknown>): unknown =>
  Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error : exit

/** Each is a way to want the lock, with what it is called and when it is answered: a second after its deadline. */
const ways: ReadonlyArray<
  readonly [string, number, (locks: Scene["locks"]) => Effect.Effect<unknown, unknown>]
> = [
  ["withLock", 6_000, (locks) => locks.withLock(Effect.void, path, { timeout: "5 seconds" })],
  ["acquire", 6_000, (locks) => Effect.scoped(locks.acquire(path, { timeout: "5 seconds" }))],
  ["withLockIfAvailable", 1_000, (locks) => locks.withLockIfAvailable(Effect.void, path)],
  ["acquireIfAvailable", 1_000, (locks) => Effect.scoped(locks.acquireIfAvailable(path))]
]

describe("An engine that does not answer", () => {
  for (const [name, time, want] of ways) {
    test(`is no lock that is taken: ${name} fails in time, and what it obtains later is given back`, (scene) =>
      Effect.gen(function*() {
        const { backend, locks, stuck } = scene
        backend.steps.tryAcquire = stuck.around
        const { exit, took } = yield* timed(want(locks))
        const error = failureOf(exit)
        assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Timeout", path })
        assert.include(String(error), "did not answer in time")
        assert.strictEqual(took, time)
        assert.strictEqual(backend.count("release"), 0)
        backend.steps.tryAcquire = (step) => step
        yield* stuck.goOn
        assert.strictEqual(backend.count("release"), 1)
        assert.deepStrictEqual(backend.holders(path), [])
        assert.isTrue(Option.isSome(yield* locks.withLockIfAvailable(Effect.void, path)))
      }))

    test(`for the name of a lock: ${name} fails in time`, ({ backend, locks, stuck }) =>
      Effect.gen(function*() {
        backend.steps.canonical = (step) => Effect.interruptible(stuck.around(step))
        const { exit, took } = yield* timed(want(locks))
        assert.deepInclude(failureOf(exit), { reason: "Timeout", path })
        assert.strictEqual(took, time)
        yield* stuck.goOn
        assert.strictEqual(backend.count("tryAcquire"), 0)
      }))
  }

  test("for a name is not waited for where it can be interrupted", ({ backend, locks }) =>
    Effect.gen(function*() {
      backend.steps.canonical = () => Effect.never
      const { exit, took } = yield* timed(locks.withLock(Effect.void, path, { timeout: "5 seconds" }))
      assert.deepInclude(failureOf(exit), { reason: "Timeout" })
      assert.strictEqual(took, 5_000)
    }))

  test("delays an interruption by a second, and what it grants later is given back", ({ backend, locks, stuck }) =>
    Effect.gen(function*() {
      backend.steps.tryAcquire = stuck.around
      let entered = 0
      const body = Effect.sync(() => entered++)
      const waiting = yield* Effect.fork(locks.withLock(body, path, { timeout: "infinity" }))
      yield* Effect.sleep("10 seconds")
      const { took } = yield* timed(Fiber.interrupt(waiting))
      assert.strictEqual(took, 1_000)
      backend.steps.tryAcquire = (step) => step
      yield* stuck.goOn
      assert.deepStrictEqual(backend.holders(path), [])
      assert.strictEqual(entered, 0)
      yield* locks.withLock(Effect.void, path, { timeout: 0 })
    }))

  test("does not keep the fibers behind from giving up at their own deadlines", ({ backend, locks, stuck }) =>
    Effect.gen(function*() {
      backend.steps.tryAcquire = stuck.around
      const first = yield* Effect.fork(locks.withLock(Effect.void, path, { timeout: "infinity" }))
      yield* Effect.sleep("1 millis")
      assert.deepStrictEqual(yield* locks.withLockIfAvailable(Effect.void, path), Option.none())
      const { exit, took } = yield* timed(locks.withLock(Effect.void, path, { timeout: "3 seconds" }))
      assert.deepInclude(failureOf(exit), { reason: "Timeout", path })
      assert.strictEqual(took, 3_000)
      yield* stuck.goOn
      yield* Fiber.join(first)
      assert.deepStrictEqual(backend.holders(path), [])
    }))
})

describe("A release that the engine does not answer", () => {
  test("is waited for for a second, and goes on in the background", ({ backend, lines, locks, stuck }) =>
    Effect.gen(function*() {
      backend.steps.release = stuck.around
      const { exit, took } = yield* timed(locks.withLock(Effect.succeed("done"), path))
      assert.deepStrictEqual(exit, Exit.succeed("done"))
      assert.strictEqual(took, 1_000)
      assert.deepStrictEqual(lines, [
        `The release of ${path} takes longer than 1000 ms and goes on in the background`
      ])
      assert.strictEqual(backend.holders(path).length, 1)
      assert.deepStrictEqual(yield* locks.withLockIfAvailable(Effect.void, path), Option.none())
      yield* stuck.goOn
      assert.deepStrictEqual(backend.holders(path), [])
      yield* locks.withLock(Effect.void, path, { timeout: 0 })
    }))

  test("keeps the next fiber from the lock for as long", ({ backend, locks, stuck }) =>
    Effect.gen(function*() {
      backend.steps.release = stuck.around
      const first = yield* Effect.fork(locks.withLock(Effect.sleep("10 millis"), path))
      yield* Effect.sleep("1 millis")
      const next = yield* Effect.fork(locks.withLock(Effect.void, path, { timeout: "1 minute" }))
      yield* Fiber.join(first)
      yield* Effect.sleep("5 seconds")
      assert.isNull(next.unsafePoll())
      yield* stuck.goOn
      yield* Fiber.join(next)
      assert.deepStrictEqual(backend.holders(path), [])
    }))

  test("is not cut off by an interruption", ({ backend, locks, stuck }) =>
    Effect.gen(function*() {
      backend.steps.release = stuck.around
      const holding = yield* Effect.fork(locks.withLock(Effect.never, path))
      yield* Effect.sleep("10 millis")
      const { took } = yield* timed(Fiber.interrupt(holding))
      assert.strictEqual(took, 1_000)
      yield* stuck.goOn
      assert.deepStrictEqual(backend.holders(path), [])
    }))
})
