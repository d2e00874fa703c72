import type * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { LostReason } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { Alarm } from "../lock/timer.js"
import * as Runtime from "../runtime.js"
import type { DiskError } from "./disk.js"
import type { OwnRecord } from "./ownRecord.js"
import type * as Protocol from "./protocol.js"

/** The lock is gone from us. */
export class Gone extends Data.TaggedError("Gone")<{
  readonly reason: LostReason
  readonly holder?: LockHolder | undefined
  readonly cause?: unknown
}> {}

/** Another process is taking the lock over, or looks like it. */
export class Claimed extends Data.TaggedError("Claimed")<{}> {}

export type Attempt = Effect.Effect<void, DiskError | Claimed | Gone>

/** The heartbeat of one lock that is held. */
export class Member {
  /** When it beats next, on the monotonic clock. */
  due = Infinity
  /** Those that wait for their heartbeat stand in a list. */
  previous: Member | undefined
  next: Member | undefined
  /** A heartbeat that has not succeeded at once, and goes on trying. */
  insisting: Fiber.RuntimeFiber<void> | undefined
  /** The last attempt that was begun. There is one at a time, and it is never cut off. */
  attempt: Fiber.RuntimeFiber<void, DiskError | Claimed | Gone> | undefined
  /** The lock is being released: no attempt begins any more. */
  removed = false
  constructor(
    readonly place: Protocol.Place,
    readonly own: OwnRecord,
    /** The fiber that acquired the lock: its clock and its services are the heartbeat's. */
    readonly fiber: Runtime.RuntimeFiber,
    /** Called when the lock turns out to be lost. */
    readonly onGone: (gone: Gone) => void,
    /** A claim at this place keeps other processes from taking the file over, or away. */
    readonly guard = place
  ) {}

  get clock(): Clock.Clock {
    return this.own.clock
  }

  get now(): number {
    return Runtime.monotonicOf(this.clock)
  }
}

/** The locks that are held on one clock and wait for their heartbeat, the one that was heard first in front. */
export class Round {
  alarm: Alarm | undefined
  first: Member | undefined
  private last: Member | undefined
  size = 0
  /**
   * Those whose heartbeat is late, and takes several times as long. They come after the others: otherwise a process with many locks that
   * was late once would be late for ever.
   */
  readonly late = new Set<Member>()

  /** Nearly always it was heard last. */
  add(member: Member): void {
    let previous = this.last
    while (previous !== undefined && previous.own.heardAt.monotonic > member.own.heardAt.monotonic) {
      previous = previous.previous
    }
    const next = previous === undefined ? this.first : previous.next
    member.previous = previous
    member.next = next
    if (previous === undefined) this.first = member
    else previous.next = member
    if (next === undefined) this.last = member
    else next.previous = member
    this.size += 1
  }

  /** Whether it was there. */
  delete(member: Member): boolean {
    if (this.late.delete(member)) {
      return true
    }
    const { next, previous } = member
    if (previous === undefined && this.first !== member) {
      return false
    }
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.last = previous
    else next.previous = previous
    member.previous = member.next = undefined
    this.size -= 1
    return true
  }
}
