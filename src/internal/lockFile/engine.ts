import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as LockBackend from "../../LockBackend.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import * as Attempt from "./attempt.js"
import * as Hints from "./hints.js"
import * as Judge from "./judge.js"
import * as Look from "./look.js"
import * as Names from "./names.js"
import * as Place from "./place.js"
import * as Probe from "./probe.js"
import * as Queue from "./queue.js"
import * as Sweep from "./sweep.js"

/** How often the breaking of a lock is tried again while others are taking it over. */
const breakInterval = Duration.millis(5)

/** How long the breaking of a lock waits for others that are taking it over. */
const breakPatience = Duration.seconds(10)

/** Shorter ones end before a heartbeat can be made; longer ones do not fit a timer. */
const shortestLease = Duration.millis(10)
const longestLease = Duration.days(7)

const refused = (cause: PlatformError) => new LockBackend.Refused({ reason: Attempt.reasonOf(cause), cause })

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
  const queue = Queue.make({ fs, identity, places, judge })
  const probe = Probe.make(identity)
  const sweep = Sweep.make({ fs, paths, places, scope })

  const attempt = Attempt.make({ fs, identity, lease, judge, names, places, queue, sweep })

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
        bereft: undefined,
        glancedAt: 0n,
        woken: false,
        losses: 0,
        restsUntil: 0n,
        reign: undefined
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
