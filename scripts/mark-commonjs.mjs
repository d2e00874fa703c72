// The package is of type "module"; below this file Node and TypeScript read both .js and .d.ts as CommonJS.
import * as Fs from "node:fs"

Fs.writeFileSync(new URL("../dist/cjs/package.json", import.meta.url), `${JSON.stringify({ type: "commonjs" }, null, 2)}\n`)
