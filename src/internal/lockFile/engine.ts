import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Array from "effect/Array"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as LockBackend from "../../LockBackend.js"
import { type LockDirectoryError, LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import { codeOf } from "../errno.js"
import * as Heartbeat from "./heartbeat.js"
import * as Judge from "./judge.js"
import * as Look from "./look.js"
import * as Names from "./names.js"
import { claimOf } from "./names.js"
import * as Place from "./place.js"

/** How often the life of an owner is asked for while somebody waits; a signal and a small read, some microseconds. */
const probeInterval = Duration.millis(5)

/** An attempt waits for nobody, so it looks only so often at a path that changes under its eyes. */
const maxRounds = 16

/** How long the breaking of a lock waits for others that are taking it over. */
const breakPatience = Duration.seconds(10)

/** Shorter ones end before a heartbeat can be made; longer ones do not fit a timer. */
const shortestLease = Duration.millis(10)
const longestLease = Duration.days(7)

/** A claim stays alone at such a level only when as many processes have died one after the other, each while it took over from the last. */
const sweptLevels = 4

/** A process that locks more paths than this looks after the claims of some of them again. */
const maxSwept = 4096

const blocked = (
  reason: LockBackend.Blocked["reason"],
  details?: {
    readonly holder?: LockHolder | undefined
    readonly lookAgain?: Duration.Duration | undefined
    readonly cause?: unknown
  }
): LockBackend.Blocked => ({
  _tag: "Blocked",
  reason,
  cause: details?.cause,
  holder: Option.fromNullable(details?.holder),
  lookAgain: Option.fromNullable(details?.lookAgain)
})

const holderOf = (look: Look.Look): LockHolder | undefined => look._tag === "Recorded" ? look.holder : undefined

const reasonOf = (error: PlatformError): "PermissionDenied" | "StorageFull" | "SystemError" => {
  switch (codeOf(error)) {
    case "EACCES":
    case "EPERM":
      return "PermissionDenied"
    case "ENOSPC":
    case "EDQUOT":
      return "StorageFull"
    default:
      return "SystemError"
  }
}

/** A system call that failed for a reason that may pass. */
const blockedBy = (cause: PlatformError): LockBackend.Blocked => blocked(reasonOf(cause), { cause })

const refused = (cause: PlatformError) => new LockBackend.Refused({ reason: reasonOf(cause), cause })

export const make = (options: {
  readonly fs: FileSystem.FileSystem
  readonly paths: Path.Path
  readonly identity: ProcessIdentity
  readonly lease: Duration.Duration
  readonly scope: Scope.Scope
}): LockBackend.LockBackend => {
  const { fs, identity } = options
  const lease = Duration.clamp(options.lease, { minimum: shortestLease, maximum: longestLease })
  const judge = Judge.make(identity, lease)
  const names = Names.make(fs, options.paths)
  const places = Place.make({ fs, identity, judge, lease, scope: options.scope })
  /** Lock paths whose claims were looked after by this process. */
  const swept = new Set<string>()
  /** Lock paths whose claims are to be looked at again. */
  const sweeping = new Set<string>()

  /** A process that was killed while it took a lock over may have left its claim, and nobody else looks for it. */
  const sweep = (lockPath: string): Effect.Effect<void> =>
    Effect.gen(function*() {
      const claimPaths: Array<string> = []
      for (let claimPath = claimOf(lockPath); claimPaths.length < sweptLevels; claimPath = claimOf(claimPath)) {
        claimPaths.unshift(claimPath)
      }
      const lookAgain = yield* Effect.forEach(claimPaths, places.clear).pipe(
        Effect.map(Array.getSomes),
        Effect.catchAll((cause) =>
          Effect.as(Effect.logDebug(`Could not look after the claims of ${lockPath}`, cause), [])
        )
      )
      if (Array.isNonEmptyArray(lookAgain) && !sweeping.has(lockPath)) {
        sweeping.add(lockPath)
        yield* Effect.sleep(Array.min(lookAgain, Duration.Order)).pipe(
          Effect.interruptible,
          Effect.zipRight(Effect.suspend(() => {
            sweeping.delete(lockPath)
            return sweep(lockPath)
          })),
          Effect.forkIn(options.scope)
        )
      }
    })

  const sweepOnce = (lockPath: string, contended: boolean): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (!contended && swept.has(lockPath)) {
        return Effect.void
      }
      if (swept.size >= maxSwept) {
        swept.clear()
      }
      swept.add(lockPath)
      return sweep(lockPath)
    })

  const lostError = (name: LockBackend.LockName, gone: Heartbeat.Gone) =>
    Effect.map(DateTime.now, (at) => new LockLostError({ ...name, reason: gone.reason, holder: gone.holder, at }))

  const toGrant = (
    name: LockBackend.LockName,
    ours: Place.Ours,
    recovered: boolean
  ): Effect.Effect<LockBackend.Grant> =>
    Effect.gen(function*() {
      const lost = yield* Deferred.make<never, LockLostError>()
      const tellLost = (gone: Heartbeat.Gone) =>
        Effect.flatMap(lostError(name, gone), (error) => Effect.as(Deferred.fail(lost, error), error))
      const heartbeat = Heartbeat.make({ fs, places, path: name.lockPath, ours, lease })
      const beating = yield* heartbeat.run.pipe(
        Effect.catchAll(tellLost),
        Effect.interruptible,
        Effect.forkDaemon
      )
      return {
        _tag: "Grant",
        holder: ours.holder,
        fence: Option.none(),
        recovered,
        lost,
        verify: Effect.catchAll(heartbeat.verify, (gone) =>
          Effect.flatMap(gone.reason === "BackendUnavailable" ? lostError(name, gone) : tellLost(gone), Effect.fail)),
        release: Fiber.interrupt(beating).pipe(
          Effect.zipRight(places.remove(name.lockPath, ours)),
          Effect.flatMap((removed) =>
            removed
              ? Effect.void
              : Effect.logWarning(`The lock ${name.lockPath} was no longer ours when it was released`)
          )
        )
      }
    })

  const attempt = (
    { label, name }: LockBackend.Request,
    memory: { contended: boolean; owner: LockHolder | undefined }
  ): Effect.Effect<LockBackend.Grant | LockBackend.Blocked, LockBackend.Refused | LockDirectoryError> =>
    Effect.gen(function*() {
      const { lockPath } = name
      let directoryMade = false
      for (let round = 0; round < maxRounds; round++) {
        const placed = yield* Effect.either(places.place(lockPath, label))
        if (placed._tag === "Left") {
          if (codeOf(placed.left) === "ENOENT" && !directoryMade) {
            yield* names.makeDirectoryFor(name)
            directoryMade = true
            continue
          }
          const explained = names.explain(name, placed.left)
          return explained === undefined ? blockedBy(placed.left) : yield* explained
        }
        if (placed.right._tag === "Placed") {
          yield* sweepOnce(lockPath, memory.contended)
          return yield* toGrant(name, placed.right.ours, false)
        }
        memory.contended = true
        const { look } = placed.right
        memory.owner = holderOf(look)
        if (look._tag === "Absent") {
          continue
        }
        if (look._tag === "Foreign") {
          return blocked("Foreign", { cause: new Error(`it is ${look.what}`) })
        }
        if (look._tag === "Unreadable") {
          return blockedBy(look.cause)
        }
        const verdict = yield* judge.judge(lockPath, look)
        if (verdict._tag !== "Stale") {
          const lookAgain = verdict._tag === "Silent" ? verdict.lookAgain : undefined
          return blocked("Timeout", { holder: memory.owner, lookAgain })
        }
        const taken = yield* Effect.either(places.takeOver(lockPath, look, label))
        if (taken._tag === "Left") {
          return blockedBy(taken.left)
        }
        if (taken.right._tag === "Placed") {
          yield* Effect.logDebug(`Took over ${lockPath}`)
          yield* sweepOnce(lockPath, true)
          return yield* toGrant(name, taken.right.ours, true)
        }
        if (taken.right._tag === "Busy") {
          const { claimPath, look, lookAgain } = taken.right
          memory.owner = holderOf(look)
          return look._tag === "Foreign"
            ? blocked("Foreign", { cause: new Error(`${claimPath} is ${look.what}`) })
            : blocked("Timeout", { holder: memory.owner, lookAgain })
        }
      }
      return blocked("Timeout", { holder: memory.owner, lookAgain: Duration.zero })
    })

  /** Completes once the owner who is in the way is dead; once for each, since taking over from it may fail. */
  const untilDead = (memory: { readonly owner: LockHolder | undefined }): Effect.Effect<void> => {
    let told: string | undefined
    return Effect.sleep(probeInterval).pipe(
      Effect.zipRight(Effect.suspend(() => {
        const { owner } = memory
        return owner === undefined || owner.token === told ? Effect.succeed(false) : Effect.map(
          identity.isAlive(owner),
          (liveness) => {
            told = liveness === "dead" ? owner.token : undefined
            return liveness === "dead"
          }
        )
      })),
      Effect.repeat({ until: (dead) => dead }),
      Effect.asVoid
    )
  }

  /** A beat of a living owner, or somebody who is taking over, can come between; both pass. */
  const breakClaim = (lockPath: string, token: string): Effect.Effect<boolean, PlatformError> =>
    Effect.gen(function*() {
      const look = yield* Look.look(fs, lockPath)
      if (look._tag === "Unreadable") {
        return yield* look.cause
      }
      if (look._tag !== "Recorded" || look.holder.token !== token) {
        return false
      }
      const isDead = (yield* identity.isAlive(look.holder)) === "dead"
      const broken = yield* places.takeOver(lockPath, look).pipe(
        Effect.flatMap((taken) =>
          taken._tag === "Placed" ? clearTheWay(lockPath, taken.ours, isDead) : Effect.succeed(false)
        ),
        Effect.uninterruptible
      )
      if (broken) {
        return true
      }
      yield* Effect.sleep(probeInterval)
      return yield* breakClaim(lockPath, token)
    })

  /**
   * A living owner that is just releasing has looked, and removes whatever is there: let that be our record, and not one that somebody
   * could create after we have gone.
   */
  const clearTheWay = (lockPath: string, ours: Place.Ours, isDead: boolean): Effect.Effect<boolean> =>
    Effect.sleep(isDead ? Duration.zero : Judge.publishDoubt).pipe(
      Effect.zipRight(places.remove(lockPath, ours)),
      Effect.as(true)
    )

  return LockBackend.make({
    capabilities: { liveness: "kernel", fencing: false, shared: false, wakes: true },
    resolve: names.resolve,
    contend: (request) => {
      const memory: { contended: boolean; owner: LockHolder | undefined } = { contended: false, owner: undefined }
      return {
        attempt: attempt(request, memory),
        changes: Effect.succeed(untilDead(memory))
      }
    },
    inspect: (name) =>
      Effect.gen(function*() {
        const status = (state: LockBackend.State, holders: ReadonlyArray<LockHolder> = []) =>
          Option.some<LockBackend.LockStatus>({ state, mode: "exclusive", holders })
        const look = yield* Look.look(fs, name.lockPath)
        switch (look._tag) {
          case "Absent":
            return Option.none()
          case "Foreign":
            return status("foreign")
          case "Unreadable":
            return yield* refused(look.cause)
          case "Broken":
            return status("unverifiable")
          case "Recorded": {
            const liveness = yield* identity.isAlive(look.holder)
            const state = liveness === "alive" ? "held" : liveness === "dead" ? "abandoned" : "unverifiable"
            return status(state, [look.holder])
          }
        }
      }),
    breakLock: (name, holder) =>
      breakClaim(name.lockPath, holder.token).pipe(
        Effect.mapError(refused),
        Effect.timeoutFail({
          duration: breakPatience,
          onTimeout: () =>
            new LockBackend.Refused({
              reason: "SystemError",
              cause: new Error("somebody else is taking the lock over")
            })
        })
      )
  })
}
