/**
 * `readers`: reads in shared mode beside reads in exclusive mode. `files`: updates of one file.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as ChildProcess from "../test/torture/ChildProcess.js"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Messages from "./filesMessages.js"
import * as Harness from "./Harness.js"
import * as Report from "./Report.js"

interface Setting {
  readonly processes: number
  readonly fibers: number
}

interface Outcome {
  readonly perSecond: number
  readonly cpu: number
  readonly failures: number
  /** Updates that are not in the file. */
  readonly lost: number
}

const spawn = (harness: Harness.Harness) =>
  ChildProcess.spawn({
    script: Path.join(harness.root, "filesWorker.cjs"),
    argument: JSON.stringify({ installation: Harness.installation }),
    commands: Messages.Command,
    messages: Messages.Message
  }).pipe(Effect.tap((worker) => Harness.receive(worker, "ready")))

/** All that is done with one file in a window of time, by fresh processes that have done it before. */
const measure = (harness: Harness.Harness, work: Messages.Work, { fibers, processes }: Setting) =>
  Effect.scoped(Effect.gen(function*() {
    const workers = yield* Effect.replicateEffect(spawn(harness), processes, { concurrency: 2 })
    const together = (path: string, millis: number) =>
      Effect.suspend(() => {
        const from = Monotonic.millis() + 20
        const command = { _tag: "work", work, path, fibers, from, until: from + millis } as const
        return Effect.forEach(workers, (worker) => Harness.request(worker, command, "worked"), {
          concurrency: "unbounded"
        })
      })
    yield* together(Harness.freshPath(harness), harness.quick ? 100 : 500)
    const path = Harness.freshPath(harness)
    const began = Monotonic.millis()
    const reports = yield* together(path, harness.quick ? 300 : 2_000)
    const took = Monotonic.millis() - began - 20
    const sum = (of: (report: typeof reports[number]) => number) => reports.reduce((sum, report) => sum + of(report), 0)
    const times = sum(({ times }) => times)
    const outcome: Outcome = {
      perSecond: times / took * 1_000,
      cpu: sum(({ cpu }) => cpu) / times,
      failures: sum(({ failures }) => failures),
      lost: work.startsWith("read") ? 0 : times - Number(Fs.readFileSync(path, "utf8"))
    }
    return outcome
  }))

const describe = ({ fibers, processes }: Setting): string =>
  `${processes} ${processes === 1 ? "process" : "processes"}, ${fibers} ${fibers === 1 ? "fiber" : "fibers"}`

const compare = (
  harness: Harness.Harness,
  options: {
    readonly name: string
    readonly title: string
    readonly method: string
    readonly reference: Messages.Work
    readonly plan: ReadonlyArray<Setting & { readonly works: ReadonlyArray<Messages.Work> }>
    readonly targets: (ratio: (work: Messages.Work, setting: string) => number, lost: number) => Array<Report.Target>
  }
) =>
  Effect.gen(function*() {
    const samples: Array<
      Setting & { readonly work: Messages.Work; readonly round: number; readonly outcome: Outcome }
    > = []
    for (let round = 0; round < harness.rounds; round++) {
      for (const { works, ...setting } of options.plan) {
        for (const work of works) {
          samples.push({ ...setting, work, round, outcome: yield* measure(harness, work, setting) })
        }
      }
    }
    const outcomesOf = (work: Messages.Work, setting: string) =>
      samples.filter((sample) => sample.work === work && describe(sample) === setting).map(({ outcome }) => outcome)
    const rates = (work: Messages.Work, setting: string) => outcomesOf(work, setting).map(({ perSecond }) => perSecond)
    const ratio = (work: Messages.Work, setting: string) =>
      Report.ratio(rates(work, setting), rates(options.reference, setting))
    const results = options.plan.flatMap((setting) =>
      setting.works.map((work) => ({ work, setting: describe(setting), outcomes: outcomesOf(work, describe(setting)) }))
    )
    const total = (outcomes: ReadonlyArray<Outcome>, of: (outcome: Outcome) => number) =>
      outcomes.reduce((sum, outcome) => sum + of(outcome), 0)
    const report: Report.Report = {
      name: options.name,
      title: options.title,
      method: `${options.method} The competitors alternate for ${harness.rounds} rounds of ${
        harness.quick ? 0.3 : 2
      } s, in fresh processes that have done it for half a second before. A ratio is the median of the ratios of each round.`,
      columns: ["", "setting", "per second", `× ${options.reference}`, "CPU µs each", "failures", "lost"],
      rows: results.map(({ outcomes, setting, work }) => [
        work,
        setting,
        Report.formatSpread(Report.spread(outcomes.map(({ perSecond }) => perSecond))),
        Report.formatRatio(ratio(work, setting)),
        Report.formatSpread(Report.spread(outcomes.map(({ cpu }) => cpu))),
        String(total(outcomes, ({ failures }) => failures)),
        String(total(outcomes, ({ lost }) => lost))
      ]),
      targets: options.targets(ratio, total(samples.map(({ outcome }) => outcome), ({ lost }) => lost)),
      chart: {
        kind: "bars",
        unit: "per second (logarithmic)",
        logarithmic: true,
        data: results.map(({ outcomes, setting, work }) => {
          const { max, median, min } = Report.spread(outcomes.map(({ perSecond }) => perSecond))
          return { name: work, panel: setting, value: median, low: min, high: max }
        })
      },
      samples
    }
    return report
  })

/** Reads that take a millisecond. */
export const readers = (harness: Harness.Harness) =>
  compare(harness, {
    name: "readers",
    title: "Readers of one file",
    method: "Each fiber has the lock for a read and a sleep of 1 ms, again and again.",
    reference: "read, exclusive",
    plan: [1, 4].flatMap((processes) =>
      (harness.quick ? [1, 4] : [1, 4, 16]).map((fibers) => ({
        processes,
        fibers,
        works: ["read, exclusive", "read, shared"] as const
      }))
    ),
    targets: (ratio) =>
      ["1 process, 1 fiber", "4 processes, 4 fibers"].map((setting, index) =>
        Report.atLeast(
          `${setting}, shared reads over exclusive ones`,
          index === 0 ? 0.9 : 4,
          "×",
          ratio("read, shared", setting)
        )
      )
  })

/** Updates of a counter. */
export const files = (harness: Harness.Harness) => {
  const peers = "proper-lockfile + write-file-atomic"
  const all = ["updateString", "updateString, fsync: false", "updateString, one by one", peers] as const
  const settings = [{ processes: 1, fibers: 1 }, { processes: 1, fibers: 10 }, { processes: 1, fibers: 1_000 }, {
    processes: 8,
    fibers: 1
  }]
  return compare(harness, {
    name: "files",
    title: "Updates of one file",
    method:
      "Each fiber reads a counter and replaces it by the next one, crash-safe, again and again. `one by one`: the change is an effect, so that the " +
      "fibers do not write together. `proper-lockfile` retries each 5 ms.",
    reference: peers,
    // 1,000 fibers that retry take minutes.
    plan: settings.map((setting) => ({
      ...setting,
      works: setting.fibers < 1_000 ? all : all.filter((work) => work !== peers)
    })),
    targets: (ratio, lost) => [
      ...settings.filter(({ fibers }) => fibers < 1_000).map((setting) =>
        Report.atLeast(`${describe(setting)}, updates over the peers`, 1, "×", ratio("updateString", describe(setting)))
      ),
      Report.atMost("lost updates", 0, "", lost)
    ]
  })
}
