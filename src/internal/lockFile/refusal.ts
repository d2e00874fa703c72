/**
 * Why a lock was refused, as the core is told it.
 */
import * as LockBackend from "../../LockBackend.js"
import type { LockHolder } from "../../LockHolder.js"
import * as Errno from "../errno.js"
import { DiskError } from "./disk.js"

/** The lock cannot be had now. */
export interface Blocked extends LockBackend.Blocked {
  readonly _tag: "Blocked"
  /** In milliseconds: later, the count of an owner's silence would start anew. */
  readonly readAgainIn?: number | undefined
}

/** What a caller is told of a system call that failed. */
export const reasonOf = ({ code }: DiskError): "PermissionDenied" | "StorageFull" | "SystemError" => {
  switch (code) {
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return "PermissionDenied"
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return "StorageFull"
    default:
      return "SystemError"
  }
}

/** A system call that failed for a reason that does not pass. */
export const refused = (error: DiskError, holder?: LockHolder): LockBackend.BackendError =>
  new LockBackend.BackendError({ reason: reasonOf(error), holder, cause: error.cause })

/** A file that may not be read or replaced, and whose it is. */
export const ofUser = ({ cause, code }: DiskError, user: number): DiskError =>
  new DiskError(code, Errno.explain(cause, `the file is user ${user}'s`))

/** A system call that failed for a reason that may pass. */
export const failed = (error: DiskError): Blocked => ({
  _tag: "Blocked",
  state: "held",
  reason: reasonOf(error),
  cause: error.cause
})

/** Something that is no lock of this package is in the way. */
export const blockedByForeign = (what: string): Blocked => ({
  _tag: "Blocked",
  state: "foreign",
  reason: "Foreign",
  cause: new Error(`it is ${what}`)
})

/** A record is in the way. */
export const blockedBy = (state: LockBackend.State, holder: LockHolder | undefined, readAgainIn?: number): Blocked => ({
  _tag: "Blocked",
  state,
  reason: "Timeout",
  holder,
  readAgainIn
})

/** A record of this process is in the way. A fiber that has it by the same layer and path would be in front of the one that asks. */
export const blockedByOwn = (holder: LockHolder): Blocked => ({
  ...blockedBy("held", holder),
  isOwn: true,
  cause: new Error("through another FileLock layer of this process, as another path, or to break it")
})
