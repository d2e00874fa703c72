/**
 * Puts the types that `tsc` has written beside the modules, once: those of CommonJS are whole, and those of the ES modules refer to them. An ES module
 * may import CommonJS under each way TypeScript resolves them, and CommonJS may not import an ES module. Of the internal modules there are those that
 * the types of a public one need.
 *
 *     node --import tsx scripts/place-types.ts FROM TO
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import ts from "typescript"

const [from = "", to = ""] = process.argv.slice(2)

const placed = new Set<string>()

/** Copies a declaration file, and what it imports of the package. */
const place = (name: string): void => {
  if (placed.has(name)) return
  placed.add(name)
  const text = Fs.readFileSync(Path.join(from, name), "utf8")
  const target = Path.join(to, "cjs", name)
  Fs.mkdirSync(Path.dirname(target), { recursive: true })
  Fs.writeFileSync(target, text)
  for (const { fileName } of ts.preProcessFile(text).importedFiles) {
    if (fileName.startsWith(".")) place(Path.join(Path.dirname(name), fileName.replace(/\.js$/, ".d.ts")))
  }
}

for (const name of Fs.readdirSync(from).filter((name) => name.endsWith(".d.ts") && name !== "bin.d.ts")) {
  place(name)
  Fs.writeFileSync(Path.join(to, "esm", name), `export * from "../cjs/${name.replace(/\.d\.ts$/, ".js")}"\n`)
}
