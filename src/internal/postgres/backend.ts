import type { PgClientConfig } from "@effect/sql-pg/PgClient"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Posix from "node:path/posix"
import {
  BackendError,
  fenceStep,
  type Grant,
  type LockBackend,
  type LockKey,
  type LockStatus,
  type Mode,
  type Request
} from "../../LockBackend.js"
import { LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import * as OwnHolder from "../ownHolder.js"
import * as Polling from "../polling.js"
import type { Session, SessionError } from "./session.js"
import * as Sessions from "./sessions.js"
import * as Statements from "./statements.js"

type Service = Context.Tag.Service<LockBackend>

/** How often a waiter asks for whom it waits, in milliseconds; the last number again and again. */
const lookups = [500, 5000]

/** How long an answer may take that waits for no lock, in milliseconds. */
const answerTime = 5000

const milliseconds = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos) / 1e6)

/** A session that holds a lock or waits for it. */
interface Found {
  readonly pid: number
  readonly granted: boolean
  readonly mode: Mode
  readonly holder: LockHolder | undefined
}

/** What the server answers to a session that has got the lock. */
interface Answer {
  readonly fence: bigint
  /** When the statement was sent, in milliseconds. */
  readonly sentAt: number
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
  const sessions = Sessions.make({ ...options, maxIdle: Math.min(maxSessions, 4) })
  const patience = Duration.millis(Math.min(answerTime, lease / 3))
  /** The server counts from when it has heard the last statement, we from before that was sent: our time ends first. */
  const silence = lease * 2 / 3

  /** One for each acquisition and each lock that is held. */
  let usedSlots = 0
  const waitingForSlot = new Set<() => void>()

  const releaseSlot = Effect.sync(() => {
    usedSlots -= 1
    for (const notify of waitingForSlot) notify()
  })

  const keyOf = ({ path }: LockKey): string => Statements.keyOf(namespace, path)

  const canonical: Service["canonical"] = (path) => {
    const normal = Posix.normalize(path).replace(/(?<=[^/])\/$/, "")
    return path === "" || path.includes("\0") || /(^|\/)\.{0,2}$/.test(normal)
      ? Exit.fail(
        new BackendError({ reason: "InvalidPath", cause: new Error("the name of a lock is a path to a file") })
      )
      : Exit.succeed({ path: normal, lockPath: `${normal}.lock` })
  }

  /** The sessions at a lock. */
  const find = (key: LockKey, query: (text: string) => ReturnType<typeof sessions.query> = sessions.query) =>
    Effect.map(query(Statements.sessionsOf(keyOf(key))), (rows) =>
      rows.map(({ granted, mode, pid, query }): Found => ({
        pid: Number(pid),
        granted: granted === true,
        mode: mode === "ShareLock" ? "shared" : "exclusive",
        holder: Option.getOrUndefined(Statements.signer(query))
      })))

  const inTime = <A, E>(effect: Effect.Effect<A, E>) =>
    Effect.timeoutFail(Effect.interruptible(effect), {
      duration: patience,
      onTimeout: () =>
        new BackendError({
          reason: "BackendUnavailable",
          cause: new Error(`the server has not answered for ${Duration.format(patience)}`)
        })
    })

  const toBackendError = (error: SessionError | BackendError): BackendError =>
    error._tag === "BackendError" ? error : Sessions.unavailable(error)

  const tell = (request: Request, found: ReadonlyArray<Found>): void =>
    request.onBlocked({ state: "held", reason: "Timeout", holder: found.find(({ granted }) => granted)?.holder })

  /** Tells the core who is in the way. An answer that does not come is not waited for. */
  const tellBlocked = (key: LockKey, request: Request): Effect.Effect<void> =>
    Effect.match(inTime(find(key)), {
      onSuccess: (found) => tell(request, found),
      onFailure: () => tell(request, [])
    })

  // ---------------------------------------------------------------------------------------------
  // a lock that was granted
  // ---------------------------------------------------------------------------------------------

