import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { type Call, Waiter, WaitQueues } from "../../../src/internal/lock/waitQueue.js"
import type * as Runtime from "../../../src/internal/runtime.js"
import * as FakeBackend from "../../utils/FakeBackend.js"
import { play } from "../../utils/Scene.js"
import * as Scene from "../../utils/Scene.js"
import * as Simulation from "../../utils/Simulation.js"

const path = "/data/tasks.json"
const settle = Effect.sleep("100 millis")

const makeWaiter = (fiber: Runtime.RuntimeFiber, sequence: number, label?: string): Waiter => {
  const call: Call = {
    path,
    mode: "exclusive",
    label,
    schedule: Schedule.forever,
    isDefaultSchedule: false,
    timeout: Infinity,
    requestedAt: 0,
    sequence,
    handoff: 5
  }
  return new Waiter(call, fiber)
}

const currentFiber = Effect.withFiberRuntime<Runtime.RuntimeFiber>((fiber) => Effect.succeed(fiber))

describe("A waiter", () => {
  it.effect("keeps a wake-up while it does not wait, and several as one", () =>
    Effect.gen(function*() {
      const waiter = makeWaiter(yield* currentFiber, 0)
      waiter.notify()
      waiter.notify()
      yield* waiter.wait
      const waiting = yield* Effect.fork(waiter.wait)
      yield* Effect.repeatN(Effect.yieldNow(), 3)
      assert.isNull(waiting.unsafePoll())
      waiter.notify()
      yield* Fiber.join(waiting)
    }))
})

