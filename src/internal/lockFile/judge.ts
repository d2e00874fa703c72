import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import type { Broken, Recorded } from "./look.js"

/** How long an unwritten record may stay as it is before its creator counts as dead. */
export const publishGrace = Duration.seconds(2)

/**
 * A creator that took longer than this, half of the grace, between creating and having written must assume that somebody
 * has judged its empty file.
 */
export const publishDoubt = Duration.millis(Duration.toMillis(publishGrace) / 2)

/** What to do about a record that is in the way. */
export type Verdict =
  | { readonly _tag: "Live" }
  /** Its owner is dead, or has been silent for too long: it may be taken over. */
  | { readonly _tag: "Stale" }
  /** Cannot be told yet; whoever wants to know must look again by then. */
  | { readonly _tag: "Silent"; readonly lookAgain: Duration.Duration }

const live: Verdict = { _tag: "Live" }
const stale: Verdict = { _tag: "Stale" }

interface Observation {
  readonly key: string
  readonly since: bigint
  last: bigint
}

const maxObservations = 1024

export interface Judge {
  readonly judge: (path: string, look: Recorded | Broken) => Effect.Effect<Verdict>
  readonly forget: (path: string) => void
}

/**
 * Judges the owners of records. For those that cannot be checked it remembers how long, on our own monotonic clock,
 * each path has looked the same.
 */
export const make = (identity: ProcessIdentity, lease: Duration.Duration): Judge => {
  const observations = new Map<string, Observation>()
  const leaseNanos = Duration.unsafeToNanos(lease)
  const graceNanos = Duration.unsafeToNanos(publishGrace)

  /** For how long `path` has looked the same; a pause longer than `maxPause` between two looks starts the count anew. */
  const unchangedFor = (path: string, key: string, now: bigint, maxPause: bigint): bigint => {
    const known = observations.get(path)
    if (known !== undefined && known.key === key && now - known.last <= maxPause) {
      known.last = now
      return now - known.since
    }
    observations.delete(path)
    observations.set(path, { key, since: now, last: now })
    for (const oldest of observations.keys()) {
      if (observations.size <= maxObservations) {
        break
      }
      observations.delete(oldest)
    }
    return 0n
  }

  const silent = (remaining: bigint, atMost: bigint): Verdict => ({
    _tag: "Silent",
    lookAgain: Duration.nanos(remaining < atMost ? remaining : atMost)
  })

  return {
    forget: (path) => void observations.delete(path),
    judge: (path, look) =>
      Effect.gen(function*() {
        if (look._tag === "Recorded") {
          const liveness = yield* identity.isAlive(look.holder)
          if (liveness !== "unknown") {
            return liveness === "alive" ? live : stale
          }
        }
        const now = yield* Clock.currentTimeNanos
        if (look._tag === "Broken") {
          // Pauses do not matter here: a creator that paused with us doubts its own record.
          const unchanged = unchangedFor(path, look.identity, now, graceNanos * 1_000_000n)
          return unchanged >= graceNanos ? stale : silent(graceNanos - unchanged, graceNanos)
        }
        const unchanged = unchangedFor(path, look.text, now, leaseNanos / 4n)
        return unchanged >= leaseNanos ? stale : silent(leaseNanos - unchanged, leaseNanos / 10n)
      })
  }
}
