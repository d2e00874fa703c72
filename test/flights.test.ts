import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import { type Flight, Flights } from "../src/internal/flights.js"
import * as Simulation from "./utils/Simulation.js"

interface Question {
  readonly key: string
  readonly number: number
  readonly answer: Deferred.Deferred<string, string>
}

const settle = Effect.repeatN(Effect.yieldNow(), 20)

const landed = <A, E>(flight: Flight<A, E>) =>
  Effect.zipRight(
    Effect.async<void>((resume) => {
      flight.addObserver(() => resume(Effect.void))
    }),
    Effect.suspend(() => flight.unsafePoll() ?? Effect.dieMessage("it has not landed"))
  )

/** Questions that wait for their answers, in the order that they were asked in. */
const makeDesk = Effect.sync(() => {
  const questions: Array<Question> = []
  const flights = new Flights<string, string>((key) =>
    Effect.flatMap(Deferred.make<string, string>(), (answer) => {
      questions.push({ key, number: questions.length, answer })
      return Deferred.await(answer)
    })
  )
  const question = (index: number) =>
    Effect.suspend(() => {
      const found = questions[index]
      return found === undefined ? Effect.dieMessage(`there is no question ${index}`) : Effect.succeed(found)
    })
  const settleWith = (complete: (question: Question) => Effect.Effect<unknown>) => (index: number) =>
    question(index).pipe(Effect.flatMap(complete), Effect.zipRight(settle))
  return {
    asked: () => questions.map(({ key }) => key),
    /** Asks in so many fibers at the same time. */
    join: (key: string, fibers: number) =>
      Effect.forEach(
        Array.from({ length: fibers }),
        () => Effect.fork(Effect.uninterruptible(Effect.exit(Effect.flatMap(flights.join(key), landed))))
      ).pipe(Effect.zipLeft(settle)),
    answer: (index: number, text: string) => settleWith(({ answer }) => Deferred.succeed(answer, text))(index),
    refuse: (index: number, error: string) => settleWith(({ answer }) => Deferred.fail(answer, error))(index),
    break: (index: number, defect: string) => settleWith(({ answer }) => Deferred.die(answer, defect))(index)
  }
})

const areUnderWay = (fibers: ReadonlyArray<Fiber.RuntimeFiber<unknown>>) =>
  fibers.every((one) => one.unsafePoll() === null)

