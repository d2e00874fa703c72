/**
 * Tests that need a server. Where it is missing they are left out, which `leftOut.ts` says in one line; in CI they fail.
 */
import { describe } from "@effect/vitest"

/** `describe`, for tests that need a program of this machine. */
export const describeWhere = (isInstalled: boolean) => (name: string, tests: () => void): void => {
  describe.skipIf(!isInstalled && process.env["CI"] === undefined)(name, tests)
}
