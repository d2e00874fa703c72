/**
 * One process, and nobody else wants the lock: what acquiring and releasing costs.
 */
import * as Effect from "effect/Effect"
import * as Statistics from "../test/torture/Statistics.js"
import * as Contestants from "./Contestants.js"
import * as Report from "./Report.js"
import * as Stage from "./Stage.js"

const floor: Contestants.Name = "raw wx, promises"
const proper: Contestants.Name = "proper-lockfile, 50 ms"

const names: ReadonlyArray<Contestants.Name> = [
  floor,
  "raw wx, callbacks",
  Contestants.ours,
  "kernel lock",
  "lockfile, 50 ms",
  "cross-process-lock",
  proper
]

/** Everybody has a process of its own, which stays warm while the others have their turn. */
export const run = (stage: Stage.Stage) =>
  Effect.scoped(Effect.gen(function*() {
    // Many short turns: what else the machine does then meets everybody, and not one of them.
    const times = stage.quick ? 200 : 500
    const turns = stage.quick ? stage.rounds : 4 * stage.rounds
    const contestants = yield* Effect.forEach(names, (name) =>
      Effect.gen(function*() {
        const worker = yield* Stage.spawn(stage, name)
        const path = Stage.freshPath(stage)
        const cycle = Effect.map(
          Stage.ask(worker, { _tag: "cycle", path, times }, "measured"),
          ({ cpu, millis }) => ({ micros: millis * 1_000 / times, cpu: cpu / times })
        )
        yield* Effect.replicateEffect(cycle, stage.quick ? 1 : 8, { discard: true })
        return { name, cycle, micros: Array<number>(), cpu: Array<number>() }
      }))
    for (let turn = 0; turn < turns; turn++) {
      for (const contestant of contestants) {
        const measured = yield* contestant.cycle
        contestant.micros.push(measured.micros)
        contestant.cpu.push(measured.cpu)
      }
    }

    const micros = (name: Contestants.Name): ReadonlyArray<number> =>
      contestants.find((contestant) => contestant.name === name)?.micros ?? []
    // Of each rotation by itself: what disturbs one disturbs both that are compared in it.
    const ratio = (of: Contestants.Name, to: Contestants.Name): number =>
      Statistics.median(micros(of).map((value, turn) => value / (micros(to)[turn] ?? NaN)))
    const overFloor = ratio(Contestants.ours, floor)
    const overProper = ratio(proper, Contestants.ours)
    const report: Report.Report = {
      name: "uncontended",
      title: "One process, nobody else: acquire and release",
      method:
        `Each acquires and releases one path ${times} times per turn, in a process of its own that is already warm; ` +
        `${turns} turns each, in rotation. The floor writes a lock file of 350 bytes with the flag \`wx\` and unlinks it, with ` +
        "`fs.promises`; the callbacks of the second row (`writeFile` and `rm`) are what Node's `FileSystem` service is made of. " +
        "Ratios are medians of the ratios of each rotation.",
      columns: ["", "µs per cycle", "CPU µs per cycle", "× the floor", "faster than proper-lockfile"],
      rows: contestants.map(({ cpu, micros, name }) => [
        name,
        Report.formatSpread(Report.spread(micros)),
        Report.formatSpread(Report.spread(cpu)),
        Report.formatRatio(ratio(name, floor)),
        Report.formatRatio(ratio(proper, name))
      ]),
      targets: [
        { aim: "at most 1.3 × the floor", value: Report.formatRatio(overFloor), reached: overFloor <= 1.3 },
        {
          aim: "at least 2.5 × faster than proper-lockfile",
          value: Report.formatRatio(overProper),
          reached: overProper >= 2.5
        }
      ],
      chart: {
        kind: "bars",
        unit: "µs per acquire and release (median, minimum to maximum)",
        data: contestants.map(({ micros, name }) => {
          const { max, median, min } = Report.spread(micros)
          return { name, value: median, low: min, high: max }
        })
      },
      samples: contestants.map(({ cpu, micros, name }) => ({ name, micros, cpu }))
    }
    return report
  }))
