import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { Grant, LockKey, Request } from "../../LockBackend.js"
import { LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import * as Runtime from "../runtime.js"
import { inTime, type Session, type SessionError } from "./session.js"
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
  Effect.gen(function*() {
    const { answer, end, giveBack, holder, key, lease, patience, request, session } = options
    /** The server counts from when it has heard the last statement, we from before that was sent: our time ends first. */
    const silence = lease * 2 / 3
    let heardAt = answer.sentAt
    let isOver = false
    /** The session is left alone until the release, or until the server ends it: a holder that is still inside has the lock so long. */
    const lose = (reason: "BackendUnavailable" | "LeaseExpired" | "Removed", cause: Error): void => {
      if (isOver) return
      isOver = true
      request.onLost(new LockLostError({ ...key, reason, cause }))
    }
    const onEnd = (error: SessionError): void =>
      lose(error.code === "57P05" ? "LeaseExpired" : "BackendUnavailable", error)
    const onSilence = (): void =>
      lose(
        "LeaseExpired",
        new Error(`the server has not been heard for ${Duration.format(Duration.millis(silence))}`)
      )
    session.onEnd = onEnd
    if (session.error !== undefined) onEnd(session.error)
    const signedHeartbeat = Statements.signed(holder, Statements.heartbeat)
    /** In a fiber of its own: the end of the session, and of the lock, would come of an interrupted statement. */
    const beat = Effect.flatMap(
      Effect.forkDaemon(Effect.flatMap(Runtime.now, (sentAt) =>
        Effect.map(session.query(signedHeartbeat), () => {
          heardAt = sentAt
        }))),
      Fiber.join
    )
    /** A process that stood still finds here that its time is over, before it asks. */
    const remaining = Effect.map(Runtime.now, (now) => heardAt + silence - now)
    const watch: Effect.Effect<void> = remaining.pipe(
      // The next statement is a third of a lease after the last one that was answered.
      Effect.flatMap((left) => Effect.sleep(Duration.millis(Math.max(0, left - lease / 3)))),
      Effect.zipRight(remaining),
      Effect.flatMap((left) => left <= 0 ? Effect.succeedNone : Effect.timeoutOption(beat, Duration.millis(left))),
      Effect.matchEffect({
        onFailure: (error) => Effect.sync(() => lose("BackendUnavailable", error)),
        onSuccess: Option.match({
          onNone: () => Effect.sync(onSilence),
          onSome: () => Effect.suspend(() => isOver ? Effect.void : watch)
        })
      })
    )
    /** Afterwards the session has ended, as far as this process is concerned, or it has no lock. */
    const unlock = Effect.gen(function*() {
      const unlocked = yield* Effect.either(
        inTime(releaseTime)(session.query(options.unlock))
      )
      if (unlocked._tag === "Right") {
        if (unlocked.right[0]?.["unlocked"] !== "t") {
          lose("Removed", new Error("the session does not have the lock any more"))
        }
        return
      }
      const error = unlocked.left
      if (error.code !== "ETIMEDOUT" && Sessions.passes(error)) {
        // A holder that has let nothing else run hears only now that its session has ended before.
        onEnd(error)
      } else if ((yield* remaining) <= 0) {
        onSilence()
      }
      if (!isOver) {
        isOver = true
        yield* Effect.logWarning(`The release of ${key.lockPath} was not answered: its session was ended`, error)
      }
    })
    const watcher = yield* Effect.forkDaemon(Effect.interruptible(watch))
    return {
      holder,
      mode: request.mode,
      fence: Option.some(answer.fence),
      recovered: false,
      verify: Effect.mapError(inTime(patience)(beat), (cause) =>
        new LockLostError({ ...key, reason: "BackendUnavailable", cause })),
      release: Effect.gen(function*() {
        yield* Fiber.interruptFork(watcher)
        if (!isOver) {
          yield* unlock
        }
        if (!isOver) {
          isOver = true
          giveBack(session)
        } else {
          // The end of the session frees the lock, whatever the server has heard.
          session.destroy()
        }
      }).pipe(Effect.ensuring(end))
    }
  })
