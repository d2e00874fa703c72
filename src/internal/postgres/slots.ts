import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { BackendError, type Grant, type Request } from "../../LockBackend.js"

/** How many sessions a process may have for its locks and its waiters. */
export interface Slots {
  /**
   * Obtains a lock in a slot, which its grant keeps until `release`. `None` if there is no slot before `ended`; an acquisition without that does not
   * wait for one. To be run uninterruptibly.
   */
  readonly withSlot: (
    request: Request,
    ended: Effect.Effect<void> | undefined,
    obtain: Effect.Effect<Option.Option<Grant>, BackendError>
  ) => Effect.Effect<Option.Option<Grant>, BackendError>
  readonly release: Effect.Effect<void>
}

export const make = (maxSessions: number): Slots => {
  /** One for each acquisition and each lock that is held. */
  let used = 0
  const waiting = new Set<() => void>()

  const wakeNext = Effect.sync(() => {
    const [notify] = waiting
    if (notify !== undefined && used < maxSessions) {
      waiting.delete(notify)
      notify()
    }
  })

  const release = Effect.suspend(() => {
    used -= 1
    return wakeNext
  })

  const released = Effect.async<boolean>((resume) => {
    const notify = () => resume(Effect.succeed(true))
    waiting.add(notify)
    return Effect.sync(() => waiting.delete(notify))
  })

  /** Whether there is one before `ended`. */
  const take = (request: Request, ended: Effect.Effect<void> | undefined): Effect.Effect<boolean, BackendError> =>
    Effect.suspend(() => {
      if (used < maxSessions) {
        used += 1
        return Effect.succeed(true)
      }
      const cause = new Error(
        `this program holds ${maxSessions} locks or waits for them, each in a session of its own: "maxSessions" allows for more`
      )
      if (ended === undefined) return new BackendError({ reason: "BackendUnavailable", cause })
      request.onBlocked({ state: "held", reason: "BackendUnavailable", cause })
      return Effect.raceFirst(released, Effect.as(ended, false)).pipe(
        Effect.interruptible,
        // One that was notified, and does not want the slot any more.
        Effect.onInterrupt(() => wakeNext),
        Effect.flatMap((isReleased) => isReleased ? take(request, ended) : Effect.as(wakeNext, false))
      )
    })

  return {
    withSlot: (request, ended, obtain) =>
      Effect.flatMap(take(request, ended), (isTaken) =>
        isTaken
          ? Effect.onExit(obtain, (exit) => Exit.isSuccess(exit) && Option.isSome(exit.value) ? Effect.void : release)
          : Effect.succeedNone),
    release
  }
}
