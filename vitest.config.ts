import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

/** What all tests have in common. */
export const shared = defineConfig({
  test: {
    // Tests start and kill processes and look at their own pid: a worker thread has neither to itself.
    pool: "forks",
    // Most of them wait most of the time.
    poolOptions: { forks: { minForks: 1, maxForks: 3 } },
    testTimeout: 30_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    sequence: { concurrent: false },
    passWithNoTests: false,
    // A forgotten `it.only` must not turn a red suite green.
    allowOnly: !process.env.CI,
    coverage: { include: ["src/**/*.ts"], exclude: ["src/index.ts"] }
  }
})

export default defineConfig({
  ...shared,
  test: {
    ...shared.test,
    projects: [
      {
        extends: true,
        test: {
          name: "units",
          include: ["test/**/*.test.ts"],
          exclude: ["test/faults/**", "test/integration/**"],
          // Loading Effect takes longer than most files of tests.
          isolate: false
        }
      },
      {
        extends: true,
        test: {
          name: "processes",
          // `layer` of @effect/vitest changes `it` for all files that share a module graph with this one.
          include: ["test/integration/**/*.test.ts"]
        }
      },
      {
        extends: true,
        // The programs of the guides name the package as its users do.
        resolve: { alias: { "effect-filelock": fileURLToPath(new URL("src/index.ts", import.meta.url)) } },
        test: {
          name: "examples",
          include: ["examples/**/*.test.ts"],
          // Loading Effect takes longer than all of these tests.
          isolate: false,
          poolOptions: { forks: { singleFork: true } }
        }
      }
    ]
  }
})
