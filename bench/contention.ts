/**
 * Several processes raise one counter as often as they can: how often they get the lock, how evenly, what it costs them, and whether
 * they are alone.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Statistics from "../test/torture/Statistics.js"
import * as Contestants from "./Contestants.js"
import type * as Messages from "./messages.js"
import * as Report from "./Report.js"
import * as Stage from "./Stage.js"

const reference: Contestants.Name = "kernel lock"

type Contended = Extract<Messages.Message, { readonly _tag: "contended" }>

/** How often somebody came in before everybody else had left. */
const overlaps = (reports: ReadonlyArray<Contended>): number => {
  const stays = reports
    .flatMap(({ entered, left }) => entered.map((from, index) => ({ from, until: left[index] ?? from })))
    .sort((a, b) => a.from - b.from)
  let count = 0
  let last = -Infinity
  for (const { from, until } of stays) {
    if (from < last) count++
    last = Math.max(last, until)
  }
  return count
}

/** One window of one contestant. */
const evaluate = (reports: ReadonlyArray<Contended>, window: { from: number; until: number }, counter: number) => {
  const within = reports.map(({ entered }) => entered.filter((at) => at >= window.from && at <= window.until).length)
  const total = reports.reduce((sum, { entered }) => sum + entered.length, 0)
  return {
    perSecond: within.reduce((a, b) => a + b, 0) * 1_000 / (window.until - window.from),
    fairness: Statistics.fairness(within),
    // Over everything each did until it was done, so that the work and its acquisitions belong together.
    cpu: reports.reduce((sum, { cpu }) => sum + cpu, 0) / total,
    waits: reports.flatMap(({ asked, entered }) => entered.map((at, index) => at - (asked[index] ?? at))),
    overlaps: overlaps(reports),
    lost: total - counter,
    failures: reports.reduce((sum, { failures }) => sum + failures, 0)
  }
}

type Outcome = ReturnType<typeof evaluate>

/** One contestant's turn: fresh processes for all sizes of the crowd. */
const turn = (stage: Stage.Stage, name: Contestants.Name, sizes: ReadonlyArray<number>, duration: number) =>
  Effect.scoped(Effect.gen(function*() {
    const workers = yield* Effect.replicateEffect(Stage.spawn(stage, name), Math.max(...sizes), { concurrency: 2 })

    const warm = Effect.forEach(
      workers,
      (worker) => {
        const from = Monotonic.millis()
        const window = { from, until: from + (stage.quick ? 200 : 1_000) }
        return Stage.ask(worker, { _tag: "contend", path: Stage.freshPath(stage), work: 0, ...window }, "contended")
      },
      { concurrency: 2, discard: true }
    )

    const contend = (size: number, duration: number) =>
      Effect.gen(function*() {
        const path = Stage.freshPath(stage)
        const from = Monotonic.millis() + 50
        const window = { from, until: from + duration }
        const reports = yield* Effect.forEach(
          workers.slice(0, size),
          (worker) => Stage.ask(worker, { _tag: "contend", path, work: 1, ...window }, "contended"),
          { concurrency: "unbounded" }
        )
        return evaluate(reports, window, Number(Fs.readFileSync(path, "utf8")))
      })

    // A worker lives for long; its first locks, of code that is not compiled yet, are not what is asked for.
    yield* warm
    return yield* Effect.forEach(sizes, (size) => Effect.map(contend(size, duration), (outcome) => ({ size, outcome })))
  }))

const summarize = (outcomes: ReadonlyArray<Outcome>) => {
  const waits = outcomes.flatMap(({ waits }) => waits)
  const sum = (of: (outcome: Outcome) => number): number => outcomes.reduce((sum, outcome) => sum + of(outcome), 0)
  return {
    perSecond: Report.spread(outcomes.map(({ perSecond }) => perSecond)),
    fairness: Report.spread(outcomes.map(({ fairness }) => fairness)),
    cpu: Report.spread(outcomes.map(({ cpu }) => cpu)),
    waits: [Statistics.median(waits), Statistics.quantile(waits, 0.99), Statistics.max(waits)],
    overlaps: sum(({ overlaps }) => overlaps),
    lost: sum(({ lost }) => lost),
    failures: sum(({ failures }) => failures)
  }
}

