/**
 * `npm run check:runtimes -- --runtime node@22 --runtime bun@1`
 *
 * Installs what `npm pack` would publish into an empty project, and lets each runtime work with it there, with several processes, by
 * `import` and by `require`: the Node that runs this script, the oldest that the package supports, Node 22, Node 24 and Bun. All but the first
 * come from the registry.
 * Prints a table, and ends with 0 only if each check of each runtime has passed. A runtime that cannot be installed is named.
 */
import * as Esbuild from "esbuild"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Url from "node:url"
import * as NodeUtil from "node:util"

const root = Path.dirname(Path.dirname(Url.fileURLToPath(import.meta.url)))
const current = "current"
const defaults = [current, "node@20.0.0", "node@22", "node@24", "bun@1"]

const usage = `Usage: npm run check:runtimes -- [options]

  --runtime NAME  ${current}, or a version of the packages node and bun, such as node@22; may be given several times
                  (${defaults.join(", ")})
  --lowest        with the lowest versions of the peers that the package takes, and not with those that are installed here`

const { values } = NodeUtil.parseArgs({
  options: {
    runtime: { type: "string", multiple: true, default: defaults },
    lowest: { type: "boolean", default: false },
    help: { type: "boolean", default: false }
  }
})

/** What can run a program, by what name in the table. */
interface Runtime {
  readonly title: string
  readonly command: string
}

interface Result {
  readonly check: string
  readonly passed: boolean
  readonly says: string
}

interface Row {
  readonly title: string
  readonly results: ReadonlyArray<Result>
}

const formats = [
  { title: "ESM", format: "esm", file: "program.mjs" },
  { title: "CJS", format: "cjs", file: "program.cjs" }
] as const

const run = (command: string, args: ReadonlyArray<string>, cwd: string): string => {
  const result = ChildProcess.spawnSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })
  if (result.status !== 0) {
    throw new Error(`${command} ${args.join(" ")}\n${result.stdout}${result.stderr}${result.error?.message ?? ""}`)
  }
  return result.stdout
}

