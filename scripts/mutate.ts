/**
 * Puts bugs into the lock, one at a time and in memory only, and asks the tests whether they notice. A bug that no test notices is a hole
 * in the suite.
 *
 *     npm run mutate                     every bug, and writes docs/mutations.md
 *     npm run mutate -- --short          the most important ones, in less than a minute
 *     npm run mutate -- --only NAME…     these
 *
 * Noticed means: an assertion fails, or a test hangs and its timeout ends it. A suite that does not load, or a bug that is no correct program
 * in the first place, is an error of this list and no success.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as TypeScript from "typescript"
import { type Mutant, root, sources } from "../test/mutation/Mutant.js"
import { mutants } from "../test/mutation/mutants.js"

/** When the likely test does not notice, these are asked, cheapest first. */
const net: ReadonlyArray<string> = [
  "test/guards*.test.ts",
  "test/FileLock.test.ts",
  "test/ProcessIdentity.test.ts",
  "test/lockFile*.test.ts",
  "test/badInput.test.ts",
  "test/interruption.test.ts",
  "test/simulation/*.test.ts",
  "test/faults.test.ts"
]

/** A suite that has not ended by then runs in circles where no timeout reaches it; in milliseconds. */
const patience = 300_000

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
let child: ChildProcess.ChildProcess | undefined

const stopChild = (): void => {
  if (child?.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    // Its workers with it: a worker that runs in circles does not hear that its parent has gone.
    process.kill(-child.pid, "SIGKILL")
  }
}

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    stopChild()
    Fs.rmSync(scratch, { recursive: true, force: true })
    process.exit(1)
  })
}

const expand = (pattern: string): ReadonlyArray<string> => {
  const directory = Path.dirname(pattern)
  const [start = "", end = ""] = Path.basename(pattern).split("*")
  return Fs.existsSync(Path.join(root, directory))
    ? Fs.readdirSync(Path.join(root, directory))
      .filter((name) => pattern.includes("*") ? name.startsWith(start) && name.endsWith(end) : name === start)
      .map((name) => `${directory}/${name}`)
    : []
}

/** A program that stumbles over its own bug says nothing about the tests. */
const isStumble = (message: string): boolean => /^(ReferenceError|SyntaxError)\b/.test(message)

const interpret = (report: Report, files: ReadonlyArray<string>): Verdict => {
  for (const suite of report.testResults) {
    const file = Path.relative(root, suite.name)
    const failed = suite.assertionResults.find((result) => result.status === "failed")
    if (failed !== undefined) {
      const message = failed.failureMessages?.[0]?.split("\n")[0] ?? ""
      return {
        _tag: isStumble(message) ? "Broken" : /timed out in \d+ms/.test(message) ? "Hung" : "Red",
        file,
        test: failed.fullName,
        message
      }
    }
    if (suite.status === "failed") {
      return { _tag: "Broken", file, test: "", message: suite.message.split("\n")[0] ?? "" }
    }
  }
  return report.numPassedTests > 0
    ? { _tag: "Green", file: "", test: "", message: "" }
    : { _tag: "Broken", file: files.join(" "), test: "", message: "no such test" }
}

