import type { PgClientConfig } from "@effect/sql-pg/PgClient"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { BackendError } from "../../LockBackend.js"
import { inTime, type Row, Session, SessionError } from "./session.js"
import * as Statements from "./statements.js"

/**
 * An error that may pass: the server starts, or stops, or has too many sessions, or the network does not carry just now. A server that is
 * started again has no socket in the file system for a moment (ENOENT).
 */
const passing = new Set([
  ...["53300", "57P01", "57P02", "57P03", "57P05", "08000", "08001", "08003", "08006"],
  ...["ECONNREFUSED", "ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "EAI_AGAIN"],
  "ENOENT"
])

/** The end of a connection has a message only. */
export const passes = ({ code, message }: SessionError): boolean =>
  code === "UNKNOWN"
    ? /connection|timeout|session|socket/i.test(message) && !/does not support/.test(message)
    : passing.has(code)

/** What a failure of the server means for an acquisition that does not try again. */
export const unavailable = (error: SessionError): BackendError =>
  new BackendError({
    reason: error.code === "42501" || error.code.startsWith("28") ? "PermissionDenied" : "BackendUnavailable",
    cause: error
  })

const refused = (message: string): BackendError =>
  new BackendError({ reason: "BackendUnavailable", cause: new Error(message) })

const Sequence = Schema.Struct({
  cache: Schema.Int,
  increment: Schema.Int,
  cycle: Schema.Boolean,
  logged: Schema.Boolean
})

type Sequence = typeof Sequence.Type

const Greeting = Schema.Struct({
  pid: Schema.NumberFromString,
  standby: Schema.transformLiterals(["t", true], ["f", false]),
  version: Schema.NumberFromString,
  sequence: Schema.NullOr(Schema.parseJson(Sequence))
})

const decodeGreeting = Schema.decodeUnknown(Greeting)

/** `client_connection_check_interval`, `idle_session_timeout` and `pg_locks.waitstart` came with it. */
const oldest = 140_000

/** The sessions of one engine: those that wait for their next lock, and new ones. */
export interface Sessions {
  /**
   * Uses a session that has no lock, which is the user's until `giveBack` or its `destroy`. Where the server has ended a session that was
   * kept, another one is used.
   */
  readonly withSession: <A, E>(
    use: (session: Session) => Effect.Effect<A, E | SessionError>
  ) => Effect.Effect<A, E | SessionError | BackendError>
  /** Keeps a session that has no lock for the next one. */
  readonly giveBack: (session: Session) => void
  /** The rows of a statement that needs no lock. */
  readonly query: (text: string) => Effect.Effect<ReadonlyArray<Row>, SessionError | BackendError>
  /** Ends the sessions that are kept. */
  readonly close: () => void
}

export const make = (options: {
  readonly config: PgClientConfig
  readonly sequence: string
  readonly lease: number
  readonly pooler: "none" | "session"
  /** How many are kept at most. */
  readonly maxIdle: number
  /** How long a server may take to say what it is. */
  readonly greetingTime: Duration.Duration
}): Sessions => {
  const { config, greetingTime, lease, maxIdle, pooler, sequence } = options
  const idle: Array<Session> = []
  const prepare = Statements.prepare(sequence, lease)
  let closed = false

  /** Uninterrupted it has a session; otherwise it leaves none. */
  const open = <A, E>(
    use: (session: Session) => Effect.Effect<A, E>
  ): Effect.Effect<A, E | SessionError | BackendError> =>
    Effect.flatMap(
      Effect.try({
        try: () => new Session(config, lease),
        catch: (cause) => new BackendError({ reason: "BackendUnavailable", cause })
      }),
      (session) =>
        Effect.onExit(
          Effect.zipRight(session.connect, use(session)),
          (exit) => Effect.sync(() => exit._tag === "Failure" ? session.destroy() : undefined)
        )
    )

  const greet = (session: Session) =>
    Effect.flatMap(
      session.query(prepare),
      ([row]) =>
        Effect.mapError(decodeGreeting(row), (error) =>
          refused(`the server's greeting is not understood: ${error.message}`))
    )

  /** That the pooler lends out no session that is in use. */
  let isProven = false

  /** The other client has got this session of the server, or has what was to be next for this one. */
  const isLentTo = (other: Session, session: Session, pid: number) =>
    Effect.flatMap(
      other.query(Statements.beginAndAsk),
      ([row]) =>
        row?.["pid"] === `${pid}`
          ? Effect.succeed(true)
          : Effect.map(session.query(Statements.askProcess), ([row]) => row?.["pid"] !== `${pid}`)
    )

  /** A pooler that lends one session of the server to two clients in turn would lend the lock of one to the other. */
  const checkPooler = (session: Session, pid: number): Effect.Effect<void, BackendError | SessionError> =>
    isProven ? Effect.void : Effect.flatMap(
      open((other) => Effect.ensuring(isLentTo(other, session, pid), Effect.sync(() => other.destroy()))).pipe(
        // A pool that lends a session for one statement only allows for no transaction.
        Effect.catchIf((error) => error._tag === "SessionError" && !passes(error), () => Effect.succeed(true))
      ),
      (isLent) => {
        if (isLent) {
          return refused(
            "a connection pooler in transaction mode is in front of the server: it lends the session that has a lock to other clients. " +
              "Connect to the server itself, or to a pool in session mode"
          )
        }
        if (pooler === "none") {
          return refused(
            `a connection pooler is in front of the server (it greeted as process ${session.processId}, the server as ${pid}). ` +
              "Connect to the server itself; or, if the pool is in session mode, say so: pooler: \"session\""
          )
        }
        isProven = true
        return Effect.void
      }
    )

  const check = (session: Session) =>
    Effect.flatMap(
      greet(session),
      ({ pid, sequence: found, standby, version }): Effect.Effect<void, BackendError | SessionError> => {
        if (version < oldest) {
          return refused(`the server is PostgreSQL ${Math.floor(version / 10_000)}; 14 or newer is needed`)
        }
        if (standby) {
          return refused("the server is a standby, which has no locks of its own: connect to the primary")
        }
        const known = pid === session.processId ? Effect.void : checkPooler(session, pid)
        return Effect.zipRight(known, found === null ? create(session) : checkSequence(found))
      }
    )

  const checkSequence = (
    { cache, cycle, increment, logged }: Sequence
  ): Effect.Effect<void, BackendError | SessionError> =>
    cache === 1 && increment > 0 && !cycle && logged
      ? Effect.void
      : refused(
        `the sequence ${sequence} must be LOGGED, with CACHE 1, a positive increment and NO CYCLE, or fencing numbers would not increase`
      )

  /** Two sessions that create it at once: one of them is told that it is there. */
  const create = (session: Session): Effect.Effect<void, BackendError | SessionError> =>
    Effect.catchIf(
      Effect.asVoid(session.query(Statements.createSequence(sequence))),
      ({ code }) => code === "23505" || code === "42P07",
      () => Effect.void
    )

  const connect = open((session) => Effect.as(inTime(greetingTime)(check(session)), session))

  const take = Effect.suspend((): Effect.Effect<Session, SessionError | BackendError> => {
    const session = idle.pop()
    if (session === undefined) return connect
    session.onEnd = () => {}
    session.keepsProcess(true)
    return Effect.succeed(session)
  })

  const giveBack = (session: Session): void => {
    if (closed || session.error !== undefined || idle.length >= maxIdle) {
      session.destroy()
      return
    }
    session.wasKept = true
    session.keepsProcess(false)
    session.onEnd = () => {
      const index = idle.indexOf(session)
      if (index >= 0) idle.splice(index, 1)
    }
    idle.push(session)
  }

  const withSession = <A, E>(
    use: (session: Session) => Effect.Effect<A, E | SessionError>
  ): Effect.Effect<A, E | SessionError | BackendError> =>
    Effect.flatMap(take, (session) => {
      const { wasKept } = session
      return Effect.catchAll(use(session), (error): Effect.Effect<A, E | SessionError | BackendError> =>
        wasKept && error instanceof SessionError && passes(error) ? withSession(use) : Effect.fail(error))
    })

  const query = (text: string) =>
    withSession((session) =>
      Effect.onExit(
        session.query(text),
        (exit) => Effect.sync(() => exit._tag === "Success" ? giveBack(session) : session.destroy())
      )
    )

  return {
    withSession,
    giveBack,
    query,
    close: () => {
      closed = true
      for (const session of idle.splice(0)) session.destroy()
    }
  }
}
