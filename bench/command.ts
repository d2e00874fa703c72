/**
 * `command`: what a shell script pays for a command under a lock that nobody else wants: the time of a whole process.
 */
import * as Effect from "effect/Effect"
import * as NodeProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { bundle } from "../scripts/bundle-command.js"
import * as Harness from "./Harness.js"
import * as Report from "./Report.js"

/** A program that runs `true`. */
interface Entry {
  readonly name: string
  readonly program: string
  readonly args: ReadonlyArray<string>
}

const ours = "effect-filelock run"
const peer = "a script with proper-lockfile"

/** What one would write without a command that locks: it runs its arguments under the lock of a file. */
const peerScript = `
const { spawn } = require("node:child_process")
const lockfile = require("proper-lockfile")
const [file, command, ...args] = process.argv.slice(2)
lockfile.lock(file, { realpath: false, retries: { forever: true, factor: 1, minTimeout: 50 } }).then((release) => {
  spawn(command, args, { stdio: "inherit" }).on("exit", (code) => release().then(() => process.exit(code)))
})
`

const entriesIn = (root: string, path: string): ReadonlyArray<Entry> => {
  const node = process.execPath
  return [
    { name: "no lock", program: "true", args: [] },
    { name: "flock(1)", program: "flock", args: [path, "true"] },
    { name: "node, which does nothing", program: node, args: ["-e", "0"] },
    { name: peer, program: node, args: [Path.join(root, "peer.cjs"), path, "true"] },
    { name: ours, program: node, args: [Path.join(root, "bin", "bin.cjs"), "run", path, "true"] }
  ]
}

/** Bundles the command as the build does, beside the script of the peer. */
const install = (root: string): Effect.Effect<void> =>
  Effect.promise(async () => {
    Fs.mkdirSync(Path.join(root, "node_modules"), { recursive: true })
    Fs.symlinkSync(
      Path.join(Path.dirname(Harness.installation), "node_modules", "proper-lockfile"),
      Path.join(root, "node_modules", "proper-lockfile")
    )
    Fs.writeFileSync(Path.join(root, "peer.cjs"), peerScript)
    Fs.copyFileSync(Path.join(Harness.repository, "package.json"), Path.join(root, "package.json"))
    await bundle(Path.join(root, "bin"))
  })

/** How long it takes, in milliseconds. */
const time = ({ args, program }: Entry): number => {
  const from = performance.now()
  NodeProcess.execFileSync(program, [...args], { stdio: "inherit" })
  return performance.now() - from
}

/** Measures all entries in rotation, each time in a fresh process. */
export const run = (harness: Harness.Harness) =>
  Effect.gen(function*() {
    const rounds = harness.quick ? 3 : 4 * harness.rounds
    const root = Path.join(harness.root, "command")
    yield* install(root)
    const results = entriesIn(root, Harness.freshPath(harness)).map((entry) => ({ ...entry, millis: Array<number>() }))
    // The first processes read the files from the disk, the others from the cache of the kernel.
    for (const result of results) time(result)
    for (let round = 0; round < rounds; round++) {
      for (const result of results) result.millis.push(time(result))
    }
    const spreads = results.map(({ millis, name }) => ({ name, ...Report.spread(millis) }))
    const medianOf = (name: string): number => spreads.find((spread) => spread.name === name)?.median ?? Number.NaN

    const report: Report.Report = {
      name: "command",
      title: "A command under a lock",
      method:
        "Each measurement is the time from the start of a process to its end: the process acquires a lock that nobody else wants, runs " +
        "`true`, and releases the lock. The row before the last is a script of some lines that does so with `proper-lockfile`. The rows alternate " +
        `for ${rounds} rounds. The files are in the cache of the kernel.`,
      columns: ["", "ms"],
      rows: spreads.map(({ name, ...spread }) => [name, Report.formatSpread(spread)]),
      targets: [Report.atMost(`${ours}, over ${peer}`, 2, "×", medianOf(ours) / medianOf(peer))],
      chart: {
        kind: "bars",
        unit: "ms (median, minimum to maximum)",
        data: spreads.map(({ max, median, min, name }) => ({ name, value: median, low: min, high: max }))
      },
      samples: results.map(({ millis, name }) => ({ name, millis }))
    }
    return report
  })
