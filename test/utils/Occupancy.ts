/**
 * Who is inside a critical section, counted apart from the locks that guard it.
 */
import * as Effect from "effect/Effect"

export interface Occupancy {
  /** Runs an effect as somebody who believes to be alone. */
  readonly inside: <A, E, R>(who: string, self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** The process of these has died: they are inside no more. */
  readonly died: (...who: ReadonlyArray<string>) => Effect.Effect<void>
  /** Each time that somebody came in while others were inside, and who it was. */
  readonly overlaps: ReadonlyArray<string>
  /** How often somebody came in. */
  readonly entries: number
  /** Who is inside now. */
  readonly present: ReadonlySet<string>
}

export const make: Effect.Effect<Occupancy> = Effect.sync(() => {
  const overlaps: Array<string> = []
  const present = new Set<string>()
  const state = { overlaps, present, entries: 0 }
  return Object.assign(state, {
    inside: <A, E, R>(who: string, self: Effect.Effect<A, E, R>) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          state.entries++
          if (present.size > 0) {
            overlaps.push(`${who} came in beside ${[...present].join(", ")}`)
          }
          present.add(who)
        }),
        () => self,
        () => Effect.sync(() => present.delete(who))
      ),
    died: (...who: ReadonlyArray<string>) => Effect.sync(() => who.forEach((one) => present.delete(one)))
  })
})