describe("A queue", () => {
  it.effect("serves by the order of the calls, however waiters come and leave", () =>
    Effect.gen(function*() {
      const fiber = yield* currentFiber
      const queues = new WaitQueues()
      const queue = queues.at("/a.lock")
      const first = makeWaiter(fiber, -1)
      queue.enqueue(first)
      assert.isTrue(first.first)
      const waiters = Array.from(
        yield* Random.shuffle(Array.from({ length: 200 }, (_, sequence) => makeWaiter(fiber, sequence)))
      )
      for (const waiter of waiters) {
        queue.enqueue(waiter)
        assert.isFalse(waiter.first)
      }
      const leaving = waiters.filter((_, index) => index % 3 === 0)
      leaving.forEach((waiter) => queue.leave(waiter))
      const expected = waiters.filter((waiter) => !leaving.includes(waiter)).sort((one, other) =>
        one.call.sequence - other.call.sequence
      )
      const served: Array<Waiter> = []
      for (let current = first; served.length < expected.length;) {
        queue.leave(current)
        const next = expected.find((waiter) => waiter.first && !served.includes(waiter))
        if (next === undefined) {
          return assert.fail("no waiter is first")
        }
        served.push(next)
        current = next
        assert.strictEqual(expected.filter((waiter) => waiter.first && !served.includes(waiter)).length, 0)
      }
      assert.deepStrictEqual(served, expected)
      assert.strictEqual(queues.at("/a.lock"), queue)
      const last = served.at(-1)
      if (last !== undefined) queue.leave(last)
      assert.notStrictEqual(queues.at("/a.lock"), queue, "an empty queue is forgotten")
    }))

  it.effect("hands a lock off to the next waiter only, and only with the same label and mode", () =>
    Effect.gen(function*() {
      const fiber = yield* currentFiber
      const queue = new WaitQueues().at("/a.lock")
      const [one, other] = [makeWaiter(fiber, 0, "import"), makeWaiter(fiber, 1, "export")]
      queue.enqueue(one)
      assert.isFalse(queue.handOff(one, one), "no waiter is there")
      queue.enqueue(other)
      assert.isFalse(queue.handOff(one, one), "the label of the record would be wrong")
      const same = makeWaiter(fiber, 0.5, "import")
      queue.enqueue(same)
      assert.isTrue(queue.handOff(one, one))
      assert.isTrue(same.first)
      assert.strictEqual(same.origin, one)
      assert.isFalse(other.first)
    }))

  for (const immediate of [true, false]) {
    it.effect(`serves thousands of fibers first come, first served (${immediate ? "at once" : "in fibers"})`, () =>
      Effect.gen(function*() {
        const backend = FakeBackend.make({ immediate })
        const locks = yield* FakeBackend.locksOver(backend)
        const gate = yield* Deferred.make<void>()
        const holding = yield* Effect.fork(locks.withLock(Deferred.await(gate), path))
        yield* settle
        const order: Array<number> = []
        const numbers = Array.from({ length: 3_000 }, (_, number) => number)
        const waiting = yield* Effect.forEach(
          numbers,
          (number) => Effect.fork(locks.withLock(Effect.sync(() => void order.push(number)), path))
        )
        yield* settle
        assert.deepStrictEqual(order, [])
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.joinAll([holding, ...waiting])
        assert.deepStrictEqual(order, numbers)
        assert.deepStrictEqual(backend.holders(path), [])
      }).pipe(Effect.scoped, Simulation.run))
  }

  it.effect("serves the fiber that called first, even if it was slower to find the lock's name", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.fs.symlink("/data", "/tmp/link")
        const { enter, locks, run, stopAt } = yield* scene.join()
        const order: Array<string> = []
        const come = (name: string, to: string) =>
          Effect.fork(run(locks.withLock(Effect.sync(() => void order.push(name)), to)))
        const holding = yield* Effect.fork(enter("holder"))
        yield* settle
        const resolving = yield* stopAt("lstat", "/tmp/link")
        const first = yield* come("first", "/tmp/link/tasks.json")
        yield* resolving.reached
        const second = yield* come("second", Scene.path)
        yield* settle
        yield* resolving.goOn
        yield* settle
        yield* Fiber.joinAll([holding, first, second])
        assert.deepStrictEqual(order, ["first", "second"])
      })
    ))

  it.effect("goes on when waiters are interrupted at any moment, or time out", () =>
    Effect.gen(function*() {
      const backend = FakeBackend.make()
      backend.steps.tryAcquire = (step) => Effect.zipLeft(step, Effect.yieldNow())
      backend.steps.release = (step) => Effect.zipLeft(step, Effect.yieldNow())
      const locks = yield* FakeBackend.locksOver(backend, { handoff: "1 minute" })
      let inside = 0
      let most = 0
      const body = Effect.acquireUseRelease(
        Effect.sync(() => {
          most = Math.max(most, ++inside)
        }),
        () => Effect.sleep("1 millis"),
        () => Effect.sync(() => inside--)
      )
      const exits = yield* Effect.forEach(
        Array.from({ length: 2_000 }),
        () =>
          Effect.gen(function*() {
            const timeout = yield* Random.nextIntBetween(1, 60)
            const fiber = yield* Effect.fork(locks.withLock(body, path, { timeout }))
            yield* Effect.sleep(yield* Random.nextIntBetween(0, 40))
            yield* Effect.repeatN(Effect.yieldNow(), yield* Random.nextIntBetween(0, 10))
            return yield* Fiber.interrupt(fiber)
          }),
        { concurrency: 30 }
      )
      assert.strictEqual(most, 1)
      for (const kind of ["Success", "Failure"] as const) {
        assert.isAbove(exits.filter(({ _tag }) => _tag === kind).length, 50, kind)
      }
      assert.isTrue(Option.isSome(yield* locks.withLockIfAvailable(Effect.void, path)))
      assert.deepStrictEqual(backend.holders(path), [])
    }).pipe(Effect.scoped, Simulation.run))

  // The moments: queued, just served, just handed the lock, inside, leaving.
  for (const handoff of [0, "1 minute"] as const) {
    it.effect(`passes on a turn that came at any moment of an interruption (handoff ${handoff})`, () =>
      Effect.gen(function*() {
        const backend = FakeBackend.make()
        const locks = yield* FakeBackend.locksOver(backend, { handoff })
        let interrupted = 0
        let succeeded = 0
        for (let moment = 0; moment < 30; moment++) {
          for (const alone of [true, false]) {
            const gate = yield* Deferred.make<void>()
            const holding = yield* Effect.fork(locks.withLock(Deferred.await(gate), path))
            yield* settle
            const first = yield* Effect.fork(locks.withLock(Effect.void, path))
            yield* settle
            const second = alone
              ? []
              : [yield* Effect.fork(locks.withLock(Effect.void, path, { timeout: "10 seconds" }))]
            yield* settle
            yield* Deferred.succeed(gate, undefined)
            yield* Effect.repeatN(Effect.yieldNow(), moment)
            const exit = yield* Fiber.interrupt(first)
            if (Exit.isSuccess(exit)) succeeded++
            else interrupted++
            yield* Fiber.joinAll([holding, ...second])
            assert.deepStrictEqual(backend.holders(path), [], `interrupted at moment ${moment}`)
            assert.isTrue(Option.isSome(yield* locks.withLockIfAvailable(Effect.void, path)))
          }
        }
        assert.isAbove(interrupted, 0)
        assert.isAbove(succeeded, 0)
      }).pipe(Effect.scoped, Simulation.run))
  }

  it.effect("is left by a waiter that was not served in time, here or by the engine", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [process, other] = yield* Effect.all([scene.join(), scene.join()])
        const held = yield* Effect.fork(process.enter("holder", { stay: "10 seconds" }))
        yield* settle
        for (const late of [process, other]) {
          const [took, error] = yield* Effect.timed(Effect.flip(late.enter("too early", { timeout: "1 second" })))
          assert.propertyVal(error, "reason", "Timeout")
          // A timer waits for whole milliseconds, from whenever it is set.
          assert.closeTo(Duration.toMillis(took), 1_000.5, 0.5)
        }
        const next = yield* Effect.fork(process.enter("next"))
        yield* Fiber.joinAll([held, next])
        yield* other.enter("other", { timeout: 0 })
      })
    ))
})