const run = (
  mutant: string,
  files: ReadonlyArray<string>,
  tests: ReadonlyArray<string> = []
): Promise<Verdict> =>
  new Promise((resolve, reject) => {
    const output = Path.join(scratch, "report.json")
    Fs.rmSync(output, { force: true })
    const started = ChildProcess.spawn(process.execPath, [
      Path.join(root, "node_modules/vitest/vitest.mjs"),
      "run",
      ...["--config", Path.join(root, "test/mutation/vitest.config.ts")],
      ...["--bail", "1", "--reporter", "json", "--outputFile", output],
      ...(tests.length === 0 ? [] : ["-t", tests.map((test) => test.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")]),
      ...files
    ], { cwd: root, env: { ...process.env, MUTANT: mutant }, stdio: ["ignore", "pipe", "pipe"], detached: true })
    child = started
    let said = ""
    const listen = (chunk: Buffer) => void (said = (said + chunk.toString("utf8")).slice(-4000))
    started.stdout.on("data", listen)
    started.stderr.on("data", listen)
    let hung = false
    const timer = setTimeout(() => {
      hung = true
      stopChild()
    }, patience)
    started.on("error", reject)
    started.on("close", () => {
      clearTimeout(timer)
      if (hung) {
        resolve({ _tag: "Hung", file: files.join(" "), test: "", message: `no end after ${patience / 1000}s` })
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

/** The likely test first, then ever more of the others, until one notices. */
const hunt = async (mutant: Mutant): Promise<Verdict> => {
  const likely = await run(
    mutant.name,
    [mutant.likely.file],
    mutant.likely.test === undefined ? [] : [mutant.likely.test]
  )
  if (likely._tag !== "Green") return likely
  for (const pattern of net) {
    const files = expand(pattern)
    const verdict = files.length === 0 ? likely : await run(mutant.name, files)
    if (verdict._tag !== "Green") return verdict
  }
  return likely
}

/** A seeded bug has to be a program that a person could have written: one without errors of types, unused leftovers aside. */
const typeErrors = (() => {
  const configPath = Path.join(root, "tsconfig.src.json")
  const config = TypeScript.getParsedCommandLineOfConfigFile(configPath, {
    noUnusedLocals: false,
    noUnusedParameters: false
  }, { ...TypeScript.sys, onUnRecoverableConfigFileDiagnostic: () => undefined })
  let program: TypeScript.Program | undefined
  const parsed = new Map<string, TypeScript.SourceFile | undefined>()
  return (mutant: Mutant): ReadonlyArray<string> => {
    if (config === undefined) return [`${configPath} cannot be read`]
    const changed = sources(mutant)
    const host = TypeScript.createCompilerHost(config.options)
    const read = host.getSourceFile.bind(host)
    host.getSourceFile = (path, options) => {
      const text = changed.get(path)
      if (text !== undefined) return TypeScript.createSourceFile(path, text, options)
      if (!parsed.has(path)) parsed.set(path, read(path, options))
      return parsed.get(path)
    }
    program = TypeScript.createProgram({
      rootNames: config.fileNames,
      options: config.options,
      host,
      ...(program === undefined ? {} : { oldProgram: program })
    })
    const errors: Array<string> = []
    for (const path of changed.keys()) {
      const file = program.getSourceFile(path)
      for (
        const { messageText } of [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)]
      ) {
        errors.push(TypeScript.flattenDiagnosticMessageText(messageText, " "))
      }
    }
    return errors
  }
})()

const args = process.argv.slice(2)
const short = args.includes("--short")
const only = args.includes("--only")
  ? args.slice(args.indexOf("--only") + 1).filter((arg) => !arg.startsWith("--"))
  : []
const chosen = mutants.filter((mutant) => only.length > 0 ? only.includes(mutant.name) : !short || mutant.important)
const unknown = only.filter((name) => !mutants.some((mutant) => mutant.name === name))
if (unknown.length > 0 || chosen.length === 0) {
  console.error(`There is no seeded bug with the name ${unknown.join(", ")}. There are:`)
  for (const { bug, name } of mutants) console.error(`  ${name}: ${bug}`)
  process.exit(1)
}

const table = (rows: ReadonlyArray<readonly [Mutant, Verdict]>): string =>
  [
    "# Seeded bugs",
    "",
    "Written by `npm run mutate`, which puts each of these bugs into the lock, one at a time and in memory only, and asks the tests whether",
    "they notice. The test that is named is the first that did; others may, too.",
    "",
    `| bug | where in \`src\` | noticed by |`,
    "| --- | --- | --- |",
    ...rows.map(([{ bug, edits, name }, { _tag, file, test }]) => {
      const files = [...new Set(edits.map(({ file }) => `\`${file}\``))].join(", ")
      const what = `**${name}**: ${bug}`
      const noticed = _tag === "Green" ? "nobody" : `\`${file}\`: ${test}${_tag === "Hung" ? " (hangs)" : ""}`
      return `| ${[what, files, noticed].map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`
    }),
    ""
  ].join("\n")

const began = performance.now()
const seconds = (since: number): string => `${((performance.now() - since) / 1000).toFixed(1)}s`
const rows: Array<readonly [Mutant, Verdict]> = []
const problems: Array<string> = []

const prepare = (): void => {
  for (const mutant of mutants) {
    try {
      sources(mutant)
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error))
    }
  }
  if (problems.length > 0 || short) return
  for (const mutant of chosen) {
    for (const error of typeErrors(mutant)) problems.push(`${mutant.name} is no correct program: ${error}`)
  }
}

/** A test that is red without any bug has noticed nothing. */
const checkSound = async (): Promise<void> => {
  const noticed = rows.flatMap(([, { file, test }]) => test === "" ? [] : [{ file, test }])
  if (noticed.length === 0) return
  const verdict = await run("", [...new Set(noticed.map(({ file }) => file))], [
    ...new Set(noticed.map(({ test }) => test))
  ])
  if (verdict._tag !== "Green") {
    problems.push(`red without any bug: ${verdict.file}: ${verdict.test}: ${verdict.message}`)
  }
}

try {
  prepare()
  for (const mutant of problems.length === 0 ? chosen : []) {
    const since = performance.now()
    const verdict = await hunt(mutant)
    rows.push([mutant, verdict])
    const caught = verdict._tag === "Red" || verdict._tag === "Hung"
    console.log(
      `${caught ? "ok   " : "FAIL "} ${mutant.name.padEnd(30)} ${
        seconds(since).padStart(7)
      }  ${verdict.file}: ${verdict.test}`
    )
    if (verdict._tag === "Green") problems.push(`${mutant.name}: no test notices that ${mutant.bug}`)
    if (verdict._tag === "Broken") problems.push(`${mutant.name}: ${verdict.file}: ${verdict.message}`)
  }
  await checkSound()
} finally {
  stopChild()
  Fs.rmSync(scratch, { recursive: true, force: true })
}
if (only.length === 0 && !short && rows.length === mutants.length) {
  Fs.writeFileSync(Path.join(root, "docs/mutations.md"), table(rows))
}
for (const problem of problems) console.error(problem)
console.log(`${rows.length} seeded bugs in ${seconds(began)}: ${problems.length === 0 ? "all noticed" : "see above"}`)
process.exitCode = problems.length === 0 ? 0 : 1
