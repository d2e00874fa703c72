/**
 * Joins the command `effect-filelock` and all that it needs, so that it runs where nothing is installed beside the package, and starts fast.
 *
 *     node --import tsx scripts/bundle-command.ts TO
 */
import * as Esbuild from "esbuild"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))

/** The directory of the package that a file is of; nothing for a file of this package. */
const packageOf = (file: string): string | undefined => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0]

/** The licenses of the packages that are joined. */
const licensesOf = (files: ReadonlyArray<string>): string =>
  [...new Set(files.flatMap((file) => packageOf(file) ?? []))].sort().map((directory) => {
    const license = Fs.readdirSync(Path.join(root, directory)).find((name) => /^licen[cs]e/i.test(name))
    if (license === undefined) throw new Error(`${directory} has no license`)
    const text = Fs.readFileSync(Path.join(root, directory, license), "utf8")
    return `${directory.replace(/^.*node_modules\//, "")}\n\n${text.trim()}\n`
  }).join("\n---\n\n")

/** What is loaded by `bin.ts`, each in a file of its own. */
const parts = {
  // Node opens stdout when it is looked at, as the loggers of Effect do. `run` has no use for it.
  startRun: { define: { "process.stdout": "undefined" } },
  startOthers: {
    define: { "import.meta.url": "fileUrl" },
    banner: { js: `const fileUrl = require("node:url").pathToFileURL(__filename).href;` }
  }
} satisfies Record<string, Esbuild.BuildOptions>

/** None of them pays for another one. */
const apart: Esbuild.Plugin = {
  name: "apart",
  setup: (build) => {
    build.onResolve({ filter: new RegExp(`/(${Object.keys(parts).join("|")})\\.js$`) }, ({ path }) => ({
      path: `./${Path.basename(path, ".js")}.cjs`,
      external: true
    }))
  }
}

const shared = {
  absWorkingDir: root,
  bundle: true,
  platform: "node",
  target: "node20",
  // Node takes a quarter longer to start a program that is an ES module.
  format: "cjs",
  // By `require`, which costs less than a promise of a module.
  supported: { "dynamic-import": false },
  plugins: [apart],
  minify: true,
  metafile: true,
  legalComments: "none",
  logLevel: "error"
} satisfies Esbuild.BuildOptions

/** Writes the command into a directory, with the licenses of what is joined: `bin.cjs`, and what that loads. */
export const bundle = async (to: string): Promise<void> => {
  const outdir = Path.resolve(to)
  const results = await Promise.all([
    Esbuild.build({
      ...shared,
      entryPoints: [Path.join(root, "src/bin.ts")],
      outfile: Path.join(outdir, "bin.cjs"),
      define: { "import.meta.dirname": "__dirname" }
    }),
    ...Object.entries(parts).map(([part, options]) =>
      Esbuild.build({
        ...shared,
        ...options,
        entryPoints: [Path.join(root, `src/internal/cli/${part}.ts`)],
        outfile: Path.join(outdir, `${part}.cjs`)
      })
    )
  ])
  const inputs = Object.assign({}, ...results.map(({ metafile }) => metafile.inputs))
  Fs.writeFileSync(Path.join(outdir, "LICENSES.txt"), licensesOf(Object.keys(inputs)))
}

const [, script, to] = process.argv
if (script !== undefined && fileURLToPath(import.meta.url) === Path.resolve(script) && to !== undefined) {
  await bundle(to)
}
