import * as Effect from "effect/Effect"
import { constUndefined, constVoid } from "effect/Function"
import type * as Schedule from "effect/Schedule"
import { type Blocked, fenceStep, type Grant, type Mode, type Request } from "../../LockBackend.js"
import type { LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"
import type { HeldLock } from "./heldLock.js"
import type { SharedGrant } from "./sharedGrant.js"
import { type Alarm, timerOf } from "./timer.js"
import { WaitLog } from "./waitLog.js"

/**
 * How long a caller waits for a step that is under way when it releases, is interrupted, or its deadline has passed; in milliseconds.
 * Then the step goes on in the background.
 */
export const cleanupTimeout = 1_000

/** What was asked for, and until when. Times are milliseconds on the monotonic clock of the fiber that asked. */
export interface Call {
  /** As the caller spelled it. */
  readonly path: string
  readonly mode: Mode
  readonly label: string | undefined
  readonly schedule: Schedule.Schedule<unknown>
  readonly isDefaultSchedule: boolean
  readonly timeout: number
  readonly requestedAt: number
  /** Fibers that called first are served first, even if they reach the queue later. */
  readonly sequence: number
  /** How long this process may hand the lock off among its own fibers, from the grant on, in milliseconds. */
  readonly handoff: number
}

/**
 * One fiber that wants a lock: its node in the queue, its request to the engine, its deadline, and how it is woken.
 *
 * It is `first` when it is its turn: it then asks the engine, or has been handed the lock together with its turn.
 */
export class Waiter implements Request {
  readonly mode: Mode
  readonly label: string | undefined
  readonly schedule: Schedule.Schedule<unknown>
  readonly isDefaultSchedule: boolean
  first = false
  /** It waits for no other holder any more. */
  expired: boolean
  /** It does not wait for a step of the engine any more. */
  outOfTime = false
  /** Why the engine refused the last time. */
  blocked: Blocked | undefined
  /** Whose acquisition the lock came from, if it was handed off. It must be released together with this turn. */
  origin: Waiter | undefined
  /** What the engine granted to this request, and when. */
  grant: Grant | undefined
  grantedAt = 0
  /** How many critical sections there have been on what was granted to this request. */
  sections = 0
  /** Whether the calls of the engine end without suspending. */
  immediate = false
  /** Whether other fibers have the lock as often: they may want it again before it goes back to the engine. */
  busy = false
  /** The lock went to the next waiter: what becomes of it from now on is not this waiter's. */
  handedOff = false
  /** The loss of what was granted to this request. */
  loss: LockLostError | undefined
  /** It would wait for a lock of its own fiber. */
  deadlock: HeldLock | undefined
  /** Finds the lock of its own fiber that others see by a token. */
  findOwn: (token: string) => HeldLock | undefined = constUndefined
  /** Ends a wait in the fiber of the caller. */
  onDeadline: () => void = constVoid
  /** To be called at a loss: stops what runs under the lock. */
  lost: () => void = constVoid
  previous: Waiter | undefined
  next: Waiter | undefined
  private deadline: Alarm | undefined
  private pending = false
  private resume: ((effect: Effect.Effect<void>) => void) | undefined

  constructor(readonly call: Call, readonly fiber: Runtime.RuntimeFiber) {
    this.mode = call.mode
    this.label = call.label
    this.schedule = call.schedule
    this.isDefaultSchedule = call.isDefaultSchedule
    this.expired = call.timeout <= 0
  }

  get handoff(): number {
    return this.call.handoff
  }

  get waits(): boolean {
    return !this.expired
  }

  readonly onBlocked = (blocked: Blocked): void => {
    const isNew = blocked.holder?.token !== this.blocked?.holder?.token
    this.blocked = blocked
    // A fiber may hold thousands of locks.
    if (isNew && this.waits && blocked.holder !== undefined && blocked.isOwn === true) {
      this.deadlock = this.findOwn(blocked.holder.token)
      if (this.deadlock !== undefined) this.expire()
    }
  }

  readonly onLost = (loss: LockLostError): void => {
    if (this.loss === undefined) {
      this.loss = loss
      this.lost()
    }
  }

  /** Wakes the waiter. A wake-up while it does not wait is kept; several are one. */
  notify(): void {
    const { resume } = this
    if (resume === undefined) {
      this.pending = true
    } else {
      this.resume = undefined
      resume(Effect.void)
    }
  }

  /** It waits no longer. */
  private expire(): void {
    this.expired = this.outOfTime = true
    this.onDeadline()
    this.notify()
  }

  /** Waits for a wake-up. */
  get wait(): Effect.Effect<void> {
    return Effect.async((resume) => {
      if (this.pending) {
        this.pending = false
        resume(Effect.void)
      } else {
        this.resume = resume
      }
    })
  }

  /** From now on the deadline wakes the waiter. One that does not wait for other holders gives the engine the clean-up timeout. */
  startDeadline(): void {
    const { requestedAt, timeout } = this.call
    if (this.deadline === undefined && timeout !== Infinity) {
      this.deadline = {
        at: requestedAt + (timeout > 0 ? timeout : cleanupTimeout),
        run: () => this.expire()
      }
      timerOf(this.fiber).add(this.fiber, this.deadline)
    }
  }

  stopDeadline(): void {
    if (this.deadline !== undefined) {
      timerOf(this.fiber).cancel(this.fiber, this.deadline)
      this.deadline = undefined
    }
  }
}

/**
 * A process that wants a lock again within so many milliseconds does so as a part of what it does anyway: in between it has not waited for
 * a program of Node's, which takes longer to start and may need the lock.
 */
export const atOnce = 5

/** A lock that was released, and is not given back yet. */
export interface Kept {
  /** That has released it. */
  readonly waiter: Waiter
  /** That it was granted to. */
  readonly origin: Waiter
  readonly grant: Grant
  /** When it was released. */
  readonly since: number
}

/**
 * The waiters of one lock within a process, first come, first served. One is first, the others wait. A shared lock is had beside the queue:
 * the next one is first while others share the lock, unless it wants it for itself.
 *
 * Each step is synchronous, so that no interruption comes between a change here and the record of who caused it. Each waiter that
 * was enqueued leaves once: by `leave`, or by `handOff`.
 */
export class WaitQueue {
  /** The lock, while a fiber of this process holds it for itself. */
  private own: Grant | undefined
  /** The lock, while fibers of this process share it. There may be several: the last one takes others in. */
  private readonly shared = new Set<SharedGrant>()
  /** The first waiter, while it asks the engine. */
  asking: Waiter | undefined
  /** The lock, while no fiber of this process wants it, until the turn of the event loop ends. */
  kept: Kept | undefined
  /** Since when something is to be done when the turn ends. */
  private turnSince = Infinity
  private occupied = false
  private head: Waiter | undefined
  private tail: Waiter | undefined

  private log: WaitLog | undefined

  constructor(readonly lockPath: string, readonly registry: WaitQueues | undefined) {}

  /** Why the first waiter has not got the lock yet. */
  get blocked(): Blocked | undefined {
    return this.asking?.blocked
  }

  /** Who holds the lock, as far as this process knows. */
  get holder(): LockHolder | undefined {
    const [shared] = this.shared
    return this.blocked?.holder ?? this.own?.holder ?? shared?.grant.holder
  }

  /** The lock goes back to the engine. */
  released({ fiber }: Waiter, at: number): void {
    this.registry?.released(this.lockPath, fiber, at)
  }

  /** Whether no other waiter is behind the first one. */
  get isEmpty(): boolean {
    return this.head === undefined
  }

  /** Something keeps the waiter from its lock: its deadline and the log begin to matter. */
  startWaiting(waiter: Waiter): void {
    waiter.startDeadline()
    this.log ??= new WaitLog(this.lockPath, this)
    this.log.add(waiter)
  }

  /** The first waiter has released the lock. Unless another one gets it, `release` is run at the end of the turn, or of the process. */
  keep(kept: Kept, release: () => Effect.Effect<void>): void {
    const { fiber } = kept.waiter
    this.kept = kept
    if (this.turnSince === Infinity) {
      this.turnSince = Runtime.monotonic(fiber)
      Runtime.afterTurnOrExit(
        fiber,
        () => {
          this.turnSince = Infinity
          Immediate.start(fiber, release, `The release of ${this.lockPath}`)
        },
        () => this.kept !== undefined && this.isDeaf(kept.waiter, Runtime.monotonic(fiber))
      )
    }
  }

  /** Whether the turn of the event loop has gone on for so long that others should be heard before the lock goes to one of them. */
  isDeaf({ handoff }: Waiter, now: number): boolean {
    return now - this.turnSince > handoff / 2
  }

  /** The waiter, which is first, has the lock. */
  startHolding(waiter: Waiter, grant: Grant): void {
    this.own = grant
    this.asking = undefined
    waiter.stopDeadline()
    this.log?.acquired(waiter)
  }

  /** What a waiter may share. */
  sharedBy(waiter: Waiter, now: number): SharedGrant | undefined {
    for (const shared of this.shared) {
      if (shared.admits(waiter, now)) return shared
    }
    return undefined
  }

  /** The waiter shares the lock, and is not first any more. */
  startSharing(waiter: Waiter, shared: SharedGrant): void {
    this.shared.add(shared)
    waiter.stopDeadline()
    this.log?.acquired(waiter)
    if (waiter.first) {
      waiter.first = false
      this.asking = undefined
      this.serveNext()
    }
  }

  /** All that have shared the lock have left, and the engine has it. */
  endSharing(shared: SharedGrant): void {
    this.shared.delete(shared)
    if (!this.occupied) this.serveNext()
  }

  /** Whether a waiter shares the lock as soon as the engine has granted it: one that asks it just now wants the same, and so do all before it. */
  isAboutToShare(waiter: Waiter): boolean {
    let before: Waiter | undefined = waiter
    while (before !== undefined && before.mode === "shared") before = before.previous
    return before === undefined && this.asking?.mode === "shared"
  }

  private mayBeFirst({ mode }: Waiter): boolean {
    return mode === "shared" || this.shared.size === 0
  }

  /** The waiter is first at once when no other is. */
  enqueue(waiter: Waiter): void {
    if (!this.occupied && this.head === undefined && this.mayBeFirst(waiter)) {
      this.occupied = true
      waiter.first = true
      return
    }
    let previous = this.tail
    while (previous !== undefined && previous.call.sequence > waiter.call.sequence) {
      previous = previous.previous
    }
    this.link(previous, waiter, previous === undefined ? this.head : previous.next)
    if (!this.occupied) this.serveNext()
  }

  /** A waiter goes; if it was first, the next one is. */
  leave(waiter: Waiter): void {
    waiter.stopDeadline()
    this.log?.remove(waiter)
    if (waiter.first) {
      this.own = this.asking = undefined
      this.serveNext()
    } else {
      this.unlink(waiter)
      if (!this.occupied) this.serveNext()
    }
  }

  /** The next one is first, if there is one that may be. */
  private serveNext(): void {
    const { head } = this
    this.occupied = head !== undefined && this.mayBeFirst(head)
    if (head === undefined) {
      if (this.shared.size === 0) this.registry?.delete(this.lockPath)
    } else if (this.occupied) {
      this.serve(head)
    }
  }

  /**
   * The first waiter goes, and the next one gets the lock with its turn; `false` if there is none that the record on it suits, or the grant
   * has no number for it.
   */
  handOff(waiter: Waiter, origin: Waiter): boolean {
    const next = this.head
    if (
      next === undefined || next.label !== waiter.label || next.mode !== waiter.mode || origin.sections >= fenceStep
    ) {
      return false
    }
    next.origin = origin
    waiter.handedOff = true
    this.serve(next)
    return true
  }

  private serve(waiter: Waiter): void {
    this.unlink(waiter)
    waiter.first = true
    waiter.notify()
  }

  private link(previous: Waiter | undefined, waiter: Waiter, next: Waiter | undefined): void {
    waiter.previous = previous
    waiter.next = next
    if (previous === undefined) {
      this.head = waiter
    } else {
      previous.next = waiter
    }
    if (next === undefined) {
      this.tail = waiter
    } else {
      next.previous = waiter
    }
  }

  private unlink(waiter: Waiter): void {
    if (waiter.previous === undefined) {
      this.head = waiter.next
    } else {
      waiter.previous.next = waiter.next
    }
    if (waiter.next === undefined) {
      this.tail = waiter.previous
    } else {
      waiter.next.previous = waiter.previous
    }
    waiter.previous = waiter.next = undefined
  }
}

/** The queues of all locks that fibers of this process want or hold now. */
export class WaitQueues {
  private readonly queues = new Map<string, WaitQueue>()
  private sequence = 0
  private lastPath = ""
  private lastFiber: Runtime.RuntimeFiber | undefined
  private lastRelease = 0
  private wantedAgain = false

  /** Remembers a release. */
  released(lockPath: string, fiber: Runtime.RuntimeFiber, at: number): void {
    if (this.lastPath !== lockPath) this.wantedAgain = false
    this.lastPath = lockPath
    this.lastFiber = fiber
    this.lastRelease = at
  }

  /** Remembers that a lock is wanted. */
  wanted(lockPath: string, { call }: Waiter): void {
    this.wantedAgain = this.lastPath === lockPath && call.requestedAt - this.lastRelease < atOnce
  }

  /** Whether this process has wanted the lock again at once, the last time that it had released it. */
  isWantedAgain(lockPath: string): boolean {
    return this.wantedAgain && this.lastPath === lockPath
  }

  /** Whether several fibers want a lock one right after the other: another one has just released it. */
  isBusy(lockPath: string, { fiber, call }: Waiter): boolean {
    return this.lastPath === lockPath && this.lastFiber !== fiber && call.requestedAt - this.lastRelease < call.handoff
  }

  /** The number of the next call. */
  nextSequence(): number {
    return this.sequence++
  }

  /** The queue of a lock. Enqueue before anything else can run, or it may be gone. */
  at(lockPath: string): WaitQueue {
    let queue = this.queues.get(lockPath)
    if (queue === undefined) {
      queue = new WaitQueue(lockPath, this)
      this.queues.set(lockPath, queue)
    }
    return queue
  }

  /** Whether a fiber of this process wants or holds a lock. */
  has(lockPath: string): boolean {
    return this.queues.has(lockPath)
  }

  delete(lockPath: string): void {
    this.queues.delete(lockPath)
  }
}
