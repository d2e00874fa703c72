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

const shared = {
  absWorkingDir: root,
  bundle: true,
  platform: "node",
  target: "node20",
  minify: true,
  metafile: true,
  legalComments: "none",
  logLevel: "error"
} satisfies Esbuild.BuildOptions

/** `run` does not need them, and each of its starts would pay for them. */
const commands: Esbuild.Plugin = {
  name: "commands",
  setup: (build) => {
    build.onResolve({ filter: /\/cli\/commands\.js$/ }, () => ({ path: "./commands.js", external: true }))
  }
}

/**
 * Writes the command into a directory, with the licenses of what is joined: `bin.cjs`, which runs commands under locks, and `commands.js`, which is for
 * everything else. Node takes a quarter longer to start the first one as an ES module.
 */
export const bundle = async (to: string): Promise<void> => {
  const outdir = Path.resolve(to)
  const results = await Promise.all([
    Esbuild.build({
      ...shared,
      entryPoints: [Path.join(root, "src/bin.ts")],
      outfile: Path.join(outdir, "bin.cjs"),
      format: "cjs",
      plugins: [commands]
    }),
    Esbuild.build({
      ...shared,
      entryPoints: [Path.join(root, "src/internal/cli/commands.ts")],
      outfile: Path.join(outdir, "commands.js"),
      format: "esm",
      // For modules of Node that a library asks for by `require`.
      banner: {
        js: "import { createRequire as $require } from \"node:module\"; const require = $require(import.meta.url);"
      }
    })
  ])
  const inputs = Object.assign({}, ...results.map(({ metafile }) => metafile.inputs))
  Fs.writeFileSync(Path.join(outdir, "LICENSES.txt"), licensesOf(Object.keys(inputs)))
}

const [, script, to] = process.argv
if (script !== undefined && fileURLToPath(import.meta.url) === Path.resolve(script) && to !== undefined) {
  await bundle(to)
}
