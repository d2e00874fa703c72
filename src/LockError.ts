/**
 * The errors of locks.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { describeCause, isUnanswered } from "./internal/errno.js"
import { printable, quote } from "./internal/text.js"
import * as LockHolder from "./LockHolder.js"

/** JSON has no infinity, and an endless timeout has to be encoded, too. */
const Millis = Schema.Union(
  Schema.transformLiteral("Infinity", Infinity),
  Schema.JsonNumber
)

/**
 * The directory that must hold the lock file cannot be created, entered or written.
 *
 * `path` is the guarded file as the caller spelled it. `cause` is the answer of the file system. Waiting does not help, so the acquisition
 * fails at once and not at its deadline.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockDirectoryError extends Schema.TaggedError<LockDirectoryError>("effect-filelock/LockDirectoryError")(
  "LockDirectoryError",
  {
    path: Schema.String,
    lockPath: Schema.String,
    directory: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  /** @since 0.1.0 */
  override get message(): string {
    return `Cannot keep the lock file ${printable(this.lockPath)}: the directory ${
      printable(this.directory)
    } cannot be created, entered or ` +
      `written${
        describeCause(this.cause)
      }. Check that every part of it is a directory and that this user may write there`
  }
}

/**
 * Why a lock was not acquired.
 *
 * - `Timeout`: another holder kept it until the deadline
 * - `Foreign`: something at the lock path is not a lock of this package; it is left alone
 * - `InvalidPath`: empty, with a NUL, too long, or a loop of symbolic links
 * - `PermissionDenied`: the lock file may not be read, or a dead holder's may not be replaced
 * - `StorageFull`: no space for the lock file
 * - `Deadlock`: the fiber would wait for a lock that it holds itself
 * - `BackendUnavailable`: the engine's server cannot be reached
 * - `SystemError`: any other error, see `cause`
 *
 * @since 0.1.0
 * @category models
 */
export const Reason = Schema.Literal(
  "Timeout",
  "Foreign",
  "InvalidPath",
  "PermissionDenied",
  "StorageFull",
  "Deadlock",
  "BackendUnavailable",
  "SystemError"
)

/**
 * The type of a `Reason`.
 *
 * @since 0.1.0
 * @category models
 */
export type Reason = typeof Reason.Type

/**
 * The lock was not acquired. The acquisition has left no file behind.
 *
 * `waited` and `timeout` are in milliseconds; `timeout` may be `Infinity`. `holder` is the holder at the last look, where it is known. `at`
 * is the time of the failure.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockAcquisitionError
  extends Schema.TaggedError<LockAcquisitionError>("effect-filelock/LockAcquisitionError")(
    "LockAcquisitionError",
    {
      path: Schema.String,
      lockPath: Schema.String,
      reason: Reason,
      waited: Millis,
      timeout: Millis,
      holder: Schema.optional(LockHolder.LockHolder),
      cause: Schema.optional(Schema.Defect),
      at: Schema.optional(Schema.DateTimeUtc)
    }
  )
{
  /** @since 0.1.0 */
  override get message(): string {
    const holder = this.holder === undefined ? "" : `: ${LockHolder.format(this.holder, this.at)}`
    const cause = describeCause(this.cause)
    switch (this.reason) {
      case "Timeout":
        if (this.timeout === 0 && !isUnanswered(this.cause)) {
          return `${printable(this.lockPath)} is taken${holder}${cause}`
        }
        return `Timed out after ${LockHolder.formatDuration(this.waited)} waiting for ${
          printable(this.lockPath)
        }${holder}${cause}`
      case "Foreign":
        return `Cannot lock ${quote(this.path)}: what is at ${
          printable(this.lockPath)
        } is not a lock of effect-filelock${cause}. ` +
          `It was left alone; move it away if nothing needs it`
      case "InvalidPath":
        return `Cannot lock ${quote(this.path)}: this is not a usable path${cause}`
      case "PermissionDenied":
        return this.holder === undefined
          ? `Cannot lock ${quote(this.path)}: no permission for ${printable(this.lockPath)}${cause}. ` +
            `It may belong to another user: change its permissions, or ask that user to remove it`
          : `Cannot lock ${quote(this.path)}: its holder is dead, and no permission to replace ${
            printable(this.lockPath)
          }${holder}${cause}. It may belong to another user: ask that user to remove it`
      case "StorageFull":
        return `Cannot lock ${quote(this.path)}: no space left for ${printable(this.lockPath)}${cause}`
      case "Deadlock":
        return `Cannot lock ${quote(this.path)}: this fiber already holds it${cause} and would wait for itself. ` +
          `Nest with withLock, which is re-entrant, or release it first`
      case "BackendUnavailable":
        return `Cannot lock ${quote(this.path)}: the lock engine cannot be reached${cause}`
      case "SystemError":
        return `Cannot lock ${quote(this.path)} with ${printable(this.lockPath)}${holder}${cause}`
    }
  }
}

/**
 * How a lock that was held was lost.
 *
 * - `Removed`: it was removed
 * - `Replaced`: another holder has it, or something else is in its place
 * - `LeaseExpired`: no heartbeat succeeded in time, so another process may have taken it over
 * - `BackendUnavailable`: the engine cannot be asked. From `verify`, the lock is not known to be lost
 *
 * @since 0.1.0
 * @category models
 */
export const LostReason = Schema.Literal("Removed", "Replaced", "LeaseExpired", "BackendUnavailable")

/**
 * The type of a `LostReason`.
 *
 * @since 0.1.0
 * @category models
 */
export type LostReason = typeof LostReason.Type

/**
 * A lock that was held is gone. Another process may have been inside the critical section since the last successful `verify`: check the
 * guarded file before relying on it. `holder` is the holder now, where it is known. `at` is the time at which the loss was found.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockLostError extends Schema.TaggedError<LockLostError>("effect-filelock/LockLostError")("LockLostError", {
  path: Schema.String,
  lockPath: Schema.String,
  reason: LostReason,
  holder: Schema.optional(LockHolder.LockHolder),
  cause: Schema.optional(Schema.Defect),
  at: Schema.optional(Schema.DateTimeUtc)
}) {
  /** @since 0.1.0 */
  override get message(): string {
    const why = {
      // Whose record is there for the moment is that of the process that has removed it.
      Removed: "it was removed",
      Replaced: this.holder === undefined
        ? "something else is in its place"
        : `it is ${LockHolder.format(this.holder, this.at)}`,
      LeaseExpired: `it could not be renewed in time${
        describeCause(this.cause)
      }, and another process may have taken it over`,
      BackendUnavailable: `it could not be checked${describeCause(this.cause)}`
    }[this.reason]
    return `Lost the lock ${printable(this.lockPath)}: ${why}. Check ${
      quote(this.path)
    } before relying on what was written`
  }
}
