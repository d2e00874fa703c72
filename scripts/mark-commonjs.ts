// The package is of type "module". Below the file written here, Node and TypeScript read .js and .d.ts as CommonJS instead.
import * as Fs from "node:fs"

const mark = new URL("../dist/cjs/package.json", import.meta.url)
Fs.writeFileSync(mark, `${JSON.stringify({ type: "commonjs" }, null, 2)}\n`)