  const grant = (
    key: LockKey,
    request: Request,
    session: Session,
    holder: LockHolder,
    { fence, sentAt }: Answer
  ): Effect.Effect<Grant> =>
    Effect.gen(function*() {
      let heardAt = sentAt
      let isOver = false
      const lose = (reason: "BackendUnavailable" | "LeaseExpired" | "Removed", cause: Error): void => {
        if (isOver) return
        isOver = true
        session.destroy()
        request.onLost(new LockLostError({ ...key, reason, cause }))
      }
      const onEnd = (error: SessionError): void =>
        lose(error.code === "57P05" ? "LeaseExpired" : "BackendUnavailable", error)
      session.onEnd = onEnd
      if (session.error !== undefined) onEnd(session.error)
      const signedHeartbeat = Statements.signed(holder, Statements.heartbeat)
      const beat = Effect.flatMap(milliseconds, (sentAt) =>
        Effect.map(session.query(signedHeartbeat), () => {
          heardAt = sentAt
        }))
      /** A process that stood still finds here that its time is over, before it asks. */
      const remaining = Effect.map(milliseconds, (now) => heardAt + silence - now)
      const watch: Effect.Effect<void> = Effect.sleep(Duration.millis(lease / 3)).pipe(
        Effect.zipRight(remaining),
        Effect.flatMap((left) => left <= 0 ? Effect.succeedNone : Effect.timeoutOption(beat, Duration.millis(left))),
        Effect.matchEffect({
          onFailure: (error) => Effect.sync(() => lose("BackendUnavailable", error)),
          onSuccess: Option.match({
            onNone: () =>
              Effect.sync(() =>
                lose(
                  "LeaseExpired",
                  new Error(`the server has not been heard for ${Duration.format(Duration.millis(silence))}`)
                )
              ),
            onSome: () => Effect.suspend(() => isOver ? Effect.void : watch)
          })
        })
      )
      const watcher = yield* Effect.forkDaemon(Effect.interruptible(watch))
      return {
        holder,
        mode: request.mode,
        fence: Option.some(fence),
        recovered: false,
        verify: Effect.mapError(inTime(beat), (cause) =>
          new LockLostError({ ...key, reason: "BackendUnavailable", cause })),
        release: Effect.gen(function*() {
          yield* Fiber.interruptFork(watcher)
          if (isOver) {
            return
          }
          const unlocked = yield* Effect.either(
            Effect.timeout(
              Effect.interruptible(session.query(Statements.unlock(keyOf(key), request.mode))),
              "900 millis"
            )
          )
          const row = unlocked._tag === "Right" ? unlocked.right[0] : undefined
          if (row?.["unlocked"] === true && session.error === undefined) {
            isOver = true
            sessions.giveBack(session)
          } else if (row !== undefined) {
            lose("Removed", new Error("the session does not have the lock any more"))
          } else {
            // The end of the session frees the lock, whatever the server has heard.
            if (session.error !== undefined) {
              onEnd(session.error)
            }
            isOver = true
            session.destroy()
            yield* Effect.logWarning(`The release of ${key.lockPath} was not answered: its session was ended`)
          }
        }).pipe(Effect.zipRight(identity.retireToken(holder.token)), Effect.ensuring(releaseSlot))
      }
    })

  // ---------------------------------------------------------------------------------------------
  // acquisitions
  // ---------------------------------------------------------------------------------------------

