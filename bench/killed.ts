/**
 * `killed`: the holder is killed while another process waits.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Statistics from "../test/torture/Statistics.js"
import * as Competitors from "./Competitors.js"
import * as Harness from "./Harness.js"
import * as Report from "./Report.js"

interface Entry {
  readonly name: Competitors.Name
  /** The largest number of measurements: a competitor that needs seconds has two, one that never recovers has one. */
  readonly most: number
}

const entries: ReadonlyArray<Entry> = [
  { name: Competitors.ours, most: Infinity },
  { name: Competitors.kernel, most: Infinity },
  { name: "kernel lock, kept open", most: Infinity },
  { name: Competitors.anyFileSystem, most: Infinity },
  { name: "proper-lockfile, 50 ms", most: 2 },
  { name: "proper-lockfile, 1 ms", most: 2 },
  { name: "lockfile, 50 ms", most: 1 },
  { name: "cross-process-lock", most: 1 },
  { name: "raw wx, 50 ms", most: 1 }
]

/** Milliseconds from the signal until the waiter has acquired; `Infinity` if that takes longer than `limit`. */
export const kill = (
  harness: Harness.Harness,
  name: Competitors.Name,
  pause: number,
  limit: number,
  servers?: typeof Competitors.Servers.Type
) =>
  Effect.scoped(Effect.gen(function*() {
    const path = Harness.freshPath(harness)
    const spawn = Harness.spawn(harness, name, servers)
    const [holder, waiter] = yield* Effect.all([spawn, spawn])
    // Some locks elsewhere first: a program that waits for a lock is rarely in its first second.
    yield* Effect.forEach(
      [holder, waiter],
      (worker) => Harness.request(worker, { _tag: "cycle", path: Harness.freshPath(harness), times: 20 }, "measured")
    )
    yield* Harness.request(holder, { _tag: "hold", path }, "holding")
    yield* Harness.request(waiter, { _tag: "acquire", path }, "waiting")
    yield* Effect.sleep(pause)
    const at = Monotonic.millis()
    holder.signal("SIGKILL")
    return yield* Harness.receive(waiter, "acquired").pipe(
      Effect.map((acquired) => acquired.at - at),
      Effect.timeoutOption(limit),
      Effect.map(Option.getOrElse(() => Infinity))
    )
  }))

/** Measures all competitors in rotation, each time with two fresh processes. */
export const run = (harness: Harness.Harness) =>
  Effect.gen(function*() {
    const rounds = harness.quick ? 3 : 3 * harness.rounds
    const limit = harness.quick ? 1_000 : 15_000
    const random = Random.make("killed")
    const competitors = entries.map((entry) => ({ ...entry, millis: Array<number>() }))
    for (let round = 0; round < rounds; round++) {
      const pause = yield* random.nextRange(50, 250)
      for (const { millis, most, name } of competitors) {
        if (round < most) millis.push(yield* kill(harness, name, pause, limit))
      }
    }

    const reference = competitors.find(({ name }) => name === Competitors.kernel)?.millis ?? []
    const results = competitors.map(({ millis, name }) => ({
      name,
      millis,
      spread: Report.spread(millis),
      ratio: Report.ratio(millis, reference)
    }))
    const show = (millis: number): string =>
      millis === Infinity ? `> ${limit / 1_000} s` : Statistics.formatMillis(millis)
    const report: Report.Report = {
      name: "killed",
      title: "The holder is killed: until a waiter holds",
      method:
        "One process holds, another process waits for 50 to 250 ms, and the holder gets SIGKILL. The time begins before the signal " +
        "and ends when the waiter has acquired. Each measurement has fresh processes, and the competitors alternate for " +
        `${rounds} rounds. A competitor that needs seconds has fewer rounds. The limit is ${
          limit / 1_000
        } s. The measuring process ` +
        "is the parent of the holder and reaps it at once.",
      columns: ["", "p50", "× kernel lock", "min", "max", "times"],
      rows: results.map(({ millis, name, ratio, spread }) => [
        name,
        show(spread.median),
        ratio === Infinity ? "–" : Report.formatRatio(ratio),
        show(spread.min),
        show(spread.max),
        String(millis.length)
      ]),
      targets: results.filter(({ name }) => name === Competitors.ours).flatMap(({ ratio, spread }) => [
        Report.atMost("p50 over the kernel lock", 2, "×", ratio),
        Report.atMost("longest", 50, "ms", spread.max)
      ]),
      chart: {
        kind: "bars",
        unit: `ms from SIGKILL to acquired (logarithmic; ${limit} stands for longer)`,
        logarithmic: true,
        data: results.map(({ name, spread }) => ({
          name,
          value: Math.min(limit, spread.median),
          low: Math.min(limit, spread.min),
          high: Math.min(limit, spread.max)
        }))
      },
      samples: results.map(({ millis, name }) => ({
        name,
        millis: millis.map((value) => value === Infinity ? null : value)
      }))
    }
    return report
  })
