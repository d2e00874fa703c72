/**
 * Many fibers of one process want one path at once, and have nothing to do with it: what the line costs.
 */
import * as Effect from "effect/Effect"
import * as Statistics from "../test/torture/Statistics.js"
import * as Contestants from "./Contestants.js"
import * as Report from "./Report.js"
import * as Stage from "./Stage.js"

interface Entry {
  readonly name: Contestants.Name
  /** The largest crowd it can stand: for some the time grows with the square of it. */
  readonly most: number
  /** How many crowds of a thousand are one turn; a single one of a millisecond says little. */
  readonly repeat: number
}

const floor: Contestants.Name = "no lock"

const entries: ReadonlyArray<Entry> = [
  { name: floor, most: Infinity, repeat: 10 },
  { name: Contestants.ours, most: Infinity, repeat: 5 },
  { name: "async-mutex", most: Infinity, repeat: 5 },
  { name: "Effect semaphore", most: 1_000, repeat: 5 },
  { name: "kernel lock", most: 1_000, repeat: 1 },
  { name: "proper-lockfile, 50 ms", most: 1_000, repeat: 1 }
]

/** Medians of the ratios of each round. */
const ratio = (values: ReadonlyArray<number>, floors: ReadonlyArray<number>): number =>
  Statistics.median(values.map((value, round) => value / (floors[round] ?? NaN)))

/** Everybody has a process of its own, which stays warm while the others have their turn. */
export const run = (stage: Stage.Stage) =>
  Effect.scoped(Effect.gen(function*() {
    const sizes = stage.quick ? [100, 500] : [1_000, 10_000]
    const smallest = Math.min(...sizes)
    const contestants = yield* Effect.forEach(entries, ({ most, name, repeat }) =>
      Effect.gen(function*() {
        const worker = yield* Stage.spawn(stage, name)
        const path = Stage.freshPath(stage)
        const crowd = (size: number) =>
          Effect.replicateEffect(
            Stage.ask(worker, { _tag: "crowd", path, size }, "measured"),
            Math.max(1, Math.min(repeat, repeat * 1_000 / size))
          ).pipe(
            Effect.map((turns) => Statistics.median(turns.map(({ millis }) => millis)))
          )
        // Whoever takes a few milliseconds needs a few turns to be compiled, whoever takes seconds does not notice.
        yield* Effect.replicateEffect(crowd(smallest), repeat === 1 ? 0 : 4, { discard: true })
        return { name, crowd, suffers: (size: number) => size > most }
      }))
    const taken = new Map(sizes.map((size) => [size, new Map(entries.map(({ name }) => [name, Array<number>()]))]))
    for (const [size, times] of taken) {
      for (let round = 0; round < stage.rounds; round++) {
        for (const { crowd, name, suffers } of contestants) {
          if (!suffers(size)) times.get(name)?.push(yield* crowd(size))
        }
      }
    }

    const results = [...taken].flatMap(([size, times]) =>
      [...times].flatMap(([name, millis]) =>
        millis.length === 0
          ? []
          : [{ size, name, millis, spread: Report.spread(millis), ratio: ratio(millis, times.get(floor) ?? []) }]
      )
    )
    const report: Report.Report = {
      name: "fibers",
      title: "Many fibers in one process, one path, nothing to do inside",
      method:
        "`Effect.forEach` with unbounded concurrency, the same fibers for everybody: without a lock (the floor), and with each " +
        `of the others around nothing. ${stage.rounds} turns each, in rotation, in processes that are already warm; ratios are ` +
        "medians of the ratios of each round. `async-mutex` and the semaphore exclude within one process only; whoever is missing at " +
        "the larger size would take minutes there.",
      columns: ["", "fibers", "ms", "µs per fiber", "× the floor"],
      rows: results.map(({ name, ratio, size, spread }) => [
        name,
        String(size),
        Report.formatSpread(spread),
        Report.format(spread.median * 1_000 / size),
        Report.formatRatio(ratio)
      ]),
      targets: results.filter(({ name }) => name === Contestants.ours).map(({ ratio, size }) => ({
        aim: `at most 4 × the floor with ${size} fibers`,
        value: Report.formatRatio(ratio),
        reached: ratio <= 4
      })),
      chart: {
        kind: "bars",
        unit: "ms until all have been inside (logarithmic)",
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
