import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import type { Message } from "../../scripts/demoMessages.js"
import * as DemoModel from "../../scripts/demoModel.js"

/** Replays a failure: `FAST_CHECK_SEED`, as the failure names it. */
const parameters = {
  seed: process.env.FAST_CHECK_SEED === undefined ? Date.now() | 0 : Number(process.env.FAST_CHECK_SEED),
  numRuns: 50
}

const workers = ["worker-1", "worker-2", "worker-3"].map((name, index) => ({ name, pid: index + 1 }))

/** What each worker sends, in its order. */
type History = ReadonlyArray<ReadonlyArray<Message>>

/** A critical section from `at` on: the worker waits before, and says afterwards that its task was added. */
const section = (number: number, at: number, duration: number): ReadonlyArray<Message> => [
  { _tag: "waiting", at: at - 0.25 },
  { _tag: "inside", at, lingers: false },
  { _tag: "left", at: at + duration },
  { _tag: "added", at: at + duration + 0.25, number }
]

const duration = FastCheck.integer({ min: 1, max: 20 })

const index = FastCheck.nat(workers.length - 1)

/** One after the other, as under the lock. */
const exclusive: FastCheck.Arbitrary<History> = FastCheck.array(FastCheck.tuple(index, duration, duration), {
  maxLength: 10
}).map((sections) => {
  let now = 0
  const all = sections.map(([worker, pause, inside], number) => {
    const at = now + pause
    now = at + inside
    return { worker, messages: section(number, at, inside) }
  })
  return workers.map((_, self) => all.flatMap(({ messages, worker }) => worker === self ? messages : []))
})

/** Each for itself, as without the lock. */
const unguarded: FastCheck.Arbitrary<History> = FastCheck.tuple(
  ...workers.map(() => FastCheck.array(FastCheck.tuple(duration, duration), { maxLength: 5 }))
).map((histories) =>
  histories.map((sections) => {
    let now = 0
    return sections.flatMap(([pause, inside], number) => {
      const at = now + pause
      now = at + inside
      return section(number, at, inside)
    })
  })
)

/** With signs of life in between, so that what is known does not end with the last event. */
const withSignsOfLife = (history: FastCheck.Arbitrary<History>): FastCheck.Arbitrary<History> =>
  FastCheck.tuple(history, FastCheck.array(FastCheck.tuple(index, FastCheck.integer({ max: 400, min: 0 }))))
    .map(([messages, signs]) =>
      messages.map((own, self) =>
        [
          ...own,
          ...signs.flatMap(([worker, at]): ReadonlyArray<Message> => worker === self ? [{ _tag: "alive", at }] : [])
        ].sort((a, b) => a.at - b.at)
      )
    )

/** Which worker's next message arrives; what is left over arrives at the end. */
const arrivals = FastCheck.array(index, { maxLength: 80 })

/** The model after each message. */
const models = (history: History, order: ReadonlyArray<number>): ReadonlyArray<DemoModel.Model> => {
  const channels = history.map((messages) => [...messages])
  let model = DemoModel.begin(workers, 25)
  const all = [model]
  for (const from of [...order, ...channels.flatMap((messages, worker) => messages.map(() => worker))]) {
    const message = channels[from]?.shift()
    if (message === undefined) continue
    model = DemoModel.update(workers[from]!.name, message)(model)
    all.push(model)
  }
  return all
}

/** Which workers are inside at an instant, by all that is ever sent. */
const insideAt = (history: History, at: number): ReadonlyArray<string> =>
  workers.flatMap(({ name }, self) => {
    const last = history[self]!.filter((message) => message._tag !== "alive" && message.at <= at).at(-1)
    return last?._tag === "inside" ? [name] : []
  })

const names = (snapshot: DemoModel.Snapshot): ReadonlyArray<string> =>
  DemoModel.inside(snapshot).map(({ name }) => name)

const feed = (messages: ReadonlyArray<readonly [worker: number, message: Message]>): DemoModel.Model =>
  messages.reduce(
    (model, [worker, message]) => DemoModel.update(`worker-${worker}`, message)(model),
    DemoModel.begin(workers, 25)
  )

