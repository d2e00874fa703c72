// Joins the ES modules that `npm run build` has compiled.
import { fileURLToPath } from "node:url"
import { joinModules } from "./joinModules.js"

await joinModules(fileURLToPath(new URL("../dist/esm", import.meta.url)))
