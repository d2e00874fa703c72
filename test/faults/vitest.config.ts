import { defineConfig, mergeConfig } from "vitest/config"
import base from "../../vitest.config.js"

const config = mergeConfig(base, defineConfig({ test: { testTimeout: 120_000 } }))

// Merging would keep the exclusion.
export default { ...config, test: { ...config.test, include: ["test/faults/**/*.test.ts"], exclude: [] } }
