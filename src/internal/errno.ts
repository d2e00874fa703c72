import type { PlatformError } from "@effect/platform/Error"
import * as Predicate from "effect/Predicate"
import { printable } from "./text.js"

/** The errno behind a platform error (`"ENOENT"`), or its reason where the file system gives none. */
export const codeOf = (error: PlatformError): string => {
  if (error._tag === "BadArgument") {
    return "EINVAL"
  }
  if (Predicate.hasProperty(error.cause, "code") && typeof error.cause.code === "string") {
    return error.cause.code
  }
  switch (error.reason) {
    case "NotFound":
      return "ENOENT"
    case "AlreadyExists":
      return "EEXIST"
    case "PermissionDenied":
      return "EACCES"
    case "Busy":
      return "EBUSY"
    case "BadResource":
      return "ENOTDIR"
    default:
      return error.reason
  }
}

const beforeCreating = new Set([
  "EACCES",
  "EDQUOT",
  "ELOOP",
  "EMFILE",
  "ENAMETOOLONG",
  "ENFILE",
  "ENOENT",
  "ENOSPC",
  "ENOTDIR",
  "EPERM",
  "EROFS"
])

/** Whether an exclusive create that failed may have created its file: it failed later, or its answer was lost on its way. */
export const mayHaveCreated = (error: PlatformError): boolean =>
  error._tag === "SystemError" && (error.syscall !== "open" || !beforeCreating.has(codeOf(error)))

/** ` (…)` with the message of a cause, or nothing. */
export const describeCause = (cause: unknown): string =>
  Predicate.hasProperty(cause, "message") && typeof cause.message === "string" ? ` (${printable(cause.message)})` : ""
