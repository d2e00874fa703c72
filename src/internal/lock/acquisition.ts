import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Metrics from "../../FileLockMetrics.js"
import type { BackendError, Grant, LockBackend, LockKey } from "../../LockBackend.js"
import { LockAcquisitionError, LockDirectoryError, type Reason } from "../../LockError.js"
import * as Errno from "../errno.js"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"
import * as Background from "./background.js"
import * as CriticalSection from "./criticalSection.js"
import { giveBack, HeldLock, share, takeKept } from "./heldLock.js"
import { SharedGrant } from "./sharedGrant.js"
import type { Waiter, WaitQueue, WaitQueues } from "./waitQueue.js"

type Backend = Context.Tag.Service<LockBackend>

/** What an acquisition fails with. */
export type Failure = LockAcquisitionError | LockDirectoryError

/** Fails as the caller is told it. */
export const fail = (
  { call, fiber }: Waiter,
  lockPath: string,
  reason: Reason,
  details: Pick<BackendError, "holder" | "cause"> = {}
): Effect.Effect<never, LockAcquisitionError> => {
  if (reason === "Timeout") {
    Metrics.timeouts.unsafeUpdate(1, Runtime.metricLabels(fiber))
  }
  return Effect.fail(
    new LockAcquisitionError(
      {
        path: call.path,
        lockPath,
        reason,
        waited: Runtime.monotonic(fiber) - call.requestedAt,
        timeout: call.timeout,
        at: DateTime.unsafeMake(Runtime.wallClock(fiber)),
        holder: details.holder,
        cause: details.cause
      },
      // A holder that an engine describes in its own way is told all the same.
      { disableValidation: true }
    )
  )
}

const explain = (
  waiter: Waiter,
  lockPath: string,
  error: BackendError | LockDirectoryError
): Effect.Effect<never, Failure> =>
  error._tag === "BackendError"
    ? fail(waiter, lockPath, error.reason, error)
    : Effect.fail(
      new LockDirectoryError({
        path: waiter.call.path,
        lockPath: error.lockPath,
        directory: error.directory,
        cause: error.cause
      })
    )

const unanswered = (waiter: Waiter, lockPath: string): Effect.Effect<never, LockAcquisitionError> =>
  fail(waiter, lockPath, "Timeout", { cause: Errno.unanswered() })

/** A reader cannot become a writer: two that want to would wait for each other. */
export const failShared = (waiter: Waiter, lockPath: string): Effect.Effect<never, LockAcquisitionError> =>
  fail(waiter, lockPath, "Deadlock", {
    cause: new Error("in shared mode: take the outer lock in exclusive mode")
  })

/** The deadline has passed, the schedule has ended, the lock is taken and the caller does not wait, or it would wait for itself. */
const giveUp = (waiter: Waiter, lockPath: string, { blocked, holder }: WaitQueue) =>
  waiter.deadlock !== undefined
    // No path tells that a directory is mounted at another place, too.
    ? fail(waiter, lockPath, "Deadlock", {
      holder,
      cause: new Error(`as ${waiter.deadlock.key.path}, which is the same lock by another name`)
    })
    : blocked !== undefined
    ? fail(waiter, lockPath, blocked.reason, blocked)
    : holder === undefined && waiter.outOfTime
    ? unanswered(waiter, lockPath)
    : fail(waiter, lockPath, "Timeout", { holder })

/** The key of the path that is asked for. To be run uninterruptibly. */
export const toKey = (
  backend: Backend,
  waiter: Waiter,
  restore: Runtime.Restore
): Effect.Effect<LockKey, Failure> => {
  const { path } = waiter.call
  const immediate = backend.immediate?.(path) ?? Option.none()
  if (Option.isSome(immediate)) {
    waiter.immediate = true
    return Exit.succeed(immediate.value)
  }
  const canonical = Effect.interruptible(backend.canonical(path))
  return Effect.matchEffect(Background.attempt(waiter, restore, canonical, () => Effect.void), {
    onSuccess: (key) => {
      if (key === undefined) {
        return unanswered(waiter, `${path}.lock`)
      }
      // The engine may know now what it had to ask for.
      waiter.immediate = Option.isSome(backend.immediate?.(key.path) ?? Option.none())
      return Effect.succeed(key)
    },
    onFailure: (error) => explain(waiter, `${path}.lock`, error)
  }).pipe(Effect.ensuring(Effect.sync(() => waiter.stopDeadline())))
}

