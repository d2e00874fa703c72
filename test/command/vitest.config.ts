import { mergeConfig } from "vitest/config"
import { shared } from "../../vitest.config.js"

/** The command line, with real processes and terminals. */
export default mergeConfig(shared, { test: { include: ["test/command/**/*.test.ts"] } })
