/**
 * `npm run takeover -- --holder process --rounds 200 --processes 8`
 *
 * Kills the holder of a lock that many processes want, again and again. Ends with 0 only if two processes were never inside at once
 * and each process got the lock in each round.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as NodeUtil from "node:util"
import * as Statistics from "../test/torture/Statistics.js"
import * as Takeover from "../test/torture/Takeover.js"

const usage = `Usage: npm run takeover -- [options]

  --holder WHAT  what is killed: process, namespace (a process in a pid namespace of its own, for root) or thread (process)
  --rounds N     how many holders are killed (200)
  --processes N  how many processes want the lock (8)
  --seed N       repeat the choices of an earlier run`

const { values } = NodeUtil.parseArgs({
  options: {
    holder: { type: "string", default: "process" },
    rounds: { type: "string", default: "200" },
    processes: { type: "string", default: "8" },
    seed: { type: "string" },
    help: { type: "boolean", default: false }
  }
})

const seed = values.seed === undefined ? Number(process.hrtime.bigint() % 1_000_000n) : Number(values.seed)

const spread = (sample: ReadonlyArray<number>): string => Statistics.formatSpread(sample, "rounds")

const describe = (report: Takeover.Report): string =>
  [
    `all waiting    kill to the next holder: ${spread(report.waiting)}`,
    `already dead   first to ask to first to hold: ${spread(report.stale)}`,
    `all served     until each had held it: ${spread(report.everyone)}`,
    `overlaps       ${report.overlaps.length}`,
    `updates        ${report.counter.acknowledged}, ${report.counter.lost} lost`,
    `left behind    ${
      [...report.leftovers].map(([name, times]) => `${name} in ${times} rounds`).slice(0, 5).join(", ") || "nothing"
    }`,
    ...report.failures.slice(0, 5).map((failure) => `failure        ${failure}`)
  ].join("\n")

const program = Effect.gen(function*() {
  if (values.help) return yield* Console.log(usage)
  const holder = Takeover.holders.find((kind) => kind === values.holder)
  if (holder === undefined) return yield* Effect.dieMessage(`--holder is one of ${Takeover.holders.join(", ")}`)
  yield* Console.log(`${values.rounds} rounds, ${values.processes} processes, seed ${seed}`)
  const report = yield* Takeover.run({
    holder,
    rounds: Number(values.rounds),
    processes: Number(values.processes),
    seed,
    onRound: (round) =>
      process.stdout.isTTY
        ? Effect.sync(() => process.stdout.write(`\rround ${round} `))
        : Effect.void
  })
  if (process.stdout.isTTY) yield* Console.log("")
  yield* Console.log(describe(report))
  if (report.violations.length === 0) return yield* Console.log(`Verdict: no violation (seed ${seed})`)
  yield* Console.log(`Verdict: VIOLATED (seed ${seed}): ${report.violations.join("; ")}`)
  yield* Effect.sync(() => {
    process.exitCode = 1
  })
})

NodeRuntime.runMain(program)