/** Counts everybody in rotation; each turn has processes of its own, so that nobody waits beside the others' idle ones. */
export const run = (stage: Stage.Stage) =>
  Effect.gen(function*() {
    const sizes = stage.quick ? [2, 4] : [2, 4, 8]
    const duration = stage.quick ? 500 : 2_000
    const turns: Array<{ readonly name: Contestants.Name; readonly size: number; readonly outcome: Outcome }> = []
    for (let round = 0; round < stage.rounds; round++) {
      for (const name of Contestants.betweenProcesses) {
        for (const outcome of yield* turn(stage, name, sizes, duration)) turns.push({ name, ...outcome })
      }
    }

    const results = sizes.flatMap((size) =>
      Contestants.betweenProcesses.map((name) => {
        const own = turns.filter((turn) => turn.size === size && turn.name === name)
        return { size, name, ...summarize(own.map(({ outcome }) => outcome)) }
      })
    )
    const rate = (name: Contestants.Name, size: number): number =>
      results.find((result) => result.name === name && result.size === size)?.perSecond.median ?? NaN

    // Only who excludes can be beaten: without waiting for each other everybody is fast.
    const excludes = (name: Contestants.Name): boolean =>
      results.every((result) => result.name !== name || (result.overlaps === 0 && result.lost === 0))

    const targets = results.filter(({ name }) => name === Contestants.ours).flatMap((own): Array<Report.Target> => {
      const others = results.filter(({ name, size }) => size === own.size && name !== own.name && excludes(name))
      const most = Math.max(...others.map(({ perSecond }) => perSecond.median))
      const least = Math.min(...others.map(({ cpu }) => cpu.median))
      const among = `with ${own.size} processes`
      return [
        {
          aim: `most acquisitions per second ${among} of all who exclude (others: at most ${Report.format(most)})`,
          value: Report.format(own.perSecond.median),
          reached: own.perSecond.median >= most
        },
        {
          aim: `least CPU per acquisition ${among} of all who exclude (others: at least ${Report.format(least)} µs)`,
          value: `${Report.format(own.cpu.median)} µs`,
          reached: own.cpu.median <= least
        },
        {
          aim: `Jain's fairness index of at least 0.95 ${among}`,
          value: own.fairness.median.toFixed(2),
          reached: own.fairness.median >= 0.95
        },
        { aim: `no lost update ${among}`, value: String(own.lost), reached: own.lost === 0 && own.overlaps === 0 }
      ]
    })

    const report: Report.Report = {
      name: "contention",
      title: "Several processes, one path: read, work for 1 ms, write",
      method:
        `Each process reads a counter, sleeps for 1 ms, writes the counter and lets go, for ${
          duration / 1_000
        } s without ` +
        `a pause; ${stage.rounds} turns each, in rotation. Every process notes when it came in and when it left, on the machine's ` +
        "clock: two at once are seen by that, and an update is lost if the counter ends lower than it was raised. Fairness is Jain's " +
        "index of how often each process came in: 1 is perfectly even. CPU is that of all processes, waiting included. The reference " +
        "of the ratio is the kernel's lock, on a file opened each time.",
      columns: [
        "",
        "processes",
        "acquisitions per second",
        "× kernel lock",
        "CPU µs per acquisition",
        "fairness",
        "wait p50",
        "p99",
        "max",
        "two at once",
        "updates lost",
        "gave up"
      ],
      rows: results.map((result) => [
        result.name,
        String(result.size),
        Report.formatSpread(result.perSecond),
        Report.formatRatio(result.perSecond.median / rate(reference, result.size)),
        Report.formatSpread(result.cpu),
        Report.formatSpread(result.fairness),
        ...result.waits.map(Statistics.formatMillis),
        String(result.overlaps),
        String(result.lost),
        String(result.failures)
      ]),
      targets,
      chart: {
        kind: "bars",
        unit: "acquisitions per second (median, minimum to maximum)",
        data: results.map(({ name, perSecond, size }) => ({
          name,
          panel: `${size} processes`,
          value: perSecond.median,
          low: perSecond.min,
          high: perSecond.max
        }))
      },
      samples: turns.map(({ name, outcome: { waits, ...outcome }, size }) => ({
        name,
        size,
        ...outcome,
        waits: {
          count: waits.length,
          p50: Statistics.median(waits),
          p99: Statistics.quantile(waits, 0.99),
          max: Statistics.max(waits)
        }
      }))
    }
    return report
  })
