/**
 * `import`: the time to load `effect-filelock/NodeFileLock`, beyond `effect` and `@effect/platform`.
 */
import * as Effect from "effect/Effect"
import * as NodeProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as NodeUtil from "node:util"
import * as Harness from "./Harness.js"
import * as Report from "./Report.js"

/** What a program imports in order. Only the modules of `measured` count. */
interface Entry {
  readonly name: string
  readonly before: ReadonlyArray<string>
  readonly measured: ReadonlyArray<string>
}

const barrels = ["effect", "@effect/platform"]

const ours: Entry = {
  name: "effect-filelock/NodeFileLock",
  before: barrels,
  measured: ["effect-filelock/NodeFileLock"]
}

const entries: ReadonlyArray<Entry> = [
  { name: "effect and @effect/platform", before: [], measured: barrels },
  ours,
  {
    name: "effect-filelock/FileLock and NodeContext",
    before: barrels,
    measured: ["effect-filelock/FileLock", "@effect/platform-node/NodeContext"]
  },
  { name: "proper-lockfile", before: barrels, measured: ["proper-lockfile"] }
]

const script = `
const { before, measured } = JSON.parse(process.argv[2])
for (const module of before) await import(module)
const from = performance.now()
for (const module of measured) await import(module)
console.log(performance.now() - from)
process.exit(0)
`

/** Runs Node in a process of its own and returns its output. */
const node = (args: ReadonlyArray<string>, cwd: string): Effect.Effect<string> =>
  Effect.promise(async () =>
    (await NodeUtil.promisify(NodeProcess.execFile)(process.execPath, [...args], { cwd })).stdout
  )

/** Compiles the package as its build does, and installs it beside its peers. Returns the directory of a program that uses it. */
const install = (harness: Harness.Harness): Effect.Effect<string> =>
  Effect.gen(function*() {
    const root = Path.join(harness.root, "import")
    const modules = Path.join(root, "node_modules")
    const installed = Path.join(modules, "effect-filelock")
    const fromRoot = (path: string): string => Path.join(Harness.repository, path)
    Fs.mkdirSync(installed, { recursive: true })
    Fs.copyFileSync(fromRoot("package.json"), Path.join(installed, "package.json"))
    const compiled = Path.join(root, "build")
    // The types have been checked elsewhere.
    yield* node([
      fromRoot("node_modules/typescript/bin/tsc"),
      ...["-p", fromRoot("tsconfig.build.json"), "--outDir", compiled, "--noCheck"]
    ], Harness.repository)
    yield* node(
      ["--import", "tsx", fromRoot("scripts/join-modules.ts"), compiled, Path.join(installed, "dist")],
      Harness.repository
    )
    for (const name of ["effect", "@effect"]) Fs.symlinkSync(fromRoot(`node_modules/${name}`), Path.join(modules, name))
    Fs.symlinkSync(fromRoot("bench/node_modules/proper-lockfile"), Path.join(modules, "proper-lockfile"))
    Fs.writeFileSync(Path.join(root, "import.mjs"), script)
    return root
  })

/** Measures all entries in rotation, each time in a fresh process. */
export const run = (harness: Harness.Harness) =>
  Effect.gen(function*() {
    const rounds = harness.quick ? 3 : 4 * harness.rounds
    const root = yield* install(harness)
    const measure = ({ before, measured }: Entry) =>
      Effect.map(node(["import.mjs", JSON.stringify({ before, measured })], root), Number)
    const results = entries.map((entry) => ({ ...entry, millis: Array<number>() }))
    // The first processes read the files from the disk, the others from the cache of the kernel.
    yield* Effect.forEach(results, measure, { discard: true })
    for (let round = 0; round < rounds; round++) {
      for (const result of results) result.millis.push(yield* measure(result))
    }

    const report: Report.Report = {
      name: "import",
      title: "The time of an import",
      method:
        "Each measurement has a fresh process of Node, which imports ES modules of the compiled package. The process imports the " +
        "barrels of `effect` and `@effect/platform` first, and the time begins after that. The first row is the time of the barrels " +
        `themselves. The rows alternate for ${rounds} rounds. The files are in the cache of the kernel.`,
      columns: ["", "ms"],
      rows: results.map(({ millis, name }) => [name, Report.formatSpread(Report.spread(millis))]),
      targets: results
        .filter(({ name }) => name === ours.name)
        .map(({ millis, name }) => Report.atMost(name, 30, "ms", Report.spread(millis).median)),
      chart: {
        kind: "bars",
        unit: "ms (median, minimum to maximum)",
        data: results.map(({ millis, name }) => {
          const { max, median, min } = Report.spread(millis)
          return { name, value: median, low: min, high: max }
        })
      },
      samples: results.map(({ millis, name }) => ({ name, millis }))
    }
    return report
  })
