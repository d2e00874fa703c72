import { defineConfig, mergeConfig } from "vitest/config"
import { shared } from "../../vitest.config.js"

/** What takes too long for `npm test`, and the long forms of what is in it. */
export default mergeConfig(
  shared,
  defineConfig({
    test: {
      include: [
        "test/faults/**/*.test.ts",
        "test/integration/killPoints.test.ts",
        "test/simulation/interruption.test.ts",
        "test/MemoryFileSystemConformance.test.ts"
      ],
      env: { KILL_POINTS: "all", INTERRUPTIONS: "2000", PROGRAMS: "1000" },
      testTimeout: 300_000
    }
  })
)
