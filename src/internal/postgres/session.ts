import type { PgClientConfig } from "@effect/sql-pg/PgClient"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import * as Pg from "pg"
import { codeOf } from "../errno.js"
import { type Alarm, timerOf } from "../lock/timer.js"
import * as Runtime from "../runtime.js"

/** A row, by the names of its columns, as the server writes it: what a program does with types does not change it. */
export type Row = Readonly<Record<string, string | null>>

/** Why a session failed, or ended. `code` is the SQLSTATE of the server, or the errno of the system. */
export class SessionError extends Data.TaggedError("SessionError")<{
  readonly message: string
  readonly code: string
  readonly cause?: unknown
}> {}

const toError = (cause: Error): SessionError => {
  const code = codeOf(cause)
  return new SessionError({ message: cause.message === "" ? code : cause.message, code, cause })
}

const connectTimeout = Duration.seconds(5)

/** The server may be there again when it is asked anew. */
const late = (duration: Duration.Duration): SessionError =>
  new SessionError({ message: `the server has not answered for ${Duration.format(duration)}`, code: "ETIMEDOUT" })

/** An answer that waits for no lock. */
export const inTime =
  (duration: Duration.Duration) => <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | SessionError> =>
    Effect.timeoutFail(Effect.interruptible(effect), { duration, onTimeout: () => late(duration) })

/** Is told the rows of a statement; of the last one, if they are several. */
export type OnAnswer = (error: SessionError | undefined, rows: ReadonlyArray<Row>) => void

/** The system allows for no more, in seconds. */
export const longestKeepAlive = 32_767

/**
 * A waiter says nothing, and hears nothing of a server whose machine is gone: it is noticed by the keepalives of TCP, which take ten seconds
 * more than this. A holder counts for itself, and should not be told earlier.
 */
const keepAliveOf = (lease: number): number => Math.min(Math.max(1000, lease * 2 / 3), longestKeepAlive * 1000)

const parametersOf = (config: PgClientConfig, lease: number): Pg.ClientConfig => ({
  ...(config.url === undefined ? {} : { connectionString: Redacted.value(config.url) }),
  ...(config.username === undefined ? {} : { user: config.username }),
  ...(config.host === undefined ? {} : { host: config.host }),
  ...(config.port === undefined ? {} : { port: config.port }),
  ...(config.database === undefined ? {} : { database: config.database }),
  ...(config.password === undefined ? {} : { password: Redacted.value(config.password) }),
  ...(config.ssl === undefined ? {} : { ssl: config.ssl }),
  types: { getTypeParser: () => String },
  connectionTimeoutMillis: Duration.toMillis(config.connectTimeout ?? connectTimeout),
  keepAlive: true,
  keepAliveInitialDelayMillis: keepAliveOf(lease),
  application_name: config.applicationName ?? "effect-filelock"
})

/**
 * One connection to the server. Its socket is destroyed by `destroy`, and by the interruption of a query: the server then ends the session
 * and frees what it has locked.
 */
export class Session {
  /** Why it has ended. */
  error: SessionError | undefined
  /** Called once, when it has ended. */
  onEnd: (error: SessionError) => void = () => {}
  /** Whether it was kept after a use: the server may have ended it since, and that may not be known here. */
  wasKept = false

  private readonly client: Pg.Client
  private readonly stream: Duplex
  private isAsking = false
  private readonly next: Array<() => void> = []

  /** Throws if the parameters are not allowed. The lease is in milliseconds. */
  constructor(config: PgClientConfig, lease: number) {
    const stream = config.stream?.() ?? new Net.Socket()
    this.stream = stream
    this.client = new Pg.Client({ ...parametersOf(config, lease), stream: () => stream })
    this.client.on("error", (error) => this.end(toError(error)))
    this.client.on("end", () => this.end(new SessionError({ message: "the connection was closed", code: "UNKNOWN" })))
  }

  /** Connects, authenticates and waits for the server's greeting. */
  readonly connect: Effect.Effect<void, SessionError> = Effect.async((resume) => {
    const onConnect = (error: unknown) => {
      resume(error instanceof Error ? Effect.fail(toError(error)) : Effect.void)
    }
    try {
      this.client.connect(onConnect)
    } catch (error) {
      // There is no such port.
      onConnect(error)
    }
    return Effect.sync(() => this.destroy())
  })

  /** The process of the server, as the greeting names it. A connection pooler greets with a number of its own. */
  get processId(): number | undefined {
    return "processID" in this.client && typeof this.client.processID === "number" ? this.client.processID : undefined
  }

  /** Runs a statement once those before it have been answered. Nobody has to wait for the answer. */
  ask(text: string, onAnswer: OnAnswer): void {
    if (this.isAsking) {
      this.next.push(() => this.ask(text, onAnswer))
      return
    }
    if (this.error !== undefined) {
      onAnswer(this.error, [])
      return
    }
    this.isAsking = true
    this.client.query<Row>(text, (error: Error | null, result: Pg.QueryResult<Row> | Array<Pg.QueryResult<Row>>) => {
      this.isAsking = false
      if (error === null || error === undefined) {
        onAnswer(undefined, (Array.isArray(result) ? result.at(-1) : result)?.rows ?? [])
      } else {
        onAnswer(toError(error), [])
      }
      this.next.shift()?.()
    })
  }

  /** The same, in a limited time, after which the session is left as it is. */
  askInTime(fiber: Runtime.RuntimeFiber, text: string, duration: Duration.Duration, onAnswer: OnAnswer): void {
    const timer = timerOf(fiber)
    let isOver = false
    const answer: OnAnswer = (error, rows) => {
      if (isOver) return
      isOver = true
      timer.cancel(fiber, alarm)
      onAnswer(error, rows)
    }
    const alarm: Alarm = {
      at: Runtime.monotonic(fiber) + Duration.toMillis(duration),
      run: () => answer(late(duration), [])
    }
    timer.add(fiber, alarm)
    this.ask(text, answer)
  }

  /** The rows of a statement. An interruption ends the session, and so does an answer that takes longer than `duration`. */
  query(text: string, duration?: Duration.Duration): Effect.Effect<ReadonlyArray<Row>, SessionError> {
    return Effect.withFiberRuntime((fiber) =>
      Effect.async((resume) => {
        const onAnswer: OnAnswer = (error, rows) => {
          if (error?.code === "ETIMEDOUT") this.destroy()
          resume(error === undefined ? Effect.succeed(rows) : Effect.fail(error))
        }
        if (duration === undefined) this.ask(text, onAnswer)
        else this.askInTime(fiber, text, duration, onAnswer)
        return Effect.sync(() => this.destroy())
      })
    )
  }

  /** Whether a program that has nothing else to do waits for it. */
  keepsProcess(keeps: boolean): void {
    if (this.stream instanceof Net.Socket) {
      if (keeps) this.stream.ref()
      else this.stream.unref()
    }
  }

  /** Ends it without a word to `onEnd`. */
  destroy(): void {
    this.stream.destroy()
    this.onEnd = () => {}
    this.end(new SessionError({ message: "the session was ended", code: "UNKNOWN" }))
  }

  private end(error: SessionError): void {
    if (this.error !== undefined) return
    this.error = error
    this.onEnd(error)
  }
}