const install = (project: string, ...packages: ReadonlyArray<string>): void => {
  Fs.mkdirSync(project, { recursive: true })
  Fs.writeFileSync(Path.join(project, "package.json"), JSON.stringify({ private: true }))
  run("npm", ["install", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error", ...packages], project)
}

const manifestOf = (directory: string): {
  readonly version: string
  readonly peerDependencies: Readonly<Record<string, string>>
} => JSON.parse(Fs.readFileSync(Path.join(directory, "package.json"), "utf8"))

/** As they are installed here, so that what is checked is what the tests ran on; or the beginnings of the ranges. */
const peers = ["effect", "@effect/platform", "koffi"].map((name) => {
  const range = manifestOf(root).peerDependencies[name] ?? ""
  const installed = manifestOf(Path.join(root, "node_modules", name)).version
  return `${name}@${values.lowest ? range.replace("^", "") : installed}`
})

/** A project that has the package, its peers and the program in both module systems. */
const prepare = (project: string): void => {
  const tarball = run("npm", ["pack", "--silent", "--pack-destination", Path.dirname(project)], root).trim()
  install(
    project,
    Path.join(Path.dirname(project), tarball),
    ...peers
  )
  const source = Fs.readFileSync(Path.join(root, "scripts/runtimes/program.ts"), "utf8")
  for (const { file, format } of formats) {
    const { code } = Esbuild.transformSync(source, { loader: "ts", format, target: "es2022" })
    Fs.writeFileSync(Path.join(project, file), code)
  }
}

/** The packages `node` and `bun` have a program for the machine that they are installed on. */
const runtimeOf = (name: string, directory: string): Runtime => {
  if (name === current) return { title: `Node ${process.versions.node}`, command: process.execPath }
  install(directory, name)
  const program = name.startsWith("bun") ? "bun" : "node"
  const command = Fs.realpathSync(Path.join(directory, "node_modules/.bin", program))
  const version = run(command, ["--version"], directory).trim().replace("v", "")
  return { title: `${program === "bun" ? "Bun" : "Node"} ${version}`, command }
}

const failed = (check: string, says: string): Result => ({ check, passed: false, says })

const checkWith = (runtime: Runtime, program: string): ReadonlyArray<Result> => {
  const files = Fs.mkdtempSync(Path.join(Path.dirname(program), "files-"))
  const { stderr, stdout, status } = ChildProcess.spawnSync(runtime.command, [program, "check", files], {
    cwd: Path.dirname(program),
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 480_000,
    killSignal: "SIGKILL"
  })
  const results = stdout.split("\n").filter((line) => line.startsWith("{")).map((line): Result => JSON.parse(line))
  return status === 0 ? results : [...results, failed("program", `ended with ${status}: ${stderr}`)]
}

/** Processes of all runtimes and both module systems share one lock. */
const checkTogether = async (runtimes: ReadonlyArray<Runtime>, project: string): Promise<Result> => {
  const file = Path.join(project, "together")
  const times = 20
  const children = runtimes.flatMap(({ command }) =>
    formats.map((format) =>
      ChildProcess.spawn(command, [Path.join(project, format.file), "count", file, "lockFiles", String(times)], {
        cwd: project,
        stdio: ["pipe", "ignore", "inherit"]
      })
    )
  )
  const codes = await Promise.all(
    children.map((child) => new Promise<number | null>((resolve) => child.on("close", resolve)))
  )
  const count = `${Fs.readFileSync(file, "utf8")} of ${children.length * times}`
  return codes.every((code) => code === 0) && count === `${children.length * times} of ${children.length * times}`
    ? { check: "counter", passed: true, says: count }
    : failed("counter", `${count}, ended with ${codes.join(", ")}`)
}

const markdown = (rows: ReadonlyArray<Row>): string => {
  const checks = [...new Set(rows.flatMap(({ results }) => results.map(({ check }) => check)))]
  const cell = (result: Result | undefined): string =>
    result === undefined ? "–" : result.passed ? result.says : "FAILED"
  return [
    ["runtime", ...checks],
    ["---", ...checks.map(() => "---")],
    ...rows.map(({ results, title }) => [
      title,
      ...checks.map((check) => cell(results.find((result) => result.check === check)))
    ])
  ].map((cells) => `| ${cells.join(" | ")} |`).join("\n")
}

const main = async (directory: string): Promise<void> => {
  const project = Path.join(directory, "project")
  console.log(`  install the package, ${peers.join(", ")}`)
  prepare(project)
  const rows: Array<Row> = []
  const runtimes: Array<Runtime> = []
  for (const name of values.runtime) {
    let runtime: Runtime
    try {
      runtime = runtimeOf(name, Path.join(directory, name))
    } catch (error) {
      console.log(`  ${name} cannot be installed here: ${error}`)
      continue
    }
    runtimes.push(runtime)
    for (const { file, title } of formats) {
      console.log(`  ${runtime.title}, ${title}`)
      rows.push({ title: `${runtime.title}, ${title}`, results: checkWith(runtime, Path.join(project, file)) })
    }
  }
  console.log("  all at once")
  rows.push({ title: "all at once", results: [await checkTogether(runtimes, project)] })

  console.log(`\n${Os.type()} ${process.arch}\n\n${markdown(rows)}`)
  for (const { results, title } of rows) {
    for (const { check, passed, says } of results) {
      if (!passed) {
        console.log(`\n${title}, ${check}: ${says}`)
        process.exitCode = 1
      }
    }
  }
}

const unknown = values.runtime.filter((name) => name !== current && !/^(node|bun)@[\w.]+$/.test(name))
if (values.help || unknown.length > 0) {
  console.log(usage)
  process.exitCode = values.help ? 0 : 1
} else {
  const directory = Fs.realpathSync(Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-filelock-runtimes-")))
  try {
    await main(directory)
  } finally {
    Fs.rmSync(directory, { recursive: true, force: true })
  }
}
