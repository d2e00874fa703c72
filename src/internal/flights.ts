import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"

/** An answer that comes, whoever waits for it or goes. */
export class Flight<A, E> {
  private exit: Exit.Exit<A, E> | null = null
  private readonly observers: Array<() => void> = []

  addObserver(observer: () => void): void {
    this.observers.push(observer)
  }

  unsafePoll(): Exit.Exit<A, E> | null {
    return this.exit
  }

  land(exit: Exit.Exit<A, E>): void {
    this.exit = exit
    for (const observer of this.observers) {
      observer()
    }
  }
}

/**
 * Asks one question once for all who want to know the same, however many they are. Whoever comes while an answer is on its way
 * waits for the next one: what he is told was found out after he asked.
 */
export class Flights<A, E> {
  /** For what is being asked, the next flight, if somebody waits for it. */
  private readonly under = new Map<string, Flight<A, E> | undefined>()

  constructor(private readonly ask: (key: string) => Effect.Effect<A, E>) {}

  /** To be run uninterruptibly. */
  join(key: string): Effect.Effect<Flight<A, E>> {
    return Effect.suspend(() => {
      const flight = this.under.get(key) ?? new Flight<A, E>()
      if (this.under.has(key)) {
        this.under.set(key, flight)
        return Effect.succeed(flight)
      }
      this.under.set(key, undefined)
      return Effect.as(Effect.forkDaemon(this.fly(key, flight)), flight)
    })
  }

  /** Asks, and then once more for all who have come meanwhile, in one fiber for as long as anybody comes. */
  private fly(key: string, flight: Flight<A, E>): Effect.Effect<void> {
    return Effect.flatMap(Effect.exit(this.ask(key)), (exit) => {
      const next = this.under.get(key)
      if (next === undefined) {
        this.under.delete(key)
      } else {
        this.under.set(key, undefined)
      }
      flight.land(exit)
      return next === undefined ? Effect.void : this.fly(key, next)
    })
  }
}
