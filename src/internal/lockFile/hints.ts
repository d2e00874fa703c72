import { isPlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Predicate from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { LockHolder } from "../../LockHolder.js"
import { codeOf } from "../errno.js"
import type { Recorded } from "./look.js"
import { nextOf } from "./names.js"
import type { Mourner, Probe } from "./probe.js"
import type { Waiter } from "./queue.js"
import type { Sight } from "./sight.js"

/** One contender, and what it remembers from one attempt to the next. */
export interface Contest extends Waiter {
  /** Who was in the way at the last look. */
  owner: LockHolder | undefined
  /** The living owner that was seen last; nothing if there was a hint since. */
  seen: (Sight & { readonly look: Recorded }) | undefined
  /** The record of an owner that died since. */
  bereft: Recorded | undefined
  /** When it last looked who has the lock while somebody else was next, in nanoseconds. */
  glancedAt: bigint
  /** The process that had the lock at the last looks. */
  reign: Reign | undefined
}

/** A process that has a lock, by its last record, and until when its turn lasts, in nanoseconds. */
export interface Reign {
  readonly instance: string
  readonly token: string
  readonly until: bigint
}

export interface Hints {
  /** Watches what a contender waits for now. Called after each refused attempt. */
  readonly await: Effect.Effect<void, never, Scope.Scope>
}

const isGone = (error: unknown): boolean =>
  isPlatformError(error) ? codeOf(error) === "ENOENT" : Predicate.hasProperty(error, "code") && error.code === "ENOENT"

/**
 * What may end a wait before the schedule does: the file that is waited for has changed, or its owner is dead. A hint may come late,
 * or not at all, and only time is lost by it.
 */
export const make = (options: {
  readonly fs: FileSystem.FileSystem
  readonly probe: Probe
  readonly contest: Contest
  readonly ring: () => void
}): Hints => {
  const { contest, fs, probe, ring } = options
  /** Of whose death was told: once for each, since taking over from it may fail. */
  let buried: string | undefined
  let probing = false
  /** For whose death we wait. */
  let owner: string | undefined
  let watcher: Fiber.RuntimeFiber<void> | undefined
  /** Nothing can be watched here. */
  let deaf = false

  const mourner: Mourner = {
    get owner() {
      const { owner, place } = contest
      return owner?.token === buried || place === "behind" ? undefined : owner
    },
    tell: () => {
      buried = contest.owner?.token
      contest.bereft = contest.seen?.look
      contest.seen = undefined
      ring()
    }
  }

  /**
   * Rings when the file has changed, or gone; and a last time where it cannot be watched. It stays until it is interrupted: whoever was
   * woken goes first, and a stream takes its time to end.
   */
  const watch = (path: string): Effect.Effect<void> =>
    Stream.runForEach(fs.watch(path), () => told(path)).pipe(
      Effect.matchCauseEffect({
        onSuccess: () => giveUp(path),
        onFailure: (cause) => isGone(Cause.squash(cause)) ? told(path) : giveUp(path)
      })
    )

  const giveUp = (path: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      deaf = true
      return told(path)
    })

  const told = (path: string): Effect.Effect<void> =>
    Effect.sync(() => {
      if (contest.watching?.path === path) {
        contest.watching = undefined
        contest.seen = undefined
        contest.woken = contest.place === "behind"
        ring()
      }
    })

  return {
    await: Effect.gen(function*() {
      if (!probing) {
        probing = true
        yield* probe.register(mourner)
      } else if (mourner.owner !== undefined && mourner.owner.token !== owner) {
        yield* probe.hurry
      }
      owner = mourner.owner?.token
      const behind = contest.place === "behind"
      const path = behind ? nextOf(contest.lockPath) : contest.lockPath
      // What is no record of ours may be a link to nothing, which is gone whenever one looks.
      const wanted = behind ? contest.ahead !== undefined && contest.losses === 0 : contest.owner !== undefined
      const now = yield* Clock.currentTimeNanos
      if (contest.watching?.path === path || !wanted || now < contest.restsUntil || deaf) {
        return
      }
      watcher?.unsafeInterruptAsFork(FiberId.none)
      contest.watching = { path, since: now }
      watcher = yield* Effect.forkScoped(Effect.interruptible(watch(path)))
    })
  }
}
