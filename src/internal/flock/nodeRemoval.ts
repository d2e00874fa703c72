import * as NodeFS from "node:fs"
import type { Kernel } from "./nodeKernel.js"
import type { OpenFile } from "./nodeOpenFile.js"

/**
 * - `removed`: its name is gone, and nobody had it open
 * - `visited`: its name is gone, and another program is about to lock it all the same: see `Orphans`
 * - `left`: it is where it was, since another program has it open, or may have
 */
export type Outcome = "removed" | "visited" | "left"

/** Those that look at the file have it open for some microseconds. */
const maxTries = 8

/**
 * Removes the file of a lock that we have locked, if nobody else has it open. Other programs do not compare the file with its name once they
 * have locked it: one that waits for a file that is removed would have the lock together with the next one that creates it.
 *
 * The lease proves that nobody has the file open, and makes those wait that open it. One that comes between the lease and the rename shows,
 * and the file gets its name back. `aside` is a name that nobody knows.
 */
export const remove = (kernel: Kernel, file: OpenFile, path: string, aside: string): Outcome => {
  const { descriptor } = file
  for (let tries = 0; tries < maxTries; tries++) {
    if (!kernel.lease(descriptor)) {
      continue
    }
    try {
      NodeFS.renameSync(path, aside)
    } catch {
      // What refuses here goes on refusing: the directory may not be written any more.
      kernel.endLease(descriptor)
      return "left"
    }
    if (kernel.isLeased(descriptor)) {
      NodeFS.unlinkSync(aside)
      return "removed"
    }
    const isBack = linkBack(aside, path)
    NodeFS.unlinkSync(aside)
    kernel.endLease(descriptor)
    if (!isBack) {
      return "visited"
    }
  }
  return "left"
}

const linkBack = (aside: string, path: string): boolean => {
  try {
    NodeFS.linkSync(aside, path)
    return true
  } catch {
    // The next one has created a file by that name.
    return false
  }
}
