/**
 * `npm run bench -- [question …] [--quick] [--rounds 5] [--out DIR] [--samples DIR]`
 *
 * Answers the questions one after the other. Prints a table for each question, and writes the table and its chart.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as NodeProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as NodeUtil from "node:util"
import * as TemporaryDirectory from "../test/torture/TemporaryDirectory.js"
import * as Chart from "./Chart.js"
import * as Command from "./command.js"
import * as Contention from "./contention.js"
import * as Engines from "./engines.js"
import * as Fibers from "./fibers.js"
import * as Files from "./files.js"
import * as Growth from "./growth.js"
import * as Handoff from "./handoff.js"
import * as Harness from "./Harness.js"
import * as Held from "./held.js"
import * as Import from "./import.js"
import * as Killed from "./killed.js"
import * as Layers from "./layers.js"
import * as Machine from "./Machine.js"
import * as Report from "./Report.js"
import * as Uncontended from "./uncontended.js"

const questions = {
  uncontended: Uncontended.run,
  fibers: Fibers.run,
  contention: Contention.run,
  handoff: Handoff.run,
  killed: Killed.run,
  growth: Growth.run,
  held: Held.run,
  layers: Layers.run,
  engines: Engines.run,
  readers: Files.readers,
  files: Files.files,
  import: Import.run,
  command: Command.run
}

const usage = `Usage: npm run bench -- [question ...] [options]

  Questions: ${Object.keys(questions).join(", ")} (default: all)

  --quick        few and small rounds, to check that the questions work; writes nothing without --out
  --rounds N     how often each competitor is measured (5; 1 with --quick)
  --out DIR      where to write the tables and charts (bench/results)
  --samples DIR  where to write all measured values as JSON (default: nowhere)`

const { positionals, values } = NodeUtil.parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    out: { type: "string" },
    samples: { type: "string" },
    help: { type: "boolean", default: false }
  }
})

const here = Path.dirname(Harness.installation)

/** Work on the package needs no peers, so the first run installs them. */
const install = Effect.sync(() => {
  if (Fs.existsSync(Path.join(here, "node_modules"))) return
  NodeProcess.execFileSync("npm", ["ci", "--no-audit", "--no-fund", "--prefix", here], { stdio: "inherit" })
})

const write = (directory: string, name: string, content: string) =>
  Effect.sync(() => {
    Fs.mkdirSync(directory, { recursive: true })
    Fs.writeFileSync(Path.join(directory, name), content)
  })

const program = Effect.scoped(Effect.gen(function*() {
  if (values.help) return yield* Console.log(usage)
  const unknown = positionals.filter((name) => !(name in questions))
  if (unknown.length > 0) return yield* Effect.dieMessage(`no such question: ${unknown.join(", ")}\n\n${usage}`)
  yield* install
  const root = yield* TemporaryDirectory.make("bench")
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 5))
  const harness = yield* Harness.make(root, { quick: values.quick, rounds })
  const out = values.out ?? (values.quick ? undefined : Path.join(here, "results"))
  for (const [name, question] of Object.entries(questions)) {
    if (positionals.length > 0 && !positionals.includes(name)) continue
    const machine = Machine.describe(root)
    yield* Console.log(`\n${name} (${machine}) …`)
    const report = yield* question(harness)
    yield* Console.log(Report.text(report))
    const svg = yield* Chart.svg(report.chart)
    if (out !== undefined) {
      yield* write(out, `${name}.svg`, `${svg}\n`)
      yield* write(out, `${name}.md`, Report.markdown(report, machine, `${name}.svg`))
    }
    if (values.samples !== undefined) {
      const { columns, method, rows, samples, targets, title } = report
      const json = JSON.stringify({ title, machine, method, columns, rows, targets, samples }, null, 1)
      yield* write(values.samples, `${name}.json`, `${json}\n`)
    }
  }
}))

NodeRuntime.runMain(program)
