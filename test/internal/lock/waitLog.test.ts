import { assert, describe, it } from "@effect/vitest"
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HashMap from "effect/HashMap"
import * as Logger from "effect/Logger"
import type { FileLock } from "../../../src/FileLock.js"
import * as FakeBackend from "../../utils/FakeBackend.js"
import * as Simulation from "../../utils/Simulation.js"

const path = "/data/tasks.json"

type Locks = Context.Tag.Service<FileLock>

interface Line {
  /** Seconds since the beginning of the test. */
  readonly at: number
  readonly text: string
  readonly annotations: ReadonlyArray<readonly [string, unknown]>
}

/** Runs a test in simulated time, with the lines that it logs. */
const test = (
  behaviour: string,
  self: (locks: Locks, backend: FakeBackend.FakeBackend, lines: Array<Line>) => Effect.Effect<void, unknown>
) =>
  it.effect(behaviour, () =>
    Effect.gen(function*() {
      const backend = FakeBackend.make()
      const lines: Array<Line> = []
      const clock = yield* Effect.clock
      const began = clock.unsafeCurrentTimeMillis()
      const logger = Logger.make<unknown, void>(({ annotations, logLevel, message }) => {
        assert.strictEqual(logLevel.label, "INFO")
        lines.push({
          at: (clock.unsafeCurrentTimeMillis() - began) / 1_000,
          text: String(message),
          annotations: HashMap.toEntries(annotations)
        })
      })
      yield* Effect.flatMap(FakeBackend.locksOver(backend), (locks) => self(locks, backend, lines)).pipe(
        Effect.provide(Logger.add(logger))
      )
    }).pipe(Effect.scoped, (self) => Simulation.run(self, { limit: "3 hours" })))

const texts = (lines: ReadonlyArray<Line>) => lines.map(({ text }) => text)

const times = (lines: ReadonlyArray<Line>) => lines.map(({ at }) => at)

/** Waits for as long as it takes. */
const wait = (locks: Locks, at = path) => Effect.fork(locks.withLock(Effect.void, at, { timeout: "infinity" }))

/** Occupies the lock with a holder that has just acquired it. */
const occupy = (
  { occupy }: FakeBackend.FakeBackend,
  ...[changes, state]: Parameters<FakeBackend.FakeBackend["occupy"]> extends [string, ...infer Rest] ? Rest : never
) => Effect.map(DateTime.now, (acquiredAt) => occupy(path, { acquiredAt, ...changes }, state))

