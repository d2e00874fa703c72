import { defineConfig, mergeConfig } from "vitest/config"
import { shared } from "../../vitest.config.js"

export default mergeConfig(
  shared,
  defineConfig({
    test: {
      include: ["test/engines/servers/**/*.test.ts"],
      testTimeout: 120_000
    }
  })
)
