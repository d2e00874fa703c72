import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import { type Heir, heirOf, type Later, later } from "../clock.js"

/**
 * How often the life of an owner is asked for, in milliseconds; a signal and a small read each, some microseconds. Whoever has been in
 * the way for longer is asked for less often: its death is noticed within a part of the time that was waited anyway.
 */
const shortest = 5
const longest = 50
const part = 1 / 40

/** More owners than this are asked for in turn. */
const atOnce = 16

/** Who waits for the death of an owner. */
export interface Mourner {
  readonly owner: LockHolder | undefined
  readonly tell: () => void
}

export interface Probe {
  /** Tells once the owner that is in the way is dead, until the scope closes. */
  readonly register: (mourner: Mourner) => Effect.Effect<void, never, Scope.Scope>
  /** Somebody has another owner than before. */
  readonly hurry: Effect.Effect<void>
}

/** Asks the process table for the owners that are waited for: for all of them in one fiber, and once for all locks of one process. */
export const make = (identity: ProcessIdentity): Probe => {
  const mourners = new Set<Mourner>()
  let timer: Later | undefined
  /** When the timer goes off, in nanoseconds. */
  let due = 0n
  /** When somebody last began to wait for an owner, in nanoseconds. */
  let since = 0n
  let turn = 0

  /** The locks of this very process live and die one by one. */
  const keyOf = (owner: LockHolder): string =>
    owner.instance === identity.info.instance
      ? owner.token
      : `${owner.pid} ${owner.startTime} ${owner.bootId} ${owner.pidNamespace} ${owner.timeNamespace} ${owner.instance}`

  const owners = (): ReadonlyArray<readonly [LockHolder, ReadonlyArray<Mourner>]> => {
    const byProcess = new Map<string, [LockHolder, Array<Mourner>]>()
    for (const mourner of mourners) {
      const { owner } = mourner
      if (owner === undefined) {
        continue
      }
      const known = byProcess.get(keyOf(owner))
      if (known === undefined) {
        byProcess.set(keyOf(owner), [owner, [mourner]])
      } else {
        known[1].push(mourner)
      }
    }
    const all = [...byProcess.values()]
    if (all.length <= atOnce) {
      return all
    }
    turn = (turn + atOnce) % all.length
    return [...all, ...all].slice(turn, turn + atOnce)
  }

  const ask = Effect.suspend(() =>
    Effect.forEach(
      owners(),
      ([owner, bereaved]) =>
        Effect.map(identity.isAlive(owner), (liveness) => {
          if (liveness === "dead") {
            bereaved.forEach((mourner) => mourner.tell())
          }
        }),
      { discard: true }
    )
  )

  const stop = (): void => {
    timer?.cancel()
    timer = undefined
  }

  const set = (heir: Heir, now: bigint, millis: number): void => {
    const tick = Effect.ensuring(
      ask,
      Effect.suspend(() => timer === own && mourners.size > 0 ? setAgain(heir) : Effect.void)
    )
    const own = later(heir, millis, Effect.uninterruptible(tick))
    timer = own
    due = now + BigInt(Math.round(millis * 1e6))
  }

  const setAgain = (heir: Heir): Effect.Effect<void> =>
    Effect.map(Clock.currentTimeNanos, (now) => {
      set(heir, now, Math.max(shortest, Math.min((Number(now - since) / 1e6) * part, longest)))
    })

  const hurry: Probe["hurry"] = Effect.withFiberRuntime((fiber) =>
    Effect.map(Clock.currentTimeNanos, (now) => {
      since = now
      if (timer === undefined || due > now + BigInt(shortest * 1e6)) {
        stop()
        set(heirOf(fiber), now, shortest)
      }
    })
  )

  return {
    hurry,
    register: (mourner) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          mourners.add(mourner)
          return hurry
        }),
        () =>
          Effect.sync(() => {
            mourners.delete(mourner)
            if (mourners.size === 0) {
              stop()
            }
          })
      )
  }
}
