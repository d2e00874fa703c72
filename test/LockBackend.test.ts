import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { defaultSchedule } from "../src/internal/polling.js"
import * as LockBackend from "../src/LockBackend.js"
import * as FakeBackend from "./utils/FakeBackend.js"
import * as Simulation from "./utils/Simulation.js"

const path = "/data/tasks.json"
const key: LockBackend.LockKey = { path, lockPath: `${path}.lock` }

const makeRequest = (schedule: Schedule.Schedule<unknown>): LockBackend.Request => ({
  mode: "exclusive",
  label: undefined,
  schedule,
  isDefaultSchedule: false,
  waits: false,
  handoff: 5,
  onBlocked: constVoid,
  onLost: constVoid
})

/** An engine in memory, and when it was asked, in milliseconds since the beginning of the test. */
const test = (
  behaviour: string,
  self: (backend: FakeBackend.FakeBackend, askedAt: ReadonlyArray<number>) => Effect.Effect<void, unknown>
) =>
  it.effect(behaviour, () =>
    Effect.gen(function*() {
      const clock = yield* Effect.clock
      const began = clock.unsafeCurrentTimeMillis()
      const askedAt: Array<number> = []
      const backend = FakeBackend.make()
      backend.steps.tryAcquire = (step) =>
        Effect.suspend(() => {
          askedAt.push(clock.unsafeCurrentTimeMillis() - began)
          return step
        })
      yield* self(backend, askedAt)
    }).pipe(Simulation.run))

describe("fromTryAcquire", () => {
  test("grants a free lock at once", ({ service }, askedAt) =>
    Effect.gen(function*() {
      const grant = yield* service.acquire(key, makeRequest(Schedule.forever))
      assert.isTrue(Option.isSome(grant))
      assert.deepStrictEqual(askedAt, [0])
    }))

  test(
    "asks again at each recurrence of the schedule, until the lock is granted",
    (backend, askedAt) =>
      Effect.gen(function*() {
        backend.occupy(path)
        const schedule = Schedule.fromDelays(100, 200, 400, 800, 1_600)
        const waiting = yield* Effect.fork(backend.service.acquire(key, makeRequest(schedule)))
        yield* Effect.sleep("1 second")
        backend.free(path)
        const grant = yield* Fiber.join(waiting)
        assert.isTrue(Option.isSome(grant))
        assert.deepStrictEqual(askedAt, [0, 100, 300, 700, 1_500])
      })
  )

  test("answers None when the schedule has ended", (backend, askedAt) =>
    Effect.gen(function*() {
      backend.occupy(path)
      const schedule = Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(3))
      assert.deepStrictEqual(yield* backend.service.acquire(key, makeRequest(schedule)), Option.none())
      assert.deepStrictEqual(askedAt, [0, 1_000, 2_000, 3_000])
      assert.deepStrictEqual(yield* backend.service.acquire(key, makeRequest(Schedule.stop)), Option.none())
      assert.strictEqual(askedAt.length, 5)
    }))

  test("asks at most once a millisecond, whatever the schedule says", (backend, askedAt) =>
    Effect.gen(function*() {
      backend.occupy(path)
      const waiting = yield* Effect.fork(backend.service.acquire(key, makeRequest(Schedule.forever)))
      yield* Effect.sleep("99.5 millis")
      yield* Fiber.interrupt(waiting)
      assert.deepStrictEqual(askedAt, Array.from({ length: 100 }, (_, index) => index))
    }))

  test("runs each request by a schedule of its own", (backend, askedAt) =>
    Effect.gen(function*() {
      backend.occupy(path)
      const request = makeRequest(Schedule.intersect(Schedule.spaced("1 second"), Schedule.recurs(1)))
      for (const _ of [1, 2]) {
        assert.deepStrictEqual(yield* backend.service.acquire(key, request), Option.none())
      }
      assert.deepStrictEqual(askedAt, [0, 1_000, 1_000, 2_000])
    }))

  test("can be interrupted between two attempts, and not within one", (backend, askedAt) =>
    Effect.gen(function*() {
      const attempt = backend.steps.tryAcquire
      backend.steps.tryAcquire = (step) => Effect.zipRight(Effect.sleep("1 second"), attempt(step))
      backend.occupy(path)
      const acquire = backend.service.acquire(key, makeRequest(Schedule.spaced("1 hour")))
      const waiting = yield* Effect.fork(Effect.uninterruptible(acquire))
      yield* Effect.sleep("10 seconds")
      assert.deepStrictEqual(askedAt, [1_000])
      assert.strictEqual(Duration.toMillis((yield* Effect.timed(Fiber.interrupt(waiting)))[0]), 0)
      backend.free(path)
      let grants = 0
      const granted = yield* Effect.fork(Effect.uninterruptible(
        Effect.tap(acquire, (grant) => Effect.sync(() => grants += Option.isSome(grant) ? 1 : 0))
      ))
      yield* Effect.sleep("10 millis")
      yield* Fiber.interrupt(granted)
      assert.strictEqual(grants, 1, "a lock that was obtained is not lost")
      assert.strictEqual(backend.holders(path).length, 1)
    }))

  test("passes a failure on, and asks no more", (backend, askedAt) =>
    Effect.gen(function*() {
      const error = new LockBackend.BackendError({ reason: "StorageFull" })
      const { acquire } = LockBackend.fromTryAcquire({
        ...backend.service,
        tryAcquire: (key, request) => askedAt.length < 2 ? backend.service.tryAcquire(key, request) : Effect.fail(error)
      })
      backend.occupy(path)
      assert.strictEqual(yield* Effect.flip(acquire(key, makeRequest(Schedule.spaced("1 second")))), error)
      assert.deepStrictEqual(askedAt, [0, 1_000])
    }))
})

describe("The default schedule", () => {
  test(
    "asks ever more rarely, about each 50 ms in the end, and never ends",
    (backend, askedAt) =>
      Effect.gen(function*() {
        backend.occupy(path)
        const schedule = defaultSchedule(Duration.millis(100))
        const waiting = yield* Effect.fork(backend.service.acquire(key, makeRequest(schedule)))
        yield* Effect.sleep("5 minutes")
        assert.isNull(waiting.unsafePoll())
        const pauses = askedAt.slice(1).map((at, index) => at - (askedAt[index] ?? 0))
        assert.isAtMost(Math.max(...pauses), 101)
        assert.isAtMost(Math.max(...pauses.slice(0, 5)), 65)
        const late = pauses.slice(20)
        const mean = late.reduce((sum, pause) => sum + pause, 0) / late.length
        assert.closeTo(mean, 50, 5)
        yield* Fiber.interrupt(waiting)
      })
  )
})

describe("A lock over an engine", () => {
  it.effect("asks an engine that answers at once no oftener than its schedule says", () =>
    Effect.gen(function*() {
      const backend = FakeBackend.make()
      const locks = yield* FakeBackend.locksOver(backend)
      backend.occupy(path)
      const options = { schedule: Schedule.spaced("100 millis"), timeout: "950 millis" } as const
      const error = yield* Effect.flip(locks.withLock(Effect.void, path, options))
      assert.propertyVal(error, "reason", "Timeout")
      assert.strictEqual(backend.count("tryAcquire"), 10)
    }).pipe(Effect.scoped, Simulation.run))
})
