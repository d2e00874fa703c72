import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import * as Look from "./look.js"

/** A waiter's memory of a record that is in its way. All times are in nanoseconds. */
export interface Sight {
  readonly path: string
  readonly holder: LockHolder | undefined
  readonly stamp: string | undefined
  /** When it was read. */
  readonly at: bigint
  /** When the file was last found to be the same. */
  foundAt: bigint
}

/** What a waiter watches, and since when. */
export interface Watching {
  readonly path: string
  readonly since: bigint
}

/** For how long a file that looks the same is taken for the same record, in nanoseconds. */
export const trust = 1_000_000_000n

/** A watch takes its time to begin: what happens before is not noticed. */
const beginning = 10_000_000n

/**
 * Whether the living owner that was seen a moment ago is still there. To find that out is all that most looks on schedule have to
 * do: to ask for the lock in vain, and to read who has it, costs several times as much. Where the file has been watched since it
 * was last found the same there is nothing to look at: its owner lives on this machine, and a watch sees what happens on this machine.
 */
export const isUnchanged = (options: {
  readonly fs: FileSystem.FileSystem
  readonly identity: ProcessIdentity
  readonly sight: Sight | undefined
  readonly watching: Watching | undefined
}): Effect.Effect<boolean> => {
  const { fs, identity, sight, watching } = options
  if (sight?.holder === undefined || sight.stamp === undefined) {
    return Effect.succeed(false)
  }
  const { at, holder, path, stamp } = sight
  return Effect.flatMap(Clock.currentTimeNanos, (now) =>
    now - at > trust
      ? Effect.succeed(false)
      : Effect.flatMap(identity.isAlive(holder), (liveness) => {
        if (liveness !== "alive") {
          return Effect.succeed(false)
        }
        if (watching?.path === path && sight.foundAt > watching.since + beginning) {
          return Effect.succeed(true)
        }
        return Effect.map(Look.stampOf(fs, path), (found) => {
          sight.foundAt = now
          return found === stamp
        })
      }))
}