/** Waits until the waiter is first in its queue. */
const untilFirst = (
  waiter: Waiter,
  lockPath: string,
  queue: WaitQueue,
  restore: Runtime.Restore
): Effect.Effect<void, LockAcquisitionError> =>
  Effect.suspend(() => {
    if (waiter.first) {
      return Effect.void
    }
    if (waiter.outOfTime || (waiter.expired && !queue.isAboutToShare(waiter))) {
      queue.leave(waiter)
      return giveUp(waiter, lockPath, queue)
    }
    queue.startWaiting(waiter)
    return Effect.zipRight(
      Effect.onInterrupt(restore(waiter.wait), () => abandon(waiter, queue)),
      untilFirst(waiter, lockPath, queue, restore)
    )
  })

/** A waiter that does not want its turn any more gives it back, and the lock with it if that came at the same moment. */
const abandon = (waiter: Waiter, queue: WaitQueue): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { origin } = waiter
    if (origin?.grant !== undefined) {
      return giveBack(queue, waiter, origin, origin.grant, Runtime.monotonic(waiter.fiber))
    }
    queue.leave(waiter)
    return Effect.void
  })

/** Acquires a lock: first a turn in the queue of this process, then the engine. To be run uninterruptibly. */
export const obtain = (
  backend: Backend,
  queues: WaitQueues,
  waiter: Waiter,
  key: LockKey,
  restore: Runtime.Restore
): Effect.Effect<HeldLock, Failure> => {
  const queue = queues.at(key.lockPath)
  queue.enqueue(waiter)
  queues.wanted(key.lockPath, waiter)
  waiter.busy = !waiter.first || queues.isBusy(key.lockPath, waiter)
  const begin = (): Effect.Effect<HeldLock, Failure> => {
    const { origin } = waiter
    const now = Runtime.monotonic(waiter.fiber)
    if (origin?.grant !== undefined) {
      return Exit.succeed(new HeldLock(queue, waiter, origin, key, origin.grant, undefined, now))
    }
    const shared = queue.sharedBy(waiter, now)
    return shared === undefined
      ? ask(backend, queue, waiter, key, restore)
      : Exit.succeed(share(queue, waiter, key, shared, now))
  }
  return Immediate.andThen(
    queue.kept === undefined ? Exit.void : takeKept(queue, queue.kept, waiter),
    () => waiter.first ? begin() : Effect.flatMap(untilFirst(waiter, key.lockPath, queue, restore), begin)
  )
}

