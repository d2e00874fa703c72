/**
 * Puts bugs into the lock, one at a time and in memory only, and asks the tests whether they notice. A bug that no test notices is a hole
 * in the suite.
 *
 *     npm run mutate                     all bugs, and writes docs/mutations.md
 *     npm run mutate -- --short          the most important ones
 *     npm run mutate -- --only NAME…     these
 *     npm run mutate -- --search         asks all other tests, too, where the named ones do not notice
 *
 * A bug is noticed when an assertion fails, or when a test hangs until its timeout. A suite that does not load says nothing about the tests:
 * then this list is wrong.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as NodeUtil from "node:util"
import { type Mutant, root } from "../test/mutation/Mutant.js"
import { mutants } from "../test/mutation/mutants.js"

/** So many bugs are tried at once. */
const concurrency = 2

/** A run that has not ended by then loops where no timeout reaches it; in milliseconds. */
const runTimeout = 300_000

interface Verdict {
  readonly _tag: "Green" | "Red" | "Hung" | "Broken"
  readonly file: string
  readonly test: string
  readonly message: string
}

interface Report {
  readonly numPassedTests: number
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly message: string
    readonly status: string
    readonly assertionResults: ReadonlyArray<{
      readonly status: string
      readonly fullName: string
      readonly failureMessages: ReadonlyArray<string> | null
    }>
  }>
}

const isReport = (value: unknown): value is Report =>
  typeof value === "object" && value !== null && "testResults" in value && "numPassedTests" in value

const scratch = Fs.mkdtempSync(Path.join(Os.tmpdir(), "filelock-mutate-"))
const children = new Set<ChildProcess.ChildProcess>()

/** Ends a run, and its workers with it: a worker that loops does not hear that its parent has ended. */
const stop = ({ exitCode, pid, signalCode }: ChildProcess.ChildProcess): void => {
  if (pid !== undefined && exitCode === null && signalCode === null) {
    process.kill(-pid, "SIGKILL")
  }
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    children.forEach(stop)
    Fs.rmSync(scratch, { recursive: true, force: true })
    process.exit(1)
  })
}

/** An error of the seeded bug itself says nothing about the tests. */
const isOwnError = (message: string): boolean => /^(ReferenceError|SyntaxError)\b/.test(message)

const interpret = (report: Report, files: ReadonlyArray<string>): Verdict => {
  for (const suite of report.testResults) {
    const file = Path.relative(root, suite.name)
    const failed = suite.assertionResults.find((result) => result.status === "failed")
    if (failed !== undefined) {
      const message = failed.failureMessages?.[0]?.split("\n")[0] ?? ""
      return {
        _tag: isOwnError(message) ? "Broken" : /timed out in \d+ms/.test(message) ? "Hung" : "Red",
        file,
        test: failed.fullName,
        message
      }
    }
    if (suite.status === "failed") {
      return { _tag: "Broken", file, test: "", message: suite.message.split("\n").slice(0, 3).join(" ") }
    }
  }
  return report.numPassedTests > 0
    ? { _tag: "Green", file: "", test: "", message: "" }
    : { _tag: "Broken", file: files.join(" "), test: "", message: "no such test" }
}

let runs = 0

const run = (mutant: string, files: ReadonlyArray<string>): Promise<Verdict> =>
  new Promise((resolve, reject) => {
    const output = Path.join(scratch, `report-${runs++}.json`)
    const child = ChildProcess.spawn(process.execPath, [
      Path.join(root, "node_modules/vitest/vitest.mjs"),
      "run",
      ...["--config", Path.join(root, "test/mutation/vitest.config.ts")],
      ...["--bail", "1", "--reporter", "json", "--outputFile", output],
      ...files
    ], {
      cwd: root,
      env: { ...process.env, MUTANT: mutant, KILL_POINTS: "all" },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true
    })
    children.add(child)
    let said = ""
    const listen = (chunk: Buffer) => void (said = (said + chunk.toString("utf8")).slice(-4000))
    child.stdout.on("data", listen)
    child.stderr.on("data", listen)
    let hung = false
    const timer = setTimeout(() => {
      hung = true
      stop(child)
    }, runTimeout)
    child.on("error", reject)
    child.on("close", () => {
      clearTimeout(timer)
      children.delete(child)
      if (hung) {
        resolve({ _tag: "Hung", file: files.join(" "), test: "", message: `no end after ${runTimeout / 1000}s` })
        return
      }
      const report: unknown = Fs.existsSync(output) ? JSON.parse(Fs.readFileSync(output, "utf8")) : undefined
      resolve(
        isReport(report)
          ? interpret(report, files)
          : { _tag: "Broken", file: files.join(" "), test: "", message: said }
      )
    })
  })

