/**
 * `contention`: several processes acquire one lock as often as they can.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Statistics from "../test/torture/Statistics.js"
import * as Competitors from "./Competitors.js"
import * as Harness from "./Harness.js"
import type * as Messages from "./messages.js"
import * as Report from "./Report.js"

/** How many processes compete, and what a holder does. */
interface Setting {
  readonly size: number
  readonly body: Messages.Body
}

type Contended = Extract<Messages.Message, { readonly _tag: "contended" }>

/** The competitors of the empty body: the others are far behind the kernel lock there. */
const fastest: ReadonlyArray<Competitors.Name> = [Competitors.ours, Competitors.kernel, "kernel lock, kept open"]

/** How often a process was inside before the previous one had left. */
const overlaps = (reports: ReadonlyArray<Contended>): number => {
  const stays = reports
    .flatMap(({ acquired, released }) => acquired.map((from, index) => ({ from, until: released[index] ?? from })))
    .sort((a, b) => a.from - b.from)
  let count = 0
  let last = -Infinity
  for (const { from, until } of stays) {
    if (from < last) count++
    last = Math.max(last, until)
  }
  return count
}

/** The result of one window of time. */
const evaluate = (reports: ReadonlyArray<Contended>, window: { from: number; until: number }, counter: number) => {
  const within = reports.map(({ acquired }) => acquired.filter((at) => at >= window.from && at <= window.until).length)
  const sum = (of: (report: Contended) => number): number => reports.reduce((sum, report) => sum + of(report), 0)
  const total = sum(({ acquired }) => acquired.length)
  return {
    perSecond: within.reduce((a, b) => a + b, 0) * 1_000 / (window.until - window.from),
    fairness: Statistics.fairness(within),
    // Includes what begins in the window and ends after it, so that work and acquisitions belong together.
    cpu: sum(({ cpu }) => cpu) / total,
    waits: reports.flatMap(({ acquired, requested }) => acquired.map((at, index) => at - (requested[index] ?? at))),
    overlaps: overlaps(reports),
    lost: total - counter,
    failures: sum(({ failures }) => failures)
  }
}

type Outcome = ReturnType<typeof evaluate>

/** Measures one competitor in all settings, with fresh processes. */
const measure = (harness: Harness.Harness, name: Competitors.Name, settings: ReadonlyArray<Setting>) =>
  Effect.scoped(Effect.gen(function*() {
    const largest = Math.max(...settings.map(({ size }) => size))
    const workers = yield* Effect.replicateEffect(Harness.spawn(harness, name), largest, { concurrency: 2 })

    // The processes live for long. Their first locks, of code that is not compiled yet, are not measured.
    yield* Effect.forEach(
      workers,
      (worker) => {
        const from = Monotonic.millis()
        const until = from + (harness.quick ? 200 : 1_000)
        const path = Harness.freshPath(harness)
        return Harness.request(worker, { _tag: "contend", path, from, until, body: "increment" }, "contended")
      },
      { concurrency: 2, discard: true }
    )

    // Nor are those that they compete for.
    const path = Harness.freshPath(harness)
    const from = Monotonic.millis()
    const together = {
      _tag: "contend",
      path,
      from,
      until: from + (harness.quick ? 200 : 3_000),
      body: "increment"
    } as const
    yield* Effect.forEach(workers, (worker) => Harness.request(worker, together, "contended"), {
      concurrency: "unbounded",
      discard: true
    })

    return yield* Effect.forEach(settings, ({ body, size }) =>
      Effect.gen(function*() {
        const path = Harness.freshPath(harness)
        const from = Monotonic.millis() + 50
        const window = { from, until: from + (harness.quick ? 500 : 2_000) }
        const reports = yield* Effect.forEach(
          workers.slice(0, size),
          (worker) => Harness.request(worker, { _tag: "contend", path, body, ...window }, "contended"),
          { concurrency: "unbounded" }
        )
        const outcome = evaluate(reports, window, Number(Fs.readFileSync(path, "utf8")))
        // Without an update, none is lost.
        return { body, size, outcome: body === "empty" ? { ...outcome, lost: 0 } : outcome }
      }))
  }))

const summarize = (outcomes: ReadonlyArray<Outcome>) => {
  const waits = outcomes.flatMap(({ waits }) => waits)
  const sum = (of: (outcome: Outcome) => number): number => outcomes.reduce((sum, outcome) => sum + of(outcome), 0)
  return {
    perSecond: outcomes.map(({ perSecond }) => perSecond),
    fairness: Report.spread(outcomes.map(({ fairness }) => fairness)),
    cpu: outcomes.map(({ cpu }) => cpu),
    p50: Statistics.median(waits),
    p99: Statistics.quantile(waits, 0.99),
    longest: Statistics.max(waits),
    overlaps: sum(({ overlaps }) => overlaps),
    lost: sum(({ lost }) => lost),
    failures: sum(({ failures }) => failures)
  }
}

