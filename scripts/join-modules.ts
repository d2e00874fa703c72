/**
 * Joins the ES modules of a directory, which `tsc` has compiled, in place: the public modules stay, and share what is internal in a few chunks. The
 * types stay as they are. Node takes about as long to find a module as to compile it, and the internal modules have hundreds of imports, most of them
 * of the same modules of Effect.
 *
 *     node --import tsx scripts/join-modules.ts DIRECTORY
 */
import * as Esbuild from "esbuild"
import * as Fs from "node:fs"
import * as Path from "node:path"

const [directory = ""] = process.argv.slice(2)

await Esbuild.build({
  entryPoints: Fs.readdirSync(directory).filter((name) => name.endsWith(".js")).map((name) =>
    Path.join(directory, name)
  ),
  outdir: directory,
  allowOverwrite: true,
  bundle: true,
  splitting: true,
  packages: "external",
  chunkNames: "internal/chunk-[hash]",
  platform: "node",
  format: "esm",
  target: "node20",
  sourcemap: true,
  logLevel: "warning"
})

for (const name of Fs.readdirSync(Path.join(directory, "internal"), { recursive: true, encoding: "utf8" })) {
  const isJoined = !/^chunk-\w+\.js/.test(name) && /\.js(\.map)?$/.test(name)
  if (isJoined) Fs.rmSync(Path.join(directory, "internal", name))
}