const { positionals: only, values: { search, short } } = NodeUtil.parseArgs({
  allowPositionals: true,
  options: {
    /** Before the names of some. */
    only: { type: "boolean", default: false },
    search: { type: "boolean", default: false },
    short: { type: "boolean", default: false }
  }
})
const chosen = mutants.filter((mutant) => only.length > 0 ? only.includes(mutant.name) : !short || mutant.important)
const unknown = only.filter((name) => !mutants.some((mutant) => mutant.name === name))
if (unknown.length > 0 || chosen.length === 0) {
  console.error(`There is no seeded bug with the name ${unknown.join(", ")}. There are:`)
  for (const { bug, name } of mutants) console.error(`  ${name}: ${bug}`)
  process.exit(1)
}

const fileOf = (name: string): string => `test/${name}.test.ts`

/** All test files without real processes. */
const others: ReadonlyArray<string> = search
  ? Fs.readdirSync(Path.join(root, "test"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".test.ts") && !/^(integration|torture|Memory)/.test(name))
    .map((name) => `test/${name}`)
  : []

/** Asks one file after the other, until one notices. */
const check = async (mutant: Mutant): Promise<Verdict> => {
  let verdict: Verdict = { _tag: "Green", file: "", test: "", message: "" }
  for (const file of new Set([...mutant.noticedBy.map(fileOf), ...others])) {
    verdict = await run(mutant.name, [file])
    if (verdict._tag !== "Green") break
  }
  return verdict
}

const table = (rows: ReadonlyArray<readonly [Mutant, Verdict]>): string =>
  [
    "# Seeded bugs",
    "",
    "Written by `npm run mutate`, which puts each of these bugs into the lock, one at a time and in memory only, and asks the tests whether",
    "they notice. A bug replaces or wraps an exported function, or a method of an exported class; it does not depend on the text of the",
    "source. The test that is named is the first one that failed; others may, too.",
    "",
    "| bug: the lock … | module | noticed by |",
    "| --- | --- | --- |",
    ...rows.map(([{ bug, module, name }, { _tag, file, test }]) => {
      const noticed = _tag === "Green" ? "no test" : `\`${file}\`: ${test}${_tag === "Hung" ? " (hangs)" : ""}`
      return `| ${
        [`**${name}**: ${bug}`, `\`${module}\``, noticed].map((cell) => cell.replaceAll("|", "\\|")).join(" | ")
      } |`
    }),
    ""
  ].join("\n")

const began = performance.now()
const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)}s`
const rows = new Map<Mutant, Verdict>()
const problems: Array<string> = []

const tryNext = async (queue: Iterator<Mutant>): Promise<void> => {
  for (let next = queue.next(); next.done !== true; next = queue.next()) {
    const mutant = next.value
    const since = performance.now()
    const verdict = await check(mutant)
    rows.set(mutant, verdict)
    const caught = verdict._tag === "Red" || verdict._tag === "Hung"
    console.log(
      `${caught ? "ok   " : "FAIL "} ${mutant.name.padEnd(32)} ${
        seconds(since).padStart(7)
      }  ${verdict.file}: ${verdict.test}`
    )
    if (verdict._tag === "Green") problems.push(`${mutant.name}: no test notices that the lock ${mutant.bug}`)
    if (verdict._tag === "Broken") problems.push(`${mutant.name}: ${verdict.file}: ${verdict.message}`)
  }
}

/** A test that fails without any bug has noticed nothing. */
const checkSound = async (): Promise<void> => {
  const files = [...new Set([...rows.values()].map(({ file }) => file).filter((file) => file !== ""))]
  if (files.length === 0) return
  const verdict = await run("", files)
  if (verdict._tag !== "Green") {
    problems.push(`fails without any bug: ${verdict.file}: ${verdict.test}: ${verdict.message}`)
  }
}

try {
  const queue = chosen[Symbol.iterator]()
  await Promise.all(Array.from({ length: concurrency }, () => tryNext(queue)))
  await checkSound()
  if (!short && only.length === 0) {
    Fs.writeFileSync(
      Path.join(root, "docs/mutations.md"),
      table(chosen.flatMap((mutant) => {
        const verdict = rows.get(mutant)
        return verdict === undefined ? [] : [[mutant, verdict] as const]
      }))
    )
  }
} finally {
  Fs.rmSync(scratch, { recursive: true, force: true })
}
for (const problem of problems) console.error(problem)
console.log(`${chosen.length} seeded bugs, ${problems.length} problems, ${seconds(began)}`)
process.exitCode = problems.length > 0 ? 1 : 0
