/**
 * `npm run bench -- [question …] [--quick] [--rounds 5] [--out bench/results]`
 *
 * Asks the questions one after the other; prints a table for each and writes it down with its chart and its samples.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as NodeProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as NodeUtil from "node:util"
import * as TemporaryDirectory from "../test/torture/TemporaryDirectory.js"
import * as Chart from "./Chart.js"
import * as Contention from "./contention.js"
import * as Fibers from "./fibers.js"
import * as Growth from "./growth.js"
import * as Handoff from "./handoff.js"
import * as Killed from "./killed.js"
import * as Machine from "./Machine.js"
import * as Report from "./Report.js"
import * as Stage from "./Stage.js"
import * as Uncontended from "./uncontended.js"

const questions = {
  uncontended: Uncontended.run,
  fibers: Fibers.run,
  contention: Contention.run,
  handoff: Handoff.run,
  killed: Killed.run,
  growth: Growth.run
}

const usage = `Usage: npm run bench -- [question ...] [options]

  Questions: ${Object.keys(questions).join(", ")} (all)

  --quick     few and small rounds, to see that everything works; writes nothing unless --out says where
  --rounds N  how often everybody has a turn (5; 1 with --quick)
  --out DIR   where to write (bench/results)`

const { positionals, values } = NodeUtil.parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    out: { type: "string" },
    help: { type: "boolean", default: false }
  }
})

const here = fileURLToPath(new URL(".", import.meta.url))

/** The peers are no business of whoever only works on the package, so they come with the first measurement. */
const install = Effect.sync(() => {
  if (Fs.existsSync(Path.join(here, "node_modules"))) return
  NodeProcess.execFileSync("npm", ["ci", "--no-audit", "--no-fund", "--prefix", here], { stdio: "inherit" })
})

const write = (directory: string, report: Report.Report, machine: string) =>
  Effect.gen(function*() {
    const svg = yield* Chart.svg(report.chart)
    const { columns, method, name, rows, samples, targets, title } = report
    Fs.mkdirSync(directory, { recursive: true })
    Fs.writeFileSync(Path.join(directory, `${name}.svg`), `${svg}\n`)
    Fs.writeFileSync(Path.join(directory, `${name}.md`), Report.markdown(report, machine, `${name}.svg`))
    Fs.writeFileSync(
      Path.join(directory, `${name}.json`),
      `${JSON.stringify({ title, machine, method, columns, rows, targets, samples }, null, 1)}\n`
    )
  })

const program = Effect.scoped(Effect.gen(function*() {
  if (values.help) return yield* Console.log(usage)
  const unknown = positionals.filter((name) => !(name in questions))
  if (unknown.length > 0) return yield* Effect.dieMessage(`no such question: ${unknown.join(", ")}\n\n${usage}`)
  yield* install
  const root = yield* TemporaryDirectory.make("bench")
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 5))
  const stage = yield* Stage.make(root, { quick: values.quick, rounds })
  const out = values.out ?? (values.quick ? Path.join(root, "results") : Path.join(here, "results"))
  for (const [name, question] of Object.entries(questions)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue
    const machine = Machine.describe(root)
    yield* Console.log(`\n${name} (${machine}) …`)
    const report = yield* question(stage)
    yield* Console.log(Report.text(report))
    yield* write(out, report, machine)
  }
}))

NodeRuntime.runMain(program)
