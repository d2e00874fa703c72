import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Metrics from "../FileLockMetrics.js"
import type { Grant, LockName, Mode } from "../LockBackend.js"
import * as Patience from "./patience.js"

/** A lock that this process holds, for as long as somebody is inside it. */
export interface Hold {
  readonly name: LockName
  readonly mode: Mode
  readonly grant: Grant
  readonly leaveLine: () => void
  readonly since: bigint
  /** How many sections of the process are inside: the outermost and those that have re-entered. */
  inside: number
}

export const make = (options: Omit<Hold, "inside">): Hold => ({ ...options, inside: 1 })

/** One section ends; the last one out gives the lock back. */
export const leave = (hold: Hold): Effect.Effect<void> =>
  Effect.suspend(() => {
    hold.inside -= 1
    return hold.inside > 0 ? Effect.void : release(hold)
  })

const release = (hold: Hold): Effect.Effect<void> =>
  Effect.gen(function*() {
    const released = yield* Patience.runWith(hold.grant.release)
    if (!released) {
      yield* Effect.logWarning(`Releasing ${hold.name.lockPath} takes long, going on in the background`)
    }
    hold.leaveLine()
    yield* Metric.incrementBy(Metrics.held, -1)
    if (yield* Deferred.isDone(hold.grant.lost)) {
      yield* Metric.increment(Metrics.lost)
    }
    const held = (yield* Clock.currentTimeNanos) - hold.since
    yield* Metric.update(Metrics.holdTime, Duration.toMillis(Duration.nanos(held)))
  })
