/**
 * `handoff`: one process releases the lock, another process waits for it.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Statistics from "../test/torture/Statistics.js"
import * as Competitors from "./Competitors.js"
import * as Harness from "./Harness.js"
import * as Report from "./Report.js"

/** `from` holds the lock for `hold` milliseconds after `to` has begun to wait. */
const handOver = (from: Harness.Worker, to: Harness.Worker, path: string, hold: number) =>
  Effect.gen(function*() {
    yield* Harness.request(from, { _tag: "hold", path }, "holding")
    yield* Harness.request(to, { _tag: "acquire", path }, "waiting")
    const released = yield* Harness.request(from, { _tag: "release", after: hold }, "released")
    const { at, cpu, waited } = yield* Harness.receive(to, "acquired")
    return { millis: at - released.at, share: cpu / 1_000 / waited * 100 }
  })

/** Each process holds in turn. */
export const alternate = (one: Harness.Worker, other: Harness.Worker, path: string, holds: ReadonlyArray<number>) =>
  Effect.forEach(
    holds,
    (hold, index) => index % 2 === 0 ? handOver(one, other, path, hold) : handOver(other, one, path, hold)
  )

/** The bars of hand-overs. */
export const chart = (
  results: ReadonlyArray<{ readonly name: string; readonly medians: ReadonlyArray<number> }>
): Report.Report["chart"] => ({
  kind: "bars",
  unit: "ms from release to acquired (median of each round, logarithmic)",
  logarithmic: true,
  data: results.map(({ medians, name }) => {
    const { max, median, min } = Report.spread(medians)
    return { name, value: median, low: min, high: max }
  })
})

/** Measures all competitors in rotation. Each has its own two processes, which stay warm. */
export const run = (harness: Harness.Harness) =>
  Effect.scoped(Effect.gen(function*() {
    const times = harness.quick ? 10 : 60
    const long = harness.quick ? 500 : 3_000
    // All competitors get the same holds: the back-off of a waiter depends on how long it has waited.
    const random = Random.make("handoff")
    const competitors = yield* Effect.forEach(Competitors.betweenProcesses, (name) =>
      Effect.gen(function*() {
        const one = yield* Harness.spawn(harness, name)
        const other = yield* Harness.spawn(harness, name)
        const path = Harness.freshPath(harness)
        yield* alternate(one, other, path, Array.from({ length: name === "cross-process-lock" ? 2 : 10 }, () => 5))
        return { name, one, other, path, rounds: Array<Array<number>>(), shares: Array<number>() }
      }))
    for (let round = 0; round < harness.rounds; round++) {
      const holds = yield* Effect.replicateEffect(random.nextRange(5, 20), times)
      for (const { name, one, other, path, rounds, shares } of competitors) {
        // It polls twice a second: a full round of it takes as long as the rounds of all others.
        const own = name === "cross-process-lock" ? holds.slice(0, Math.ceil(times / 5)) : holds
        const handovers = yield* alternate(one, other, path, own)
        rounds.push(handovers.map(({ millis }) => millis))
        shares.push((yield* handOver(one, other, path, long)).share)
      }
    }

    const results = competitors.map(({ name, rounds, shares }) => ({
      name,
      medians: rounds.map(Statistics.median),
      all: rounds.flat(),
      p99: Statistics.quantile(rounds.flat(), 0.99),
      share: Report.spread(shares)
    }))
    const reference = results.find(({ name }) => name === Competitors.kernel)?.medians ?? []
    const report: Report.Report = {
      name: "handoff",
      title: "From one process to the next: release to acquired",
      method:
        "Two processes hold in turn. The other process begins to wait, and 5 to 20 ms later the holder records the time and " +
        `releases. The waiter records when it has acquired. The competitors alternate for ${harness.rounds} rounds of ${times} ` +
        `hand-overs. The waiter's share of a core is measured over a hold of ${
          long / 1_000
        } s. The reference of the ratio is the ` +
        "kernel lock, on a file opened each time.",
      columns: ["", "p50 (ms)", "× kernel lock", "p99", "max", "hand-overs", "waiter, % of a core"],
      rows: results.map(({ all, medians, name, p99, share }) => [
        name,
        Report.formatSpread(Report.spread(medians)),
        Report.formatRatio(Report.ratio(medians, reference)),
        Statistics.formatMillis(p99),
        Statistics.formatMillis(Statistics.max(all)),
        String(all.length),
        Report.formatSpread(share)
      ]),
      targets: results.filter(({ name }) => name === Competitors.ours).flatMap(({ medians, p99, share }) => [
        Report.atMost("p50 over the kernel lock", 4, "×", Report.ratio(medians, reference)),
        Report.atMost("p99", 3, "ms", p99),
        Report.atMost("waiter", 1, "% of a core", share.median)
      ]),
      chart: chart(results),
      samples: competitors.map(({ name, rounds, shares }) => ({ name, rounds, shares }))
    }
    return report
  }))
