/**
 * `held`: one process holds up to 10,000 locks through three heartbeats.
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Harness from "./Harness.js"
import * as Report from "./Report.js"

/** How many locks, and with which lease in milliseconds. */
interface Setting {
  readonly size: number
  readonly lease: number
}

const defaultLease = 30_000

/** A lock is renewed each third of a lease. The first renewal may come anywhere in the first third. */
const holdOf = (lease: number): number => lease * 4 / 3

/** Counts the heartbeats of some lock files until `during` ends, by their modification times. Adds the least count. */
const countHeartbeats = <A, E>(paths: ReadonlyArray<string>, lease: number, during: Effect.Effect<A, E>) => {
  const seen = new Map(paths.map((path) => [path, new Set<number>()]))
  const observe = Effect.sync(() => {
    for (const [path, times] of seen) {
      const stats = Fs.statSync(path, { throwIfNoEntry: false })
      if (stats !== undefined) times.add(stats.mtimeMs)
    }
  })
  return Effect.raceFirst(during, Effect.forever(Effect.zipRight(observe, Effect.sleep(lease / 30)))).pipe(
    // The first time is that of the acquisition.
    Effect.map((result) => ({
      ...result,
      heartbeats: Math.min(...[...seen.values()].map((times) => times.size - 1))
    }))
  )
}

const measure = (harness: Harness.Harness, { lease, size }: Setting) =>
  Effect.scoped(Effect.gen(function*() {
    const directory = Harness.freshDirectory(harness)
    const worker = yield* Harness.spawnLocks(harness, lease === defaultLease ? {} : { lease })
    yield* Harness.request(worker, { _tag: "keep", directory, count: size, millis: holdOf(lease) }, "holding")
    const some = Array.from({ length: 50 }, (_, index) => `${directory}/${Math.floor(index * size / 50)}.lock`)
    const kept = yield* countHeartbeats(some, lease, Harness.receive(worker, "kept"))
    Fs.rmSync(directory, { recursive: true })
    return kept
  }))

/** Measures all settings in rotation, each with a fresh process; the default lease once. */
export const run = (harness: Harness.Harness) =>
  Effect.gen(function*() {
    const lease = 6_000
    const sizes = harness.quick ? [100, 300] : [100, 1_000, 10_000]
    const largest = Math.max(...sizes)
    const settings: ReadonlyArray<Setting> = [
      ...sizes.map((size) => ({ size, lease })),
      ...(harness.quick ? [] : [{ size: largest, lease: defaultLease }])
    ]
    const results = settings.map((setting) => ({
      ...setting,
      rounds: Array<Effect.Effect.Success<ReturnType<typeof measure>>>()
    }))
    for (let round = 0; round < harness.rounds; round++) {
      for (const result of results) {
        if (round === 0 || result.lease !== defaultLease) result.rounds.push(yield* measure(harness, result))
      }
    }

    type Result = typeof results[number]
    const of = ({ rounds }: Result, figure: "share" | "heap" | "acquire" | "release", unit = 1): Report.Spread =>
      Report.spread(rounds.map((round) => round[figure]), unit)
    const lost = (result: Result): number => result.rounds.reduce((sum, { lost }) => sum + lost, 0)
    const heartbeats = (result: Result): number => Math.min(...result.rounds.map(({ heartbeats }) => heartbeats))
    const describe = ({ lease, size }: Setting): string => `${size} locks, lease ${lease / 1_000} s`

    const full = results.filter(({ size }) => size === largest)
    const report: Report.Report = {
      name: "held",
      title: "Many locks held through three heartbeats",
      method:
        "A warm process acquires locks on different paths of one directory and holds them for four thirds of a lease. Each lock is " +
        "renewed each third of a lease. The share of a core is measured during the hold. It grows as the lease shrinks, so a " +
        `column has the share at the default lease, by calculation. The default lease of 30 s is measured once, the other lease in ` +
        `${harness.rounds} rounds. After the hold, \`verify\` is called for each lock: a lock is lost if it fails. Heartbeats are ` +
        "counted by the modification times of 50 lock files; the table has the least count. Memory is the heap after a garbage " +
        "collection at the end of the hold.",
      columns: [
        "",
        "acquire s",
        "hold, % of a core",
        "at a lease of 30 s",
        "heartbeats",
        "lost",
        "release s",
        "heap KiB each"
      ],
      rows: results.map((result) => [
        describe(result),
        Report.formatSpread(of(result, "acquire", 1_000)),
        Report.formatSpread(of(result, "share")),
        Report.formatSpread(of(result, "share", defaultLease / result.lease)),
        String(heartbeats(result)),
        String(lost(result)),
        Report.formatSpread(of(result, "release", 1_000)),
        Report.formatSpread(of(result, "heap", 1_024))
      ]),
      targets: [
        ...full.flatMap((result) => [
          ...(result.lease === defaultLease
            ? [Report.atMost(`${describe(result)}, hold`, 5, "% of a core", of(result, "share").median)]
            : []),
          Report.atLeast(`${describe(result)}, heartbeats`, 3, "", heartbeats(result)),
          Report.atMost(`${describe(result)}, locks lost`, 0, "", lost(result)),
          Report.atMost(`${describe(result)}, release`, 10, "s", of(result, "release", 1_000).max)
        ]),
        Report.atMost(
          "memory each: from flat, from 100 on",
          20,
          "%",
          Report.excess(results.map((result) => of(result, "heap").median))
        )
      ],
      chart: {
        kind: "bars",
        unit: "% of a core while held, at a lease of 30 s",
        data: results.map((result) => {
          const { max, median, min } = of(result, "share", defaultLease / result.lease)
          return { name: describe(result), value: median, low: min, high: max }
        })
      },
      samples: results
    }
    return report
  })
