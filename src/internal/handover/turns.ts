import * as Effect from "effect/Effect"
import * as Runtime from "../runtime.js"

/** How many acquisitions there are until it is watched whether the turn ends. */
const watchEvery = 8

/**
 * The turns of the event loop. A process that takes locks again and again within one turn is deaf: it does not hear who else wants
 * them. Once it has been so for a time slice, its acquisitions wait for the next turn.
 */
export class Turns {
  private acquisitions = 0
  /** Since when the turn has been watched that has not ended yet, on the monotonic clock. */
  private since: number | undefined

  /** Whether an acquisition that begins now is to wait for the next turn. */
  isOverdue(fiber: Runtime.RuntimeFiber, slice: number): boolean {
    if (this.since === undefined) {
      this.acquisitions += 1
      if (this.acquisitions >= watchEvery) {
        this.acquisitions = 0
        this.since = Runtime.monotonic(fiber)
        afterNext(fiber, () => {
          this.since = undefined
        })
      }
      return false
    }
    return Runtime.monotonic(fiber) - this.since >= slice && !Runtime.isSynchronous(fiber)
  }
}

/** Runs a function once what has come meanwhile was read: in the next turn. */
const afterNext = (fiber: Runtime.RuntimeFiber, run: () => void): void =>
  Runtime.afterTurn(fiber, () => Runtime.afterTurn(fiber, run))

/** Waits for the next turn. */
export const next: Effect.Effect<void> = Effect.withFiberRuntime((fiber) =>
  Effect.async((resume) => afterNext(fiber, () => resume(Effect.void)))
)