describe("What the demonstration shows", () => {
  it("never has two workers inside that were inside one after the other, in whatever order their messages arrive", () => {
    FastCheck.assert(
      FastCheck.property(withSignsOfLife(exclusive), arrivals, (history, order) => {
        const all = models(history, order)
        assert.isAtMost(Math.max(...all.map((model) => DemoModel.inside(DemoModel.snapshot(model)).length)), 1)
        assert.isAtMost(Math.max(...all.map(DemoModel.mostInside)), 1)
      }),
      parameters
    )
  })

  it("has those workers inside that were inside at its instant, and no others, be they one or more", () => {
    FastCheck.assert(
      FastCheck.property(withSignsOfLife(unguarded), arrivals, (history, order) => {
        const shown = models(history, order).map(DemoModel.snapshot)
        assert.deepStrictEqual(shown.map(names), shown.map(({ at }) => insideAt(history, at)))
      }),
      parameters
    )
  })

  it("goes forward only", () => {
    FastCheck.assert(
      FastCheck.property(withSignsOfLife(unguarded), arrivals, (history, order) => {
        const instants = models(history, order).map(DemoModel.knownUntil)
        assert.deepStrictEqual(instants, [...instants].sort((a, b) => a - b))
      }),
      parameters
    )
  })

  it("has two workers inside when both are", () => {
    const model = feed([
      [1, { _tag: "inside", at: 10, lingers: false }],
      [2, { _tag: "inside", at: 12, lingers: false }],
      [3, { _tag: "alive", at: 20 }],
      [2, { _tag: "alive", at: 21 }],
      [1, { _tag: "alive", at: 22 }]
    ])
    assert.deepStrictEqual(names(DemoModel.snapshot(model)), ["worker-1", "worker-2"])
    assert.strictEqual(DemoModel.mostInside(model), 2)
  })

  it("has a killed worker inside until it is killed, and its successor from then on", () => {
    const before = feed([
      [2, { _tag: "inside", at: 10, lingers: true }],
      [1, { _tag: "waiting", at: 11 }],
      [3, { _tag: "waiting", at: 12 }],
      [2, { _tag: "alive", at: 20 }],
      [1, { _tag: "alive", at: 21 }],
      [3, { _tag: "alive", at: 22 }]
    ])
    assert.deepStrictEqual(names(DemoModel.snapshot(before)), ["worker-2"])
    const killed = DemoModel.markKilled("worker-2", 25)(before)
    const entered = DemoModel.update("worker-3", { _tag: "inside", at: 26, lingers: false })(killed)
    const told = DemoModel.update("worker-1", { _tag: "alive", at: 27 })(entered)
    assert.deepStrictEqual(names(DemoModel.snapshot(told)), ["worker-3"])
    assert.strictEqual(DemoModel.mostInside(told), 1)
    // A message that was still on its way changes nothing.
    assert.deepStrictEqual(DemoModel.update("worker-2", { _tag: "alive", at: 24 })(told), told)
    // An entry before the death would be a violation.
    const early = DemoModel.update("worker-3", { _tag: "inside", at: 24, lingers: false })(killed)
    assert.strictEqual(DemoModel.mostInside(DemoModel.update("worker-1", { _tag: "alive", at: 27 })(early)), 2)
  })

  it("does not wait for a worker that has ended", () => {
    const model = feed([
      [1, { _tag: "finished", at: 10 }],
      [2, { _tag: "inside", at: 15, lingers: false }],
      [3, { _tag: "inside", at: 30, lingers: false }]
    ])
    const ended = DemoModel.markEnded("worker-2")(model)
    const snapshot = DemoModel.snapshot(ended)
    assert.deepStrictEqual(snapshot.workers.map(({ state }) => state), ["finished", "ended", "inside"])
    assert.strictEqual(DemoModel.mostInside(ended), 1)
    assert.isFalse(DemoModel.isOver(ended))
    assert.isTrue(DemoModel.isOver(DemoModel.update("worker-3", { _tag: "finished", at: 40 })(ended)))
  })
})
