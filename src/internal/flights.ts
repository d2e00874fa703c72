import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"

interface Flight<A, E> {
  readonly passengers: Array<(exit: Exit.Exit<A, E>) => void>
}

/**
 * Asks one question once for all who want to know the same, however many they are. Whoever comes while an answer is on its way
 * waits for the next one: what he is told was found out after he asked.
 */
export class Flights<A, E> {
  private readonly under = new Map<string, Flight<A, E> | undefined>()

  constructor(private readonly ask: (key: string) => Effect.Effect<A, E>) {}

  /** To be run uninterruptibly. */
  join(key: string): Effect.Effect<A, E> {
    return Effect.suspend(() => {
      if (!this.under.has(key)) {
        this.under.set(key, undefined)
        return this.fly(key)
      }
      return Effect.async<A, E>((resume) => {
        const next = this.under.get(key) ?? { passengers: [] }
        next.passengers.push(resume)
        this.under.set(key, next)
      })
    })
  }

  /** Asks, and then once more for all who have come meanwhile. */
  private fly(key: string): Effect.Effect<A, E> {
    return Effect.onExit(this.ask(key), () =>
      Effect.suspend(() => {
        const next = this.under.get(key)
        if (next === undefined) {
          this.under.delete(key)
          return Effect.void
        }
        this.under.set(key, undefined)
        return Effect.forkDaemon(
          Effect.onExit(this.fly(key), (exit) =>
            Effect.sync(() => {
              for (const land of next.passengers) {
                land(exit)
              }
            }))
        )
      }))
  }
}
