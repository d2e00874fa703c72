/**
 * Writes docs/api from the comments of the public modules, and compiles their examples. `docgen` works in a directory of its own: it asks for a
 * `homepage` in package.json, which this package does not have, and clears its whole output directory, where docs has guides that people wrote.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Url from "node:url"

const root = Path.dirname(Path.dirname(Url.fileURLToPath(import.meta.url)))
const directory = Path.join(root, ".docgen")
const published = Path.join(root, "docs/api")

Fs.rmSync(directory, { recursive: true, force: true })
Fs.mkdirSync(directory)
const { name }: { readonly name: string } = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8"))
Fs.writeFileSync(Path.join(directory, "package.json"), JSON.stringify({ name, type: "module", homepage: "" }))
for (const input of ["docgen.json", "src", "tsconfig.base.json", "tsconfig.src.json"]) {
  Fs.symlinkSync(Path.join(root, input), Path.join(directory, input))
}

const { status } = ChildProcess.spawnSync("npx", ["--no", "docgen"], { cwd: directory, stdio: "inherit" })
if (status === 0) {
  Fs.rmSync(published, { recursive: true, force: true })
  Fs.renameSync(Path.join(directory, "docs/modules"), published)
  Fs.rmSync(directory, { recursive: true })
}
process.exitCode = status ?? 1
