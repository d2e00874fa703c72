/**
 * Ten thousand locks, or ten thousand that wait: whether one more costs as much as the first.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"
import * as Bundle from "../test/torture/Bundle.js"
import * as ChildProcess from "../test/torture/ChildProcess.js"
import * as Statistics from "../test/torture/Statistics.js"
import type * as Chart from "./Chart.js"
import * as Messages from "./growthMessages.js"
import * as Report from "./Report.js"
import * as Stage from "./Stage.js"

/** What grows. */
type Kind = "locks held" | "waiters of one path" | "waiters, each of its own path"

/** What one lock, or one waiter, costs; whatever cannot be measured for a kind is `NaN`. */
interface Cost {
  /** Microseconds. */
  readonly acquire: number
  /** Microseconds; for waiters from the release until the last has been inside, divided by how many they are. */
  readonly release: number
  /** Bytes. */
  readonly heap: number
  readonly rss: number
  /** The share of a core that all waiters take together. */
  readonly share: number
}

interface Sample extends Cost {
  readonly kind: Kind
  readonly size: number
}

/** Below this, a process's own noise is larger than what is measured. */
const meaningful = 100

const spawn = (script: string) =>
  ChildProcess.spawn({ script, commands: Messages.Command, messages: Messages.Message }).pipe(
    Effect.tap((worker) => Stage.hear(worker, "ready"))
  )

/** A process that holds `size` locks at once. */
const locks = (script: string, directory: string, size: number): Effect.Effect<Cost, ChildProcess.UnexpectedExit> =>
  Effect.scoped(Effect.gen(function*() {
    const worker = yield* spawn(script)
    // A few locks are over before a clock has noticed, so they are held again and again.
    yield* worker.send({ _tag: "locks", directory, count: size, times: Math.max(1, Math.ceil(1_000 / size)) })
    const { acquire, heap, release, rss } = yield* Stage.hear(worker, "locked")
    return { acquire, release, heap, rss, share: NaN }
  }))

/** A process whose `size` fibers wait for what another one holds. */
const waiters = (
  script: string,
  directory: string,
  size: number,
  paths: number,
  quick: boolean
): Effect.Effect<Cost, ChildProcess.UnexpectedExit> =>
  Effect.scoped(Effect.gen(function*() {
    const holder = yield* spawn(script)
    const worker = yield* spawn(script)
    yield* holder.send({ _tag: "hold", directory, count: paths })
    yield* Stage.hear(holder, "holding")
    const settle = quick ? 200 : 1_000
    yield* worker.send({ _tag: "wait", directory, paths, fibers: size, settle, watch: settle })
    const { heap, rss, share } = yield* Stage.hear(worker, "waiting")
    yield* holder.send({ _tag: "release" })
    const { at: from } = yield* Stage.hear(holder, "releasing")
    const { at: until } = yield* Stage.hear(worker, "served")
    return { acquire: NaN, release: (until - from) * 1_000 / size, heap, rss, share: share * 100 }
  }))

/** Each size in fresh processes, all sizes in rotation. */
export const run = (stage: Stage.Stage) =>
  Effect.gen(function*() {
    const script = yield* Bundle.make(fileURLToPath(new URL("./growthWorker.ts", import.meta.url)), stage.root)
    const sizes = stage.quick ? [1, 10, 100] : [1, 10, 100, 1_000, 10_000]
    const plan = [
      ...sizes.map((size) => ({ kind: "locks held" as const, size })),
      ...sizes.map((size) => ({ kind: "waiters of one path" as const, size })),
      // Every path needs a lock that another process holds; a thousand show what there is to see.
      ...sizes.filter((size) => size <= 1_000).map((size) => ({ kind: "waiters, each of its own path" as const, size }))
    ]
    const samples: Array<Sample> = []
    for (let round = 0; round < stage.rounds; round++) {
      for (const { kind, size } of plan) {
        const directory = Stage.freshDirectory(stage)
        const cost = kind === "locks held"
          ? yield* locks(script, directory, size)
          : yield* waiters(script, directory, size, kind === "waiters of one path" ? 1 : size, stage.quick)
        samples.push({ kind, size, ...cost })
        Fs.rmSync(directory, { recursive: true })
      }
    }

    const results = plan.map(({ kind, size }) => {
      const own = samples.filter((sample) => sample.kind === kind && sample.size === size)
      const of = (figure: keyof Cost): Report.Spread => Report.spread(own.map((sample) => sample[figure]))
      return {
        kind,
        size,
        acquire: of("acquire"),
        release: of("release"),
        heap: of("heap"),
        rss: of("rss"),
        share: of("share")
      }
    })

    /** How much the largest of the medians exceeds the smallest. */
    const flat = (kind: Kind, figure: "acquire" | "release" | "heap"): Report.Target => {
      const values = results
        .filter((result) => result.kind === kind && result.size >= meaningful)
        .map((result) => result[figure].median)
      const excess = Statistics.max(values) / Statistics.quantile(values, 0) - 1
      return {
        aim: `${kind}: ${figure} per one flat within 20 % from ${meaningful} on`,
        value: `${Report.format(excess * 100)} %`,
        reached: excess <= 0.2
      }
    }
    const line = (title: string, figure: "acquire" | "release" | "heap", scale: number): ReadonlyArray<Chart.Datum> =>
      results
        .filter((result) => !Number.isNaN(result[figure].median) && (figure !== "heap" || result.size >= meaningful))
        .map((result) => ({
          name: result.kind,
          panel: title,
          size: result.size,
          value: result[figure].median / scale
        }))

    const kib = (size: number, least: number, { max, median, min }: Report.Spread): string =>
      size < least
        ? "–"
        : Report.formatSpread({ median: median / 1_024, min: min / 1_024, max: max / 1_024 })
    const time = (spread: Report.Spread): string => Number.isNaN(spread.median) ? "–" : Report.formatSpread(spread)
    const report: Report.Report = {
      name: "growth",
      title: "Growth: many locks in one process, many waiters",
      method:
        "Locks are acquired one after the other on different paths of one directory and then released, by a process that is " +
        "already warm; waiters are fibers of one process that wait for what another process holds. Release is, for locks, what " +
        "releasing each takes; for waiters the time from the holder's first release until the last waiter was inside, divided by how many " +
        `they are. Every size has fresh processes; ${stage.rounds} turns, in rotation. Memory is what is left after a garbage ` +
        `collection: of the heap from ${meaningful} on, of all pages only from ${10 * meaningful}.`,
      columns: [
        "",
        "how many",
        "acquire µs",
        "release µs",
        "heap KiB each",
        "rss KiB each",
        "waiting, % of a core in all"
      ],
      rows: results.map(({ acquire, heap, kind, release, rss, share, size }) => [
        kind,
        String(size),
        time(acquire),
        time(release),
        kib(size, meaningful, heap),
        kib(size, 10 * meaningful, rss),
        time(share)
      ]),
      targets: stage.quick ? [] : [
        flat("locks held", "acquire"),
        flat("locks held", "release"),
        flat("locks held", "heap"),
        flat("waiters of one path", "release"),
        flat("waiters of one path", "heap"),
        flat("waiters, each of its own path", "release"),
        flat("waiters, each of its own path", "heap")
      ],
      chart: {
        kind: "lines",
        unit: "each (logarithmic)",
        sizes: "how many",
        logarithmic: true,
        data: [
          ...line("µs to acquire", "acquire", 1),
          ...line("µs to release", "release", 1),
          ...line("KiB of heap", "heap", 1_024)
        ]
      },
      samples
    }
    return report
  })
