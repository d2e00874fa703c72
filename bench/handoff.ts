/**
 * One process lets go, another one waits: how long nobody has the lock, and what the waiting costs meanwhile.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Statistics from "../test/torture/Statistics.js"
import * as Contestants from "./Contestants.js"
import * as Report from "./Report.js"
import * as Stage from "./Stage.js"

const reference: Contestants.Name = "kernel lock"

/** `from` holds for `hold` milliseconds after `to` has begun to wait. */
const handOver = (from: Stage.Worker, to: Stage.Worker, path: string, hold: number) =>
  Effect.gen(function*() {
    yield* Stage.ask(from, { _tag: "hold", path }, "holding")
    yield* Stage.ask(to, { _tag: "take", path }, "waiting")
    const { at: left } = yield* Stage.ask(from, { _tag: "leave", after: hold }, "left")
    const { at, cpu, waited } = yield* Stage.hear(to, "taken")
    return { millis: at - left, share: cpu / 1_000 / waited }
  })

/** Everybody has two processes of its own, which stay warm while the others have their turn. */
export const run = (stage: Stage.Stage) =>
  Effect.scoped(Effect.gen(function*() {
    const times = stage.quick ? 10 : 60
    const long = stage.quick ? 500 : 3_000
    // The same for everybody: how long one waits decides how patient a waiter has become.
    const random = Random.make("hand-off")
    const contestants = yield* Effect.forEach(Contestants.betweenProcesses, (name) =>
      Effect.gen(function*() {
        const one = yield* Stage.spawn(stage, name)
        const other = yield* Stage.spawn(stage, name)
        return {
          name,
          one,
          other,
          path: Stage.freshPath(stage),
          rounds: Array<Array<number>>(),
          shares: Array<number>()
        }
      }))

    const alternate = (one: Stage.Worker, other: Stage.Worker, path: string, holds: ReadonlyArray<number>) =>
      Effect.forEach(
        holds,
        (hold, index) => index % 2 === 0 ? handOver(one, other, path, hold) : handOver(other, one, path, hold)
      )

    for (const { name, one, other, path } of contestants) {
      const warmUp = name === "cross-process-lock" ? 2 : 10
      yield* alternate(one, other, path, Array.from({ length: warmUp }, () => 5))
    }
    for (let round = 0; round < stage.rounds; round++) {
      const holds = yield* Effect.replicateEffect(random.nextRange(5, 20), times)
      for (const contestant of contestants) {
        const { name, one, other, path } = contestant
        // It looks twice a second: a full turn of it would take as long as all the others'.
        const own = name === "cross-process-lock" ? holds.slice(0, Math.ceil(times / 5)) : holds
        const handed = yield* alternate(one, other, path, own)
        contestant.rounds.push(handed.map(({ millis }) => millis))
        contestant.shares.push((yield* handOver(one, other, path, long)).share)
      }
    }

    const results = contestants.map(({ name, rounds, shares }) => {
      const all = rounds.flat()
      return {
        name,
        p50: Report.spread(rounds.map(Statistics.median)),
        p99: Statistics.quantile(all, 0.99),
        max: Statistics.max(all),
        count: all.length,
        share: Report.spread(shares.map((share) => share * 100))
      }
    })
    const p50 = (name: Contestants.Name): number => results.find((result) => result.name === name)?.p50.median ?? NaN

    const report: Report.Report = {
      name: "handoff",
      title: "From one process to the next: release to acquired",
      method:
        "Two processes take turns: one holds, the other begins to wait, and 5 to 20 ms later the holder notes the time and " +
        `releases; the other notes when it is inside. ${stage.rounds} turns of ${times} each, in rotation. The waiter's share of a ` +
        `processor is measured over a hold of ${
          long / 1_000
        } s. The reference of the ratio is the kernel's lock, on a file opened each ` +
        "time.",
      columns: ["", "p50 (ms)", "× kernel lock", "p99", "max", "hand-offs", "waiter, % of a core"],
      rows: results.map((result) => [
        result.name,
        Report.formatSpread(result.p50),
        Report.formatRatio(result.p50.median / p50(reference)),
        Statistics.formatMillis(result.p99),
        Statistics.formatMillis(result.max),
        String(result.count),
        Report.formatSpread(result.share)
      ]),
      targets: results.filter(({ name }) => name === Contestants.ours).flatMap(({ p50, p99, share }) => [
        { aim: "p50 of at most 0.7 ms", value: `${Report.format(p50.median)} ms`, reached: p50.median <= 0.7 },
        { aim: "p99 of at most 5 ms", value: `${Report.format(p99)} ms`, reached: p99 <= 5 },
        {
          aim: "a waiter burns at most 1 % of a core",
          value: `${Report.format(share.median)} %`,
          reached: share.median <= 1
        }
      ]),
      chart: {
        kind: "bars",
        unit: "ms from release to acquired (median of each turn, logarithmic)",
        logarithmic: true,
        data: results.map(({ name, p50 }) => ({ name, value: p50.median, low: p50.min, high: p50.max }))
      },
      samples: contestants.map(({ name, rounds, shares }) => ({ name, rounds, shares }))
    }
    return report
  }))
