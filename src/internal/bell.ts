import * as Effect from "effect/Effect"

/**
 * Wakes one fiber. A ring while nobody waits is kept, and rings pile up to one: whoever is woken looks at everything that may
 * have changed. Nobody waits any more after an interruption.
 */
export class Bell {
  private rung = false
  private resume: ((effect: Effect.Effect<void>) => void) | undefined

  readonly ring = (): void => {
    const resume = this.resume
    if (resume === undefined) {
      this.rung = true
    } else {
      this.resume = undefined
      resume(Effect.void)
    }
  }

  readonly wait: Effect.Effect<void> = Effect.async<void>((resume) => {
    if (this.rung) {
      this.rung = false
      resume(Effect.void)
      return
    }
    this.resume = resume
  })
}
