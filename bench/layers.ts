/**
 * `layers`: each of 50 concurrent jobs provides the layer, instead of all jobs together.
 */
import * as Effect from "effect/Effect"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Harness from "./Harness.js"
import type * as Messages from "./locksMessages.js"
import * as Report from "./Report.js"

const jobs = 50
const times = 10

/** Milliseconds. The layers differ by far: a slow one has fewer repetitions. */
const warmUp = 1_000
const budget = 10_000

const layers: ReadonlyArray<Messages.LayerName> = ["NodeFileLock.layer", "FileLock.layer, NodeContext"]

/** Measures both ways in rotation, in one warm process for each setting. */
export const run = (harness: Harness.Harness) =>
  Effect.scoped(Effect.gen(function*() {
    const rounds = harness.quick ? 3 : 4 * harness.rounds
    const settings = yield* Effect.forEach(
      layers.flatMap((layer) => [jobs, 1].map((paths) => ({ layer, paths }))),
      ({ layer, paths }) =>
        Effect.gen(function*() {
          const worker = yield* Harness.spawnLocks(harness)
          const directory = Harness.freshDirectory(harness)
          const measure = (each: boolean) =>
            Effect.map(
              Harness.request(worker, { _tag: "jobs", directory, paths, jobs, times, layer, each }, "done"),
              ({ millis }) => millis
            )
          const from = Monotonic.millis()
          const pair = Effect.all([measure(false), measure(true)])
          yield* Effect.repeat(pair, { times: 9, while: () => Monotonic.millis() - from < warmUp })
          return { layer, paths, pair, once: Array<number>(), each: Array<number>() }
        })
    )
    for (let round = 0; round < rounds; round++) {
      for (const { each, once, pair } of settings) {
        if (each.reduce((a, b) => a + b, 0) > budget) continue
        const [together, apart] = yield* pair
        once.push(together)
        each.push(apart)
      }
    }

    const describe = (paths: number): string => paths === 1 ? "one path" : "a path each"
    const report: Report.Report = {
      name: "layers",
      title: `The layer provided in each of ${jobs} jobs`,
      method:
        `${jobs} concurrent jobs acquire ${times} times each; the body yields once. The jobs have a path each, or one path for all. ` +
        "The layer is provided once around all jobs, or in each job. Both ways alternate for " +
        `at most ${rounds} rounds in a warm process, and the layer is built anew each time. A ratio is the median of the ratios of each round.`,
      columns: ["", "paths", "once, ms", "in each job, ms", "× once"],
      rows: settings.map(({ each, layer, once, paths }) => [
        layer,
        describe(paths),
        Report.formatSpread(Report.spread(once)),
        Report.formatSpread(Report.spread(each)),
        Report.formatRatio(Report.ratio(each, once))
      ]),
      targets: settings
        .filter(({ layer }) => layer === "NodeFileLock.layer")
        .map(({ each, layer, once, paths }) =>
          Report.atMost(`${layer}, ${describe(paths)}, time over once`, 1.5, "×", Report.ratio(each, once))
        ),
      chart: {
        kind: "bars",
        unit: "ms for all jobs (median, minimum to maximum)",
        data: settings.flatMap(({ each, layer, once, paths }) =>
          Object.entries({ once, "in each job": each }).map(([name, millis]) => {
            const { max, median, min } = Report.spread(millis)
            return { name, panel: `${layer}, ${describe(paths)}`, value: median, low: min, high: max }
          })
        )
      },
      samples: settings.map(({ each, layer, once, paths }) => ({ layer, paths, once, each }))
    }
    return report
  }))
