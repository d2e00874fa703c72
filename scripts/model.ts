/**
 * Proves the lock-file protocol's models in docs/models with spin, and that each guard is needed: without it, spin has to
 * find the fault. See docs/models/README.md for what each run means.
 *
 *     npm run model              all runs, a few minutes on two cores
 *     npm run model -- --short   the small bounds only, well under a minute
 *
 * It needs `spin` and a C compiler, and fails where one is missing: a proof that was not run must not look like one.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Url from "node:url"

/** `holds`: no error in the whole state space. Anything else: spin has to find exactly this. */
type Verdict = "holds" | "two holders" | "blocked for ever" | "overtaken"

interface Run {
  readonly name: string
  readonly model: "lockfile" | "lease" | "queue"
  readonly flags: string
  readonly expected: Verdict
  readonly only?: "short" | "long"
}

interface Outcome {
  readonly found: string
  readonly states: number
  readonly seconds: number
}

const claim = (model: Run["model"], name: string, flags: string, only?: Run["only"]): Run => ({
  name,
  model,
  flags,
  expected: "holds",
  ...(only === undefined ? {} : { only })
})

/** A guard that exclusion needs: auxiliary assertions are off, so that it is the two holders themselves that are found. */
const needed = (model: Run["model"], name: string, flags: string, only?: Run["only"]): Run => ({
  ...claim(model, name, `${flags} -DEXCLUSION_ONLY`, only),
  expected: "two holders"
})