/** The first waiter asks the engine. */
const ask = (
  backend: Backend,
  queue: WaitQueue,
  waiter: Waiter,
  key: LockKey,
  restore: Runtime.Restore
): Effect.Effect<HeldLock, Failure> => {
  queue.asking = waiter
  waiter.findOwn = (token) => CriticalSection.findOwn(waiter.fiber, queue.registry, token)
  /** Whatever the engine has answered, the waiter leaves. */
  const leave = (failure: () => Effect.Effect<never, Failure>): Effect.Effect<never, Failure> => {
    try {
      return failure()
    } finally {
      queue.leave(waiter)
    }
  }
  const onFailure = (cause: Cause.Cause<BackendError | LockDirectoryError>) =>
    leave(() =>
      Either.match(Cause.failureOrCause(cause), {
        onLeft: (error) => explain(waiter, key.lockPath, error),
        onRight: Effect.failCause
      })
    )
  const refuse = () => leave(() => giveUp(waiter, key.lockPath, queue))
  /** For as long as it takes, in a fiber that can be left behind. */
  const inBackground = (step: () => ReturnType<Backend["acquire"]>) => {
    queue.startWaiting(waiter)
    return Effect.matchCauseEffect(Background.attempt(waiter, restore, Effect.suspend(step), undo), {
      onSuccess: (grant) =>
        grant !== undefined && Option.isSome(grant)
          ? Effect.succeed(granted(queue, waiter, key, grant.value))
          : refuse(),
      onFailure
    })
  }
  /** In the caller's fiber, where nothing but another holder is waited for. The deadline interrupts the wait, and not the caller. */
  const inCaller = (step: () => ReturnType<Backend["acquire"]>) => {
    const wait = new Runtime.Body(waiter.fiber)
    queue.startWaiting(waiter)
    waiter.onDeadline = wait.interrupt
    // It may have passed while the attempt was made.
    if (waiter.outOfTime) wait.interrupt()
    const end = <A>(answer: () => Effect.Effect<A, Failure>) => {
      waiter.onDeadline = constVoid
      return Immediate.andThen(wait.end(), answer)
    }
    return Effect.matchCauseEffect(Effect.suspend(step), {
      onSuccess: (grant) =>
        end(() => Option.isSome(grant) ? Exit.succeed(granted(queue, waiter, key, grant.value)) : refuse()),
      onFailure: (cause) => end(() => wait.isInterruptedBy(cause) ? refuse() : onFailure(cause))
    })
  }
  if (!waiter.immediate) {
    return inBackground(() => waiter.expired ? backend.tryAcquire(key, waiter) : backend.acquire(key, waiter))
  }
  const { waits } = waiter
  return Immediate.matchCauseEffect(Immediate.suspend(() => backend.tryAcquire(key, waiter)), {
    onSuccess: (grant): Effect.Effect<HeldLock, Failure> =>
      Option.isSome(grant)
        ? Exit.succeed(granted(queue, waiter, key, grant.value))
        : waits
        ? (Runtime.isInterruptible(restore) ? inCaller : inBackground)(() => backend.acquire(key, waiter))
        : refuse(),
    onFailure
  })
}

const undo = (grant: Option.Option<Grant>): Effect.Effect<void> =>
  Option.isSome(grant) ? grant.value.release : Effect.void

const granted = (queue: WaitQueue, waiter: Waiter, key: LockKey, grant: Grant): HeldLock => {
  waiter.grant = grant
  waiter.grantedAt = Runtime.monotonic(waiter.fiber)
  if (grant.recovered) {
    Metrics.takeovers.unsafeUpdate(1, Runtime.metricLabels(waiter.fiber))
  }
  return waiter.mode === "shared"
    ? share(queue, waiter, key, new SharedGrant(waiter, grant), waiter.grantedAt)
    : new HeldLock(queue, waiter, waiter, key, grant, undefined, waiter.grantedAt)
}

/**
 * Waits for the turn inside a section that the fiber, or one that started it, is in. `undefined` if that section has ended meanwhile. A lock
 * that is shared is shared by one more, at once: another that waited for it to end would wait for itself. To be run uninterruptibly.
 */
export const reenter = (
  waiter: Waiter,
  outer: HeldLock,
  restore: Runtime.Restore
): Effect.Effect<HeldLock | undefined, Failure> => {
  const { lockPath } = outer.key
  if (outer.shared !== undefined) {
    const joined = waiter.mode === "shared" ? outer.join(waiter) : undefined
    return joined === undefined ? failShared(waiter, lockPath) : Exit.succeed(joined)
  }
  const queue = outer.reentrants
  queue.enqueue(waiter)
  return Effect.map(untilFirst(waiter, lockPath, queue, restore), () => {
    if (outer.open) {
      return outer.reenter(waiter)
    }
    queue.leave(waiter)
    return undefined
  })
}
