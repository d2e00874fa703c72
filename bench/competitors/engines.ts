/**
 * This package over its engines, and what they rest on without it.
 */
import * as Pg from "pg"
import * as Engines from "../../test/torture/Engines.js"
import * as Competitor from "../Competitor.js"
import * as Ours from "./ours.js"

/** The package over an engine. A lock of a Redis holder that is killed is free after a lease: that is 2 s here. */
export const engine = (settings: Engines.Settings): Competitor.Competitor =>
  Ours.make(Engines.layer(settings, settings._tag === "redis" ? { lease: 2_000 } : {}))

/** A blocking advisory lock of PostgreSQL, on one connection that stays open. */
export const advisoryLock = (url: string): Competitor.Competitor => {
  const client = new Pg.Client(url)
  const connected = client.connect()
  return Competitor.fromAcquire(async () => {
    await connected
    await client.query("select pg_advisory_lock(1)")
    return async () => void await client.query("select pg_advisory_unlock(1)")
  })
}
