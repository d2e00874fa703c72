/**
 * Tests that need a server. Where it is missing they are left out, and the report says so; in CI they fail.
 */
import { describe } from "@effect/vitest"

/** `describe`, for tests that need a program of this machine. */
export const describeWith = (program: string, isInstalled: boolean) =>
  isInstalled || process.env["CI"] !== undefined
    ? describe
    : describe.skipIf(true)
