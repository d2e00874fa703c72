/**
 * Which simulated processes are in a critical section, counted apart from the locks that guard it.
 */
import * as Effect from "effect/Effect"

export interface Occupancy {
  /** Runs an effect in the critical section, under a name. */
  readonly inside: <A, E, R>(name: string, self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Each time that one came in while others were inside, and which. */
  readonly overlaps: ReadonlyArray<string>
  /** How often one came in. */
  readonly entries: number
  /** Those that are inside now. */
  readonly present: ReadonlySet<string>
}

export const make: Effect.Effect<Occupancy> = Effect.sync(() => {
  const overlaps: Array<string> = []
  const present = new Set<string>()
  const state = { overlaps, present, entries: 0 }
  return Object.assign(state, {
    inside: <A, E, R>(name: string, self: Effect.Effect<A, E, R>) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          state.entries++
          if (present.size > 0) {
            overlaps.push(`${name} came in beside ${[...present].join(", ")}`)
          }
          present.add(name)
        }),
        () => self,
        () => Effect.sync(() => present.delete(name))
      )
  })
})
