import { assert, describe, it, vi } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Timer from "../../../src/internal/lock/timer.js"
import * as Runtime from "../../../src/internal/runtime.js"
import * as Simulation from "../../utils/Simulation.js"

/** A timer on a clock that counts its sleepers. */
const test = (
  behaviour: string,
  self: (scene: {
    readonly fiber: Runtime.RuntimeFiber
    readonly timer: Timer.Timer
    /** How many fibers sleep now, and how many have slept. */
    readonly sleepers: { now: number; all: number }
    /** An alarm after so many milliseconds, which pushes its name. */
    readonly alarm: (name: string, millis: number) => Timer.Alarm
    /** The names of the alarms that have run, with their times. */
    readonly ran: ReadonlyArray<readonly [string, number]>
  }) => Effect.Effect<void, unknown>
) =>
  it.effect(behaviour, () =>
    Effect.gen(function*() {
      const base = yield* Effect.clock
      const sleepers = { now: 0, all: 0 }
      const clock: Clock.Clock = {
        [Clock.ClockTypeId]: Clock.ClockTypeId,
        unsafeCurrentTimeMillis: () => base.unsafeCurrentTimeMillis(),
        unsafeCurrentTimeNanos: () => base.unsafeCurrentTimeNanos(),
        currentTimeMillis: base.currentTimeMillis,
        currentTimeNanos: base.currentTimeNanos,
        sleep: (duration) =>
          Effect.acquireUseRelease(
            Effect.sync(() => {
              sleepers.now += 1
              sleepers.all += 1
            }),
            () => base.sleep(duration),
            () => Effect.sync(() => sleepers.now -= 1)
          )
      }
      const began = base.unsafeCurrentTimeMillis()
      const now = () => base.unsafeCurrentTimeMillis() - began
      const ran: Array<readonly [string, number]> = []
      const alarm = (name: string, millis: number): Timer.Alarm => ({
        at: began + now() + millis,
        run: () => ran.push([name, now()])
      })
      yield* Effect.withFiberRuntime<void, unknown>((fiber) =>
        self({ fiber, timer: Timer.timerAt(clock), sleepers, alarm, ran })
      )
    }).pipe((self) => Simulation.run(self, { limit: "30 days" })))

