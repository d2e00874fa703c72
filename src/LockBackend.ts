/**
 * What an engine provides for `FileLock`: lock files, a kernel lock, a PostgreSQL session, a Redis key.
 *
 * The core keeps the fibers of one process in a queue and sends one request at a time for each lock to the engine. The engine decides
 * between processes. Re-entry, deadlines, log lines, spans and metrics belong to the core. `docs/backends.md` has engines on paper.
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
 * The canonical name of a lock. Two keys are the same lock when their `lockPath`s are equal.
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
 * Why the lock was refused: another holder, or an error that may pass. The core puts it into log lines, and into the error at the
 * deadline.
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
  /** Whether the holder is this process, by another name of the lock or another layer. */
  readonly isOwn?: boolean | undefined
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
  /** How long this process may have the lock again and again while other processes wait, from its first grant on, in milliseconds. */
  readonly handoff: number
  /** Whether the core calls `acquire` with this request, at once, when `tryAcquire` has answered with `None`. */
  readonly waits: boolean
  /** Whether `schedule` is the default one, which never ends: an engine may then choose when to look. */
  readonly isDefaultSchedule: boolean
  /** The engine calls it at each refusal. */
  readonly onBlocked: (blocked: Blocked) => void
  /** The engine calls it once, when it finds that the lock it has granted is gone, in `release` as well. */
  readonly onLost: (loss: LockLostError) => void
}

/**
 * By how much the fencing numbers of two grants of a lock differ at least. The core counts up from the number of a grant, so that fibers to
 * which the lock is handed off within a process have larger and larger numbers, too, without a step of the engine.
 *
 * @since 0.1.0
 * @category constants
 */
export const fenceStep = 2048

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
  /** A number that is larger by at least `fenceStep` than that of every earlier grant of this lock, where the engine has one. */
  readonly fence: Option.Option<bigint>
  /** Whether the lock of a dead or silent holder was taken over. */
  readonly recovered: boolean
  /**
   * Whether others wait for the lock, as far as the engine knows. Within `handoff` the core then keeps it until the end of the turn of
   * the event loop, for its own fibers: to pass a lock on costs more than to have it again.
   */
  readonly isAwaited?: () => boolean
  /** Asks the engine now. Fails with reason `"BackendUnavailable"` when it cannot be asked, which is not a loss. */
  readonly verify: Effect.Effect<void, LockLostError>
  /**
   * Releases the lock. The core runs it once, uninterruptibly, and waits for it for at most one second. It removes nothing but what this
   * grant put there. It tries again for less than a second where that helps, and logs what it could not do.
   */
  readonly release: Effect.Effect<void>
}

/**
 * What is at a lock, as `inspect` answers it.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockStatus {
  readonly state: State
  readonly mode: Mode
  readonly holders: ReadonlyArray<LockHolder>
  /**
   * The processes that wait, those that have waited for longer in front, as far as the engine knows them. Each process has one waiter that
   * others see, however many of its fibers wait.
   */
  readonly waiters: ReadonlyArray<LockHolder>
}

/**
 * A refusal that waiting does not change. The core makes a `LockAcquisitionError` of it.
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
 * `tryAcquire` and `acquire` are run uninterruptibly, so a lock that they have obtained is never lost. Each runs in a fiber of its own,
 * except where `immediate` knows the lock: then they run in the caller's fiber, and the deadline interrupts the waiting of `acquire`.
 * When a server or a disk does not answer, the caller is answered one second after its deadline, and a lock that is still obtained
 * later is released.
 *
 * @since 0.1.0
 * @category services
 */
export class LockBackend extends Context.Tag("effect-filelock/LockBackend")<LockBackend, {
  /** One key for all spellings of a path. Changes nothing. */
  readonly canonical: (path: string) => Effect.Effect<LockKey, BackendError | LockDirectoryError>
  /**
   * The key of a lock whose `tryAcquire`, `verify` and `release` end without suspending their fiber, because they need no server and no
   * other thread, and whose `acquire` waits for nothing but the lock. The core runs these in the caller's fiber. `None` for all other locks,
   * and where the engine does not know.
   */
  readonly immediate?: (path: string) => Option.Option<LockKey>
  /** Tries once. Does not wait for another holder. `None` when the lock is taken. */
  readonly tryAcquire: (
    key: LockKey,
    request: Request
  ) => Effect.Effect<Option.Option<Grant>, BackendError | LockDirectoryError>
  /**
   * Tries, and waits until the lock is granted. The engine makes its waiting interruptible with `Effect.interruptible`. An interrupted
   * wait leaves nothing behind. `None` when `request.schedule` has ended.
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
 * Adds `acquire` to an engine that can only be polled: it tries at each recurrence of the request's schedule, at most once a millisecond.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fromTryAcquire = (
  engine: Omit<Context.Tag.Service<LockBackend>, "acquire">
): Context.Tag.Service<LockBackend> => ({
  ...engine,
  acquire: (key, request) =>
    Effect.suspend(() => {
      const polling = Polling.make(request.schedule)
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