  /** Runs an attempt in a session of its own, which has the lock afterwards, or is given back, or has ended. */
  const inSession = (
    key: LockKey,
    request: Request,
    obtain: (session: Session, holder: LockHolder) => Effect.Effect<Option.Option<Answer>, SessionError | BackendError>
  ): Effect.Effect<Option.Option<Grant>, SessionError | BackendError> =>
    Effect.flatMap(
      sessions.take,
      (session) =>
        Effect.flatMap(OwnHolder.make(identity, request.label), (holder) =>
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
                Effect.asSome(grant(key, request, session, holder, answer))
            })
          }))
    )

  const ask = (
    session: Session,
    holder: LockHolder,
    statement: string
  ): Effect.Effect<Option.Option<Answer>, SessionError> =>
    Effect.flatMap(
      milliseconds,
      (sentAt) =>
        Effect.map(session.query(Statements.signed(holder, statement)), ([row]) =>
          typeof row?.["fence"] === "string"
            ? Option.some({ fence: BigInt(row["fence"]) * BigInt(fenceStep), sentAt })
            : Option.none())
    )

  const tryOnce = (key: LockKey, request: Request) => (session: Session, holder: LockHolder) =>
    inTime(
      Effect.tap(ask(session, holder, Statements.tryLock(keyOf(key), request.mode, sequence)), (answer) =>
        Option.isSome(answer)
          ? Effect.void
          : Effect.map(
            find(key, (text) =>
              session.query(text)),
            (found) => tell(request, found)
          ))
    )

  /**
   * An answer that has waited may be old: the server has granted the lock, and has heard nothing since. A session that still answers has
   * it.
   */
  const confirmed = (session: Session, holder: LockHolder, answer: Answer) =>
    Effect.flatMap(milliseconds, (sentAt) =>
      sentAt - answer.sentAt < lease / 3 ? Effect.succeed(answer) : Effect.as(
        inTime(session.query(Statements.signed(holder, Statements.heartbeat))),
        { ...answer, sentAt }
      ))

  /** Tries, and waits in the server's queue then. Who is waited for is asked in another session. */
  const wait =
    (key: LockKey, request: Request, pause: Effect.Effect<boolean>) => (session: Session, holder: LockHolder) =>
      Effect.flatMap(tryOnce(key, request)(session, holder), (answer) => {
        if (Option.isSome(answer)) return Effect.succeed(answer)
        const queued = Effect.flatMap(
          ask(session, holder, Statements.lock(keyOf(key), request.mode, sequence)),
          Effect.transposeMapOption((granted) => confirmed(session, holder, granted))
        )
        const watch: Effect.Effect<Option.Option<Answer>> = Effect.flatMap(
          pause,
          (goesOn) => goesOn ? Effect.zipRight(tellBlocked(key, request), watch) : Effect.succeedNone
        )
        return Effect.interruptible(Effect.raceFirst(queued, watch))
      })

  const takeSlot = (request: Request, waits: boolean): Effect.Effect<void, BackendError> =>
    Effect.suspend(() => {
      if (usedSlots < maxSessions) {
        usedSlots += 1
        return Effect.void
      }
      const cause = new Error(
        `this program holds ${maxSessions} locks or waits for them, each in a session of its own: "maxSessions" allows for more`
      )
      if (!waits) return new BackendError({ reason: "BackendUnavailable", cause })
      request.onBlocked({ state: "held", reason: "BackendUnavailable", cause })
      const released = Effect.async<void>((resume) => {
        const notify = () => resume(Effect.void)
        waitingForSlot.add(notify)
        return Effect.sync(() => waitingForSlot.delete(notify))
      })
      return Effect.zipRight(Effect.interruptible(released), takeSlot(request, waits))
    })

  /** A slot is kept by a grant until its release. */
  const inSlot = (
    request: Request,
    waits: boolean,
    obtain: Effect.Effect<Option.Option<Grant>, BackendError>
  ): Effect.Effect<Option.Option<Grant>, BackendError> =>
    Effect.zipRight(
      takeSlot(request, waits),
      Effect.onExit(obtain, (exit) => Exit.isSuccess(exit) && Option.isSome(exit.value) ? Effect.void : releaseSlot)
    )

  const tryAcquire: Service["tryAcquire"] = (key, request) =>
    inSlot(request, false, Effect.mapError(inSession(key, request, tryOnce(key, request)), toBackendError))

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
      return inSlot(request, true, again)
    })

  // ---------------------------------------------------------------------------------------------
  // inspection
  // ---------------------------------------------------------------------------------------------

  const inspect: Service["inspect"] = (key) =>
    Effect.map(Effect.mapError(inTime(find(key)), toBackendError), (found) => {
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
      const session = (yield* find(key)).find(({ granted, holder }) => granted && holder?.token === token)
      if (session === undefined) return false
      const [row] = yield* sessions.query(Statements.terminate(session.pid))
      return row?.["ended"] === true
    }).pipe(Effect.mapError(toBackendError))

  return { canonical, tryAcquire, acquire, inspect, breakLock, close: sessions.close }
}

/** Sessions of other roles do not say who they are. */
const known = (sessions: ReadonlyArray<Found>): ReadonlyArray<LockHolder> =>
  sessions.flatMap(({ holder }) => holder === undefined ? [] : [holder])
