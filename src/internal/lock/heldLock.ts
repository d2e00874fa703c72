import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Metrics from "../../FileLockMetrics.js"
import { fenceStep, type Grant, type LockKey } from "../../LockBackend.js"
import { LockLostError } from "../../LockError.js"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"
import * as Background from "./background.js"
import type { SharedGrant } from "./sharedGrant.js"
import { atOnce, type Kept, type Waiter, WaitQueue, type WaitQueues } from "./waitQueue.js"

/**
 * One critical section on a lock: the lock as one fiber holds it, or a re-entry by that fiber or by one that it started. The lock
 * goes back when the owner has left and all re-entries are over.
 */
export class HeldLock {
  /** Whether it may be re-entered: its owner is still inside. */
  open = true
  /** The fiber that is inside. */
  fiberId: FiberId.FiberId = FiberId.none
  /** The owner while it is inside, and the re-entries. */
  private users = 1
  /** Larger than that of each earlier section on the lock, where the engine has numbers. */
  readonly fence: Option.Option<bigint>
  private nested: WaitQueue | undefined
  private readonly listeners: Array<() => void> = []
  private deferred: Deferred.Deferred<never, LockLostError> | undefined

  constructor(
    /** The queue that `waiter` is the first of. */
    private readonly queue: WaitQueue,
    private readonly waiter: Waiter,
    /** The waiter that the lock was granted to. */
    private readonly origin: Waiter,
    readonly key: LockKey,
    readonly grant: Grant,
    /** The section that this one re-enters. */
    private readonly parent: HeldLock | undefined,
    private readonly since: number,
    /** What it has together with others. */
    readonly shared?: SharedGrant
  ) {
    if (shared === undefined) {
      queue.startHolding(waiter, grant)
    } else {
      shared.members.add(this)
      queue.startSharing(waiter, shared)
    }
    this.fence = parent === undefined ? fenceOf(grant, origin.sections++) : parent.fence
    if (parent === undefined) {
      if (shared === undefined) origin.lost = () => this.lose()
      const labels = Runtime.metricLabels(waiter.fiber)
      Metrics.held.unsafeModify(1, labels)
      Metrics.acquisitions.unsafeUpdate(1, labels)
      Metrics.waitTime.unsafeUpdate(this.since - waiter.call.requestedAt, labels)
    } else {
      parent.users += 1
    }
  }

  /** The fibers that re-enter this section, which exclude one another. */
  get reentrants(): WaitQueue {
    return this.nested ??= new WaitQueue(this.key.lockPath, undefined)
  }

  /** A re-entry of this section by a waiter that is the first of `reentrants`. */
  reenter(waiter: Waiter): HeldLock {
    return new HeldLock(
      this.reentrants,
      waiter,
      this.origin,
      this.key,
      this.grant,
      this,
      Runtime.monotonic(waiter.fiber)
    )
  }

  /** A critical section beside this one, on the lock that it shares. */
  join(waiter: Waiter): HeldLock | undefined {
    return this.shared === undefined
      ? undefined
      : share(this.queue, waiter, this.key, this.shared, Runtime.monotonic(waiter.fiber))
  }

  get loss(): LockLostError | undefined {
    return this.root.waiter.handedOff ? undefined : this.origin.loss
  }

  /** The queues that the lock is in. */
  get registry(): WaitQueues | undefined {
    return this.root.queue.registry
  }

  private get root(): HeldLock {
    return this.parent === undefined ? this : this.parent.root
  }

  lose(): void {
    Metrics.lost.unsafeUpdate(1, Runtime.metricLabels(this.waiter.fiber))
    for (const listener of [...this.listeners]) {
      listener()
    }
    if (this.deferred !== undefined && this.loss !== undefined) {
      Deferred.unsafeDone(this.deferred, Effect.fail(this.loss))
    }
  }

  /** Calls a function when the lock is lost; at once if it is lost already. */
  addListener(listener: () => void): void {
    this.root.listeners.push(listener)
    if (this.loss !== undefined) {
      listener()
    }
  }

  removeListener(listener: () => void): void {
    const { listeners } = this.root
    listeners.splice(listeners.indexOf(listener), 1)
  }

  /** Fails once the lock is lost. */
  get lost(): Effect.Effect<never, LockLostError> {
    return Effect.suspend(() => {
      if (this.loss !== undefined) {
        return Effect.fail(this.loss)
      }
      const { root } = this
      root.deferred ??= Deferred.unsafeMake(FiberId.none)
      return Deferred.await(root.deferred)
    })
  }

  /** Asks the engine now. A lock that cannot be asked for is not known to be lost. */
  get verify(): Effect.Effect<void, LockLostError> {
    return Effect.suspend(() => {
      if (this.loss !== undefined) {
        return Effect.fail(this.loss)
      }
      if (!this.open) {
        return new LockLostError({ ...this.key, reason: "Removed" })
      }
      return Effect.tapError(
        this.grant.verify,
        (loss) => loss.reason === "BackendUnavailable" ? Effect.void : Effect.sync(() => this.origin.onLost(loss))
      )
    })
  }

  /** The owner leaves, when this is called. To be run once, uninterruptibly; afterwards `loss` says whether the lock was still there. */
  close(): Effect.Effect<void> {
    this.open = false
    return this.leave()
  }

  private leave(): Effect.Effect<void> {
    this.users -= 1
    if (this.users > 0) {
      return Exit.void
    }
    if (this.parent !== undefined) {
      this.queue.leave(this.waiter)
      return this.parent.leave()
    }
    const { fiber } = this.waiter
    const now = Runtime.monotonic(fiber)
    const labels = Runtime.metricLabels(fiber)
    Metrics.held.unsafeModify(-1, labels)
    Metrics.holdTime.unsafeUpdate(now - this.since, labels)
    return this.shared === undefined
      ? giveBack(this.queue, this.waiter, this.origin, this.grant, now)
      : this.leaveShared(this.shared)
  }

