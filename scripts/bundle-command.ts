/**
 * Joins the command `effect-filelock` and all that it needs, so that it runs where nothing is installed beside the package, and starts fast.
 *
 *     node --import tsx scripts/bundle-command.ts TO
 */
import * as Esbuild from "esbuild"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"

/** Writes `bin.js`, and its parts, into a directory. */
export const bundle = (to: string) =>
  Esbuild.build({
    entryPoints: [fileURLToPath(new URL("../src/bin.ts", import.meta.url))],
    outdir: to,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    minify: true,
    keepNames: false,
    legalComments: "linked",
    chunkNames: "[name]-[hash]",
    logLevel: "error",
    banner: {
      // For modules of Node that a library asks for by `require`.
      js: "import { createRequire as $require } from \"node:module\"; const require = $require(import.meta.url);"
    }
  })

const [, script, to] = process.argv
if (script !== undefined && fileURLToPath(import.meta.url) === Path.resolve(script) && to !== undefined) {
  await bundle(to)
}
