import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import * as Immediate from "../immediate.js"
import { holderOf, type Seen } from "./record.js"

/** Whether the owner of a record lives. */
export type Staleness =
  | { readonly _tag: "Live" }
  /** Its owner is dead, or was silent for a whole lease: it may be taken over. */
  | { readonly _tag: "Stale" }
  /** It cannot be checked. It has to be read again within so many milliseconds, or the count of its silence starts anew. */
  | { readonly _tag: "Unverifiable"; readonly readAgainIn: number }

const live: Staleness = { _tag: "Live" }
const stale: Staleness = { _tag: "Stale" }

interface Observation {
  readonly text: string
  readonly since: number
  last: number
}

const maxObservations = 1024

export interface Check {
  /** Whether what was seen at a path is stale. */
  readonly check: (path: string, seen: Seen) => Effect.Effect<Staleness>
  /** Whether a path has had the same content for a whole lease, where the content does not say whose it is. */
  readonly checkUnknown: (path: string, text: string) => Effect.Effect<Staleness>
  /** Something else is at the path now. */
  readonly forget: (path: string) => void
}

/**
 * Checks the owners of records. For those that cannot be checked it remembers how long, on our own monotonic clock, each path has had
 * the same content, as far as that was read at intervals of at most a quarter of a lease.
 */
export const make = (identity: ProcessIdentity, lease: number): Check => {
  const observations = new Map<string, Observation>()

  const unchangedFor = (path: string, text: string, now: number): number => {
    const known = observations.get(path)
    observations.delete(path)
    if (known !== undefined && known.text === text && now - known.last <= lease / 4) {
      // It is the last one to be forgotten: leftovers that are many must not keep a lock from being taken over.
      observations.set(path, known)
      known.last = now
      return now - known.since
    }
    observations.set(path, { text, since: now, last: now })
    for (const oldest of observations.keys()) {
      if (observations.size <= maxObservations) {
        break
      }
      observations.delete(oldest)
    }
    return 0
  }

  const checkUnknown: Check["checkUnknown"] = (path, text) =>
    Effect.map(Clock.currentTimeNanos, (nanos): Staleness => {
      const unchanged = unchangedFor(path, text, Number(nanos) / 1e6)
      return unchanged >= lease
        ? stale
        : { _tag: "Unverifiable", readAgainIn: Math.min(lease - unchanged, lease / 10) }
    })

  return {
    forget: (path) => void observations.delete(path),
    checkUnknown,
    check: (path, seen) => {
      if (seen._tag === "Zeros") {
        return Exit.succeed(seen.modifiedAt < identity.bootedAt ? stale : live)
      }
      const holder = holderOf(seen)
      if (holder === undefined) {
        return Exit.succeed(live)
      }
      return Immediate.flatMap(
        identity.isAlive(holder),
        (liveness): Effect.Effect<Staleness> =>
          liveness === "dead"
            ? Exit.succeed(stale)
            // With flock(2) there are no heartbeats.
            : liveness === "alive" || seen._tag !== "Record"
            ? Exit.succeed(live)
            : checkUnknown(path, seen.text)
      )
    }
  }
}
