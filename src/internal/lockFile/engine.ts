import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as LockBackend from "../../LockBackend.js"
import { type LockDirectoryError, LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import { codeOf } from "../errno.js"
import * as Heartbeat from "./heartbeat.js"
import * as Hints from "./hints.js"
import * as Judge from "./judge.js"
import * as Look from "./look.js"
import * as Names from "./names.js"
import { nextOf } from "./names.js"
import * as Place from "./place.js"
import * as Probe from "./probe.js"
import * as Queue from "./queue.js"
import * as Sweep from "./sweep.js"

/** An attempt waits for nobody, so it looks only so often at a path that changes under its eyes. */
const maxRounds = 16

/** For how long a file that looks the same is taken for the same record, in nanoseconds. */
const unchangedFor = 1_000_000_000n

/** How often the breaking of a lock is tried again while others are taking it over. */
const breakInterval = Duration.millis(5)

/** How long the breaking of a lock waits for others that are taking it over. */
const breakPatience = Duration.seconds(10)

/** Shorter ones end before a heartbeat can be made; longer ones do not fit a timer. */
const shortestLease = Duration.millis(10)
const longestLease = Duration.days(7)

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
  const { fs, identity, paths, scope } = options
  const lease = Duration.clamp(options.lease, { minimum: shortestLease, maximum: longestLease })
  const judge = Judge.make(identity, lease)
  const names = Names.make(fs, paths)
  const places = Place.make({ fs, identity, judge, lease, scope })
  const queue = Queue.make({ fs, places, judge })
  const probe = Probe.make(identity)
  const sweep = Sweep.make({ fs, paths, places, scope })

  const toGrant = (
    name: LockBackend.LockName,
    ours: Place.Ours,
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

  const attempt = (
    request: LockBackend.Request,
    contest: Hints.Contest
  ): Effect.Effect<LockBackend.Grant | LockBackend.Blocked, LockBackend.Refused | LockDirectoryError> => {
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

  /** Somebody else is next; who has the lock meanwhile? */
  const watchOn = (contest: Hints.Contest): Effect.Effect<LockBackend.Blocked> => {
    contest.contended = true
    const headWasFree = contest.headIsFree
    contest.headIsFree = false
    // Whoever was next has it, and whoever is next asks.
    return headWasFree ? Effect.succeed(blocked("Timeout", { holder: contest.owner })) : Effect.map(
      Look.glance(fs, contest.lockPath),
      (look) => {
        contest.owner = holderOf(look)
        return blocked("Timeout", { holder: contest.owner })
      }
    )
  }

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
        (recent) => recent && watching !== lockPath ? Look.hasStamp(fs, lockPath, seen.stamp) : Effect.succeed(recent)
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

  const tryToPlace = (
    { label, name, waits }: LockBackend.Request,
    contest: Hints.Contest
  ): Effect.Effect<LockBackend.Grant | LockBackend.Blocked, LockBackend.Refused | LockDirectoryError> =>
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
      yield* Effect.sleep(breakInterval)
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
      const contest: Hints.Contest = {
        lockPath: request.name.lockPath,
        contended: false,
        place: "alone",
        slot: undefined,
        ahead: undefined,
        owner: undefined,
        watching: undefined,
        seen: undefined,
        headIsFree: false
      }
      let hints: Hints.Hints | undefined
      return {
        attempt: Effect.suspend(() => attempt(request, contest)),
        changes: (ring) =>
          Effect.suspend(() => {
            hints ??= Hints.make({ fs, probe, contest, ring })
            return hints.await
          }),
        end: queue.leave(contest)
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
