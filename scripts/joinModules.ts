/**
 * Joins the ES modules of a directory, in place: the public modules stay, and share what is internal in a few chunks. Node takes about as long to
 * find a module as to compile it, and the internal modules have hundreds of imports, most of them of the same modules of Effect.
 */
import * as Esbuild from "esbuild"
import * as Fs from "node:fs"
import * as Path from "node:path"

/** Joins what `tsc` has compiled into `directory`. The types stay as they are. */
export const joinModules = async (directory: string): Promise<void> => {
  const modules = Fs.readdirSync(directory).filter((name) => name.endsWith(".js"))
  await Esbuild.build({
    entryPoints: modules.map((name) => Path.join(directory, name)),
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
  for (const name of Fs.readdirSync(directory, { recursive: true, encoding: "utf8" })) {
    const isJoined = name.startsWith(`internal${Path.sep}`) && !/internal.chunk-\w+\.js/.test(name)
    if (isJoined && /\.js(\.map)?$/.test(name)) Fs.rmSync(Path.join(directory, name))
  }
}
