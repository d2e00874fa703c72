import { defineConfig, mergeConfig } from "vitest/config"
import { shared } from "../../vitest.config.js"

export default mergeConfig(
  shared,
  defineConfig({
    test: {
      include: ["test/fencing/**/*.test.ts"],
      poolOptions: { forks: { isolate: true, minForks: 1 } },
      testTimeout: 120_000
    }
  })
)