describe("A timer", () => {
  test("runs each alarm when it is due, whatever the order in which they came", ({ alarm, fiber, ran, timer }) =>
    Effect.gen(function*() {
      for (const millis of [500, 100, 900, 300, 700]) {
        timer.add(fiber, alarm(String(millis), millis))
      }
      yield* Effect.sleep("50 millis")
      timer.add(fiber, alarm("150", 100))
      yield* Effect.sleep("1 second")
      assert.deepStrictEqual(ran, [100, 150, 300, 500, 700, 900].map((at) => [String(at), at] as const))
    }))

  test("does not run an alarm that was cancelled", ({ alarm, fiber, ran, timer }) =>
    Effect.gen(function*() {
      const [early, late] = [alarm("early", 100), alarm("late", 200)]
      timer.add(fiber, early)
      timer.add(fiber, late)
      yield* Effect.sleep("50 millis")
      timer.cancel(fiber, early)
      yield* Effect.sleep("1 second")
      assert.deepStrictEqual(ran, [["late", 200]])
    }))

  test("sleeps once for a thousand alarms, and not at all without any", ({ alarm, fiber, ran, sleepers, timer }) =>
    Effect.gen(function*() {
      for (let index = 0; index < 1_000; index++) {
        timer.add(fiber, alarm(String(index), 100))
      }
      yield* Effect.sleep("50 millis")
      assert.strictEqual(sleepers.now, 1)
      yield* Effect.sleep("100 millis")
      assert.strictEqual(ran.length, 1_000)
      assert.deepStrictEqual(sleepers, { now: 0, all: 1 })
      const alarms = Array.from({ length: 1_000 }, (_, index) => alarm(String(index), 100))
      alarms.forEach((one) => timer.add(fiber, one))
      yield* Effect.sleep("50 millis")
      alarms.forEach((one) => timer.cancel(fiber, one))
      yield* Effect.sleep("1 millis")
      assert.strictEqual(sleepers.now, 0)
    }))

  test("starts nothing for an alarm that is cancelled before other fibers have run", (scene) =>
    Effect.gen(function*() {
      const { alarm, fiber, sleepers, timer } = scene
      const one = alarm("one", 100)
      timer.add(fiber, one)
      timer.cancel(fiber, one)
      yield* Effect.sleep("1 second")
      assert.strictEqual(sleepers.all, 0)
    }))

  test("lets an alarm add another one", ({ alarm, fiber, ran, timer }) =>
    Effect.gen(function*() {
      const first = alarm("first", 100)
      timer.add(fiber, {
        at: first.at,
        run: () => {
          first.run()
          timer.add(fiber, alarm("second", 100))
        }
      })
      yield* Effect.sleep("1 second")
      assert.deepStrictEqual(ran, [["first", 100], ["second", 200]])
    }))

  test("sleeps for longer than a timer of the system can", ({ alarm, fiber, ran, timer }) =>
    Effect.gen(function*() {
      timer.add(fiber, alarm("late", 2 ** 31 + 100_000))
      yield* Effect.sleep(2 ** 31)
      assert.deepStrictEqual(ran, [])
      yield* Effect.sleep(100_000)
      assert.deepStrictEqual(ran, [["late", 2 ** 31 + 100_000]])
    }))

  it.live("takes one timer of the system on the system's clock, and none without an alarm", () =>
    Effect.withFiberRuntime<void>((fiber) =>
      Effect.gen(function*() {
        const clock = yield* Effect.clock
        const timer = Timer.timerAt(clock)
        const since = Runtime.monotonicOf(clock)
        vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
        const ran: Array<string> = []
        const alarm = (name: string, millis: number) => ({ at: since + millis, run: () => void ran.push(name) })
        const [never, late] = [alarm("never", 1_000), alarm("late", 10_000)]
        for (const one of [late, never, alarm("due", -1)]) timer.add(fiber, one)
        assert.strictEqual(vi.getTimerCount(), 1)
        timer.cancel(fiber, never)
        vi.advanceTimersByTime(1)
        assert.deepStrictEqual(ran, ["due"])
        assert.strictEqual(vi.getTimerCount(), 1)
        timer.cancel(fiber, late)
        // It is left alone, and keeps no process alive, until an alarm needs it again.
        const again = alarm("again", 20_000)
        timer.add(fiber, again)
        assert.strictEqual(vi.getTimerCount(), 1)
        timer.cancel(fiber, again)
        vi.advanceTimersByTime(10_000)
        assert.strictEqual(vi.getTimerCount(), 0)
      }).pipe(Effect.ensuring(Effect.sync(() => vi.useRealTimers())))
    ))

  it.live("goes by the timers that there are, also after a test has played with them", () =>
    Effect.withFiberRuntime<void>((fiber) =>
      Effect.gen(function*() {
        const timer = Timer.timerOf(fiber)
        const ran: Array<string> = []
        const alarm = (name: string) => ({ at: Runtime.monotonic(fiber) + 1, run: () => void ran.push(name) })
        vi.useFakeTimers()
        const played = alarm("played")
        timer.add(fiber, played)
        timer.cancel(fiber, played)
        vi.useRealTimers()
        timer.add(fiber, { ...alarm("real"), at: Runtime.monotonic(fiber) + 10 })
        yield* Effect.repeat(Effect.sleep("5 millis"), { until: () => ran.length > 0 })
        assert.deepStrictEqual(ran, ["real"])
      })
    ))

  it.effect("is one for each clock", () =>
    Effect.withFiberRuntime((fiber) => {
      assert.strictEqual(Timer.timerOf(fiber), Timer.timerOf(fiber))
      return Effect.flatMap(Effect.clock, (clock) =>
        Effect.sync(() => assert.strictEqual(Timer.timerOf(fiber), Timer.timerAt(clock))))
    }))
})
