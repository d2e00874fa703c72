/**
 * What an engine provides so that `FileLock` can stand on it: lock files, a kernel lock, a PostgreSQL session, a Redis key.
 *
 * The core keeps the fibers of one process in a queue and sends one request for each lock to the engine; the engine decides between
 * processes. Re-entry, deadlines, the queue within the process, log lines, spans and metrics are the core's.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import * as Polling from "./internal/polling.js"
import type { LockDirectoryError, LockLostError, Reason } from "./LockError.js"
import type { LockHolder } from "./LockHolder.js"

/**
 * `exclusive`: one holder. `shared`: many holders, none of them exclusive.
 *
 * @since 0.1.0
 * @category models
 */
export type Mode = "exclusive" | "shared"

/**
 * The one name of a lock, whatever the spelling that it was asked for by. Two keys are the same lock when their `lockPath`s are equal.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockKey {
  /** What is guarded, in its canonical spelling. */
  readonly path: string
  /** `${path}.lock`: where the lock is, or what it is called. */
  readonly lockPath: string
}

/**
 * What is at a lock: a live holder (`held`), a holder that is dead by proof (`abandoned`), a holder that cannot be checked from here
 * (`unverifiable`), or something that is not a lock of this package (`foreign`).
 *
 * @since 0.1.0
 * @category models
 */
export type State = "held" | "abandoned" | "unverifiable" | "foreign"

/**
 * Why the lock cannot be had now: who is in the way, or which error may pass. The core puts it into log lines, and into the error when
 * the deadline passes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Blocked {
  readonly state: State
  readonly holder?: LockHolder | undefined
  /** What the acquisition fails with at its deadline. */
  readonly reason: Exclude<Reason, "Deadlock">
  readonly cause?: unknown
}

/**
 * One acquisition, as the engine sees it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  readonly mode: Mode
  /** Shown to other processes. */
  readonly label: string | undefined
  /** When to look again, for an engine that polls. When the schedule ends, so does the wait. */
  readonly schedule: Schedule.Schedule<unknown>
  /** Whether `schedule` is the default one, which never ends: an engine may then choose when to look. */
  readonly isDefaultSchedule: boolean
  /** To be called at each refusal. */
  readonly onBlocked: (blocked: Blocked) => void
  /** To be called once, when the lock that was granted is found to be gone; also by `release`. */
  readonly onLost: (loss: LockLostError) => void
}

/**
 * A lock that was granted. The engine keeps it alive by itself, from the grant to its release.
 *
 * @since 0.1.0
 * @category models
 */
export interface Grant {
  /** This process, as others see it. */
  readonly holder: LockHolder
  /** The mode that was granted: an engine without shared locks grants an exclusive one. */
  readonly mode: Mode
  /** A number that is larger than that of every earlier grant of this lock, where the engine has one. */
  readonly fence: Option.Option<bigint>
  /** Whether the lock of a dead or silent holder was taken over. */
  readonly recovered: boolean
  /** Asks the engine now. Fails with reason `"BackendUnavailable"` when it cannot be asked. */
  readonly verify: Effect.Effect<void, LockLostError>
  /**
   * Gives the lock back. Run once, uninterruptibly. It removes nothing but what this grant put there, tries a few times within about a
   * second where that helps, and logs what it could not do.
   */
  readonly release: Effect.Effect<void>
}

/**
 * What is at a lock, as `inspect` tells it.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockStatus {
  readonly state: State
  readonly mode: Mode
  readonly holders: ReadonlyArray<LockHolder>
  /** Who waits, in order, as far as the engine can tell. */
  readonly waiters: ReadonlyArray<LockHolder>
}

/**
 * A refusal that waiting does not change. The core adds who asked, and for how long.
 *
 * @since 0.1.0
 * @category errors
 */
export class BackendError extends Data.TaggedError("BackendError")<{
  readonly reason: Exclude<Reason, "Timeout" | "Deadlock">
  readonly holder?: LockHolder | undefined
  readonly cause?: unknown
}> {}

/**
 * An engine.
 *
 * `tryAcquire` and `acquire` are run uninterruptibly: what they have obtained when they return is never lost. Each runs in a fiber
 * of its own, so that a server or a disk that does not answer is left behind at the deadline; what such a call still obtains later is
 * released.
 *
 * @since 0.1.0
 * @category services
 */
export class LockBackend extends Context.Tag("effect-filelock/LockBackend")<LockBackend, {
  /** One key for all spellings of a path. Changes nothing. */
  readonly canonical: (path: string) => Effect.Effect<LockKey, BackendError | LockDirectoryError>
  /**
   * The key of a lock whose `tryAcquire`, `verify` and `release` end without suspending their fiber, because they need no server and no
   * other thread: the core then runs these in the caller's fiber. `None` for all others, and when in doubt.
   */
  readonly immediate?: (path: string) => Option.Option<LockKey>
  /** Tries once and waits for no other holder. `None` when the lock is taken. */
  readonly tryAcquire: (
    key: LockKey,
    request: Request
  ) => Effect.Effect<Option.Option<Grant>, BackendError | LockDirectoryError>
  /**
   * Tries, and waits until the lock is granted. Its waiting is made interruptible with `Effect.interruptible`, and leaves nothing behind
   * when it is interrupted. `None` when `request.schedule` has ended.
   */
  readonly acquire: (
    key: LockKey,
    request: Request
  ) => Effect.Effect<Option.Option<Grant>, BackendError | LockDirectoryError>
  /** What is at the lock now; `None` if it is free. Changes nothing. */
  readonly inspect: (key: LockKey) => Effect.Effect<Option.Option<LockStatus>, BackendError>
  /** Removes the lock of exactly this holder; `false` if it was already gone. */
  readonly breakLock: (key: LockKey, holder: LockHolder) => Effect.Effect<boolean, BackendError>
}>() {}

/**
 * Completes an engine that can only be polled: its `acquire` tries at each recurrence of the request's schedule.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromTryAcquire = (
  engine: Omit<Context.Tag.Service<LockBackend>, "acquire">
): Context.Tag.Service<LockBackend> => ({
  ...engine,
  acquire: (key, request) =>
    Effect.flatMap(Polling.make(request.schedule), (polling) => {
      const again: ReturnType<typeof engine.tryAcquire> = Effect.flatMap(
        Effect.suspend(() => engine.tryAcquire(key, request)),
        (grant) =>
          Option.isSome(grant) ? Effect.succeed(grant) : Effect.flatMap(
            Effect.interruptible(polling.pause),
            (goesOn) => goesOn ? again : Effect.succeedNone
          )
      )
      return again
    })
})
