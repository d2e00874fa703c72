/**
 * `growth`: up to 10,000 locks held by one process, and up to 10,000 waiters. Does one more cost as much as the first?
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Fs from "node:fs"
import type * as ChildProcess from "../test/torture/ChildProcess.js"
import type * as Chart from "./Chart.js"
import * as Harness from "./Harness.js"
import * as Report from "./Report.js"

/** What grows. */
type Kind = "locks held" | "waiters of one path" | "waiters, a path each"

/** The cost of one lock, or of one waiter. A figure that does not exist for a kind is `NaN`. */
interface Cost {
  /** Microseconds. */
  readonly acquire: number
  /** A multiple of the time that it takes to create a file without a lock. */
  readonly relativeAcquire: number
  /** A multiple of the time that it takes to remove a file without a lock. */
  readonly relativeRelease: number
  /** Microseconds; of waiters, the time from the first acquisition to the last, divided by the number of those after the first. */
  readonly release: number
  /** Milliseconds from the first release to the first acquisition. */
  readonly first: number
  /** Bytes. */
  readonly heap: number
  readonly rss: number
  /** Percent of a core for all waiters together. */
  readonly share: number
}

type Measurement = Effect.Effect<Cost, ChildProcess.UnexpectedExit>

/** Below this size, a process's own noise exceeds what is measured. */
const meaningful = 100

/** Milliseconds; a size that takes longer is not measured again. */
const limit = 60_000

/** How often a size is measured in one process: the time of a few locks is too short to be precise. */
const repetitions = (size: number, most: number): number => Math.min(most, Math.max(1, Math.ceil(1_000 / size)))

/** One process holds `size` locks. */
const locks = (harness: Harness.Harness, directory: string, size: number): Measurement =>
  Effect.scoped(Effect.gen(function*() {
    const worker = yield* Harness.spawnLocks(harness)
    const times = repetitions(size, 1_000)
    const cycled = yield* Harness.request(worker, { _tag: "cycle", directory, count: size, times }, "cycled")
    return {
      ...cycled,
      relativeAcquire: cycled.acquire / cycled.create,
      relativeRelease: cycled.release / cycled.remove,
      first: NaN,
      share: NaN
    }
  }))

/** `size` fibers of one process wait for `paths` locks that another process holds. */
const waiters = (harness: Harness.Harness, directory: string, size: number, paths: number): Measurement =>
  Effect.scoped(Effect.gen(function*() {
    const holder = yield* Harness.spawnLocks(harness)
    const worker = yield* Harness.spawnLocks(harness)
    const measure = (name: string, fibers: number, paths: number, settle: number) =>
      Effect.gen(function*() {
        const directory_ = `${directory}/${name}`
        Fs.mkdirSync(directory_)
        yield* Harness.request(holder, { _tag: "hold", directory: directory_, count: paths }, "holding")
        const { heap, rss, share } = yield* Harness.request(
          worker,
          { _tag: "wait", directory: directory_, paths, fibers, settle, watch: settle },
          "waiting"
        )
        const { at } = yield* Harness.request(holder, { _tag: "release" }, "released")
        const { first, last } = yield* Harness.receive(worker, "acquired")
        const release = fibers === 1 ? NaN : (last - first) * 1_000 / (fibers - 1)
        return {
          acquire: NaN,
          relativeAcquire: NaN,
          relativeRelease: NaN,
          release,
          first: first - at,
          heap,
          rss,
          share
        }
      })
    // The first hand-over compiles the code and connects the processes.
    yield* measure("warm", harness.quick ? 100 : 1_000, Math.min(paths, 100), 100)
    const short = yield* Effect.forEach(
      Array.from({ length: repetitions(size, harness.quick ? 2 : 10) - 1 }),
      (_, index) => measure(`short-${index}`, size, paths, 50)
    )
    const long = yield* measure("long", size, paths, harness.quick ? 200 : 1_000)
    const median = (figure: "release" | "first"): number =>
      Report.spread([...short, long].map((cost) => cost[figure])).median
    return { ...long, release: median("release"), first: median("first") }
  }))

const measure = (harness: Harness.Harness, kind: Kind, size: number): Measurement => {
  const directory = Harness.freshDirectory(harness)
  const cost = kind === "locks held"
    ? locks(harness, directory, size)
    : waiters(harness, directory, size, kind === "waiters of one path" ? 1 : size)
  return Effect.ensuring(cost, Effect.sync(() => Fs.rmSync(directory, { recursive: true })))
}

