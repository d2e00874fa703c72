/**
 * `fibers`: many fibers of one process want the same lock at once, and do nothing while they hold it.
 */
import * as Effect from "effect/Effect"
import * as Statistics from "../test/torture/Statistics.js"
import * as Competitors from "./Competitors.js"
import * as Harness from "./Harness.js"
import * as Report from "./Report.js"

interface Entry {
  readonly name: Competitors.Name
  /** The largest number of fibers to measure: the time of some competitors grows with its square. */
  readonly largest: number
  /** The repetitions of 1,000 fibers in a round: a single one of a few milliseconds is not precise. */
  readonly repeat: number
}

const floor: Competitors.Name = "no lock"

const entries: ReadonlyArray<Entry> = [
  { name: floor, largest: Infinity, repeat: 10 },
  { name: Competitors.ours, largest: Infinity, repeat: 10 },
  { name: Competitors.anyFileSystem, largest: Infinity, repeat: 5 },
  { name: "async-mutex", largest: Infinity, repeat: 10 },
  { name: "Effect semaphore", largest: 1_000, repeat: 10 },
  { name: Competitors.kernel, largest: 1_000, repeat: 1 },
  { name: "proper-lockfile, 50 ms", largest: 1_000, repeat: 1 }
]

/** Measures all competitors in rotation. Each has its own process, which stays warm. */
export const run = (harness: Harness.Harness) =>
  Effect.scoped(Effect.gen(function*() {
    const sizes = harness.quick ? [100, 500] : [1_000, 10_000]
    const smallest = Math.min(...sizes)
    const competitors = yield* Effect.forEach(entries, ({ largest, name, repeat }) =>
      Effect.gen(function*() {
        const worker = yield* Harness.spawn(harness, name)
        const path = Harness.freshPath(harness)
        const measure = (size: number) =>
          Effect.replicateEffect(
            Harness.request(worker, { _tag: "fibers", path, size }, "measured"),
            Math.max(1, Math.min(repeat, repeat * 1_000 / size))
          ).pipe(
            Effect.map((repetitions) => Statistics.median(repetitions.map(({ millis }) => millis)))
          )
        // A competitor that takes milliseconds is measured after it has been compiled. For one that takes seconds, that is no matter.
        yield* Effect.replicateEffect(measure(smallest), repeat === 1 ? 0 : 4, { discard: true })
        return { name, measure, largest }
      }))
    const times = new Map(sizes.map((size) => [size, new Map(entries.map(({ name }) => [name, Array<number>()]))]))
    for (const [size, byName] of times) {
      for (let round = 0; round < harness.rounds; round++) {
        for (const { largest, measure, name } of competitors) {
          if (size <= largest) byName.get(name)?.push(yield* measure(size))
        }
      }
    }

    const results = [...times].flatMap(([size, byName]) =>
      [...byName].filter(([, millis]) => millis.length > 0).map(([name, millis]) => ({
        size,
        name,
        millis,
        spread: Report.spread(millis),
        ratio: Report.ratio(millis, byName.get(floor) ?? [])
      }))
    )
    const report: Report.Report = {
      name: "fibers",
      title: "Many fibers of one process, one path, an empty body",
      method:
        "`Effect.forEach` with unbounded concurrency runs the same fibers for each competitor: without a lock (the floor), and " +
        `with a lock around \`Effect.void\`. The competitors alternate for ${harness.rounds} rounds, in warm processes. A ratio is the ` +
        "median of the ratios of each round. `async-mutex` and the semaphore exclude within one process only. The competitors " +
        "without a row at the larger size take minutes there.",
      columns: ["", "fibers", "ms", "µs per fiber", "× the floor"],
      rows: results.map(({ name, ratio, size, spread }) => [
        name,
        String(size),
        Report.formatSpread(spread),
        Report.format(spread.median * 1_000 / size),
        Report.formatRatio(ratio)
      ]),
      targets: results
        .filter(({ name }) => name === Competitors.ours)
        .map(({ ratio, size }) => Report.atMost(`${size} fibers, time over the floor`, 2.5, "×", ratio)),
      chart: {
        kind: "bars",
        unit: "ms until all fibers are done (logarithmic)",
        logarithmic: true,
        data: results.map(({ name, size, spread }) => ({
          name,
          panel: `${size} fibers`,
          value: spread.median,
          low: spread.min,
          high: spread.max
        }))
      },
      samples: results.map(({ millis, name, size }) => ({ name, size, millis }))
    }
    return report
  }))
