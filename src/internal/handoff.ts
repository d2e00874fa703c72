import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { nanosOf } from "./clock.js"
import type { Line, Ticket } from "./line.js"
import * as Patience from "./patience.js"
import * as Tenure from "./tenure.js"

/**
 * Gives a lock back that a served ticket stands for: to the next in line, without a step of the engine, for as long as the budget
 * has lasted since the engine granted it; and to the engine otherwise. Called once for each ticket, uninterruptibly.
 *
 * From the decision on everything is synchronous: the lock always belongs to exactly one ticket, and whoever abandons a ticket
 * gives back what came with it.
 */
export const giveBack = (
  line: Line,
  ticket: Ticket,
  tenure: Tenure.Tenure,
  budget: Duration.Duration
): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) => {
    const age = Duration.nanos(nanosOf(fiber) - tenure.since)
    // A lock that is lost is nobody's to pass on.
    if (Duration.lessThan(age, budget) && tenure.loss === undefined && line.passOn(ticket, tenure)) {
      return Effect.void
    }
    return Tenure.end(tenure).pipe(
      Patience.runWith,
      Effect.ensuring(Effect.sync(() => line.giveBack(ticket))),
      Effect.flatMap((ended) =>
        ended
          ? Effect.void
          : Effect.logWarning(`Releasing ${tenure.lockPath} takes long, going on in the background`)
      )
    )
  })

/** Gives back a ticket whose owner does not want it any more, and the lock with it if that came at the same moment. */
export const abandon = (line: Line, ticket: Ticket, budget: Duration.Duration): Effect.Effect<void> =>
  Effect.suspend(() =>
    ticket.passed === undefined
      ? Effect.sync(() => line.giveBack(ticket))
      : giveBack(line, ticket, ticket.passed, budget)
  )
