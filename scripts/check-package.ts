/**
 * Installs what `npm pack` would publish into an empty project and looks at it as its users do: `import`, `require`, and the
 * types under each way TypeScript resolves them. Runs on what `npm run build` left in dist.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Url from "node:url"
import ts from "typescript"
import { missingDocumentation } from "./documentation.js"
import { brokenLinks } from "./links.js"

const root = Path.dirname(Path.dirname(Url.fileURLToPath(import.meta.url)))
const project = Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-filelock-package-"))

interface Manifest {
  readonly name: string
  readonly version: string
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional?: boolean }>>
}
const manifestOf = (directory: string): Manifest =>
  JSON.parse(Fs.readFileSync(Path.join(directory, "package.json"), "utf8"))

const step = (title: string): void => console.log(`  ${title}`)

const fail = (message: string): never => {
  throw new Error(message)
}

const run = (command: string, args: ReadonlyArray<string>, cwd: string): string => {
  const result = ChildProcess.spawnSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })
  return result.status === 0
    ? result.stdout
    : fail(`${command} ${args.join(" ")}\n${result.stdout}${result.stderr}${result.error?.message ?? ""}`)
}

const install = (...packages: ReadonlyArray<string>): void => {
  const quiet = ["--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
  run("npm", ["install", ...quiet, ...packages], project)
}

/** As it is installed here, so that what is checked is the pair the tests ran on. */
const installed = (name: string): string => `${name}@${manifestOf(Path.join(root, "node_modules", name)).version}`

const write = (name: string, text: string): void => Fs.writeFileSync(Path.join(project, name), text)

const manifest = manifestOf(root)
const sources = Fs.readdirSync(Path.join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".ts"))
  .map((name) => name.slice(0, -".ts".length).replaceAll(Path.sep, "/"))
  .sort()
const modules = sources.filter((name) => !name.includes("/") && name !== "index" && name !== "bin")
const hidden = [...sources.filter((name) => name.startsWith("internal/")), "index", "bin"]
const optional = (name: string): boolean => manifest.peerDependenciesMeta?.[name]?.optional === true
const peers = Object.keys(manifest.peerDependencies)

/** What the files of the package may take, in bytes: the library, the engines that need something else to be installed, and the command. */
const maxSizes = { library: 600_000, engines: 120_000, command: 950_000 }
const partOf = (path: string): keyof typeof maxSizes =>
  /\/(Flock|Postgres|Redis)Backend\.(js|d\.ts)$/.test(path)
    ? "engines"
    : /^(dist\/bin|docs\/man)\//.test(path)
    ? "command"
    : "library"

const pack = (): string => {
  const [packed] = JSON.parse(run("npm", ["pack", "--json", "--pack-destination", project], root)) as ReadonlyArray<{
    readonly filename: string
    readonly files: ReadonlyArray<{ readonly path: string; readonly size: number }>
    readonly unpackedSize: number
  }>
  if (packed === undefined) {
    return fail("npm pack says nothing about what it packed")
  }
  const files = new Set(packed.files.map((file) => file.path))
  const expected = [
    ...["package.json", "README.md", "LICENSE", "CHANGELOG.md", "dist/cjs/package.json"],
    ...[
      "docs/backends.md",
      "docs/engines.md",
      "docs/protocol.md",
      "docs/man/effect-filelock.1",
      "dist/bin/bin.cjs",
      "dist/bin/startOthers.cjs",
      "dist/bin/startRun.cjs",
      "dist/bin/LICENSES.txt"
    ],
    ...Fs.readdirSync(Path.join(root, "examples/engines")).map((name) => `examples/engines/${name}`),
    ...["index", ...modules].flatMap((name) =>
      ["dist/esm", "dist/cjs"].flatMap((directory) => [`${directory}/${name}.js`, `${directory}/${name}.d.ts`])
    )
  ]
  // What is internal is joined to chunks. Its types are there as far as those of the public modules need them.
  const internal = new RegExp(
    `^dist/(esm|cjs)/internal/\\w+\\.js$|^dist/cjs/(${hidden.join("|")})\\.d\\.ts$`
  )
  const missing = expected.filter((file) => !files.has(file))
  const unexpected = [...files].filter((file) => !expected.includes(file) && !internal.test(file))
  if (missing.length > 0 || unexpected.length > 0) {
    fail(`the package lacks [${missing.join(", ")}] and should not have [${unexpected.join(", ")}]`)
  }
  const sizes = Object.entries(maxSizes).map(([part, max]) => ({
    part,
    max,
    size: packed.files.filter(({ path }) => partOf(path) === part).reduce((sum, { size }) => sum + size, 0)
  }))
  step(sizes.map(({ max, part, size }) => `${part}: ${Math.round(size / 1000)} of ${max / 1000} kB`).join(", "))
  if (sizes.some(({ max, size }) => size > max)) {
    fail(`the package takes more than it may`)
  }
  return Path.join(project, packed.filename)
}

const checkLinks = (): void => {
  const broken = brokenLinks(Path.join(project, "node_modules", manifest.name))
  if (broken.length > 0) {
    fail(broken.join("\n"))
  }
}

/** One program for both module systems: `load` is `import` in one and `require` in the other. */
const runtimeCheck = (load: string, names: ReadonlyArray<string>): string => `
const report = {}
for (const name of ${JSON.stringify(names)}) {
  report[name] = Object.keys(${load}(name)).filter((key) => key !== "__esModule" && key !== "default").sort()
}
for (const name of ${JSON.stringify(hidden.map((name) => `${manifest.name}/${name}`))}) {
  let code
  try {
    ${load}(name)
  } catch (error) {
    code = error.code
  }
  if (code !== "ERR_PACKAGE_PATH_NOT_EXPORTED") {
    throw new Error(name + " can be loaded, or fails for another reason: " + code)
  }
}
console.log(JSON.stringify(report))
`

