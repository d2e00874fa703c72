import type { PgClientConfig } from "@effect/sql-pg/PgClient"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { BackendError } from "../../LockBackend.js"
import {
  fenceStep,
  type Grant,
  type LockBackend,
  type LockKey,
  type LockStatus,
  type Mode,
  type Request
} from "../../LockBackend.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import { canonical } from "../name.js"
import * as OwnHolder from "../ownHolder.js"
import * as Polling from "../polling.js"
import * as Runtime from "../runtime.js"
import * as Grants from "./grant.js"
import { inTime, type Row, type Session, type SessionError } from "./session.js"
import * as Sessions from "./sessions.js"
import * as Slots from "./slots.js"
import * as Statements from "./statements.js"

type Service = Context.Tag.Service<LockBackend>

/** How often a waiter asks for whom it waits, in milliseconds; the last number again and again. */
const lookups = [500, 5000]

/** How long an answer may take that waits for no lock, in milliseconds. */
const answerTime = 5000

/** A session that holds a lock or waits for it. */
interface Found {
  readonly pid: number
  readonly granted: boolean
  readonly mode: Mode
  readonly holder: LockHolder | undefined
}

/** The engine, and the end of what it keeps. */
export interface Engine extends Service {
  readonly close: () => void
}

export const make = (options: {
  readonly identity: ProcessIdentity
  readonly config: PgClientConfig
  readonly namespace: string
  readonly sequence: string
  readonly lease: number
  readonly maxSessions: number
  readonly pooler: "none" | "session"
}): Engine => {
  const { identity, lease, maxSessions, namespace, sequence } = options
  const sessions = Sessions.make({
    ...options,
    maxIdle: Math.min(maxSessions, 4),
    greetingTime: Duration.millis(Math.min(answerTime, Math.max(1000, lease / 3)))
  })
  const patience = Duration.millis(Math.min(answerTime, lease / 3))

  const slots = Slots.make(maxSessions)

  const keys = new WeakMap<LockKey, string>()

  const keyOf = (key: LockKey): string => {
    const known = keys.get(key) ?? Statements.keyOf(namespace, key.path)
    keys.set(key, known)
    return known
  }

  /** The sessions at a lock. */
  const find = <E>(key: LockKey, query: (text: string) => Effect.Effect<ReadonlyArray<Row>, E>) =>
    Effect.map(query(Statements.sessionsOf(keyOf(key))), (rows) =>
      rows.map(({ granted, mode, pid, query }): Found => ({
        pid: Number(pid),
        granted: granted === "t",
        mode: mode === "ShareLock" ? "shared" : "exclusive",
        holder: Option.getOrUndefined(Statements.signer(query))
      })))

  const answered = inTime(patience)

  const toBackendError = (error: SessionError | BackendError): BackendError =>
    error._tag === "BackendError" ? error : Sessions.unavailable(error)

  const tell = (request: Request, found: ReadonlyArray<Found>): void =>
    request.onBlocked(OwnHolder.blockedBy(identity, found.find(({ granted }) => granted)?.holder))

  /** All waiters together have one more session to look around. */
  const lookup = Effect.unsafeMakeSemaphore(1)

  /** Tells the core who is in the way. An answer that does not come is not waited for. */
  const tellBlocked = (key: LockKey, request: Request): Effect.Effect<void> =>
    Effect.match(answered(lookup.withPermits(1)(find(key, sessions.query))), {
      onSuccess: (found) => tell(request, found),
      onFailure: () => tell(request, [])
    })

  // ---------------------------------------------------------------------------------------------
  // acquisitions
  // ---------------------------------------------------------------------------------------------

  /** Runs an attempt in a session of its own, which has the lock afterwards, or is given back, or has ended. */
  const inSession = (
    key: LockKey,
    request: Request,
    obtain: (session: Session, holder: LockHolder) => Effect.Effect<Option.Option<Grants.Answer>, SessionError>
  ): Effect.Effect<Option.Option<Grant>, SessionError | BackendError> =>
    sessions.withSession((session) =>
      Effect.flatMap(
        OwnHolder.make(identity, request.label),
        (holder) =>
          Effect.matchCauseEffect(obtain(session, holder), {
            onFailure: (cause) => {
              session.destroy()
              return Effect.zipRight(identity.retireToken(holder.token), Effect.failCause(cause))
            },
            onSuccess: Option.match({
              onNone: () => {
                sessions.giveBack(session)
                return Effect.as(identity.retireToken(holder.token), Option.none())
              },
              onSome: (answer) =>
                Effect.asSome(
                  Grants.make({
                    ...{ key, request, session, holder, answer, lease, patience },
                    unlock: Statements.unlock(keyOf(key), request.mode),
                    giveBack: sessions.giveBack,
                    end: Effect.zipRight(identity.retireToken(holder.token), slots.release)
                  })
                )
            })
          })
      )
    )

  const ask = (session: Session, holder: LockHolder, statement: string, duration?: Duration.Duration) =>
    Effect.flatMap(
      Runtime.now,
      (sentAt): Effect.Effect<Option.Option<Grants.Answer>, SessionError> =>
        Effect.map(session.query(Statements.signed(holder, statement), duration), ([row]) =>
          typeof row?.["fence"] === "string"
            ? Option.some({ fence: BigInt(row["fence"]) * BigInt(fenceStep), sentAt })
            : Option.none())
    )

  const tryOnce = (key: LockKey, request: Request) => (session: Session, holder: LockHolder) =>
    Effect.tap(
      ask(session, holder, Statements.tryLock(keyOf(key), request.mode, sequence), patience),
      (answer) =>
        Option.isSome(answer)
          ? Effect.void
          : Effect.map(find(key, (text) => session.query(text, patience)), (found) => tell(request, found))
    )

  /**
   * An answer that has waited may be old: the server has granted the lock, and has heard nothing since. A session that still answers has
   * it.
   */
  const confirmed = (
    fiber: Runtime.RuntimeFiber,
    session: Session,
    holder: LockHolder,
    answer: Option.Option<Grants.Answer>
  ): Effect.Effect<Option.Option<Grants.Answer>, SessionError> => {
    const sentAt = Runtime.monotonic(fiber)
    return Option.isNone(answer) || sentAt - answer.value.sentAt < lease / 3
      ? Effect.succeed(answer)
      : Effect.as(
        session.query(Statements.signed(holder, Statements.heartbeat), patience),
        Option.some({ ...answer.value, sentAt })
      )
  }

  /** Tries, and waits in the server's queue then. Who is waited for is asked in another session. */
  const wait =
    (key: LockKey, request: Request, pause: Effect.Effect<boolean>) => (session: Session, holder: LockHolder) =>
      Effect.flatMap(tryOnce(key, request)(session, holder), (answer) => {
        if (Option.isSome(answer)) return Effect.succeed(answer)
        return Effect.withFiberRuntime<Option.Option<Grants.Answer>, SessionError>((fiber) => {
          let isOver = false
          let hasEnded = false
          const look: Effect.Effect<void> = Effect.flatMap(pause, (goesOn) => {
            if (isOver) return Effect.void
            if (goesOn) return Effect.zipRight(tellBlocked(key, request), look)
            // The lock may be granted to it at this moment.
            hasEnded = true
            session.destroy()
            return Effect.void
          })
          const looker = Runtime.start(fiber, look)
          const stopLooking = () => {
            isOver = true
            // That a lock is used which was granted is more urgent.
            Runtime.afterTurn(fiber, () => Runtime.interrupt(looker))
          }
          const queued = ask(session, holder, Statements.lock(keyOf(key), request.mode, sequence))
          return Effect.matchCauseEffect(Effect.interruptible(queued), {
            onFailure: (cause) => {
              stopLooking()
              return hasEnded ? Effect.succeedNone : Effect.failCause(cause)
            },
            onSuccess: (answer) => {
              stopLooking()
              return confirmed(fiber, session, holder, answer)
            }
          })
        })
      })

  const tryAcquire: Service["tryAcquire"] = (key, request) =>
    slots.withSlot(request, undefined, Effect.mapError(inSession(key, request, tryOnce(key, request)), toBackendError))

  const acquire: Service["acquire"] = (key, request) =>
    Effect.suspend(() => {
      const polling = Polling.make(request.schedule)
      const waits = [...lookups]
      const pause = request.isDefaultSchedule
        ? Effect.suspend(() =>
          Effect.as(Effect.sleep(Duration.millis(waits.length > 1 ? waits.shift() ?? 0 : waits[0] ?? 0)), true)
        )
        : polling.pause
      const again: Effect.Effect<Option.Option<Grant>, BackendError> = Effect.catchAll(
        inSession(key, request, wait(key, request, pause)),
        (error) => {
          if (error._tag === "BackendError" || !Sessions.passes(error)) return Effect.fail(toBackendError(error))
          request.onBlocked({ state: "held", reason: "BackendUnavailable", cause: error })
          return Effect.flatMap(Effect.interruptible(polling.pause), (goesOn) => goesOn ? again : Effect.succeedNone)
        }
      )
      const ended = request.isDefaultSchedule
        ? Effect.never
        : Effect.asVoid(Effect.repeat(polling.pause, { until: (goesOn) => !goesOn }))
      return slots.withSlot(request, ended, again)
    })

  // ---------------------------------------------------------------------------------------------
  // inspection
  // ---------------------------------------------------------------------------------------------

  const inspect: Service["inspect"] = (key) =>
    Effect.map(Effect.mapError(answered(find(key, sessions.query)), toBackendError), (found) => {
      const holders = found.filter(({ granted }) => granted)
      return holders[0] === undefined ? Option.none<LockStatus>() : Option.some({
        state: "held",
        mode: holders[0].mode,
        holders: known(holders),
        waiters: known(found.filter(({ granted }) => !granted))
      })
    })

  const breakLock: Service["breakLock"] = (key, { token }) =>
    Effect.gen(function*() {
      const session = (yield* answered(find(key, sessions.query))).find(({ granted, holder }) =>
        granted && holder?.token === token
      )
      if (session === undefined) return false
      const [row] = yield* inTime(Duration.millis(2 * answerTime))(
        sessions.query(Statements.terminate(keyOf(key), session.pid))
      )
      return row?.["ended"] === "t"
    }).pipe(Effect.mapError(toBackendError))

  return { canonical, tryAcquire, acquire, inspect, breakLock, close: sessions.close }
}

/** Sessions of other roles do not say who they are. */
const known = (sessions: ReadonlyArray<Found>): ReadonlyArray<LockHolder> =>
  sessions.flatMap(({ holder }) => holder === undefined ? [] : [holder])
