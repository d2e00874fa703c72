/**
 * What an engine must provide so that `FileLock` can stand on it.
 *
 * An engine answers one question at a time: may this process have this lock now? It never waits, and knows nothing of the
 * fibers that stand in line. The core asks again when the engine hints that something changed, when the engine said by
 * when to look again, or when the user's schedule says so.
 *
 * How the contract fits each kind of engine:
 *
 * | engine | `attempt` | liveness | `changes` | `fence` |
 * | --- | --- | --- | --- | --- |
 * | lock file | exclusive create, else judge the owner | process table, else lease | watch and owner probe | none |
 * | kernel lock | non-blocking `flock` | kernel | none, or a blocked helper | none |
 * | PostgreSQL | `pg_try_advisory_lock` | session | `LISTEN` | a sequence |
 * | Redis | `SET NX PX` | lease | subscription | `INCR` |
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { LockDirectoryError, LockLostError, Reason } from "./LockError.js"
import type { LockHolder } from "./LockHolder.js"

/**
 * Marks the values of this module.
 *
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-filelock/LockBackend")

/**
 * The type of `TypeId`.
 *
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * `exclusive`: one holder. `shared`: many holders, none of them exclusive.
 *
 * @since 0.1.0
 * @category models
 */
export type Mode = "exclusive" | "shared"

/**
 * What an engine can do.
 *
 * - `liveness`: how it notices a dead holder: the `kernel` (or its process table) tells, the holder's `session` with a
 *   server ends, or its `lease` runs out
 * - `fencing`: grants carry a `fence`
 * - `shared`: it knows shared mode
 * - `wakes`: its `changes` fire; without, waiters look again on their schedule only
 *
 * @since 0.1.0
 * @category models
 */
export interface Capabilities {
  readonly liveness: "kernel" | "session" | "lease"
  readonly fencing: boolean
  readonly shared: boolean
  readonly wakes: boolean
}

/**
 * The one name that all spellings of a guarded file share. Two names are the same lock when their `lockPath`s are equal.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockName {
  readonly path: string
  readonly lockPath: string
}

/**
 * Which lock is wanted, and how.
 *
 * @since 0.1.0
 * @category models
 */
export interface Request {
  readonly name: LockName
  readonly mode: Mode
  readonly label: string | undefined
  /** Whether the caller waits when the lock cannot be had at once. */
  readonly waits: boolean
}

/**
 * A refusal that waiting does not change. The core adds who asked and for how long.
 *
 * @since 0.1.0
 * @category errors
 */
export class Refused extends Data.TaggedError("Refused")<{
  readonly reason: Exclude<Reason, "Timeout" | "Deadlock">
  readonly cause?: unknown
}> {}

/**
 * A lock that is ours until it is released or lost.
 *
 * @since 0.1.0
 * @category models
 */
export interface Grant {
  readonly _tag: "Grant"
  /** Us, as others see us. */
  readonly holder: LockHolder
  /** Grows with every grant of one lock, where the engine has such a number. */
  readonly fence: Option.Option<bigint>
  /** Whether a dead or silent holder was removed for it. */
  readonly recovered: boolean
  /** Asks the engine now. */
  readonly verify: Effect.Effect<void, LockLostError>
  /**
   * Keeps the lock for as long as it is held, in a fiber of its own that is interrupted before `release`: beats, renews, watches
   * the session. Ends only by failing, once the engine knows that the lock is no longer ours.
   */
  readonly keep: Effect.Effect<never, LockLostError>
  /** How long after the grant `keep` is to begin: most locks are released before. */
  readonly keepAfter: Duration.Duration
  /**
   * Gives the lock back. Called once, uninterruptibly. It removes nothing but our own claim, logs what goes wrong, and goes on
   * trying in the background where that can help.
   */
  readonly release: Effect.Effect<void>
}

/**
 * The lock cannot be had now.
 *
 * `reason` and `cause` are what the caller is told when its timeout comes, `holder` is who is in the way. `lookAgain` is by when
 * the engine wants to look again at the latest, for example because it is counting somebody's silence.
 *
 * @since 0.1.0
 * @category models
 */
export interface Blocked {
  readonly _tag: "Blocked"
  readonly reason: Exclude<Reason, "Deadlock">
  readonly cause?: unknown
  readonly holder: Option.Option<LockHolder>
  readonly lookAgain: Option.Option<Duration.Duration>
}

/**
 * One acquisition of one lock, from the first attempt to the grant. It may remember what it saw.
 *
 * @since 0.1.0
 * @category models
 */
export interface Contender {
  /**
   * Tries once, without waiting for anybody. It is run uninterruptibly; it leaves nothing behind but a grant, or what `end`
   * takes back.
   */
  readonly attempt: Effect.Effect<Grant | Blocked, Refused | LockDirectoryError>
  /** Gives back whatever this contender keeps of its waiting. Run once a refused attempt was the last one; may be run again. */
  readonly end: Effect.Effect<void>
  /**
   * Sees to it, until the scope closes, that `ring` is called when something may have changed since the last attempt. Run after each
   * refused attempt, in one scope. A hint may be late, wrong or missing: only time is lost by it.
   */
  readonly changes: (ring: () => void) => Effect.Effect<void, never, Scope.Scope>
}

/**
 * What is at a lock's place, see `LockStatus`.
 *
 * @since 0.1.0
 * @category models
 */
export type State = "held" | "abandoned" | "unverifiable" | "foreign"

/**
 * What is at a lock's place: a living holder (`held`), one that is dead by proof (`abandoned`), one whose life cannot be checked
 * from here (`unverifiable`), or something that is none of ours (`foreign`).
 *
 * @since 0.1.0
 * @category models
 */
export interface LockStatus {
  readonly state: State
  readonly mode: Mode
  readonly holders: ReadonlyArray<LockHolder>
}

/**
 * An engine.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockBackend {
  readonly [TypeId]: TypeId
  readonly capabilities: Capabilities
  /** The name that every spelling of `path` shares. Changes nothing. */
  readonly resolve: (path: string) => Effect.Effect<LockName, Refused | LockDirectoryError>
  /** Starts an acquisition; does nothing yet. */
  readonly contend: (request: Request) => Contender
  /** Who holds a lock now, if anybody. Changes nothing. */
  readonly inspect: (name: LockName) => Effect.Effect<Option.Option<LockStatus>, Refused>
  /** Removes the claim with this holder's token, whoever made it; `false` if there is none. Never removes another. */
  readonly breakLock: (name: LockName, holder: LockHolder) => Effect.Effect<boolean, Refused>
}

/**
 * The service tag of an engine.
 *
 * @since 0.1.0
 * @category tags
 */
export const LockBackend: Context.Tag<LockBackend, LockBackend> = Context.GenericTag<LockBackend>(
  "effect-filelock/LockBackend"
)

/**
 * An engine from its parts.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (engine: Omit<LockBackend, TypeId>): LockBackend => ({ [TypeId]: TypeId, ...engine })
