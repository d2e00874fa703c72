import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import { forkBehind } from "../fork.js"
import * as Patience from "../patience.js"
import type { Judge } from "./judge.js"
import * as Look from "./look.js"
import { nextOf } from "./names.js"
import type { Ours, Places } from "./place.js"
import * as Sight from "./sight.js"

/**
 * For how long a process may have a lock again and again before it looks whether another one is next, in nanoseconds. The shorter,
 * the fairer and the slower: each change of the process costs a wake-up.
 */
export const turn = 25_000_000n

/**
 * For how long a waiter lets the one who is next go first, in nanoseconds. That one may stand still; if not, and the lock only takes
 * long, to ask for it now and then makes little difference.
 */
const courtesy = 250_000_000n

/**
 * For how many milliseconds whoever was outrun on the way to the head leaves it to others, the first time; then the oftener it was,
 * the sooner it looks again. If all who wait were woken each time, the more of them there are the less they would get done.
 */
const rest = Random.nextRange(20, 60)

/** No rest is shorter, in milliseconds. */
const shortestRest = 2

/** No alarm is set for sooner; and how long whoever was refused the lock once waits before it lines up: most locks are free by then. */
export const shortest = Duration.millis(1)

/** A process that has not had a lock for so long comes cold: it looks for nobody. */
const cold = 100_000_000n

/** A process that uses more locks than this forgets when it had them. */
const maxTurns = 4096

/** When a process last began to have a lock again and again, and when it last released it. */
interface Turn {
  since: bigint
  last: bigint
}

/** A process on its way to a lock, among the processes that wait for it. */
export interface Waiter {
  readonly lockPath: string
  /** It was refused the lock, or let somebody else go first. */
  contended: boolean
  /** Where it waits: at the head, behind somebody else who is there, or in no line where that cannot be had. */
  place: "head" | "behind" | "alone"
  /** Its place at the head. */
  slot: Ours | undefined
  /** Behind whom it waits, and since when, in nanoseconds. */
  ahead: (Sight.Sight & { readonly since: bigint }) | undefined
  /** What it watches. */
  watching: Sight.Watching | undefined
  /** It was woken because the place at the head seems to be free. */
  woken: boolean
  /** How often somebody else was faster then. Whoever was outrun does not watch any more, but looks now and then. */
  losses: number
  /** Until when it leaves what it waits for alone, in nanoseconds. */
  restsUntil: bigint
}

export interface Queue {
  /** Whether the caller, who wants the lock for the first time, has had it long enough and another process is next. */
  readonly mustLineUp: (lockPath: string) => Effect.Effect<boolean>
  /**
   * Becomes next, if nobody who lives is; the result says whether to ask for the lock: as the one who is next, or because that
   * one does not. To be run uninterruptibly.
   */
  readonly lineUp: (waiter: Waiter) => Effect.Effect<boolean>
  /** Has the lock, and lets somebody else be next; the result is to be run before the lock is released. To be run uninterruptibly. */
  readonly enter: (waiter: Waiter) => Effect.Effect<Effect.Effect<void>>
  /** Does not want the lock any more. To be run uninterruptibly. */
  readonly leave: (waiter: Waiter) => Effect.Effect<void>
}

/** When whoever is behind another one has to look again: whoever stands still must be passed by. */
export const lookAgain = ({ ahead, losses, restsUntil }: Waiter, now: bigint): Duration.Duration => {
  const passBy = (ahead?.since ?? now) + courtesy
  const at = losses > 0 && restsUntil < passBy ? restsUntil : passBy
  return Duration.max(Duration.nanos(at > now ? at - now : 0n), shortest)
}

/**
 * The line of the processes that wait for one lock: of its waiters one is next, and has `<file>.lock.next`, a lock file like any
 * other. It decides nothing: a process that comes cold knows nothing of it, and one that stands still at the head is passed by. But
 * whoever has had the lock for a while, and whoever waits, lets the one who is next go first: nobody is overtaken for ever.
 */
