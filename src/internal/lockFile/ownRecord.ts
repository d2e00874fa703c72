import type * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessInfo } from "../../ProcessIdentity.js"
import * as Runtime from "../runtime.js"
import * as Record from "./record.js"

/** A moment on both clocks: the monotonic one may stand still while a machine is suspended, the wall clock may be set. */
export interface Moment {
  readonly monotonic: number
  readonly wall: number
}

export const momentAt = (clock: Clock.Clock): Moment => ({
  monotonic: Runtime.monotonicOf(clock),
  wall: Runtime.wallClockOf(clock)
})

/** Milliseconds since a moment, by the one of both that says more. */
export const since = (clock: Clock.Clock, { monotonic, wall }: Moment): number =>
  Math.max(Runtime.monotonicOf(clock) - monotonic, Runtime.wallClockOf(clock) - wall)

/** By how much the time of an acquisition may be wrong, in milliseconds. */
const noticeable = 1_000

/** A part of a record, from an offset in bytes on, and the whole record with it. */
interface Beat {
  readonly text: string
  readonly offset: number
  readonly part: string
}

/** A record of this process that is, or may be, at some path. */
export class OwnRecord {
  /** As it is on the disk: a heartbeat changes it. */
  text: string
  beats = 0
  /** The time of the last heartbeat. Other processes measure the lease from here at the earliest. */
  heardAt: Moment
  /** A removal was begun: when its answer is lost, what is at the path then may be a successor's. */
  removing = false
  /** Milliseconds since 1970. The record says when it was written, until a heartbeat corrects it. */
  acquiredAt: number
  /** Whether `acquiredAt` is to be written with the next heartbeat. */
  outdated = false
  /** It counts as a dead process's. */
  retired = false
  /** The request file could not be removed. */
  requestLeft = false
  /** Where the beat is, in bytes. */
  private beatAt: number | undefined

  constructor(
    readonly token: string,
    readonly requestPath: string,
    private readonly process: ProcessInfo,
    private readonly label: string | undefined,
    /** The clock of the fiber that it was made for. That may go by another one later. */
    readonly clock: Clock.Clock,
    /** It describes another process, which may end at any moment: then it can be taken over. */
    readonly onBehalf = false
  ) {
    this.heardAt = momentAt(clock)
    this.acquiredAt = this.heardAt.wall
    this.text = Record.encode(process, token, this.acquiredAt, label)
  }

  /** Milliseconds since the last heartbeat. */
  get silence(): number {
    return since(this.clock, this.heardAt)
  }

  /** The lock was acquired after a wait. */
  acquired(): void {
    const at = Runtime.wallClockOf(this.clock)
    this.outdated = at - this.acquiredAt > noticeable
    if (this.outdated) this.acquiredAt = at
  }

  /** What the next beat writes. The record keeps its length. */
  nextBeat(): Beat {
    const beats = this.beats + 1
    if (this.outdated) {
      const text = Record.withTail(this.text, this.acquiredAt, beats)
      return { text, offset: Record.offsetOfTail(text), part: Record.tailOf(text) }
    }
    this.beatAt ??= Record.offsetOfBeat(this.text)
    return { text: Record.withBeat(this.text, beats), offset: this.beatAt, part: Record.formatBeat(beats) }
  }

  /** A beat found this in the file. `true` if that was our record as we know it, so that the beat was written. */
  beaten({ text }: Beat, content: string): boolean {
    const beats = Record.beatOf(content)
    if (content === this.text) {
      this.beats += 1
      this.text = text
      this.outdated = false
      return true
    }
    // An earlier beat was written although its answer said otherwise.
    if (Record.isSameRecord(content, this.text) && !Number.isNaN(beats)) {
      this.text = content
      this.beats = beats
    }
    return false
  }

  /** Made when it is asked for: most locks are released without. */
  get holder(): LockHolder {
    return {
      ...this.process,
      token: this.token,
      acquiredAt: DateTime.unsafeMake(this.acquiredAt),
      ...(this.label === undefined ? {} : { label: this.label })
    }
  }
}
