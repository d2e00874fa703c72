/**
 * `npm run flood -- --seconds 10 --connections 1000`
 *
 * Processes hand a lock to each other, first in quiet and then while an attacker who may connect to them, and not write in the directory,
 * sends forged, endless, half and binary messages. Ends with 0 only if the lock was not moved by it and memory stayed bounded.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as NodeUtil from "node:util"
import * as Flood from "../test/torture/Flood.js"
import * as Statistics from "../test/torture/Statistics.js"

const usage = `Usage: npm run flood -- [options]

  --seconds N      how long the attack goes on, and how long it is quiet before (10)
  --connections N  how many the attacker has (1000)
  --processes N    how many processes want the lock (3)`

const { values } = NodeUtil.parseArgs({
  options: {
    seconds: { type: "string", default: "10" },
    connections: { type: "string", default: "1000" },
    processes: { type: "string", default: "3" },
    help: { type: "boolean", default: false }
  }
})

const spread = (sample: ReadonlyArray<number>): string => Statistics.formatSpread(sample, "hand-overs")

const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`

const describe = (report: Flood.Report): string =>
  [
    `in quiet     ${spread(report.quiet)}`,
    `attacked     ${spread(report.flooded)}`,
    `memory       ${mebibytes(report.memoryQuiet)} in quiet, ${mebibytes(report.memoryFlooded)} attacked`,
    `attack       ${report.attack.open} connections at once, ${report.attack.made} made, ${
      mebibytes(report.attack.sent)
    } sent`,
    `overlaps     ${report.overlaps.length}`,
    `updates      ${report.counter.acknowledged}, ${report.counter.lost} lost`,
    `left behind  ${report.leftovers.slice(0, 5).join(", ") || "nothing"}`,
    ...report.failures.slice(0, 5).map((failure) => `failure      ${failure}`)
  ].join("\n")

const program = Effect.gen(function*() {
  if (values.help) return yield* Console.log(usage)
  const report = yield* Flood.run({
    processes: Number(values.processes),
    connections: Number(values.connections),
    duration: 1_000 * Number(values.seconds)
  })
  yield* Console.log(describe(report))
  if (report.violations.length === 0) return yield* Console.log("Verdict: no violation")
  yield* Console.log(`Verdict: VIOLATED: ${report.violations.join("; ")}`)
  yield* Effect.sync(() => {
    process.exitCode = 1
  })
})

NodeRuntime.runMain(program)
