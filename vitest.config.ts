import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

/** What all tests have in common. */
export const shared = defineConfig({
  // The programs of the guides name the package as its users do.
  resolve: {
    alias: [
      { find: /^effect-filelock$/, replacement: fileURLToPath(new URL("src/index.ts", import.meta.url)) },
      { find: /^effect-filelock\/(\w+)$/, replacement: fileURLToPath(new URL("src/$1.ts", import.meta.url)) }
    ]
  },
  test: {
    // Tests start and kill processes and look at their own pid: a worker thread has neither to itself.
    pool: "forks",
    poolOptions: {
      forks: {
        // Loading Effect takes longer than most files of tests: those of one process share their modules.
        isolate: false,
        // Most of them wait most of the time. The pool must not end a process while others go on: it would end it twice.
        minForks: 4,
        maxForks: 4
      }
    },
    setupFiles: fileURLToPath(new URL("test/utils/turn.ts", import.meta.url)),
    globalSetup: fileURLToPath(new URL("test/servers/leftOut.ts", import.meta.url)),
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
    include: ["{test,examples}/**/*.test.ts"],
    exclude: ["test/faults/**", "test/engines/servers/**", "test/command/**", "test/examples/processes/**"]
  }
})
