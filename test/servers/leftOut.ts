/**
 * Says once, before all tests, which of them are left out because a server is not installed.
 */
import * as Pgbouncer from "./pgbouncer.js"
import * as Postgres from "./postgres.js"
import * as Redis from "./redis.js"

const missing = [
  ...(Postgres.isInstalled ? [] : ["postgresql"]),
  ...(Pgbouncer.isInstalled ? [] : ["pgbouncer"]),
  ...(Redis.isInstalled ? [] : ["redis-server"])
]

/** Called by vitest. */
export const setup = (): void => {
  if (missing.length > 0 && process.env["CI"] === undefined) {
    process.stdout.write(`Left out: the tests that need ${missing.join(", ")} (not installed; with CI=1 they fail)\n`)
  }
}
