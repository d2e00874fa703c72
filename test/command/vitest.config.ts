import { mergeConfig } from "vitest/config"
import { shared } from "../../vitest.config.js"

/** The command line, and programs of the guides, with real processes and terminals. */
export default mergeConfig(shared, {
  test: { include: ["test/command/**/*.test.ts", "test/examples/processes/**/*.test.ts"] }
})
