import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { LockHolder } from "../../LockHolder.js"
import * as Patience from "../patience.js"
import type { Judge } from "./judge.js"
import * as Look from "./look.js"
import { nextOf } from "./names.js"
import type { Ours, Places } from "./place.js"

/**
 * For how long a process may have a lock again and again before it looks whether another one is next, in nanoseconds. The shorter,
 * the fairer and the slower: each change of the process costs a wake-up.
 */
const turn = 10_000_000n

/**
 * For how long a waiter lets the one who is next go first, in nanoseconds. That one may stand still; if not, and the lock only takes
 * long, to ask for it now and then makes little difference.
 */
export const courtesy = 250_000_000n

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
  /** Behind whom it waits, since when, and when that was seen last, in nanoseconds. */
  ahead: {
    readonly stamp: string | undefined
    readonly holder: LockHolder | undefined
    readonly since: bigint
    readonly seen: bigint
  } | undefined
  /** The path that is being watched. */
  watching: string | undefined
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

/**
 * The line of the processes that wait for one lock: of its waiters one is next, and has `<file>.lock.next`, a lock file like any
 * other. It decides nothing: a process that comes cold knows nothing of it, and one that stands still at the head is passed by. But
 * whoever has had the lock for a while, and whoever waits, lets the one who is next go first: nobody is overtaken for ever.
 */
export const make = (options: {
  readonly fs: FileSystem.FileSystem
  readonly places: Places
  readonly judge: Judge
}): Queue => {
  const { fs, judge, places } = options
  const turns = new Map<string, Turn>()

  const takeSlot = (waiter: Waiter, slot: Ours): void => {
    waiter.place = "head"
    waiter.slot = slot
  }

  const tryToLineUp = (waiter: Waiter, nextPath: string) =>
    Effect.gen(function*() {
      if (waiter.ahead !== undefined && (yield* isAnotherAhead(waiter, waiter.ahead.stamp, nextPath))) {
        return
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
      const now = yield* Clock.currentTimeNanos
      const holder = look._tag === "Recorded" ? look.holder : undefined
      const stamp = look._tag === "Absent" ? undefined : look.stamp
      const since = waiter.ahead?.stamp === stamp ? waiter.ahead?.since ?? now : now
      waiter.ahead = { stamp, holder, since, seen: now }
      waiter.place = now - since < courtesy ? "behind" : "alone"
    })

  /** Whether somebody else is next than at the last look; who it is matters only if he stays there. */
  const isAnotherAhead = (waiter: Waiter, before: string | undefined, nextPath: string): Effect.Effect<boolean> =>
    Effect.flatMap(
      Look.stampOf(fs, nextPath),
      (stamp) =>
        stamp === undefined || stamp === before ? Effect.succeed(false) : Effect.map(Clock.currentTimeNanos, (now) => {
          waiter.ahead = { stamp, holder: undefined, since: now, seen: now }
          waiter.place = "behind"
          return true
        })
    )

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
      tryToLineUp(waiter, nextOf(waiter.lockPath)).pipe(
        Effect.catchAll((cause) => {
          waiter.place = "alone"
          return Effect.logDebug(`Could not line up for ${waiter.lockPath}`, cause)
        }),
        Effect.map(() => waiter.place !== "behind")
      ),
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
          : Effect.map(Effect.forkDaemon(leaving), (fiber) => Effect.zipRight(Fiber.await(fiber), exit))
      }),
    leave: (waiter) =>
      Effect.suspend(() => {
        const leaving = takeSlotFrom(waiter)
        return leaving === undefined ? Effect.void : Effect.asVoid(Patience.runWith(leaving))
      })
  }
}
