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
const licensesOf = ({ inputs }: Esbuild.Metafile): string =>
  [...new Set(Object.keys(inputs).flatMap((file) => packageOf(file) ?? []))].sort().map((directory) => {
    const license = Fs.readdirSync(Path.join(root, directory)).find((name) => /^licen[cs]e/i.test(name))
    if (license === undefined) throw new Error(`${directory} has no license`)
    const text = Fs.readFileSync(Path.join(root, directory, license), "utf8")
    return `${directory.replace(/^.*node_modules\//, "")}\n\n${text.trim()}\n`
  }).join("\n---\n\n")

/** Writes `bin.js`, its parts, and their licenses into a directory. */
export const bundle = async (to: string): Promise<void> => {
  const { metafile } = await Esbuild.build({
    entryPoints: [Path.join(root, "src/bin.ts")],
    absWorkingDir: root,
    outdir: Path.resolve(to),
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    minify: true,
    metafile: true,
    legalComments: "none",
    chunkNames: "[name]-[hash]",
    logLevel: "error",
    banner: {
      // For modules of Node that a library asks for by `require`.
      js: "import { createRequire as $require } from \"node:module\"; const require = $require(import.meta.url);"
    }
  })
  Fs.writeFileSync(Path.join(to, "LICENSES.txt"), licensesOf(metafile))
}

const [, script, to] = process.argv
if (script !== undefined && fileURLToPath(import.meta.url) === Path.resolve(script) && to !== undefined) {
  await bundle(to)
}