describe("A question that many ask", () => {
  it.effect("is asked once now, and once for all who come meanwhile", () =>
    Effect.gen(function*() {
      const desk = yield* makeDesk
      const first = yield* desk.join("a", 1)
      const others = yield* desk.join("a", 50)
      assert.deepStrictEqual(desk.asked(), ["a"])
      yield* desk.answer(0, "early")
      assert.deepStrictEqual(yield* Fiber.joinAll(first), [Exit.succeed("early")])
      assert.isTrue(areUnderWay(others))
      assert.deepStrictEqual(desk.asked(), ["a", "a"])
      yield* desk.answer(1, "late")
      assert.deepStrictEqual(yield* Fiber.joinAll(others), Array.from({ length: 50 }, () => Exit.succeed("late")))
      assert.deepStrictEqual(desk.asked(), ["a", "a"])
    }))

  it.effect("is asked a third time for those who come while it is asked for all", () =>
    Effect.gen(function*() {
      const desk = yield* makeDesk
      const first = yield* desk.join("a", 1)
      const second = yield* desk.join("a", 3)
      yield* desk.answer(0, "one")
      const third = yield* desk.join("a", 3)
      yield* desk.answer(1, "two")
      assert.isTrue(areUnderWay(third))
      yield* desk.answer(2, "three")
      assert.deepStrictEqual(
        yield* Fiber.joinAll([...first, ...second, ...third]),
        ["one", "two", "two", "two", "three", "three", "three"].map((text) => Exit.succeed(text))
      )
      assert.strictEqual(desk.asked().length, 3)
    }))

  it.effect("is another question for another name, and waits for none of those", () =>
    Effect.gen(function*() {
      const desk = yield* makeDesk
      const slow = yield* desk.join("a", 1)
      const quick = yield* desk.join("b", 1)
      assert.deepStrictEqual(desk.asked(), ["a", "b"])
      yield* desk.answer(1, "b")
      assert.deepStrictEqual(yield* Fiber.joinAll(quick), [Exit.succeed("b")])
      assert.isTrue(areUnderWay(slow))
      yield* desk.answer(0, "a")
      assert.deepStrictEqual(yield* Fiber.joinAll(slow), [Exit.succeed("a")])
    }))

  it.effect("is asked anew once nobody waits for its answer any more", () =>
    Effect.gen(function*() {
      const desk = yield* makeDesk
      for (let turn = 0; turn < 3; turn++) {
        const asker = yield* desk.join("a", 1)
        assert.strictEqual(desk.asked().length, turn + 1)
        yield* desk.answer(turn, `answer ${turn}`)
        assert.deepStrictEqual(yield* Fiber.joinAll(asker), [Exit.succeed(`answer ${turn}`)])
      }
    }))

  it.effect("fails for all who share it and for nobody else, and is asked anew after that", () =>
    Effect.gen(function*() {
      const desk = yield* makeDesk
      const first = yield* desk.join("a", 1)
      const second = yield* desk.join("a", 3)
      yield* desk.refuse(0, "no")
      assert.deepStrictEqual(yield* Fiber.joinAll(first), [Exit.fail("no")])
      assert.isTrue(areUnderWay(second))
      const third = yield* desk.join("a", 2)
      yield* desk.refuse(1, "no, all of you")
      assert.deepStrictEqual(yield* Fiber.joinAll(second), Array.from({ length: 3 }, () => Exit.fail("no, all of you")))
      yield* desk.answer(2, "well")
      assert.deepStrictEqual(yield* Fiber.joinAll(third), [Exit.succeed("well"), Exit.succeed("well")])
      const last = yield* desk.join("a", 1)
      assert.strictEqual(desk.asked().length, 4)
      yield* desk.answer(3, "again")
      assert.deepStrictEqual(yield* Fiber.joinAll(last), [Exit.succeed("again")])
    }))

  it.effect("leaves nobody waiting for ever when it breaks", () =>
    Effect.gen(function*() {
      const desk = yield* makeDesk
      const first = yield* desk.join("a", 1)
      const second = yield* desk.join("a", 2)
      yield* desk.break(0, "broken")
      yield* desk.break(1, "broken again")
      assert.deepStrictEqual(yield* Fiber.joinAll([...first, ...second]), [
        Exit.die("broken"),
        Exit.die("broken again"),
        Exit.die("broken again")
      ])
      const last = yield* desk.join("a", 1)
      yield* desk.answer(2, "mended")
      assert.deepStrictEqual(yield* Fiber.joinAll(last), [Exit.succeed("mended")])
    }))

  for (const seed of [1, 2, 3, 4, 5]) {
    it.effect(`is never answered with what was found out before the asker came (seed ${seed})`, () =>
      Effect.gen(function*() {
        let time = 0
        let asked = 0
        let underWay = 0
        const flights = new Flights<number, never>(() =>
          Effect.gen(function*() {
            const askedAt = ++time
            asked++
            assert.strictEqual(++underWay, 1, "the same is asked twice at a time")
            yield* Effect.sleep(yield* Random.nextIntBetween(0, 20))
            underWay--
            return askedAt
          })
        )
        yield* Effect.forEach(
          Array.from({ length: 300 }),
          () =>
            Effect.gen(function*() {
              yield* Effect.sleep(yield* Random.nextIntBetween(0, 1_000))
              const cameAt = ++time
              const askedAt = yield* Effect.uninterruptible(Effect.flatMap(flights.join("a"), landed))
              assert.isAbove(askedAt, cameAt)
            }),
          { concurrency: "unbounded", discard: true }
        )
        assert.isBelow(asked, 300)
      }).pipe((self) => Simulation.run(self, { seed })))
  }
})