const runs: ReadonlyArray<Run> = [
  // The longest first, so that two at a time end together.
  claim("lease", "3 processes, exclusion and ownership", "-DN=3 -DLEASE=3 -DLOSS=1 -DSTALL=1", "long"),
  claim("lockfile", "3 processes, 2 kills, nobody blocked", "-DN=3 -DCRASHES=2", "long"),
  claim("lockfile", "3 processes, any kills, exclusion and ownership", "-DN=3", "long"),
  claim("lockfile", "progress, 3 processes, 1 kill", "-DN=3 -DCRASHES=1 -DSTALLS=0 -DPROGRESS", "long"),
  claim("lockfile", "takeover by two unlinks, 3 processes, 1 kill", "-DN=3 -DCRASHES=1 -DUNLINK_C3", "long"),
  claim("lockfile", "progress, 2 kills, 1 slow creation", "-DN=2 -DF=5 -DCRASHES=2 -DSTALLS=1 -DPROGRESS", "long"),
  claim("lockfile", "2 processes, 4 levels of claims, any kills", "-DN=2 -DF=5", "long"),
  claim("lockfile", "progress, 1 kill, 2 slow creations", "-DN=2 -DF=5 -DCRASHES=1 -DSTALLS=2 -DPROGRESS", "long"),
  claim("lockfile", "3 processes, no kill, nobody blocked", "-DN=3 -DCRASHES=0"),
  claim("lockfile", "2 processes, 3 levels of claims, any kills", "-DN=2 -DF=4"),
  claim("lockfile", "2 processes, 2 kills, nobody blocked", "-DN=2 -DF=4 -DCRASHES=2", "short"),
  claim("lockfile", "progress, 1 kill, 1 slow creation", "-DN=2 -DF=4 -DCRASHES=1 -DSTALLS=1 -DPROGRESS"),
  claim("lease", "2 processes, exclusion and ownership", "-DN=2"),

  needed("lockfile", "no comparison before the rename (C2)", "-DN=3 -DNO_SWEEP -DNO_C2"),
  needed("lockfile", "no comparison on claims of claims", "-DN=3 -DNO_SWEEP -DNO_C2_CLAIM"),
  needed("lockfile", "comparison takes a missing file for the expected one", "-DN=3 -DNO_SWEEP -DGONE_IS_FINE"),
  needed("lockfile", "a broken file is known by being empty alone", "-DN=3 -DEMPTY_ONLY"),
  needed("lockfile", "no doubt after a slow creation", "-DN=3 -DNO_DOUBT"),
  needed("lockfile", "no doubt about claims", "-DN=3 -DNO_DOUBT_CLAIM"),
  needed("lockfile", "doubt resolved by read and unlink", "-DN=3 -DDOUBT_UNLINK"),
  needed("lockfile", "doubt, busy: then read and unlink", "-DN=3 -DDOUBT_BUSY_UNLINK"),
  needed("lockfile", "a failed write's file is unlinked, if in time", "-DN=3 -DFAIL_UNLINK"),
  needed("lockfile", "another claim name for broken files, rename", "-DN=3 -DOLD_CLAIMS"),
  needed("lockfile", "another claim name for broken files, unlink", "-DN=3 -DOLD_CLAIMS -DUNLINK_C3", "long"),
  claim("queue", "who is next, 3 processes, 2 kills, 1 stopped", "-DCRASHES=2 -DSTOPS=1"),
  claim("queue", "who is next, 4 processes, 1 kill, 1 stopped", "-DP=4 -DTURN=1 -DCRASHES=1 -DSTOPS=1", "long"),
  ...([
    ["whoever released the lock does not look who is next", "-DNO_LOOK", "overtaken"],
    ["whoever waits behind asks for the lock all the same", "-DNO_COURTESY", "overtaken"],
    ["the slot of a dead process is kept", "-DNO_BURIAL -DCRASHES=1", "blocked for ever"],
    ["nobody passes by a head that stands still", "-DNO_PATIENCE -DSTOPS=1", "blocked for ever"]
  ] as const).map(([name, flags, expected]): Run => ({ name, model: "queue", flags, expected })),
  {
    name: "doubt: waits for its own earlier record",
    model: "lockfile",
    flags: "-DN=3 -DCRASHES=0 -DDOUBT_FORGET",
    expected: "blocked for ever"
  },
  {
    name: "doubt: gives up and leaves its record",
    model: "lockfile",
    flags: "-DN=3 -DCRASHES=1 -DDOUBT_ABANDON",
    expected: "blocked for ever"
  },
  needed("lease", "no comparison before the rename (C2)", "-DN=2 -DNO_C2"),
  needed(
    "lease",
    "a claim's age is not looked at before the rename",
    "-DN=3 -DLEASE=3 -DLOSS=1 -DSTALL=1 -DCLAIM_AGE_UNCHECKED"
  ),
  needed("lease", "beats by path instead of the handle", "-DN=2 -DBEAT_BY_PATH"),
  needed("lease", "a beat that came too late counts", "-DN=2 -DBEAT_LATE"),
  needed("lease", "late release by unlink", "-DN=2 -DRELEASE_LATE_UNLINK"),
  needed("lease", "late release by read and unlink", "-DN=2 -DRELEASE_LATE_CHECKED"),
  needed("lease", "loss declared too late for the stall allowed", "-DN=2 -DLOSS=4"),
  needed("lease", "not promised: stalls up to lease - loss", "-DN=2 -DSTALL=3"),
  needed("lease", "not promised: a stall of any length", "-DN=2 -DSTALL=255"),

  claim("lockfile", "failed writes, their empty files left", "-DN=3 -DCRASHES=0 -DFAIL_LEAVE", "long"),
  claim("lockfile", "spare: identity without content", "-DN=3 -DCRASHES=0 -DSAME_FILE_ONLY", "long"),
  claim("lockfile", "spare: release does not read first", "-DN=3 -DCRASHES=0 -DRELEASE_UNCHECKED", "long"),
  claim("lease", "spare: comparison by token, not by content", "-DN=2 -DC2_BY_TOKEN", "long"),
  claim("lease", "spare: release in time does not read first", "-DN=2 -DRELEASE_UNCHECKED", "long")
]

const models = Path.join(Path.dirname(Path.dirname(Url.fileURLToPath(import.meta.url))), "docs", "models")
const short = process.argv.includes("--short")
const chosen = runs.filter((run) => run.only === undefined || run.only === (short ? "short" : "long"))
const compiler = process.env["CC"] ?? "cc"

const missing = [["spin", "-V"], [compiler, "--version"]].flatMap(([tool = "", flag = ""]) => {
  const { error, status } = ChildProcess.spawnSync(tool, [flag], { stdio: "ignore" })
  return error === undefined && status === 0 ? [] : [tool]
})
if (missing.length > 0) {
  console.error(`The models cannot be checked without ${missing.join(" and ")}: apt-get install spin gcc`)
  process.exit(1)
}

const directory = Fs.mkdtempSync(Path.join(Os.tmpdir(), "filelock-model-"))
const children = new Set<ChildProcess.ChildProcess>()

