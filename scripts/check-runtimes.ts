/**
 * `npm run check:runtimes -- --runtime node22 --runtime bun`
 *
 * Installs what `npm pack` would publish into an empty project, and lets each runtime work with it there, with several processes, by
 * `import` and by `require`: the Node that runs this script, Node 22, Node 24 and Bun. Those that are not here come from the registry.
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
const names = ["current", "node22", "node24", "bun"]

const usage = `Usage: npm run check:runtimes -- [options]

  --runtime NAME  one of ${names.join(", ")}; may be given several times (all)`

const { values } = NodeUtil.parseArgs({
  options: {
    runtime: { type: "string", multiple: true, default: names },
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

/** As it is installed here, so that what is checked is the pair the tests ran on. */
const installed = (name: string): string => {
  const manifest: { readonly version: string } = JSON.parse(
    Fs.readFileSync(Path.join(root, "node_modules", name, "package.json"), "utf8")
  )
  return `${name}@${manifest.version}`
}

/** A project that has the package, its peers and the program in both module systems. */
const prepare = (project: string): void => {
  const tarball = run("npm", ["pack", "--silent", "--pack-destination", Path.dirname(project)], root).trim()
  install(
    project,
    Path.join(Path.dirname(project), tarball),
    ...["effect", "@effect/platform", "koffi"].map(installed)
  )
  const source = Fs.readFileSync(Path.join(root, "scripts/runtimes/program.ts"), "utf8")
  for (const { file, format } of formats) {
    const { code } = Esbuild.transformSync(source, { loader: "ts", format, target: "es2022" })
    Fs.writeFileSync(Path.join(project, file), code)
  }
}

/** The packages `node` and `bun` have a program for the machine that they are installed on. */
const runtimeOf = (name: string, directory: string): Runtime => {
  if (name === "current") return { title: `Node ${process.versions.node}`, command: process.execPath }
  const isBun = name === "bun"
  install(directory, isBun ? "bun@1" : name.replace("node", "node@"))
  const bin = Path.join(directory, "node_modules/.bin", isBun ? "bun" : "node")
  const version = run(bin, ["--version"], directory).trim().replace("v", "")
  return { title: `${isBun ? "Bun" : "Node"} ${version}`, command: Fs.realpathSync(bin) }
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
        stdio: ["pipe", "inherit", "inherit"]
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
  console.log(`  install the package, ${["effect", "@effect/platform", "koffi"].map(installed).join(", ")}`)
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

const unknown = values.runtime.filter((name) => !names.includes(name))
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