describe("The log of a wait", () => {
  test("says nothing of a wait that is shorter than a second", (locks, backend, lines) =>
    Effect.gen(function*() {
      yield* occupy(backend)
      const waiting = yield* wait(locks)
      yield* Effect.sleep("850 millis")
      backend.free(path)
      yield* Fiber.join(waiting)
      yield* Effect.sleep("5 seconds")
      assert.deepStrictEqual(lines, [])
    }))

  test(
    "has a line after 1 s, 10 s, 1 min and 10 min, then each 10 min, and one at the end",
    (locks, backend, lines) =>
      Effect.gen(function*() {
        yield* occupy(backend)
        const waiting = yield* wait(locks)
        yield* Effect.sleep("45 minutes")
        assert.deepStrictEqual(times(lines), [1, 10, 60, 600, 1_200, 1_800, 2_400])
        backend.free(path)
        yield* Fiber.join(waiting)
        assert.strictEqual(lines.length, 8)
        assert.strictEqual(lines[7]?.text, "Acquired /data/tasks.json.lock after 45m")
        yield* Effect.sleep("1 hour")
        assert.strictEqual(lines.length, 8)
      })
  )

  test("says who holds the lock, since when, and why", (locks, backend, lines) =>
    Effect.gen(function*() {
      yield* occupy(backend, { pid: 4242, hostname: "build-7", label: "nightly compaction" })
      yield* Effect.sleep("30 seconds")
      const waiting = yield* wait(locks)
      yield* Effect.sleep("2 seconds")
      assert.deepStrictEqual(texts(lines), [
        "Waiting for /data/tasks.json.lock for 1s: held for 31s by pid 4242 on build-7 (\"nightly compaction\")"
      ])
      yield* Fiber.interrupt(waiting)
    }))

  test("says who holds it now, where the holder changes", (locks, backend, lines) =>
    Effect.gen(function*() {
      yield* occupy(backend, { pid: 1 })
      const waiting = yield* wait(locks)
      yield* Effect.sleep("5 seconds")
      backend.free(path)
      yield* occupy(backend, { pid: 2 })
      yield* Effect.sleep("10 seconds")
      assert.deepStrictEqual(texts(lines), [
        "Waiting for /data/tasks.json.lock for 1s: held for 1s by pid 1 on elsewhere",
        "Waiting for /data/tasks.json.lock for 10s: held for 5s by pid 2 on elsewhere"
      ])
      yield* Fiber.interrupt(waiting)
    }))

  test(
    "says that the holder is dead, while its lock cannot be taken over",
    (locks, backend, lines) =>
      Effect.gen(function*() {
        yield* occupy(backend, { pid: 7 }, "abandoned")
        const waiting = yield* wait(locks)
        yield* Effect.sleep("2 seconds")
        assert.deepStrictEqual(texts(lines), [
          "Waiting for /data/tasks.json.lock for 1s: held for 1s by pid 7 on elsewhere, which is dead"
        ])
        yield* Fiber.interrupt(waiting)
      })
  )

  test("says that something else is there", (locks, backend, lines) =>
    Effect.gen(function*() {
      yield* occupy(backend, {}, "foreign")
      const waiting = yield* wait(locks)
      yield* Effect.sleep("2 seconds")
      assert.deepStrictEqual(texts(lines), [
        "Waiting for /data/tasks.json.lock for 1s: something that is not a lock of effect-filelock is there"
      ])
      yield* Fiber.interrupt(waiting)
    }))

  test("names this process, where another fiber holds the lock", (locks, _, lines) =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const holding = yield* Effect.fork(locks.withLock(Deferred.await(gate), path, { label: "first" }))
      yield* Effect.yieldNow()
      const waiting = yield* wait(locks)
      yield* Effect.sleep("2 seconds")
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.joinAll([holding, waiting])
      assert.strictEqual(lines.length, 2)
      assert.match(lines[0]?.text ?? "", /^Waiting for \/data\/tasks\.json\.lock for 1s: held for .* \("first"\)$/)
      assert.strictEqual(lines[1]?.text, "Acquired /data/tasks.json.lock after 2s")
    }))

  test(
    "says that the lock is in use, while the engine does not answer",
    (locks, backend, lines) =>
      Effect.gen(function*() {
        const gate = yield* Deferred.make<void>()
        backend.steps.tryAcquire = (step) => Effect.zipRight(Deferred.await(gate), step)
        const waiting = yield* wait(locks)
        yield* Effect.sleep("2 seconds")
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(waiting)
        assert.deepStrictEqual(texts(lines), [
          "Waiting for /data/tasks.json.lock for 1s: in use",
          "Acquired /data/tasks.json.lock after 2s"
        ])
      })
  )

  test(
    "has one line for all fibers that wait for a lock, and counts the wait of the oldest",
    (locks, backend, lines) =>
      Effect.gen(function*() {
        yield* occupy(backend, { pid: 7 })
        const first = yield* wait(locks)
        yield* Effect.sleep("5 seconds")
        const others = yield* Effect.replicateEffect(wait(locks), 99)
        yield* Effect.sleep("10 seconds")
        assert.deepStrictEqual(texts(lines), [
          "Waiting for /data/tasks.json.lock for 1s: held for 1s by pid 7 on elsewhere",
          "Waiting for /data/tasks.json.lock for 10s: held for 10s by pid 7 on elsewhere; 99 more fibers wait"
        ])
        // The oldest one leaves; the others have waited for as long as they have.
        yield* Fiber.interrupt(first)
        yield* Effect.sleep("60 seconds")
        assert.deepStrictEqual(texts(lines.slice(2)), [
          "Waiting for /data/tasks.json.lock for 55s: held for 1m by pid 7 on elsewhere; 98 more fibers wait"
        ])
        yield* Fiber.interruptAll(others)
      })
  )

  test("has lines of its own for each lock", (locks, backend, lines) =>
    Effect.gen(function*() {
      backend.occupy("/data/a")
      backend.occupy("/data/b")
      const waiting = [yield* wait(locks, "/data/a"), yield* wait(locks, "/data/b")]
      yield* Effect.sleep("2 seconds")
      assert.sameMembers(texts(lines).map((text) => text.slice(0, 23)), [
        "Waiting for /data/a.loc",
        "Waiting for /data/b.loc"
      ])
      yield* Fiber.interruptAll(waiting)
    }))

  test(
    "ends with the deadline and with an interruption, and begins anew with the next wait",
    (locks, backend, lines) =>
      Effect.gen(function*() {
        yield* occupy(backend)
        yield* Effect.flip(locks.withLock(Effect.void, path, { timeout: "5 seconds" }))
        const waiting = yield* wait(locks)
        yield* Effect.sleep("3 seconds")
        yield* Fiber.interrupt(waiting)
        yield* Effect.sleep("1 hour")
        assert.deepStrictEqual(times(lines), [1, 6])
        const next = yield* wait(locks)
        yield* Effect.sleep("500 millis")
        backend.free(path)
        yield* Fiber.join(next)
        assert.strictEqual(lines.length, 2, "no line says that a short wait has ended")
      })
  )

  test("is the log of the fiber that waits", (locks, backend, lines) =>
    Effect.gen(function*() {
      yield* occupy(backend)
      const waiting = yield* Effect.annotateLogs(wait(locks), "job", "nightly")
      yield* Effect.sleep("2 seconds")
      backend.free(path)
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(lines.map(({ annotations }) => annotations), [[["job", "nightly"]], [["job", "nightly"]]])
    }))

  test(
    "cannot be made to write to a terminal by the name of a file",
    (locks, backend, lines) =>
      Effect.gen(function*() {
        const name = "/data/\u001b[31m\nred"
        backend.occupy(name)
        const waiting = yield* wait(locks, name)
        yield* Effect.sleep("2 seconds")
        backend.free(name)
        yield* Fiber.join(waiting)
        assert.strictEqual(lines.length, 2)
        for (const { text } of lines) {
          // eslint-disable-next-line no-control-regex -- these are what it is about
          assert.notMatch(text, /[\x00-\x1f]/)
        }
      })
  )
})
