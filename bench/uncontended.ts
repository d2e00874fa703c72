/**
 * `uncontended`: one process acquires and releases a lock that no other process wants.
 */
import * as Effect from "effect/Effect"
import * as Competitors from "./Competitors.js"
import * as Harness from "./Harness.js"
import * as Report from "./Report.js"

const floor: Competitors.Name = "raw wx, promises"
const proper: Competitors.Name = "proper-lockfile, 50 ms"

const names: ReadonlyArray<Competitors.Name> = [
  floor,
  "raw wx, callbacks",
  Competitors.ours,
  Competitors.anyFileSystem,
  Competitors.kernel,
  "lockfile, 50 ms",
  "cross-process-lock",
  proper
]

/** Measures all competitors in rotation. Each has its own process, which stays warm. */
export const run = (harness: Harness.Harness) =>
  Effect.scoped(Effect.gen(function*() {
    // Many short rounds: a disturbance by another process then meets all competitors.
    const times = harness.quick ? 200 : 500
    const rounds = harness.quick ? harness.rounds : 4 * harness.rounds
    const competitors = yield* Effect.forEach(names, (name) =>
      Effect.gen(function*() {
        const worker = yield* Harness.spawn(harness, name)
        const path = Harness.freshPath(harness)
        const cycle = Effect.map(
          Harness.request(worker, { _tag: "cycle", path, times }, "measured"),
          ({ cpu, millis }) => ({ micros: millis * 1_000 / times, cpu: cpu / times })
        )
        yield* Effect.replicateEffect(cycle, harness.quick ? 2 : 8, { discard: true })
        return { name, cycle, micros: Array<number>(), cpu: Array<number>() }
      }))
    for (let round = 0; round < rounds; round++) {
      for (const competitor of competitors) {
        const measured = yield* competitor.cycle
        competitor.micros.push(measured.micros)
        competitor.cpu.push(measured.cpu)
      }
    }

    const micros = (name: Competitors.Name): ReadonlyArray<number> =>
      competitors.find((competitor) => competitor.name === name)?.micros ?? []
    const ratio = (of: Competitors.Name, to: Competitors.Name): number => Report.ratio(micros(of), micros(to))
    const report: Report.Report = {
      name: "uncontended",
      title: "One process, no contention: acquire and release",
      method: `Each competitor acquires and releases one path ${times} times a round, in its own warm process. ` +
        `The competitors alternate for ${rounds} rounds. The floor writes a lock file of 350 bytes with the flag \`wx\` and ` +
        "unlinks it, with `fs.promises`. The second row does the same with `writeFile` and `rm`, the callbacks under Node's " +
        "`FileSystem` service. `effect-filelock` is `withLock(Effect.void)` over `NodeFileLock.layer`; `NodeContext` is " +
        "`FileLock.layer` over that layer's file system. A ratio is the median of the ratios of each round.",
      columns: ["", "µs per cycle", "CPU µs per cycle", "× the floor", "faster than proper-lockfile"],
      rows: competitors.map(({ cpu, micros, name }) => [
        name,
        Report.formatSpread(Report.spread(micros)),
        Report.formatSpread(Report.spread(cpu)),
        Report.formatRatio(ratio(name, floor)),
        Report.formatRatio(ratio(proper, name))
      ]),
      targets: [
        Report.atMost("time over the floor", 0.65, "×", ratio(Competitors.ours, floor)),
        Report.atLeast("faster than proper-lockfile", 4, "×", ratio(proper, Competitors.ours)),
        Report.atMost("time over the floor, any FileSystem", 3, "×", ratio(Competitors.anyFileSystem, floor))
      ],
      chart: {
        kind: "bars",
        unit: "µs per acquire and release (median, minimum to maximum)",
        data: competitors.map(({ micros, name }) => {
          const { max, median, min } = Report.spread(micros)
          return { name, value: median, low: min, high: max }
        })
      },
      samples: competitors.map(({ cpu, micros, name }) => ({ name, micros, cpu }))
    }
    return report
  }))
