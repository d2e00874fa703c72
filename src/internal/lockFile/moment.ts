import * as Effect from "effect/Effect"

/** A moment on both clocks: the monotonic one stands still while a machine is suspended, the wall clock may be set. */
export interface Moment {
  readonly nanos: bigint
  readonly millis: number
}

export const now: Effect.Effect<Moment> = Effect.clockWith((clock) =>
  Effect.map(clock.currentTimeNanos, (nanos) => ({ nanos, millis: clock.unsafeCurrentTimeMillis() }))
)

/** Milliseconds since a moment by whichever clock says more. */
export const since = (moment: Moment): Effect.Effect<number> =>
  Effect.map(now, ({ millis, nanos }) => Math.max(Number(nanos - moment.nanos) / 1e6, millis - moment.millis))