const kinds: ReadonlyArray<Kind> = ["locks held", "waiters of one path", "waiters, a path each"]

/** Measures all sizes in rotation, each with fresh processes. */
export const run = (harness: Harness.Harness) =>
  Effect.gen(function*() {
    const sizes = harness.quick ? [1, 10, 100, 300] : [1, 10, 100, 1_000, 10_000]
    const results = kinds.flatMap((kind) => sizes.map((size) => ({ kind, size, costs: Array<Cost>(), complete: true })))
    for (let round = 0; round < harness.rounds; round++) {
      for (const result of results) {
        if (!result.complete) continue
        const cost = yield* Effect.timeoutOption(measure(harness, result.kind, result.size), limit)
        if (Option.isSome(cost)) result.costs.push(cost.value)
        else result.complete = false
      }
    }

    type Result = typeof results[number]
    const of = ({ costs }: Result, figure: keyof Cost, unit = 1): Report.Spread =>
      Report.spread(costs.map((cost) => cost[figure]), unit)

    const flat = (
      kind: Kind,
      figure: "relativeAcquire" | "relativeRelease" | "release" | "heap",
      name: string
    ): Report.Target => {
      const large = results.filter((result) => result.kind === kind && result.size >= meaningful)
      return Report.atMost(
        `${kind}, ${name}: from flat, from ${meaningful} on`,
        20,
        "%",
        large.every(({ complete }) => complete) ? Report.excess(large.map((result) => of(result, figure).median)) : NaN
      )
    }
    const line = (panel: string, figure: "acquire" | "release" | "heap", unit: number): ReadonlyArray<Chart.Datum> =>
      results
        .filter(({ size }) => figure !== "heap" || size >= meaningful)
        .map((result) => ({ name: result.kind, panel, size: result.size, value: of(result, figure, unit).median }))
        .filter(({ value }) => !Number.isNaN(value))
    const cell = (result: Result, figure: keyof Cost, unit = 1, least = 0): string =>
      result.size < least ? "–" : Report.formatSpread(of(result, figure, unit))

    const report: Report.Report = {
      name: "growth",
      title: "Growth: many locks in one process, many waiters",
      method:
        "A warm process acquires locks on different paths of one directory, one after the other, and then releases them. Then it creates " +
        "and removes as many files in the same directory without a lock: a new file takes longer on some parts of a disk than on others. Waiters " +
        "are fibers of one process that wait for what another process holds: one path, or a path each. Their release is the time " +
        "from the first acquisition to the last, divided by the number of waiters after the first. So the hand-over between the " +
        `processes, which has a column, does not count. Each size has fresh processes; ${harness.rounds} rounds, in rotation. ` +
        `Memory is measured after a garbage collection: the heap from ${meaningful} on, the resident set from ` +
        `${10 * meaningful} on. A size without values takes longer than ${limit / 1_000} s.`,
      columns: [
        "",
        "size",
        "acquire µs",
        "acquire / create",
        "release µs",
        "release / remove",
        "first waiter ms",
        "heap KiB each",
        "rss KiB each",
        "waiting, % of a core"
      ],
      rows: results.map((result) => [
        result.kind,
        String(result.size),
        cell(result, "acquire"),
        cell(result, "relativeAcquire"),
        cell(result, "release"),
        cell(result, "relativeRelease"),
        cell(result, "first"),
        cell(result, "heap", 1_024, meaningful),
        cell(result, "rss", 1_024, 10 * meaningful),
        cell(result, "share")
      ]),
      targets: [
        flat("locks held", "relativeAcquire", "acquire / create"),
        flat("locks held", "relativeRelease", "release / remove"),
        flat("locks held", "heap", "memory each"),
        flat("waiters of one path", "release", "release each"),
        flat("waiters of one path", "heap", "memory each"),
        flat("waiters, a path each", "release", "release each"),
        flat("waiters, a path each", "heap", "memory each")
      ],
      chart: {
        kind: "lines",
        unit: "each (logarithmic)",
        sizes: "size",
        logarithmic: true,
        data: [
          ...line("µs to acquire", "acquire", 1),
          ...line("µs to release", "release", 1),
          ...line("KiB of heap", "heap", 1_024)
        ]
      },
      samples: results
    }
    return report
  })
