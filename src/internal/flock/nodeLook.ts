import type { Mode } from "../../LockBackend.js"
import { toError } from "../lockFile/disk.js"
import * as Record from "../lockFile/record.js"
import type { Gone } from "./grant.js"
import type { Kernel } from "./nodeKernel.js"
import { OpenFile } from "./nodeOpenFile.js"

/** The file at the path is locked by us. */
export interface Locked {
  readonly _tag: "Locked"
  readonly file: OpenFile
  readonly seen: Record.Seen
  readonly isEmpty: boolean
}

/** What is found at a lock. */
export type Found =
  | Locked
  /** Another program has it locked. */
  | { readonly _tag: "Taken"; readonly seen: Record.Seen }
  | { readonly _tag: "Absent" }
  | { readonly _tag: "Foreign"; readonly what: string }
  /** It is just being replaced or removed. */
  | { readonly _tag: "Changed" }

const changed: Found = { _tag: "Changed" }

/** Locks what is at the path of a lock, if it may be one of flock(2), and says what is in it. Throws what the system answers. */
export const look = (kernel: Kernel, path: string, mode: Mode): Found => {
  let opened: ReturnType<typeof OpenFile.open>
  try {
    opened = OpenFile.open(path)
  } catch (error) {
    const { code } = toError(error)
    // EAGAIN: its holder has a lease on it, and is about to remove it.
    if (code === "ENOENT" || code === "EAGAIN") return changed
    throw error
  }
  if ("_tag" in opened) {
    return opened._tag === "Absent" ? opened : { _tag: "Foreign", what: opened.what }
  }
  const file = opened
  let isOurs = false
  try {
    // A file of another program is not locked, not even for a moment.
    const before = identify(file)
    if (before.seen._tag === "Foreign" && !before.isEmpty) {
      return before.seen
    }
    const isLocked = kernel.tryLock(file.descriptor, mode)
    if (!file.isAt(path)) {
      return changed
    }
    if (!isLocked) {
      return { _tag: "Taken", seen: before.seen }
    }
    isOurs = true
    return { _tag: "Locked", file, ...identify(file) }
  } finally {
    if (!isOurs) file.close()
  }
}

/** What is in a file that is open. */
export const identify = (file: OpenFile): Pick<Locked, "seen" | "isEmpty"> => {
  const entry = file.read()
  return { seen: Record.toSeen(entry), isEmpty: entry._tag === "File" && entry.text === "" }
}

/** Something else, or nothing, is where our file was. */
export const goneAt = (path: string): Gone => {
  const opened = OpenFile.open(path)
  if ("_tag" in opened) {
    return { reason: opened._tag === "Absent" ? "Removed" : "Replaced" }
  }
  try {
    return { reason: "Replaced", holder: Record.holderOf(identify(opened).seen) }
  } finally {
    opened.close()
  }
}
