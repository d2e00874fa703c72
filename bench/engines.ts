/**
 * `engines`: lock files, the kernel's flock, PostgreSQL and Redis beside one another.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Postgres from "../test/servers/postgres.js"
import * as Redis from "../test/servers/redis.js"
import type * as Engines from "../test/torture/Engines.js"
import * as Statistics from "../test/torture/Statistics.js"
import * as Torture from "../test/torture/Torture.js"
import * as Competitors from "./Competitors.js"
import * as Handoff from "./handoff.js"
import * as Harness from "./Harness.js"
import * as Killed from "./killed.js"
import * as Report from "./Report.js"

/** What PostgreSQL does without the package. */
const raw: Competitors.Name = "raw advisory lock"

/** Measures all competitors in rotation. Each has its own two processes, which stay warm. */
export const run = (harness: Harness.Harness) =>
  Effect.scoped(Effect.gen(function*() {
    const times = harness.quick ? 20 : 100
    const cycles = harness.quick ? 50 : 500
    const kills = harness.quick ? 2 : 2 * harness.rounds
    const seconds = harness.quick ? 3 : 30
    const [postgres, redis] = [yield* Postgres.make(), yield* Redis.make()]
    const servers = { postgres: postgres.url, redis: redis.url }
    const entries: ReadonlyArray<readonly [Competitors.Name, Engines.Settings?]> = [
      [Competitors.ours, { _tag: "lockFiles" }],
      ["over flock", { _tag: "flock" }],
      ["over PostgreSQL", { _tag: "postgres", url: postgres.url }],
      [raw],
      ["over Redis", { _tag: "redis", url: redis.url }]
    ]
    const random = Random.make("engines")
    const competitors = yield* Effect.forEach(entries, ([name, engine]) =>
      Effect.gen(function*() {
        const one = yield* Harness.spawn(harness, name, servers)
        const other = yield* Harness.spawn(harness, name, servers)
        const path = Harness.freshPath(harness)
        yield* Handoff.alternate(one, other, path, Array.from({ length: 10 }, () => 5))
        return {
          ...{ name, engine, one, other, path },
          rates: Array<number>(),
          rounds: Array<Array<number>>(),
          recoveries: Array<number>()
        }
      }))
    for (let round = 0; round < harness.rounds; round++) {
      const holds = yield* Effect.replicateEffect(random.nextRange(5, 20), times)
      for (const { one, other, path, rates, rounds } of competitors) {
        const { millis } = yield* Harness.request(one, { _tag: "cycle", path, times: cycles }, "measured")
        rates.push(cycles / millis * 1_000)
        const handovers = yield* Handoff.alternate(one, other, path, holds)
        rounds.push(handovers.map(({ millis }) => millis))
      }
    }
    for (let round = 0; round < kills; round++) {
      const pause = yield* random.nextRange(50, 250)
      for (const { name, recoveries } of competitors) {
        recoveries.push(yield* Killed.kill(harness, name, pause, 15_000, servers))
      }
    }
    const results = yield* Effect.forEach(competitors, (competitor) =>
      Effect.gen(function*() {
        const { engine, rounds } = competitor
        const torture = engine === undefined ? undefined : yield* Torture.run({
          processes: 6,
          duration: seconds * 1_000,
          killEvery: 300,
          stopFor: 400,
          seed: 1,
          fibers: 1,
          readers: 0,
          work: 3,
          lease: engine._tag === "redis" ? 2_000 : undefined,
          locked: true,
          writes: "rename",
          engines: [engine],
          onProgress: () => Effect.void
        })
        return { ...competitor, torture, medians: rounds.map(Statistics.median), all: rounds.flat() }
      }))

    const reference = results.find(({ name }) => name === raw)?.medians ?? []
    const report: Report.Report = {
      name: "engines",
      title: "The engines beside one another",
      method:
        "Two processes of each engine, which stay warm, on servers on this machine. One acquires and releases a lock that nobody else wants " +
        `${cycles} times. The two hold in turn, ${times} hand-overs, from the instant before the release to the acquisition. The competitors ` +
        `alternate for ${harness.rounds} rounds. The holder gets SIGKILL while another process waits, ${kills} times. Six processes compete ` +
        `for ${seconds} s while one is killed each 300 ms and others are stopped for up to 400 ms. The lease of Redis is 2 s: a lock of a ` +
        "killed holder is free when it ends. `raw advisory lock` is `pg_advisory_lock` on a connection that stays open, without fencing " +
        "numbers and without a name that others can read.",
      columns: [
        ...["", "acquisitions a second", "hand-over p50 (ms)", "p99", "recovery p50", "max"],
        ...["torture: acquisitions", "killed", "overlaps", "fences", "not larger"]
      ],
      rows: results.map(({ all, medians, name, rates, recoveries, torture }) => [
        name,
        Report.formatSpread(Report.spread(rates)),
        Report.formatSpread(Report.spread(medians)),
        Statistics.formatMillis(Statistics.quantile(all, 0.99)),
        Statistics.formatMillis(Statistics.median(recoveries)),
        Statistics.formatMillis(Statistics.max(recoveries)),
        ...torture === undefined ? ["–", "–", "–", "–", "–"] : [
          String(torture.acquisitions),
          String(torture.kills),
          String(torture.overlaps.length),
          String(torture.fences),
          String(torture.fencesBack)
        ]
      ]),
      targets: [
        ...results.filter(({ name }) => name === "over PostgreSQL").map(({ medians }) =>
          Report.atMost("hand-over of PostgreSQL over a raw advisory lock", 1.5, "×", Report.ratio(medians, reference))
        ),
        Report.atMost(
          "violations under torture",
          0,
          "",
          results.reduce((sum, { torture }) => sum + (torture?.violations.length ?? 0), 0)
        )
      ],
      chart: Handoff.chart(results),
      samples: results.map(({ name, rates, recoveries, rounds }) => ({ name, rates, rounds, recoveries }))
    }
    return report
  }))
