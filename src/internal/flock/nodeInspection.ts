import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as LockBackend from "../../LockBackend.js"
import type { LockDirectoryError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import type { Disk } from "../lockFile/disk.js"
import * as Record from "../lockFile/record.js"
import { refused } from "../lockFile/refusal.js"
import type { Kernel } from "./nodeKernel.js"

type Service = Context.Tag.Service<LockBackend.LockBackend>

/** What a person does with a lock: to look at it, and to break it. The files of the other engine are left to that. */
export const make = (options: {
  readonly disk: Disk
  readonly identity: ProcessIdentity
  readonly kernel: Kernel
  readonly lockFiles: Pick<Service, "inspect" | "breakLock">
  /** Tries once to have the lock for itself. */
  readonly tryAcquire: (
    key: LockBackend.LockKey
  ) => Effect.Effect<Option.Option<LockBackend.Grant>, LockBackend.BackendError | LockDirectoryError>
}): Pick<Service, "inspect" | "breakLock"> => {
  const { disk, identity, kernel, lockFiles, tryAcquire } = options

  /** The last holder that a file of ours names, if it has one; `"other"` for a file that is not ours. */
  const lastHolder = (path: string): Effect.Effect<LockHolder | "nobody" | "other", LockBackend.BackendError> =>
    Effect.mapBoth(Effect.suspend(() => disk.read(path)), {
      onFailure: (error) => refused(error),
      onSuccess: (entry) => {
        const seen = Record.toSeen(entry)
        return seen._tag === "Flock"
          ? seen.holder ?? "nobody"
          : entry._tag === "File" && entry.text === ""
          ? "nobody"
          : "other"
      }
    })

  const inspect: Service["inspect"] = (key) =>
    Effect.gen(function*() {
      const last = yield* lastHolder(key.lockPath)
      if (last === "other") {
        return yield* lockFiles.inspect(key)
      }
      const owners = kernel.ownersOf(key.lockPath)
      const isDead = last === "nobody" || (yield* identity.isAlive(last)) === "dead"
      const status = (state: LockBackend.State, mode: LockBackend.Mode, holders: ReadonlyArray<LockHolder>) =>
        Option.some<LockBackend.LockStatus>({ state, mode, holders, waiters: [] })
      if (last !== "nobody" && !isDead) {
        return status("held", "exclusive", [last])
      }
      const owner = owners?.[0]
      return owner !== undefined
        // Another program, or several of ours that share it.
        ? status("held", owner.mode, [])
        : last !== "nobody"
        ? status("abandoned", "exclusive", [last])
        : owners === undefined
        ? status("unverifiable", "shared", [])
        : Option.none()
    })

  /** The kernel has freed a dead process's lock. That of a live one is not to be had. */
  const breakLock: Service["breakLock"] = (key, holder) =>
    Effect.gen(function*() {
      const last = yield* lastHolder(key.lockPath)
      if (last === "other") {
        return yield* lockFiles.breakLock(key, holder)
      }
      if (last === "nobody" || last.token !== holder.token) {
        return false
      }
      if ((yield* identity.isAlive(last)) !== "dead") {
        const cause = new Error(`only the end of process ${last.pid} frees what it has locked with flock(2)`)
        return yield* new LockBackend.BackendError({ reason: "SystemError", holder: last, cause })
      }
      const broken = yield* Effect.catchTag(
        tryAcquire(key),
        "LockDirectoryError",
        ({ cause }) => new LockBackend.BackendError({ reason: "SystemError", cause })
      )
      return yield* Option.match(broken, {
        // Another program has it by now.
        onNone: () => Effect.succeed(false),
        onSome: ({ release }) => Effect.as(release, true)
      })
    }).pipe(Effect.uninterruptible)

  return { inspect, breakLock }
}
