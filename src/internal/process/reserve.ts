import * as Effect from "effect/Effect"

/**
 * A descriptor that is kept for the time when the process has no other one left: a lock that is held is renewed and released all the same.
 */
export interface Reserve {
  /** Opens it, where it is not open and another one is left. */
  readonly keep: () => void
  /** Closes it, where it is open and still ours. */
  readonly spend: () => void
}

/** Runs what has failed before once more, with the descriptor of the reserve free for it. */
export const spend = <A, E, R>(
  reserve: Reserve | undefined,
  self: Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  reserve === undefined
    ? self
    : Effect.suspend(() => {
      reserve.spend()
      return Effect.ensuring(self, Effect.sync(reserve.keep))
    })
