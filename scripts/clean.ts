// A module that is gone from src must not live on in the package.
import * as Fs from "node:fs"

Fs.rmSync(new URL("../dist", import.meta.url), { recursive: true, force: true })