export const make = (options: {
  readonly fs: FileSystem.FileSystem
  readonly identity: ProcessIdentity
  readonly places: Places
  readonly judge: Judge
}): Queue => {
  const { fs, identity, judge, places } = options
  const turns = new Map<string, Turn>()

  const takeSlot = (waiter: Waiter, slot: Ours): void => {
    waiter.place = "head"
    waiter.restsUntil = 0n
    waiter.slot = slot
  }

  const tryToLineUp = (waiter: Waiter, nextPath: string) =>
    Effect.gen(function*() {
      if (waiter.ahead !== undefined) {
        const { holder, since, stamp: before } = waiter.ahead
        const stamp = yield* Look.stampOf(fs, nextPath)
        const isNew = stamp !== before ||
          (holder === undefined && (yield* Clock.currentTimeNanos) - since < courtesy / 2n)
        if (stamp !== undefined && isNew) {
          return yield* waitBehindOf(waiter, nextPath, stamp)
        }
      }
      const placed = yield* places.place(nextPath, Look.glance)
      if (placed._tag === "Placed") {
        return takeSlot(waiter, placed.ours)
      }
      const { look } = placed
      if (look._tag === "Foreign" || look._tag === "Unreadable") {
        waiter.place = "alone"
        return
      }
      if (look._tag !== "Absent" && (yield* judge.judge(nextPath, look))._tag === "Stale") {
        const taken = yield* places.takeOver(nextPath, look)
        if (taken._tag === "Placed") {
          return takeSlot(waiter, taken.ours)
        }
      }
      // Somebody who lives is next, or somebody dead whom another one, dead as well, was about to replace.
      return yield* look._tag === "Recorded"
        ? waitBehindOf(waiter, nextPath, look.stamp, look.holder)
        : waitBehindOf(waiter, nextPath, look._tag === "Broken" ? look.stamp : undefined)
    })

  /** Who it is matters only if he stays there. */
  const waitBehindOf = (waiter: Waiter, path: string, stamp: string | undefined, holder?: LockHolder) =>
    Effect.flatMap(Clock.currentTimeNanos, (now) => {
      const since = waiter.ahead?.stamp === stamp ? waiter.ahead?.since ?? now : now
      waiter.ahead = { path, holder, stamp, at: now, foundAt: now, since }
      return waitBehind(waiter, waiter.ahead)
    })

  /** Whoever stands still is passed by. */
  const waitBehind = (waiter: Waiter, { since }: { readonly since: bigint }) =>
    Effect.map(Clock.currentTimeNanos, (now) => {
      waiter.place = now - since < courtesy ? "behind" : "alone"
    })

  const isStillAhead = ({ ahead, watching }: Waiter) => Sight.isUnchanged({ fs, identity, sight: ahead, watching })

  /** Takes the place at the head from a waiter, at once; the result gives it up. */
  const takeSlotFrom = (waiter: Waiter): Effect.Effect<void> | undefined => {
    const { lockPath, slot } = waiter
    waiter.slot = undefined
    waiter.place = "behind"
    return slot === undefined ? undefined : places.discard(nextOf(lockPath), slot)
  }

  return {
    mustLineUp: (lockPath) =>
      Effect.flatMap(Clock.currentTimeNanos, (now) => {
        const had = turns.get(lockPath)
        if (had === undefined || now - had.last > cold) {
          turns.delete(lockPath)
          return Effect.succeed(false)
        }
        if (now - had.since < turn) {
          return Effect.succeed(false)
        }
        had.since = now
        return Effect.orElseSucceed(fs.exists(nextOf(lockPath)), () => false)
      }),
    lineUp: (waiter) =>
      Effect.gen(function*() {
        const now = yield* Clock.currentTimeNanos
        const wasBehind = waiter.place === "behind"
        if (wasBehind && !waiter.woken && now < waiter.restsUntil) {
          return false
        }
        const before = waiter.ahead?.stamp
        yield* waiter.ahead !== undefined && !waiter.woken && (yield* isStillAhead(waiter))
          ? waitBehind(waiter, waiter.ahead)
          : Effect.catchAll(tryToLineUp(waiter, nextOf(waiter.lockPath)), (cause) => {
            waiter.place = "alone"
            return Effect.logDebug(`Could not line up for ${waiter.lockPath}`, cause)
          })
        if (waiter.place !== "behind") {
          waiter.restsUntil = wasBehind ? 0n : waiter.restsUntil
          return true
        }
        if (waiter.woken || (waiter.losses > 0 && waiter.ahead?.stamp !== before)) {
          waiter.losses += 1
        }
        waiter.woken = false
        if (waiter.losses > 0) {
          const millis = Math.max((yield* rest) / waiter.losses, shortestRest)
          waiter.restsUntil = (yield* Clock.currentTimeNanos) + BigInt(Math.round(millis * 1e6))
        }
        return false
      }),
    enter: (waiter) =>
      Effect.flatMap(Clock.currentTimeNanos, (now) => {
        const { contended, lockPath } = waiter
        const had = turns.get(lockPath)
        const turn = had === undefined || contended ? { since: now, last: now } : had
        if (turns.size >= maxTurns) {
          turns.clear()
        }
        turns.set(lockPath, turn)
        const exit = Effect.map(Clock.currentTimeNanos, (now) => {
          turn.last = now
        })
        const leaving = takeSlotFrom(waiter)
        return leaving === undefined
          ? Effect.succeed(exit)
          : Effect.map(forkBehind(leaving), (fiber) => Effect.zipRight(Fiber.await(fiber), exit))
      }),
    leave: (waiter) =>
      Effect.suspend(() => {
        const leaving = takeSlotFrom(waiter)
        return leaving === undefined ? Effect.void : Effect.asVoid(Patience.runWith(leaving))
      })
  }
}