  /** The last one that shares the lock releases it. */
  private leaveShared(shared: SharedGrant): Effect.Effect<void> {
    shared.members.delete(this)
    return shared.members.size > 0
      ? Exit.void
      : toEngine(shared.origin, shared.grant, () => this.queue.endSharing(shared))
  }
}

/** The critical section of a waiter that shares the lock with others. */
export const share = (
  queue: WaitQueue,
  waiter: Waiter,
  key: LockKey,
  shared: SharedGrant,
  now: number
): HeldLock => new HeldLock(queue, waiter, shared.origin, key, shared.grant, undefined, now, shared)

/**
 * Gives back a lock that was granted to `origin`: to the next waiter, without a step of the engine, as long as the time slice lasts that
 * began at the grant, and to the engine otherwise. Where other processes wait, and this one has wanted it again at once after the last
 * time, it is kept until the end of the turn of the event loop. Where several fibers want the lock one right after the other, those that
 * are about to run have their turn first, since they may want it again.
 *
 * Up to the decision everything is synchronous: the lock belongs to exactly one waiter at any moment. A lock that is lost is not
 * handed off, and neither is one whose label would be wrong for its next holder.
 */
export const giveBack = (
  queue: WaitQueue,
  waiter: Waiter,
  origin: Waiter,
  grant: Grant,
  now: number
): Effect.Effect<void> => {
  if (handOff(queue, waiter, origin, now)) {
    return Exit.void
  }
  if (!queue.isEmpty || origin.loss !== undefined) {
    return release(queue, waiter, origin, grant, now)
  }
  const isOver = now >= sliceEnd(waiter, origin)
  const isKept = origin.immediate && grant.isAwaited?.() === true &&
    queue.registry?.isWantedAgain(queue.lockPath) === true
  if (isKept && (!isOver || queue.isDeaf(waiter, now))) {
    return Immediate.matchCauseEffect(grant.verify, {
      onSuccess: () => {
        keep(queue, { waiter, origin, grant, since: now })
        return Exit.void
      },
      // What became of it is told by the release.
      onFailure: () => release(queue, waiter, origin, grant, now)
    })
  }
  return waiter.busy && !isOver
    ? Effect.flatMap(
      Effect.yieldNow(),
      () =>
        handOff(queue, waiter, origin, Runtime.monotonic(waiter.fiber))
          ? Exit.void
          : release(queue, waiter, origin, grant, now)
    )
    : release(queue, waiter, origin, grant, now)
}

/** Those that re-enter what they share, again and again, have one number at last. */
const fenceOf = ({ fence }: Grant, section: number): Option.Option<bigint> =>
  Option.isNone(fence) ? fence : Option.some(fence.value + BigInt(Math.min(section, fenceStep - 1)))

const sliceEnd = ({ call }: Waiter, origin: Waiter): number => origin.grantedAt + call.handoff

const handOff = (queue: WaitQueue, waiter: Waiter, origin: Waiter, now: number): boolean =>
  now < sliceEnd(waiter, origin) && origin.loss === undefined && queue.handOff(waiter, origin)

/** Keeps a lock that nobody of this process wants just now. */
const keep = (queue: WaitQueue, kept: Kept): void => {
  kept.origin.lost = constVoid
  queue.released(kept.waiter, kept.since)
  queue.keep(kept, () => releaseKept(queue))
}

/** The lock is not kept any longer. To be run uninterruptibly. */
export const releaseKept = (queue: WaitQueue): Effect.Effect<void> => {
  const { kept } = queue
  if (kept === undefined) {
    return Exit.void
  }
  queue.kept = undefined
  return release(queue, kept.waiter, kept.origin, kept.grant, Runtime.monotonic(kept.waiter.fiber))
}

/**
 * The kept lock goes to a waiter that is first in the queue, if that has come at once: later it would have to be looked at anew. Otherwise
 * it is released. Where others are heard first, the waiter waits for that.
 */
export const takeKept = (queue: WaitQueue, kept: Kept, waiter: Waiter): Effect.Effect<void> => {
  const now = Runtime.monotonic(waiter.fiber)
  if (now - kept.since < atOnce && handOff(queue, kept.waiter, kept.origin, now)) {
    queue.kept = undefined
    return Exit.void
  }
  if (
    now >= sliceEnd(kept.waiter, kept.origin) && queue.isDeaf(waiter, now) && waiter.waits &&
    !Runtime.isSynchronous(waiter.fiber)
  ) {
    return Exit.void
  }
  return Immediate.matchCauseEffect(releaseKept(queue), {
    onSuccess: () => Exit.void,
    // It is not this waiter's.
    onFailure: (cause) => Effect.logError(`The release of ${queue.lockPath} failed`, cause)
  })
}

const release = (
  queue: WaitQueue,
  waiter: Waiter,
  origin: Waiter,
  grant: Grant,
  now: number
): Effect.Effect<void> => {
  queue.released(waiter, now)
  return toEngine(origin, grant, () => queue.leave(waiter))
}

/** The lock goes back to the engine. */
const toEngine = (origin: Waiter, grant: Grant, onReleased: () => void): Effect.Effect<void> =>
  Immediate.matchCauseEffect(
    origin.immediate ? grant.release : Background.run(grant.release, `The release of ${origin.call.path}`),
    {
      onSuccess: () => {
        onReleased()
        return Exit.void
      },
      onFailure: (cause) => {
        onReleased()
        return Exit.failCause(cause)
      }
    }
  )