/** Measures all competitors in rotation. No competitor runs beside the idle processes of another. */
export const run = (harness: Harness.Harness) =>
  Effect.gen(function*() {
    const sizes = harness.quick ? [2, 4] : [2, 4, 8]
    const settings: ReadonlyArray<Setting> = [
      ...sizes.map((size) => ({ size, body: "increment" as const })),
      { size: harness.quick ? 4 : 8, body: "empty" }
    ]
    const plan = Competitors.betweenProcesses.map((name) => ({
      name,
      settings: settings.filter(({ body }) => body === "increment" || fastest.includes(name))
    }))
    const samples: Array<Setting & { readonly name: Competitors.Name; readonly outcome: Outcome }> = []
    for (let round = 0; round < harness.rounds; round++) {
      for (const { name, settings } of plan) {
        for (const outcome of yield* measure(harness, name, settings)) samples.push({ name, ...outcome })
      }
    }

    const results = settings.flatMap((setting) =>
      plan.filter(({ settings }) => settings.includes(setting)).map(({ name }) => ({
        ...setting,
        name,
        ...summarize(
          samples
            .filter((sample) => sample.name === name && sample.size === setting.size && sample.body === setting.body)
            .map(({ outcome }) => outcome)
        )
      }))
    )
    const overKernel = (result: typeof results[number], figure: "perSecond" | "cpu"): number => {
      const reference = results.find(({ body, name, size }) =>
        body === result.body && size === result.size && name === Competitors.kernel
      )
      return Report.ratio(result[figure], reference?.[figure] ?? [])
    }
    const describe = ({ body, size }: Setting): string =>
      body === "empty" ? `${size} processes, empty body` : `${size} processes, 1 ms`

    const targets = results.filter(({ name }) => name === Competitors.ours).flatMap((own): Array<Report.Target> => {
      const setting = describe(own)
      const rate = overKernel(own, "perSecond")
      return own.body === "empty"
        ? [
          Report.atLeast(`${setting}, acquisitions over the kernel lock`, 1, "×", rate),
          Report.atLeast(`${setting}, Jain's index`, 0.9, "", own.fairness.median),
          Report.atMost(`${setting}, longest wait`, 200, "ms", own.longest)
        ]
        : [
          Report.atLeast(`${setting}, acquisitions over the kernel lock`, 0.9, "×", rate),
          Report.atMost(`${setting}, CPU over the kernel lock`, 1.3, "×", overKernel(own, "cpu")),
          Report.atLeast(`${setting}, Jain's index`, 0.99, "", own.fairness.median),
          Report.atMost(`${setting}, lost updates and overlaps`, 0, "", own.lost + own.overlaps)
        ]
    })

    const report: Report.Report = {
      name: "contention",
      title: "Several processes, one path",
      method:
        "Each process reads a counter, sleeps for 1 ms, writes the counter, releases the lock, and starts again, for " +
        `${
          harness.quick ? 0.5 : 2
        } s. With the empty body it does nothing while it holds the lock. The competitors alternate for ` +
        `${harness.rounds} rounds. Each process records when it acquired and released, on the machine's clock. An overlap is an ` +
        "acquisition before the previous release. An update is lost if the counter ends below the number of acquisitions. " +
        "Fairness is Jain's index of the acquisitions of each process: 1 is perfectly even. CPU is that of all processes, waiting " +
        "included. The reference of the ratios is the kernel lock, on a file opened each time.",
      columns: [
        "",
        "setting",
        "acquisitions per second",
        "× kernel lock",
        "CPU µs per acquisition",
        "× kernel lock",
        "fairness",
        "wait p50",
        "p99",
        "max",
        "overlaps",
        "updates lost",
        "failures"
      ],
      rows: results.map((result) => [
        result.name,
        describe(result),
        Report.formatSpread(Report.spread(result.perSecond)),
        Report.formatRatio(overKernel(result, "perSecond")),
        Report.formatSpread(Report.spread(result.cpu)),
        Report.formatRatio(overKernel(result, "cpu")),
        Report.formatSpread(result.fairness),
        ...[result.p50, result.p99, result.longest].map(Statistics.formatMillis),
        ...(result.body === "empty" ? ["–", "–"] : [String(result.overlaps), String(result.lost)]),
        String(result.failures)
      ]),
      targets,
      chart: {
        kind: "bars",
        unit: "acquisitions per second (median, minimum to maximum)",
        data: results.map((result) => {
          const { max, median, min } = Report.spread(result.perSecond)
          return { name: result.name, panel: describe(result), value: median, low: min, high: max }
        })
      },
      samples: samples.map(({ body, name, outcome: { waits, ...outcome }, size }) => ({
        name,
        size,
        body,
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
