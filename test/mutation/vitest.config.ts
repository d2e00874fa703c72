import { defineConfig } from "vitest/config"
import { root, sources } from "./Mutant.js"
import { mutants } from "./mutants.js"

/** The bug to put in; without it, the suite runs as it is. */
const name = process.env["MUTANT"] ?? ""
const mutant = mutants.find((known) => known.name === name)
if (name !== "" && mutant === undefined) {
  throw new Error(`There is no seeded bug with the name ${name}`)
}
const changed = mutant === undefined ? new Map<string, string>() : sources(mutant)

export default defineConfig({
  root,
  plugins: [{
    name: "seeded-bug",
    enforce: "pre",
    transform: (_, id) => changed.get(id.split("?")[0] ?? id)
  }],
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    // What the bug makes wait for ever has to be known as such soon.
    testTimeout: 20_000,
    hookTimeout: 20_000,
    teardownTimeout: 5_000,
    sequence: { concurrent: false }
  }
})
