import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Metric from "effect/Metric"
import * as Metrics from "../FileLockMetrics.js"
import type { Grant } from "../LockBackend.js"
import type { LockLostError } from "../LockError.js"
import { heirOf, type Later, later, nanosOf } from "./clock.js"

/** What the engine granted, from then until it is given back to the engine; the holds of one process may pass it on. */
export interface Tenure {
  readonly grant: Grant
  readonly lockPath: string
  /** When the engine granted it, in nanoseconds. */
  readonly since: bigint
  readonly lost: Deferred.Deferred<never, LockLostError>
  /** Its loss, once that is known. */
  loss: LockLostError | undefined
  /** Stops what runs under it. */
  readonly onLoss: Set<() => void>
  keeper: Later | undefined
}

/** Begins to keep what was granted. Whoever has it must `end` it. */
export const begin = (fiber: Fiber.RuntimeFiber<unknown, unknown>, grant: Grant, lockPath: string): Tenure => {
  const tenure: Tenure = {
    grant,
    lockPath,
    since: nanosOf(fiber),
    lost: Deferred.unsafeMake(FiberId.none),
    loss: undefined,
    onLoss: new Set(),
    keeper: undefined
  }
  const keep = Effect.catchAll(grant.keep, (loss) => lose(tenure, loss))
  tenure.keeper = later(heirOf(fiber), Duration.toMillis(grant.keepAfter), keep)
  return tenure
}

/** Gives it back to the engine. To be run uninterruptibly. */
export const end = (tenure: Tenure): Effect.Effect<void> =>
  tenure.keeper === undefined ? tenure.grant.release : Effect.zipRight(tenure.keeper.end, tenure.grant.release)

const lose = (tenure: Tenure, loss: LockLostError): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (tenure.loss !== undefined) {
      return Effect.void
    }
    tenure.loss = loss
    Deferred.unsafeDone(tenure.lost, Effect.fail(loss))
    for (const stop of tenure.onLoss) {
      stop()
    }
    return Metric.increment(Metrics.lost)
  })

/** Asks the engine now. What is gone for good is told to everybody. */
export const verify = (tenure: Tenure): Effect.Effect<void, LockLostError> =>
  Effect.tapError(
    tenure.grant.verify,
    (loss) => loss.reason === "BackendUnavailable" ? Effect.void : lose(tenure, loss)
  )
