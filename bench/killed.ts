/**
 * The holder is killed: how long until the one that waits has the lock.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Statistics from "../test/torture/Statistics.js"
import * as Contestants from "./Contestants.js"
import * as Report from "./Report.js"
import * as Stage from "./Stage.js"

interface Entry {
  readonly name: Contestants.Name
  /** Whoever needs seconds has its turn only twice, whoever is not made to recover only once. */
  readonly times: (rounds: number) => number
}

const entries: ReadonlyArray<Entry> = [
  { name: Contestants.ours, times: (rounds) => rounds },
  { name: "kernel lock", times: (rounds) => rounds },
  { name: "kernel lock, kept open", times: (rounds) => rounds },
  { name: "proper-lockfile, 50 ms", times: () => 2 },
  { name: "proper-lockfile, 1 ms", times: () => 2 },
  { name: "lockfile, 50 ms", times: () => 1 },
  { name: "cross-process-lock", times: () => 1 },
  { name: "raw wx, 50 ms", times: () => 1 }
]

const reference: Contestants.Name = "kernel lock"

/** Milliseconds from the signal to the next one inside; none if it took longer than `limit`. */
const kill = (stage: Stage.Stage, name: Contestants.Name, pause: number, limit: number) =>
  Effect.scoped(Effect.gen(function*() {
    const path = Stage.freshPath(stage)
    const [holder, waiter] = yield* Effect.all([Stage.spawn(stage, name), Stage.spawn(stage, name)])
    // Twice through the whole path first, elsewhere: a program that waits for a lock is rarely in its first second.
    yield* Effect.forEach(
      [holder, waiter],
      (worker) => Stage.ask(worker, { _tag: "cycle", path: Stage.freshPath(stage), times: 20 }, "measured")
    )
    yield* Stage.ask(holder, { _tag: "hold", path }, "holding")
    yield* Stage.ask(waiter, { _tag: "take", path }, "waiting")
    yield* Effect.sleep(pause)
    const at = Monotonic.millis()
    holder.signal("SIGKILL")
    return yield* Stage.hear(waiter, "taken").pipe(
      Effect.map((taken) => taken.at - at),
      Effect.timeoutOption(limit)
    )
  }))

/** Everybody is asked in rotation; each time with two fresh processes. */
export const run = (stage: Stage.Stage) =>
  Effect.gen(function*() {
    const rounds = stage.quick ? 3 : 3 * stage.rounds
    const limit = stage.quick ? 1_000 : 15_000
    const random = Random.make("killed")
    const seen = new Map(entries.map(({ name }) => [name, Array<Option.Option<number>>()]))
    for (let round = 0; round < rounds; round++) {
      const pause = yield* random.nextRange(50, 250)
      for (const { name, times } of entries) {
        if (round < times(rounds)) seen.get(name)?.push(yield* kill(stage, name, pause, limit))
      }
    }

    const results = [...seen].map(([name, turns]) => {
      const millis = turns.map(Option.getOrElse(() => Infinity))
      return { name, millis, p50: Statistics.median(millis), spread: Report.spread(millis) }
    })
    const show = (millis: number): string =>
      millis === Infinity ? `> ${limit / 1_000} s` : Statistics.formatMillis(millis)
    const p50 = (name: Contestants.Name): number => results.find((result) => result.name === name)?.p50 ?? NaN
    const report: Report.Report = {
      name: "killed",
      title: "The holder is killed: until a waiter holds",
      method:
        "A process holds, another one waits for 50 to 250 ms, and the holder gets SIGKILL; the time begins just before the signal " +
        `and ends when the other is inside. Fresh processes each time, everybody in rotation: ${rounds} times where it takes ` +
        `milliseconds, once or twice where it takes longer, and never longer than ${
          limit / 1_000
        } s. The holder is a child of the ` +
        "measuring process, which reaps it at once.",
      columns: ["", "p50", "× kernel lock", "min", "max", "times"],
      rows: results.map(({ millis, name, p50: own, spread }) => [
        name,
        show(own),
        own === Infinity ? "–" : Report.formatRatio(own / p50(reference)),
        show(spread.min),
        show(spread.max),
        String(millis.length)
      ]),
      targets: results.filter(({ name }) => name === Contestants.ours).flatMap(({ p50, spread }) => [
        { aim: "p50 of at most 10 ms", value: show(p50), reached: p50 <= 10 },
        { aim: "never longer than 150 ms", value: show(spread.max), reached: spread.max <= 150 }
      ]),
      chart: {
        kind: "bars",
        unit: `ms from SIGKILL to acquired (logarithmic; ${limit} stands for longer)`,
        logarithmic: true,
        data: results.map(({ name, spread }) => ({
          name,
          value: Math.min(limit, spread.median),
          low: Math.min(limit, spread.min),
          high: Math.min(limit, spread.max)
        }))
      },
      samples: results.map(({ millis, name }) => ({
        name,
        millis: millis.map((value) => value === Infinity ? null : value)
      }))
    }
    return report
  })
