import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as LockBackend from "../../LockBackend.js"
import { type LockDirectoryError, LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import { codeOf } from "../errno.js"
import * as Heartbeat from "./heartbeat.js"
import type * as Hints from "./hints.js"
import type { Judge } from "./judge.js"
import * as Look from "./look.js"
import { type Names, nextOf } from "./names.js"
import type { Ours, Places } from "./place.js"
import * as Queue from "./queue.js"
import type { Sweep } from "./sweep.js"

/** An attempt waits for nobody, so it looks only so often at a path that changes under its eyes. */
const maxRounds = 16

/**
 * For how many milliseconds whoever was outrun on the way to the head leaves it to others: if all who wait were woken each time,
 * the more of them there are the less they would get done.
 */
const rest = Random.nextRange(25, 100)

/** For how long a file that looks the same is taken for the same record, in nanoseconds. */
const unchangedFor = 1_000_000_000n

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
      release: Effect.flatMap(Effect.zipRight(leave, places.remove(name.lockPath, ours)), (removed) =>
        removed
          ? Effect.void
          : Effect.logWarning(`The lock ${name.lockPath} was no longer ours when it was released`))
    }
  }

  const attempt: Attempt = (request, contest) => {
    if (!request.waits || contest.slot !== undefined) {
      return tryToPlace(request, contest)
    }
    const tryInTurn = Effect.flatMap(
      isUnchangedAhead(contest),
      (unchanged) =>
        unchanged ? Effect.succeed(blocked("Timeout", { holder: contest.owner })) : Effect.flatMap(
          queue.lineUp(contest),
          (mayTry) => mayTry ? tryToPlace(request, contest) : watchOn(contest)
        )
    )
    return contest.contended
      ? tryInTurn
      : Effect.flatMap(
        queue.mustLineUp(contest.lockPath),
        (othersFirst) => othersFirst ? tryInTurn : tryToPlace(request, contest)
      )
  }

  /** Somebody else is next. */
  const watchOn = (contest: Hints.Contest): Effect.Effect<LockBackend.Blocked> =>
    Effect.gen(function*() {
      contest.contended = true
      contest.outrun = contest.headIsFree
      contest.headIsFree = false
      if (contest.outrun) {
        return blocked("Timeout", { holder: contest.owner, lookAgain: Duration.millis(yield* rest) })
      }
      const now = yield* Clock.currentTimeNanos
      if (now - contest.glancedAt > unchangedFor) {
        contest.glancedAt = now
        contest.owner = holderOf(yield* Look.glance(fs, contest.lockPath))
      }
      return blocked("Timeout", { holder: contest.owner })
    })

  /**
   * Whether the living owner that was seen a moment ago is still there. To find that out is all that most looks on schedule have to
   * do: to ask for the lock in vain, and to read who has it, costs several times as much. Where the file is watched there is
   * nothing to look at: its owner lives on this machine, and a watch sees what happens on this machine.
   */
  const isUnchanged = (contest: Hints.Contest): Effect.Effect<boolean> =>
    Effect.suspend(() => {
      const { lockPath, seen, watching } = contest
      return seen === undefined ? Effect.succeed(false) : Effect.flatMap(
        isRecent(seen.at, unchangedFor, seen.owner),
        (recent) =>
          recent && watching !== lockPath
            ? Effect.map(Look.stampOf(fs, lockPath), (stamp) => stamp === seen.stamp)
            : Effect.succeed(recent)
      )
    })

  const isRecent = (at: bigint, within: bigint, owner: LockHolder): Effect.Effect<boolean> =>
    Effect.flatMap(Clock.currentTimeNanos, (now) =>
      now - at > within
        ? Effect.succeed(false)
        : Effect.map(identity.isAlive(owner), (liveness) => liveness === "alive"))

  /** The same for whoever waits behind somebody else. */
  const isUnchangedAhead = ({ ahead, headIsFree, lockPath, place, watching }: Hints.Contest): Effect.Effect<boolean> =>
    place !== "behind" || headIsFree || watching !== nextOf(lockPath) || ahead?.holder === undefined
      ? Effect.succeed(false)
      : isRecent(ahead.seen, Queue.courtesy / 2n, ahead.holder)

  const tryToPlace: Attempt = ({ label, name, waits }, contest) =>
    Effect.gen(function*() {
      const { lockPath } = name
      if (yield* isUnchanged(contest)) {
        return blocked("Timeout", { holder: contest.owner })
      }
      let directoryMade = false
      contest.owner = undefined
      contest.seen = undefined
      for (let round = 0; round < maxRounds; round++) {
        const placed = yield* Effect.either(
          places.place(lockPath, round === 0 && contest.contended ? Look.glance : Look.look, label)
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
          yield* sweep.once(lockPath)
          return toGrant(name, placed.right.ours, false, yield* queue.enter(contest))
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
            contest.seen = { owner: look.holder, stamp: look.stamp, at: yield* Clock.currentTimeNanos }
          }
          const lookAgain = verdict._tag === "Silent" ? verdict.lookAgain : undefined
          return blocked("Timeout", { holder: contest.owner, lookAgain })
        }
        const taken = yield* Effect.either(places.takeOver(lockPath, look, label))
        if (taken._tag === "Left") {
          return blockedBy(taken.left)
        }
        if (taken.right._tag === "Placed") {
          yield* Effect.logDebug(`Took over ${lockPath}`)
          yield* sweep.again(lockPath)
          return toGrant(name, taken.right.ours, true, yield* queue.enter(contest))
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
