/**
 * Checks the models of the lock-file protocol in docs/models with spin. Each guard of the protocol has a variant without
 * it, in which spin has to find the fault. See docs/models/README.md for what each run means.
 *
 *     npm run model              all runs, a few minutes on two cores
 *     npm run model -- --short   the small bounds and every guard, well under a minute
 *
 * The script needs `spin` and a C compiler and fails where one is missing.
 * `MODEL_JOBS` sets how many runs go at once; the default is 2.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Url from "node:url"

/**
 * `holds`: no error in the whole state space. Anything else: spin has to find exactly this. `ownership`: a process changed
 * a file that was not its own, or replaced another record than the one that it had compared, or takes a file for its own that
 * is gone. `left behind`: a file stays that belongs to nobody.
 */
type Verdict = "holds" | "two holders" | "ownership" | "blocked for ever" | "no progress" | "left behind"

interface Run {
  readonly name: string
  readonly model: "lockfile" | "lease" | "handover" | "shared"
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

/** A guard that exclusion needs: the ownership assertions are off, so that spin finds the two holders themselves. */
const needed = (model: Run["model"], name: string, flags: string, only?: Run["only"]): Run => ({
  ...claim(model, name, `${flags} -DEXCLUSION_ONLY`, only),
  expected: "two holders"
})

/** A guard without which a record stays that no process removes, or a waiter is never woken. */
const unblocks = (model: Run["model"], name: string, flags: string): Run => ({
  ...claim(model, name, flags),
  expected: "blocked for ever"
})

/** A guard without which a file stays that belongs to nobody. */
const leaves = (model: Run["model"], name: string, flags: string): Run => ({
  ...claim(model, name, flags),
  expected: "left behind"
})

/** Hand-over without a fallback poll: every wake-up is a message, or a connection that closes. */
const three = "-DN=3 -DWITHDRAWALS=0"

const lease3 = "-DN=3 -DLEASE=3 -DLOSS=1 -DSTALL=1"

/** A reader that is silent, and a writer. */
const silent = "-DLEASE -DW=1"

const runs: ReadonlyArray<Run> = [
  // The longest first, so that two at a time end together.
  claim("handover", "3 processes, 1 kill, 1 withdrawal, no poll", "-DN=3", "long"),
  claim("lockfile", "3 processes, 3 levels of claims, any kills", "-DN=3 -DF=4", "long"),
  claim("lease", "3 processes, exclusion and ownership", lease3, "long"),
  claim(
    "lockfile",
    "progress, 3 processes, 1 kill, 1 error, 1 removed request",
    "-DN=3 -DCRASHES=1 -DERRORS=1 -DREMOVALS=1 -DPROGRESS",
    "long"
  ),
  claim("lockfile", "without links, 3 processes, any kills", "-DN=3 -DFALLBACK", "long"),
  claim("lockfile", "4 processes, no kill, nobody blocked", "-DN=4 -DCRASHES=0", "long"),
  claim("lockfile", "3 processes, any kills, exclusion and ownership", "-DN=3", "long"),
  claim("lockfile", "3 processes, 2 kills, nobody blocked", "-DN=3 -DCRASHES=2", "long"),
  claim("lockfile", "3 processes, 3 levels of claims, 1 kill, nobody blocked", "-DN=3 -DF=4 -DCRASHES=1", "long"),
  claim("lockfile", "2 processes, 4 levels of claims, any kills", "-DN=2 -DF=5", "long"),
  claim(
    "lockfile",
    "progress, 2 processes, 2 kills, 2 errors",
    "-DN=2 -DF=5 -DCRASHES=2 -DERRORS=2 -DREMOVALS=1 -DPROGRESS",
    "long"
  ),
  claim(
    "lockfile",
    "without links, progress, 2 processes, 2 kills, 1 error",
    "-DN=2 -DF=4 -DCRASHES=2 -DERRORS=1 -DREMOVALS=1 -DFALLBACK -DPROGRESS",
    "long"
  ),
  claim("handover", "3 processes, 2 kills, polls", `${three} -DDEATHS=2 -DPOLL`, "long"),
  claim(
    "handover",
    "2 processes, 2 rounds, a forged message, polls",
    "-DN=2 -DROUNDS=2 -DFORGED=1 -DPOLL -DDEATHS=0",
    "long"
  ),
  claim(
    "handover",
    "2 processes, 2 rounds, 2 lost messages, 1 kill, polls",
    "-DN=2 -DROUNDS=2 -DLOST=2 -DPOLL",
    "long"
  ),
  claim("handover", "3 processes, a lost message, polls", `${three} -DLOST=1 -DPOLL -DDEATHS=0`, "long"),
  claim("shared", "a silent reader, 3 writers, any kills, no clean-up", "-DLEASE -DW=3 -DNO_CLEANUP", "long"),
  claim("shared", "a silent reader, 2 writers, any kills", "-DLEASE", "long"),
  claim("shared", "a silent reader, 2 writers, recursive removal, any kills", "-DLEASE -DRECURSIVE", "long"),
  claim("shared", "recursive removal, 4 processes, 2 kills", "-DN=4 -DRECURSIVE -DCRASHES=2", "long"),
  claim("shared", "recursive removal, 4 processes, any kills", "-DN=4 -DRECURSIVE", "long"),
  claim("shared", "4 processes, any kills", "-DN=4", "long"),
  claim("shared", "4 processes, no kill, nothing is left", "-DN=4 -DCRASHES=0", "long"),
  claim("shared", "3 processes, 2 kills, nobody blocked", "-DN=3 -DCRASHES=2", "long"),
  claim("shared", "progress, 3 processes, 2 kills", "-DN=3 -DCRASHES=2 -DPROGRESS", "long"),
  claim(
    "shared",
    "progress, recursive removal, 3 processes, 2 kills",
    "-DN=3 -DRECURSIVE -DCRASHES=2 -DPROGRESS",
    "long"
  ),
  claim("shared", "3 processes, any kills", "-DN=3"),
  claim("shared", "3 processes, no kill, nothing is left", "-DN=3 -DCRASHES=0"),
  claim("shared", "recursive removal, 3 processes, any kills", "-DN=3 -DRECURSIVE"),
  claim("shared", "recursive removal, no kill, no file is left", "-DN=3 -DRECURSIVE -DCRASHES=0"),
  claim("shared", "progress, 2 processes, 1 kill", "-DN=2 -DCRASHES=1 -DPROGRESS"),
  claim("shared", "progress, recursive removal, 2 processes, 1 kill", "-DN=2 -DRECURSIVE -DCRASHES=1 -DPROGRESS"),
  claim("shared", "a silent reader, a writer, any kills", silent),
  claim("shared", "a silent reader, a writer, recursive removal, any kills", `${silent} -DRECURSIVE`),
  claim("handover", "2 processes, 2 rounds, 1 kill, 1 withdrawal, no poll", "-DN=2 -DROUNDS=2"),
  claim("lockfile", "3 processes, no kill, nobody blocked", "-DN=3 -DCRASHES=0"),
  claim("lockfile", "2 processes, 3 levels of claims, any kills", "-DN=2 -DF=4"),
  claim("lockfile", "2 processes, 2 kills, nobody blocked", "-DN=2 -DF=4 -DCRASHES=2"),
  claim(
    "lockfile",
    "progress, 2 processes, 1 kill, 1 error, 1 removed request",
    "-DN=2 -DF=4 -DCRASHES=1 -DERRORS=1 -DREMOVALS=1 -DPROGRESS"
  ),
  claim("lockfile", "without links, 2 processes, any kills", "-DN=2 -DFALLBACK"),
  claim("lockfile", "without links, nobody blocked", "-DN=2 -DFALLBACK -DCRASHES=2"),
  claim("lockfile", "beside an empty lock file of another tool", "-DN=2 -DOTHER_TOOL"),
  claim("lockfile", "a lock file removed by hand, release reads first", "-DN=2 -DBY_HAND"),
  claim("lease", "2 processes, exclusion and ownership", "-DN=2"),

  needed("lockfile", "no comparison before the rename", "-DN=2 -DNO_COMPARE"),
  needed("lockfile", "no comparison on claims of claims", "-DN=2 -DNO_COMPARE_CLAIM"),
  needed("lockfile", "comparison takes a missing file for the expected one", "-DN=2 -DGONE_IS_FINE"),
  needed("lockfile", "two names for the claim on one file", "-DN=2 -DTWO_CLAIMS"),
  needed("lockfile", "a dead owner's record is unlinked, not replaced", "-DN=2 -DUNLINK_RECORD"),
  needed("lockfile", "a dead owner's claim is unlinked, not replaced", "-DN=2 -DUNLINK_CLAIM"),
  needed("lockfile", "publication by rename instead of link", "-DN=2 -DPUBLISH_BY_RENAME"),
  needed("lockfile", "without links: an empty file counts as stale", "-DN=2 -DFALLBACK -DEMPTY_STALE"),
  needed("lockfile", "an empty file of another tool counts as stale", "-DN=2 -DOTHER_TOOL -DEMPTY_STALE"),
  needed(
    "lockfile",
    "release does not read first, a file removed by hand",
    "-DN=2 -DERRORS=0 -DBY_HAND -DRELEASE_UNCHECKED"
  ),
  needed("lockfile", "release does not read again after an error", "-DN=2 -DRELEASE_UNCHECKED"),
  unblocks("lockfile", "an error of link is taken for a failure", "-DN=2 -DCRASHES=0 -DERROR_IS_FAILURE"),
  unblocks("lockfile", "ENOENT of link is taken for a failure", "-DN=2 -DCRASHES=0 -DENOENT_IS_FAILURE"),
  unblocks("lockfile", "EEXIST of link: the own token is not recognised", "-DN=2 -DCRASHES=0 -DOWN_IS_OCCUPIED"),
  unblocks("lockfile", "after an error, read before Q is unlinked", "-DN=2 -DCRASHES=0 -DREAD_BEFORE_UNLINK"),
  unblocks("lockfile", "an error of rename is taken for a failure", "-DN=2 -DCRASHES=1 -DRENAME_ERROR_IS_FAILURE"),
  {
    ...claim("lockfile", "no clean-up", "-DN=2 -DF=4 -DCRASHES=1 -DERRORS=0 -DREMOVALS=0 -DPROGRESS -DNO_CLEANUP"),
    expected: "no progress"
  },
  needed("handover", "a message grants the lock, a forged one", "-DN=3 -DMESSAGE_GRANTS -DFORGED=1 -DPOLL -DDEATHS=0"),
  unblocks("handover", "the lock file is not read after a withdrawal", "-DN=3 -DNO_LOOK"),
  unblocks("handover", "a request file goes only after the release", `${three} -DLATE_UNLINK -DDEATHS=0`),
  unblocks("handover", "who does not hold says nothing", `${three} -DNO_MOVED`),
  unblocks("handover", "a holder that was not told its queue does not list it", `${three} -DNO_LIST`),
  unblocks("handover", "the next one is not told who holds", `${three} -DNO_NEXT`),
  unblocks("handover", "the others are not told when another was faster", `${three} -DNO_BARGED`),
  unblocks("handover", "no poll, and a second kill before the directory was asked", `${three} -DDEATHS=2`),
  unblocks("handover", "no poll, and a message is lost", "-DN=3 -DLOST=1 -DDEATHS=0"),
  needed("lease", "no comparison before the rename", "-DN=2 -DNO_COMPARE"),
  needed("lease", "a claim's age is not checked before the rename", `${lease3} -DCLAIM_AGE_UNCHECKED`),
  {
    ...claim("lease", "a late claim is unlinked", "-DN=2 -DCLAIM_LATE_UNLINK"),
    expected: "ownership"
  },
  needed("lease", "granted although the link was answered late", "-DN=2 -DGRANT_LATE"),
  needed("lease", "the age counts from the answer of the link", "-DN=2 -DAGE_FROM_ANSWER"),
  needed("lease", "heartbeats by path instead of the handle", "-DN=2 -DBEAT_BY_PATH"),
  needed("lease", "a heartbeat that came too late counts", "-DN=2 -DBEAT_LATE"),
  needed("lease", "late release by unlink", "-DN=2 -DRELEASE_LATE_UNLINK"),
  needed("lease", "late release by read and unlink", "-DN=2 -DRELEASE_LATE_CHECKED"),
  needed("lease", "loss declared too late for the stall allowed", "-DN=2 -DLOSS=4"),
  needed("lease", "not promised: stalls up to lease - loss", "-DN=2 -DSTALL=3"),
  needed("lease", "not promised: a stall of any length", "-DN=2 -DSTALL=255"),
  needed("shared", "a reader does not look at L", "-DN=2 -DNO_LOOK"),
  needed("shared", "recursive removal: a reader does not look for R again", "-DN=2 -DRECURSIVE -DNO_RECHECK"),
  needed("shared", "recursive removal without L, by one that leaves", "-DN=3 -DRECURSIVE -DBLIND"),
  needed("shared", "recursive removal without L, by the clean-up", "-DN=2 -DRECURSIVE -DCLEAN_BLIND"),
  needed("shared", "a writer does not look for readers", "-DN=2 -DNO_READERS"),
  unblocks("shared", "the files of dead readers stay", "-DN=2 -DCRASHES=1 -DNO_EVICTION"),
  leaves("shared", "who leaves does not remove the directory", "-DN=2 -DCRASHES=0 -DNO_RMDIR"),
  needed("shared", "R is not read again before an eviction", `${silent} -DNO_READ_AGAIN`),
  needed("shared", "eviction with a claim that is late", `${silent} -DEVICT_LATE`),
  needed("shared", "a reader's late heartbeat without the claim", `${silent} -DBEAT_UNCLAIMED`),
  needed("shared", "a reader's heartbeat that ended late counts", `${silent} -DBEAT_LATE`),
  needed("shared", "a reader's heartbeat under a late claim counts", `${silent} -DCLAIM_LATE`),
  needed("shared", "a reader is granted an R that is late", `${silent} -DSHARE_LATE`),
  needed("shared", "a reader is granted after a late release of L", `${silent} -DSHARE_UNCHECKED`),
  needed("shared", "a writer is granted an L that is late", "-DLEASE -DGRANT_LATE"),
  needed("shared", "recursive removal with an L that is late", "-DLEASE -DRECURSIVE -DREMOVE_LATE"),

  claim("shared", "spare: removal in one step, no look for R again", "-DN=3 -DNO_RECHECK", "long"),
  claim("shared", "spare: a reader's heartbeat does not compare the path", "-DLEASE -DNO_PATH_CHECK", "long"),
  claim("lockfile", "spare: takeover by two unlinks, 3 processes, 2 kills", "-DN=3 -DCRASHES=2 -DUNLINK_TWICE", "long"),
  claim("lockfile", "spare: release does not read first, no errors", "-DN=3 -DERRORS=0 -DRELEASE_UNCHECKED", "long"),
  claim("lease", "spare: comparison by token, not by content", "-DN=2 -DCOMPARE_TOKEN", "long"),
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
  if (/assertion violated \({1,2}(holders|working|writers)==[01]\)/.test(output)) return "two holders"
  if (/assertion violated \(litter==0\)/.test(output)) return "left behind"
  if (/pan:\d+: assertion violated/.test(output)) return "ownership"
  if (/pan:\d+: invalid end state/.test(output)) return "blocked for ever"
  if (/pan:\d+: acceptance cycle/.test(output)) return "no progress"
  return "no verdict"
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
      ...(run.expected === "holds" ? [short ? "-O1" : "-O2"] : ["-O0"]), // small searches compile for longer than they run
      ...["-w", "-DMEMLIM=3500", ...(run.model === "handover" ? ["-DCOLLAPSE"] : [])], // its states are wide
      ...(progress ? ["-DNFAIR=3"] : ["-DSAFETY", "-DNOCLAIM"]),
      ...["-o", "pan", "pan.c"]
    ])
    const output = await execute(cwd, "./pan", [
      ...(progress ? ["-a", "-f"] : []),
      ...(short ? ["-m1000000", "-w20"] : ["-m4000000", "-w24"])
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
    run.name.padEnd(57),
    (outcome.found === run.expected ? outcome.found : `${outcome.found}, expected ${run.expected}`).padEnd(17),
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
  `      ${"model".padEnd(8)}  ${"claim, or what is left out".padEnd(57)}  ${"spin's verdict".padEnd(17)}  ${
    "states".padStart(11)
  }  ${"time".padStart(7)}`
)
try {
  await Promise.all(Array.from({ length: Math.max(1, Number(process.env["MODEL_JOBS"] ?? 2)) }, worker))
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
