import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as LockBackend from "../../LockBackend.js"
import { type LockDirectoryError, LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import { codeOf } from "../errno.js"
import { forkBehind } from "../fork.js"
import * as Heartbeat from "./heartbeat.js"
import type * as Hints from "./hints.js"
import type { Judge } from "./judge.js"
import * as Look from "./look.js"
import type { Names } from "./names.js"
import type { Occupied, Ours, Placed, Places } from "./place.js"
import * as Queue from "./queue.js"
import * as Sight from "./sight.js"
import type { Sweep } from "./sweep.js"

/** An attempt waits for nobody, so it looks only so often at a path that changes under its eyes. */
const maxRounds = 16

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

export const reasonOf = (error: PlatformError): "PermissionDenied" | "StorageFull" | "SystemError" => {
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

/** Whether the process that has the lock came back for it, within its turn, since it was seen last. */
const isOutrun = (
  contest: Hints.Contest,
  { instance, token }: LockHolder,
  now: bigint
): contest is Hints.Contest & { readonly reign: Hints.Reign } => {
  const before = contest.reign
  contest.reign = { instance, token, until: before?.instance === instance ? before.until : now + Queue.turn }
  return before?.instance === instance && before.token !== token && now < before.until
}

/** One try of one contender: A1 and A2 of `docs/protocol.md`, as far as it is its turn. */
export type Attempt = (
  request: LockBackend.Request,
  contest: Hints.Contest
) => Effect.Effect<LockBackend.Grant | LockBackend.Blocked, LockBackend.Refused | LockDirectoryError>

export const make = (options: {
  readonly fs: FileSystem.FileSystem
  readonly identity: ProcessIdentity
  readonly lease: Duration.Duration
  readonly judge: Judge
  readonly names: Names
  readonly places: Places
  readonly queue: Queue.Queue
  readonly sweep: Sweep
}): Attempt => {
  const { fs, identity, judge, lease, names, places, queue, sweep } = options

  const keepAfter = Heartbeat.firstBeatAfter(lease)

  const toGrant = (
    name: LockBackend.LockName,
    ours: Ours,
    recovered: boolean,
    leave: Effect.Effect<void>
  ): LockBackend.Grant => {
    const heartbeat = Heartbeat.make({ fs, places, path: name.lockPath, ours, lease })
    const toLoss = (gone: Heartbeat.Gone) =>
      Effect.flatMap(DateTime.now, (at) => new LockLostError({ ...name, reason: gone.reason, holder: gone.holder, at }))
    return {
      _tag: "Grant",
      holder: ours.holder,
      fence: Option.none(),
      recovered,
      verify: Effect.catchAll(heartbeat.verify, toLoss),
      keep: Effect.catchAll(heartbeat.run, toLoss),
      keepAfter,
      release: Effect.flatMap(Effect.zipRight(leave, places.remove(name.lockPath, ours)), (removed) =>
        removed
          ? Effect.void
          : Effect.logWarning(`The lock ${name.lockPath} was no longer ours when it was released`))
    }
  }

  /** What is left to do once the lock is ours; nobody waits for it before the lock is to be released. */
  const enter = (contest: Hints.Contest, sweeps: boolean): Effect.Effect<Effect.Effect<void>> =>
    Effect.flatMap(queue.enter(contest), (leave) =>
      sweeps
        ? Effect.map(
          forkBehind(sweep.run(contest.lockPath)),
          (fiber) => Effect.zipRight(Fiber.await(fiber), leave)
        )
        : Effect.succeed(leave))

  const attempt: Attempt = (request, contest) => {
    if (!request.waits || contest.slot !== undefined) {
      return tryToPlace(request, contest)
    }
    const tryInTurn = Effect.flatMap(
      queue.lineUp(contest),
      (mayTry) => mayTry ? tryToPlace(request, contest) : stayBehind(contest)
    )
    return contest.contended
      ? tryInTurn
      : Effect.flatMap(
        queue.mustLineUp(contest.lockPath),
        (othersFirst) => othersFirst ? tryInTurn : tryToPlace(request, contest)
      )
  }

  /** Somebody else is next. */
  const stayBehind = (contest: Hints.Contest): Effect.Effect<LockBackend.Blocked> =>
    Effect.gen(function*() {
      contest.contended = true
      const now = yield* Clock.currentTimeNanos
      if (now - contest.glancedAt > Sight.trust) {
        contest.glancedAt = now
        contest.owner = holderOf(yield* Look.glance(fs, contest.lockPath))
      }
      return blocked("Timeout", { holder: contest.owner, lookAgain: Queue.lookAgain(contest, now) })
    })

  /**
   * What is left of the turn of a process that got the lock again and again since we wait. To ask for the lock each time, in vain,
   * would cost both of us more than the lock does; only where nobody has it now, somebody may not have come back.
   */
  const turnLeft = (contest: Hints.Contest): Effect.Effect<Duration.Duration | undefined> =>
    Effect.flatMap(Clock.currentTimeNanos, (now) =>
      now >= contest.restsUntil || contest.bereft !== undefined
        ? Effect.succeed(undefined)
        : Effect.map(
          Look.stampOf(fs, contest.lockPath),
          (stamp) => stamp === undefined ? undefined : Duration.nanos(contest.restsUntil - now)
        ))

  const tryToPlace: Attempt = ({ label, name, waits }, contest) =>
    Effect.gen(function*() {
      const { lockPath } = name
      const left = yield* turnLeft(contest)
      if (left !== undefined) {
        return blocked("Timeout", { holder: contest.owner, lookAgain: left })
      }
      if (yield* Sight.isUnchanged({ fs, identity, sight: contest.seen, watching: contest.watching })) {
        return blocked("Timeout", { holder: contest.owner })
      }
      let directoryMade = false
      contest.owner = undefined
      contest.seen = undefined
      for (let round = 0; round < maxRounds; round++) {
        const { bereft } = contest
        contest.bereft = undefined
        const placed = yield* Effect.either<Placed | Occupied, PlatformError, never>(
          bereft === undefined
            ? places.place(lockPath, round === 0 && contest.contended ? Look.glance : Look.look, label)
            // Nobody creates it while that record is there.
            : Effect.succeed({ _tag: "Occupied", look: bereft })
        )
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
          return toGrant(name, placed.right.ours, false, yield* enter(contest, sweep.isDue(lockPath)))
        }
        const { look } = placed.right
        contest.owner = holderOf(look)
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
          if (waits && !contest.contended) {
            contest.contended = true
            contest.place = contest.slot === undefined ? "behind" : "head"
          }
          if (verdict._tag === "Live" && look._tag === "Recorded") {
            const at = yield* Clock.currentTimeNanos
            contest.seen = { path: lockPath, holder: look.holder, stamp: look.stamp, at, foundAt: at, look }
            if (isOutrun(contest, look.holder, at)) {
              contest.restsUntil = contest.reign.until
              return blocked("Timeout", { holder: contest.owner, lookAgain: Duration.nanos(contest.restsUntil - at) })
            }
          }
          const linesUp = contest.place === "behind" ? Queue.shortest : undefined
          const lookAgain = verdict._tag === "Silent" ? verdict.lookAgain : linesUp
          return blocked("Timeout", { holder: contest.owner, lookAgain })
        }
        const taken = yield* Effect.either(places.takeOver(lockPath, look, label))
        if (taken._tag === "Left") {
          return blockedBy(taken.left)
        }
        if (taken.right._tag === "Placed") {
          yield* Effect.logDebug(`Took over ${lockPath}`)
          return toGrant(name, taken.right.ours, true, yield* enter(contest, true))
        }
        if (taken.right._tag === "Busy") {
          const { claimPath, look, lookAgain } = taken.right
          contest.owner = holderOf(look)
          return look._tag === "Foreign"
            ? blocked("Foreign", { cause: new Error(`${claimPath} is ${look.what}`) })
            : blocked("Timeout", { holder: contest.owner, lookAgain })
        }
      }
      return blocked("Timeout", { holder: contest.owner, lookAgain: Duration.zero })
    })

  return attempt
}
