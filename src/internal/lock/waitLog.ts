import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import type { Blocked } from "../../LockBackend.js"
import * as LockHolder from "../../LockHolder.js"
import { describeCause } from "../errno.js"
import * as Runtime from "../runtime.js"
import { printable } from "../text.js"
import { type Alarm, timerOf } from "./timer.js"

/** How long the oldest waiter has waited when the first line is logged, in milliseconds. */
const firstLine = 1_000

/** The pauses between a line and the next one: lines come after 1 s, 10 s, 1 min, 10 min, and then each 10 min. */
const pauses = [9_000, 50_000, 540_000, 600_000]

/** What is in the way, as a sentence says it. */
export const describe = (
  holder: LockHolder.LockHolder | undefined,
  blocked: Blocked | undefined,
  now: DateTime.Utc
) => {
  switch (blocked?.state) {
    case "foreign":
      return `something that is not a lock of effect-filelock is there${describeCause(blocked.cause)}`
    case "abandoned":
      return blocked.holder === undefined
        ? "its holder is dead"
        : `${LockHolder.format(blocked.holder, now)}, which is dead`
    default:
      if (blocked?.reason === "BackendUnavailable") {
        return `the lock engine cannot be reached${describeCause(blocked.cause)}`
      }
      return (holder === undefined ? "in use" : LockHolder.format(holder, now)) + describeCause(blocked?.cause)
  }
}

/** A fiber that waits. */
interface Waiting {
  readonly fiber: Runtime.RuntimeFiber
  readonly call: { readonly requestedAt: number }
}

/** What it waits for. */
interface Subject {
  readonly holder: LockHolder.LockHolder | undefined
  readonly blocked: Blocked | undefined
}

/** Tells in the log, once for a lock and not once for a fiber, that it is waited for, and when the wait has ended. */
export class WaitLog {
  private readonly waiters = new Set<Waiting>()
  private alarm: Alarm | undefined
  /** Lines since the last pause without waiters. */
  private lines = 0
  private lastLine = -Infinity
  private told = false

  constructor(private readonly lockPath: string, private readonly subject: Subject) {}

  add(waiter: Waiting): void {
    this.waiters.add(waiter)
    if (this.alarm === undefined) {
      this.arm(waiter)
    }
  }

  remove(waiter: Waiting): void {
    if (this.waiters.delete(waiter) && this.waiters.size === 0 && this.alarm !== undefined) {
      timerOf(waiter.fiber).cancel(waiter.fiber, this.alarm)
      this.alarm = undefined
      this.lines = 0
      this.lastLine = -Infinity
    }
  }

  /** The waiter has the lock. */
  acquired(waiter: Waiting): void {
    this.remove(waiter)
    const waited = Runtime.monotonic(waiter.fiber) - waiter.call.requestedAt
    if (this.told && waited >= firstLine) {
      this.told = false
      Runtime.start(
        waiter.fiber,
        Effect.logInfo(`Acquired ${printable(this.lockPath)} after ${LockHolder.formatDuration(waited)}`)
      )
    }
  }

  private arm(oldest: Waiting): void {
    const pause = pauses[Math.min(this.lines, pauses.length) - 1] ?? 0
    this.alarm = {
      at: Math.max(oldest.call.requestedAt + firstLine, this.lastLine + pause),
      run: () => {
        this.alarm = undefined
        const [oldest] = this.waiters
        if (oldest !== undefined) {
          this.tell(oldest)
          this.arm(oldest)
        }
      }
    }
    timerOf(oldest.fiber).add(oldest.fiber, this.alarm)
  }

  private tell(oldest: Waiting): void {
    const now = Runtime.monotonic(oldest.fiber)
    const waited = now - oldest.call.requestedAt
    if (waited < firstLine) {
      return
    }
    this.lines += 1
    this.lastLine = now
    this.told = true
    const others = this.waiters.size === 1 ? "" : `; ${this.waiters.size - 1} more fibers wait`
    const { blocked, holder } = this.subject
    Runtime.start(
      oldest.fiber,
      Effect.logInfo(
        `Waiting for ${printable(this.lockPath)} for ${LockHolder.formatDuration(waited)}: ` +
          describe(holder, blocked, DateTime.unsafeMake(Runtime.wallClock(oldest.fiber))) + others
      )
    )
  }
}
