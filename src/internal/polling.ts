import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleIntervals from "effect/ScheduleIntervals"

/** No pause is shorter, in milliseconds, whatever the schedule says: a loop without a pause would keep others from releasing. */
const shortest = 1

/** A schedule, as it says step by step when to look again. */
export interface Polling {
  /** Milliseconds until the next look; `undefined` when the schedule has ended. */
  readonly next: Effect.Effect<number | undefined>
  /** Sleeps until the next look; `false` when the schedule has ended. */
  readonly pause: Effect.Effect<boolean>
}

/** Starts a schedule. */
export const make = (schedule: Schedule.Schedule<unknown>): Polling => {
  let state: unknown = schedule.initial
  const next = Effect.flatMap(
    Clock.currentTimeMillis,
    (now) =>
      Effect.map(schedule.step(now, undefined, state), ([following, _, decision]) => {
        state = following
        return ScheduleDecision.isDone(decision)
          ? undefined
          : Math.max(shortest, ScheduleIntervals.start(decision.intervals) - now)
      })
  )
  const pause = Effect.flatMap(
    next,
    (millis) =>
      millis === undefined ? Effect.succeed(false) : Effect.as(Effect.sleep(Duration.millis(Math.ceil(millis))), true)
  )
  return { next, pause }
}

/** Exponential from 2 milliseconds up to a cap, with full jitter. */
export const defaultSchedule = (cap: Duration.Duration): Schedule.Schedule<unknown> =>
  Schedule.exponential(Duration.millis(2)).pipe(
    Schedule.union(Schedule.spaced(cap)),
    Schedule.jitteredWith({ min: 0, max: 1 })
  )
