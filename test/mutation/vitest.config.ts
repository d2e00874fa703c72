import { defineConfig } from "vitest/config"
import { root } from "./Mutant.js"
import { mutants } from "./mutants.js"
import { plugin } from "./plugin.js"

/** The bug to put in; without it, the tests run as they are. */
const name = process.env["MUTANT"] ?? ""
const mutant = mutants.find((known) => known.name === name)
if (name !== "" && mutant === undefined) {
  throw new Error(`There is no seeded bug with the name ${name}`)
}

export default defineConfig({
  root,
  plugins: mutant === undefined ? [] : [plugin(mutant)],
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    // Without a bug several files are run. What one leaves on `globalThis` must not be another one's.
    poolOptions: { forks: mutant === undefined ? { minForks: 1, maxForks: 2 } : { singleFork: true } },
    // A bug that makes a test wait for ever is noticed by this.
    testTimeout: 20_000,
    hookTimeout: 20_000,
    teardownTimeout: 5_000,
    sequence: { concurrent: false }
  }
})
