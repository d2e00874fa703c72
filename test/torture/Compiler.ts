/**
 * Makes JavaScript of programs written in TypeScript. Loads nothing but the compiler.
 */
import * as Esbuild from "esbuild"
import * as Module from "node:module"
import * as Path from "node:path"

/** Where `bundle` puts the script of an entry. */
export const scriptOf = (entry: string, directory: string): string =>
  Path.join(directory, `${Path.basename(entry, ".ts")}.cjs`)

const require = Module.createRequire(import.meta.url)

/** What is no JavaScript alone stays where it is installed, or is not installed. */
const native: Esbuild.Plugin = {
  name: "native",
  setup: (build) => {
    build.onResolve({ filter: /^(koffi|pg-native)$/ }, ({ path }) => ({
      path: path === "koffi" ? require.resolve(path) : path,
      external: true
    }))
  }
}

/** Compiles each entry with everything it imports into one script in `directory`. */
export const bundle = async (entries: ReadonlyArray<string>, directory: string): Promise<void> => {
  await Esbuild.build({
    entryPoints: [...entries],
    outdir: directory,
    entryNames: "[name]",
    outExtension: { ".js": ".cjs" },
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node20",
    logLevel: "warning",
    plugins: [native]
  })
}