const execute = (cwd: string, command: string, args: ReadonlyArray<string>): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = ChildProcess.spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] })
    children.add(child)
    const chunks: Array<Buffer> = []
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk))
    child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk))
    child.on("error", reject)
    child.on("close", (code, signal) => {
      children.delete(child)
      const output = Buffer.concat(chunks).toString("utf8")
      // pan says how a search ended in its output; an exit code other than 0 is a failure of the tool.
      if (code === 0) resolve(output)
      else reject(new Error(`${command} ${args.join(" ")} ended with ${signal ?? code}:\n${output}`))
    })
  })

const interpret = (output: string): string => {
  if (/max search depth too small|out of memory|memory limit|pan: reached|VECTORSZ/i.test(output)) {
    return "search incomplete"
  }
  const errors = /errors: (\d+)/.exec(output)?.[1]
  if (errors === "0") return "holds"
  if (/assertion violated \((holders|working)==[01]\)/.test(output)) return "two holders"
  if (/assertion violated \(overtaken/.test(output)) return "overtaken"
  if (/invalid end state|acceptance cycle/.test(output)) return "blocked for ever"
  const violated = /assertion violated (.*?) \(at/.exec(output)?.[1]
  return violated === undefined ? "no verdict" : `violated ${violated}`
}

const check = async (run: Run, index: number): Promise<Outcome> => {
  const cwd = Path.join(directory, String(index))
  Fs.mkdirSync(cwd)
  Fs.copyFileSync(Path.join(models, `${run.model}.pml`), Path.join(cwd, "model.pml"))
  const began = performance.now()
  const progress = run.flags.includes("-DPROGRESS")
  try {
    await execute(cwd, "spin", [...run.flags.split(" "), "-a", "model.pml"])
    await execute(cwd, compiler, [
      ...(run.expected === "holds" ? ["-O2"] : ["-O1"]),
      ...["-w", "-DMEMLIM=3500"],
      ...(progress ? ["-DNFAIR=3"] : ["-DSAFETY", "-DNOCLAIM"]),
      ...["-o", "pan", "pan.c"]
    ])
    const output = await execute(cwd, "./pan", [
      ...(progress ? ["-a", "-f"] : []),
      "-m1000000",
      short ? "-w20" : "-w24"
    ])
    return {
      found: interpret(output),
      states: Math.round(Number(/([\d.e+]+) states, stored/.exec(output)?.[1] ?? "0")),
      seconds: (performance.now() - began) / 1000
    }
  } finally {
    Fs.rmSync(cwd, { recursive: true, force: true })
  }
}

const line = (run: Run, outcome: Outcome): string =>
  [
    outcome.found === run.expected ? "ok  " : "FAIL",
    run.model.padEnd(8),
    run.name.padEnd(54),
    (outcome.found === run.expected ? outcome.found : `${outcome.found}, expected ${run.expected}`).padEnd(16),
    outcome.states.toLocaleString("en").padStart(11),
    `${outcome.seconds.toFixed(1)}s`.padStart(7)
  ].join("  ")

const began = performance.now()
const outcomes: Array<Outcome | undefined> = chosen.map(() => undefined)
const queue = chosen.map((run, index) => ({ run, index }))
const failures: Array<string> = []

const worker = async (): Promise<void> => {
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const { index, run } = next
    try {
      const outcome = await check(run, index)
      outcomes[index] = outcome
      console.log(line(run, outcome))
      if (outcome.found !== run.expected) failures.push(run.name)
    } catch (error) {
      failures.push(run.name)
      console.error(`FAIL  ${run.model}  ${run.name}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
}

const cleanUp = (): void => {
  for (const child of children) child.kill("SIGKILL")
  Fs.rmSync(directory, { recursive: true, force: true })
}
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    cleanUp()
    process.exit(1)
  })
}

console.log(
  `      ${"model".padEnd(8)}  ${"claim, or what is left out".padEnd(54)}  ${"spin's verdict".padEnd(16)}  ${
    "states".padStart(11)
  }  ${"time".padStart(7)}`
)
try {
  await Promise.all([worker(), worker()])
} finally {
  cleanUp()
}

const claims = chosen.filter((run) => run.expected === "holds").length
const states = outcomes.reduce((sum, outcome) => sum + (outcome?.states ?? 0), 0)
console.log(
  `${claims} claims and ${chosen.length - claims} variants without a guard, ${states.toLocaleString("en")} states in ${
    ((performance.now() - began) / 1000).toFixed(0)
  }s: ${failures.length === 0 ? "all as expected" : `${failures.length} not as expected (${failures.join("; ")})`}`
)
process.exitCode = failures.length === 0 ? 0 : 1
