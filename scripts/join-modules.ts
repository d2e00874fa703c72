/**
 * Joins the modules that `tsc` has compiled, and writes them as ES modules and as CommonJS: the public modules stay, and share what is internal in a
 * few chunks. Node takes about as long to find a module as to compile it, and the internal modules have hundreds of imports, most of them of the same
 * modules of Effect.
 *
 *     node --import tsx scripts/join-modules.ts FROM TO
 */
import * as Esbuild from "esbuild"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Rollup from "rollup"
import ts from "typescript"

const [from = "", to = ""] = process.argv.slice(2)

/** The statements and members that a node consists of. */
const partsOf = (node: ts.Node): ReadonlyArray<ts.Node> => {
  if (ts.isSourceFile(node) || ts.isBlock(node) || ts.isCaseOrDefaultClause(node)) return node.statements
  if (ts.isClassLike(node)) return node.members
  return ts.isCaseBlock(node) ? node.clauses : []
}

/**
 * Removes comments and white space, and shortens the names of variables: two thirds of the code are left. Each statement begins a line, so that a
 * stack trace says where it comes from, and a debugger stops there.
 */
const compact = (code: string): string => {
  const { code: text } = Esbuild.transformSync(code, {
    minifyWhitespace: true,
    minifySyntax: true,
    minifyIdentifiers: true,
    legalComments: "none",
    target: "node20"
  })
  const source = ts.createSourceFile("module.js", text, ts.ScriptTarget.ES2022, false, ts.ScriptKind.JS)
  const beginnings: Array<number> = []
  const visit = (node: ts.Node): void => {
    for (const part of partsOf(node)) beginnings.push(part.getStart(source))
    ts.forEachChild(node, visit)
  }
  visit(source)
  const starts = [0, ...beginnings.filter((start) => start > 0).sort((left, right) => left - right)]
  return starts.map((start, index) => text.slice(start, starts[index + 1])).join("\n")
}

const bundle = await Rollup.rollup({
  input: Object.fromEntries(
    Fs.readdirSync(from).filter((name) => name.endsWith(".js") && name !== "bin.js").map((name) => [
      Path.basename(name, ".js"),
      Path.join(from, name)
    ])
  ),
  external: (id) => !/^[./]/.test(id),
  treeshake: { moduleSideEffects: false },
  plugins: [{ name: "compact", renderChunk: (code) => ({ code: compact(code), map: null }) }],
  onwarn: ({ message }) => {
    throw new Error(message)
  }
})

const shared = {
  chunkFileNames: "internal/[name].js",
  generatedCode: { preset: "es2015", symbols: false },
  externalLiveBindings: false,
  hoistTransitiveImports: false,
  minifyInternalExports: false
} satisfies Rollup.OutputOptions

await bundle.write({ ...shared, dir: Path.join(to, "esm"), format: "es" })
await bundle.write({ ...shared, dir: Path.join(to, "cjs"), format: "cjs", esModule: true, interop: "esModule" })
// The package is of type "module". Below this file, Node and TypeScript read .js and .d.ts as CommonJS instead.
Fs.writeFileSync(Path.join(to, "cjs/package.json"), `${JSON.stringify({ type: "commonjs" }, null, 2)}\n`)
