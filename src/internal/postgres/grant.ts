import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Grant, LockKey, Request } from "../../LockBackend.js"
import { LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import { type Alarm, timerOf } from "../lock/timer.js"
import * as Runtime from "../runtime.js"
import type { OnAnswer, Session, SessionError } from "./session.js"
import * as Sessions from "./sessions.js"
import * as Statements from "./statements.js"

/** The core waits for a second. */
const releaseTime = Duration.millis(900)

/** What the server answers to a session that has got the lock. */
export interface Answer {
  readonly fence: bigint
  /** When the statement was sent, in milliseconds. */
  readonly sentAt: number
}

/** A lock that the server has granted to a session. */
export const make = (options: {
  readonly key: LockKey
  readonly request: Request
  readonly session: Session
  readonly holder: LockHolder
  readonly answer: Answer
  /** In milliseconds. */
  readonly lease: number
  /** How long an answer may take that waits for no lock. */
  readonly patience: Duration.Duration
  /** The statement that releases the lock. */
  readonly unlock: string
  /** Takes the session once it has no lock. */
  readonly giveBack: (session: Session) => void
  /** To be run at last. */
  readonly end: Effect.Effect<void>
}): Effect.Effect<Grant> =>
  Effect.withFiberRuntime((fiber) => {
    const { answer, end, giveBack, holder, key, lease, patience, request, session } = options
    const timer = timerOf(fiber)
    /** The server counts from when it has heard the last statement, we from before that was sent: our time ends first. */
    const silence = lease * 2 / 3
    const signedHeartbeat = Statements.signed(holder, Statements.heartbeat)
    let heardAt = answer.sentAt
    let isOver = false
    let isLeaving = false
    let alarm: Alarm | undefined
    const stopAlarm = (): void => {
      if (alarm !== undefined) timer.cancel(fiber, alarm)
    }
    /** The session is left alone until the release, or until the server ends it: a holder that is still inside has the lock so long. */
    const lose = (reason: "BackendUnavailable" | "LeaseExpired" | "Removed", cause: Error): void => {
      if (isOver) return
      isOver = true
      stopAlarm()
      request.onLost(new LockLostError({ ...key, reason, cause }))
    }
    const onEnd = (error: SessionError): void =>
      lose(error.code === "57P05" ? "LeaseExpired" : "BackendUnavailable", error)
    const onSilence = (): void =>
      lose(
        "LeaseExpired",
        new Error(`the server has not been heard for ${Duration.format(Duration.millis(silence))}`)
      )
    /** A process that stood still finds here that its time is over, before it asks. */
    const remaining = (): number => heardAt + silence - Runtime.monotonic(fiber)
    /** What is told of a statement that shows that the session lives. */
    const listening = (onAnswer: OnAnswer): OnAnswer => {
      const sentAt = Runtime.monotonic(fiber)
      return (error, rows) => {
        if (error === undefined) heardAt = sentAt
        onAnswer(error, rows)
      }
    }
    const after = (millis: number, run: () => void): void => {
      stopAlarm()
      alarm = { at: Runtime.monotonic(fiber) + millis, run }
      timer.add(fiber, alarm)
    }
    /** The next statement is a third of a lease after the last one that was answered. */
    const watch = (): void => after(remaining() - lease / 3, beat)
    const beat = (): void => {
      const left = remaining()
      if (left <= 0) {
        onSilence()
        return
      }
      after(left, onSilence)
      session.ask(
        signedHeartbeat,
        listening((error) => {
          if (isOver || isLeaving) return
          if (error === undefined) watch()
          else lose("BackendUnavailable", error)
        })
      )
    }
    session.onEnd = onEnd
    if (session.error === undefined) watch()
    else onEnd(session.error)
    /** Afterwards the session has ended, as far as this process is concerned, or it has no lock. */
    const unlock = Effect.matchEffect(session.query(options.unlock, releaseTime), {
      onSuccess: ([row]) =>
        Effect.sync(() => {
          if (row?.["unlocked"] !== "t") {
            lose("Removed", new Error("the session does not have the lock any more"))
          }
        }),
      onFailure: (error) => {
        if (error.code !== "ETIMEDOUT" && Sessions.passes(error)) {
          // A holder that has let nothing else run hears only now that its session has ended before.
          onEnd(error)
        } else if (remaining() <= 0) {
          onSilence()
        }
        if (isOver) return Effect.void
        isOver = true
        return Effect.logWarning(`The release of ${key.lockPath} was not answered: its session was ended`, error)
      }
    })
    /** The end of the session frees the lock, whatever the server has heard. */
    const leave = Effect.sync(() => {
      if (isOver) {
        session.destroy()
      } else {
        isOver = true
        giveBack(session)
      }
    })
    return Effect.succeed({
      holder,
      mode: request.mode,
      fence: Option.some(answer.fence),
      recovered: false,
      verify: Effect.async((resume) =>
        session.askInTime(
          fiber,
          signedHeartbeat,
          patience,
          listening((cause) =>
            resume(
              cause === undefined
                ? Effect.void
                : Effect.fail(new LockLostError({ ...key, reason: "BackendUnavailable", cause }))
            )
          )
        )
      ),
      release: Effect.suspend(() => {
        isLeaving = true
        stopAlarm()
        return Effect.ensuring(isOver ? leave : Effect.zipRight(unlock, leave), end)
      })
    })
  })
