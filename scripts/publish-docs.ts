// docgen clears its whole output directory and expects it one level below the package, so it works in a directory of its
// own and the pages move from there, beside the guides people wrote.
import * as Fs from "node:fs"

const generated = new URL("../.docgen/", import.meta.url)
const published = new URL("../docs/api/", import.meta.url)

Fs.rmSync(published, { recursive: true, force: true })
Fs.mkdirSync(new URL("../docs/", import.meta.url), { recursive: true })
Fs.renameSync(new URL("modules/", generated), published)
Fs.rmSync(generated, { recursive: true })
