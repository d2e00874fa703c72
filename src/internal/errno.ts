import { isPlatformError } from "@effect/platform/Error"
import * as Predicate from "effect/Predicate"
import { printable } from "./text.js"

const byReason: Readonly<Record<string, string>> = {
  NotFound: "ENOENT",
  AlreadyExists: "EEXIST",
  PermissionDenied: "EACCES",
  Busy: "EBUSY",
  BadResource: "ENOTDIR"
}

const ownCode = (error: unknown): string | undefined =>
  Predicate.hasProperty(error, "code") && typeof error.code === "string" ? error.code : undefined

/**
 * The errno of an error (`"ENOENT"`): of Node's, or of a platform error, whose `reason` stands in where the file system gives none.
 * Node's permission model denies with a code of its own, which counts as EACCES.
 */
export const codeOf = (error: unknown): string => {
  const code = isPlatformError(error)
    ? error._tag === "BadArgument" ? "EINVAL" : ownCode(error.cause) ?? byReason[error.reason] ?? error.reason
    : ownCode(error) ?? "UNKNOWN"
  return code === "ERR_ACCESS_DENIED" ? "EACCES" : code
}

/** ` (…)` with the message of a cause, or nothing. */
export const describeCause = (cause: unknown): string =>
  Predicate.hasProperty(cause, "message") && typeof cause.message === "string" ? ` (${printable(cause.message)})` : ""

const notAnswered = "the storage did not answer in time"

/** A step of the engine, such as a system call on a dead network file system, had not ended at the deadline. */
export const unanswered = (): Error => new Error(notAnswered)

/** Whether that is so, also of an error that was sent by another process. */
export const isUnanswered = (cause: unknown): boolean =>
  Predicate.hasProperty(cause, "message") && cause.message === notAnswered

/** The same error, with what it means in front. */
export const explain = (cause: unknown, meaning: string): Error =>
  Object.assign(
    new Error(Predicate.hasProperty(cause, "message") ? `${meaning}: ${cause.message}` : meaning, { cause }),
    { code: codeOf(cause) }
  )

/** The system call that failed (`"open"`), where the error says so. */
export const syscallOf = (error: unknown): string | undefined =>
  Predicate.hasProperty(error, "syscall") && typeof error.syscall === "string" ? error.syscall : undefined
