// A module that is gone from src must not live on in the package.
import * as Fs from "node:fs"

for (const directory of ["../build", "../dist"]) {
  Fs.rmSync(new URL(directory, import.meta.url), { recursive: true, force: true })
}