const checkRuntime = (names: ReadonlyArray<string>): void => {
  write("esm.mjs", runtimeCheck("await import", names))
  write("cjs.cjs", runtimeCheck("require", names))
  const esm = run("node", ["esm.mjs"], project)
  const cjs = run("node", ["cjs.cjs"], project)
  if (esm !== cjs) {
    fail(`import and require see different exports:\n${esm}\n${cjs}`)
  }
}

/** A lock held by the ES module is taken for the CommonJS one, and nothing that is not installed is asked for. */
const lockCheck = `
import { createRequire } from "node:module"
import { readdirSync } from "node:fs"
import * as Esm from "effect/Effect"
import { FileLock, NodeFileLock } from "${manifest.name}"
const require = createRequire(import.meta.url)
try {
  require.resolve("@effect/platform-node")
  throw new Error("@effect/platform-node is installed: this shows nothing")
} catch (error) {
  if (error.code !== "MODULE_NOT_FOUND") throw error
}
const Cjs = require("effect/Effect")
const other = require("${manifest.name}")
const inside = Esm.promise(() => Cjs.runPromise(
  other.FileLock.acquireIfAvailable("locked/file").pipe(Cjs.scoped, Cjs.provide(other.NodeFileLock.layer))
))
const taken = await Esm.runPromise(FileLock.withLock(inside, "locked/file").pipe(Esm.provide(NodeFileLock.layer)))
const free = await Cjs.runPromise(
  other.FileLock.acquireIfAvailable("locked/file").pipe(Cjs.scoped, Cjs.provide(other.NodeFileLock.layer))
)
console.log(taken._tag, free._tag, readdirSync("locked").length)
`

const checkLock = (): void => {
  write("lock.mjs", lockCheck)
  const said = run("node", ["lock.mjs"], project).trim()
  if (said !== "None Some 0") {
    fail(`the two module systems do not share a lock: ${said}`)
  }
}

/** The command needs nothing that is not installed with the package. */
const checkCommand = (): void => {
  const said = run("npx", ["--no", "effect-filelock", "run", "counter", "--", "echo", "done"], project).trim()
  const listed = run("npx", ["--no", "effect-filelock", "list", "--json", "."], project).trim()
  if (said !== "done" || listed !== "[]") {
    fail(`the command does not run: ${said} ${listed}`)
  }
}

const consumer = [
  `import { LockAcquisitionError, LockDirectoryError, LockLostError } from "${manifest.name}"`,
  ...modules.map((name) => `import * as ${name} from "${manifest.name}/${name}"`),
  ...hidden.map((name) => `// @ts-expect-error\nimport type {} from "${manifest.name}/${name}"`),
  `export const errors = [LockAcquisitionError, LockDirectoryError, LockLostError]`,
  `export const modules = [${modules.join(", ")}]`,
  `export const locked: FileLock.LockOptions = { timeout: "1 second", mode: "shared" }`,
  ""
].join("\n")

const checkTypes = (title: string, files: ReadonlyArray<string>, module: string, moduleResolution: string): void => {
  step(`types: ${title}`)
  for (const file of files) {
    write(file, consumer)
  }
  // Declarations are checked too: a broken one of ours must not hide behind skipLibCheck.
  write(
    "tsconfig.json",
    JSON.stringify({
      compilerOptions: {
        target: "ES2022",
        lib: ["ES2022", "DOM"],
        types: ["node"],
        strict: true,
        exactOptionalPropertyTypes: true,
        noEmit: true,
        module,
        moduleResolution
      },
      files
    })
  )
  run("npx", ["--no", "tsc"], project)
}

const checkDocumentation = (): void => {
  const file = Path.join(project, "documentation.mts")
  Fs.writeFileSync(file, modules.map((name) => `import "${manifest.name}/${name}"\n`).join(""))
  const missing = missingDocumentation(file, { module: ts.ModuleKind.Node16, types: [] })
  if (missing.length > 0) {
    fail(missing.join("\n"))
  }
}

const main = (): void => {
  step("pack")
  const tarball = pack()
  step("publint")
  run("npx", ["--no", "publint", "run", tarball, "--strict"], root)
  step("are the types wrong")
  const entrypoints = [".", ...modules]
  run("npx", ["--no", "attw", tarball, "--profile", "node16", "--entrypoints", ...entrypoints], root)

  step(`install beside ${peers.filter((name) => !optional(name)).join(" and ")}`)
  write("package.json", JSON.stringify({ name: "consumer", private: true, type: "module" }))
  install(tarball, ...peers.filter((name) => !optional(name)).map(installed))
  step("links between its files")
  checkLinks()
  step("the barrel by import and require")
  checkRuntime([manifest.name])

  step("one lock for both module systems, without @effect/platform-node")
  checkLock()

  step("the command")
  checkCommand()

  step("install what the optional modules and the compiler need")
  install(...[...peers.filter(optional), "typescript", "@types/node", "@types/pg"].map(installed))
  step(`${modules.length} modules by import and require`)
  checkRuntime([manifest.name, ...modules.map((name) => `${manifest.name}/${name}`)])
  checkTypes(
    "node16, from an ES module and from a CommonJS module",
    ["consumer.mts", "consumer.cts"],
    "Node16",
    "Node16"
  )
  checkTypes("bundler", ["consumer.ts"], "ESNext", "Bundler")
  step("the documentation that an editor shows")
  checkDocumentation()
}

try {
  main()
} finally {
  Fs.rmSync(project, { recursive: true, force: true })
}
