import { fenceStep, type Grant } from "../../LockBackend.js"
import type { HeldLock } from "./heldLock.js"
import type { Waiter } from "./waitQueue.js"

/**
 * A lock that fibers of this process share: one shared grant of the engine, which is released when the last of them has left. Others come in
 * only for a time slice, so that a process whose readers never all leave does not keep the writers of other processes waiting.
 */
export class SharedGrant {
  /** The critical sections of those that share it. */
  readonly members = new Set<HeldLock>()

  constructor(
    /** The waiter that the lock was granted to. */
    readonly origin: Waiter,
    readonly grant: Grant
  ) {
    origin.lost = () => {
      for (const member of [...this.members]) member.lose()
    }
  }

  /** Whether a waiter may have the lock together with those that have it, and the record on it suits. */
  admits({ label, mode }: Waiter, now: number): boolean {
    const { call, grantedAt, loss, sections } = this.origin
    return mode === "shared" && label === call.label && loss === undefined && this.members.size > 0 &&
      sections < fenceStep && now < grantedAt + call.handoff
  }
}
