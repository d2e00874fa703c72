import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"

/** How often the lives of owners are asked for while somebody waits; a signal and a small read each, some microseconds. */
const interval = Duration.millis(5)

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
}

/** Asks the process table for the owners that are waited for: for all of them in one fiber, and once for all locks of one process. */
export const make = (identity: ProcessIdentity): Probe => {
  const mourners = new Set<Mourner>()
  let running = false
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

  const loop: Effect.Effect<void> = Effect.zipRight(
    Effect.sleep(interval),
    Effect.suspend(() => {
      if (mourners.size > 0) {
        return Effect.zipRight(ask, loop)
      }
      running = false
      return Effect.void
    })
  )

  return {
    register: (mourner) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          mourners.add(mourner)
          if (running) {
            return Effect.void
          }
          running = true
          return Effect.forkDaemon(Effect.interruptible(loop))
        }),
        () => Effect.sync(() => mourners.delete(mourner))
      )
  }
}
