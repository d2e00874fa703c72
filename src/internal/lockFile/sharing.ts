import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as LockBackend from "../../LockBackend.js"
import type { LockDirectoryError } from "../../LockError.js"
import * as Immediate from "../immediate.js"
import * as Polling from "../polling.js"
import type { DiskError } from "./disk.js"
import { type Context, type LockFileGrant, ReaderGrant } from "./grant.js"
import * as Protocol from "./protocol.js"
import type { Reader } from "./readers.js"
import { blockedBy, refused } from "./refusal.js"

type Granted<G> = Effect.Effect<Option.Option<G>, LockBackend.BackendError | LockDirectoryError>

/** How the lock file is obtained: at once, or after a wait. */
interface LockFile {
  readonly tryAcquire: (key: LockBackend.LockKey, request: LockBackend.Request) => Granted<LockFileGrant>
  readonly acquire: (key: LockBackend.LockKey, request: LockBackend.Request) => Granted<LockFileGrant>
}

/**
 * The two modes of a lock, over the lock file. A writer obtains it and waits for the readers that are there. A reader does without it as long
 * as nobody has it; otherwise it waits for it as writers do, first come, first served, and gives it back as soon as it is a reader.
 */
export const make = (
  context: Context,
  lockFile: LockFile
): Pick<LockBackend.LockBackend["Type"], "tryAcquire" | "acquire"> => {
  const { canReach, channel, readers } = context

  /** Writers that have the lock file, and wait for readers. */
  const clearing = new WeakMap<LockBackend.Request, LockFileGrant>()

  const unavailable = (grant: LockFileGrant) => (error: DiskError) =>
    Immediate.andThen(grant.release, () => refused(error))

  /** E1: removes what dead readers have left. Answers with those that live. */
  const clear = (grant: LockFileGrant): Effect.Effect<ReadonlyArray<Reader>, LockBackend.BackendError> =>
    Immediate.matchEffect(readers.clear(grant.place), {
      onFailure: unavailable(grant),
      onSuccess: (left) => {
        const [reader] = left
        if (reader !== undefined) {
          const { holder, staleness } = reader
          grant.request.onBlocked(blockedBy(staleness._tag === "Unverifiable" ? "unverifiable" : "held", holder))
        }
        return Exit.succeed(left)
      }
    })

  /** E2: waits until all readers have left. They say so, or are found to be dead, or it looks. A lock file that is lost is waited for anew. */
  const untilClear = (grant: LockFileGrant): Granted<LockBackend.Grant> =>
    Effect.suspend(() => {
      const polling = Polling.make(grant.request.schedule)
      let isLost = false
      grant.onLostEarly = () => {
        isLost = true
        grant.queue.onLeft()
      }
      const again = Effect.zipRight(
        grant.release,
        Effect.suspend(() => acquireLockFile(grant.key, grant.request))
      )
      const look: Granted<LockBackend.Grant> = Effect.matchEffect(Effect.suspend(() => grant.verify), {
        onFailure: ({ reason }) => reason === "BackendUnavailable" ? pause([]) : again,
        onSuccess: () =>
          Effect.flatMap(clear(grant), (left) => {
            if (isLost) return again
            // While it looked, it may have stood still.
            if (left.length > 0 || grant.isLate) return pause(left)
            grant.onLostEarly = undefined
            return Effect.succeedSome(grant)
          })
      })
      const pause = (left: ReadonlyArray<Reader>): Granted<LockBackend.Grant> =>
        Effect.flatMap(polling.next, (pause) =>
          pause === undefined
            ? Effect.as(grant.release, Option.none())
            : Effect.flatMap(untilNotified(grant, left, pause), () => isLost ? again : look))
      return look
    })

  const untilNotified = (
    grant: LockFileGrant,
    left: ReadonlyArray<Reader>,
    pause: number
  ): Effect.Effect<void> => {
    const again = left.map(({ staleness }) => staleness._tag === "Unverifiable" ? staleness.readAgainIn : Infinity)
    return Effect.async<void>((resume) => {
      const notify = () => resume(Effect.void)
      grant.queue.onLeft = notify
      const watches = left.flatMap(({ holder }) => canReach(holder) ? [channel.watch(holder.instance, notify)] : [])
      return Effect.sync(() => {
        for (const unwatch of watches) unwatch()
      })
    }).pipe(
      Effect.timeoutOption(Duration.millis(Math.min(pause, ...again))),
      Effect.interruptible,
      Effect.onInterrupt(() => grant.release),
      Effect.asVoid
    )
  }

  /** R3: while a reader has the lock file no writer has the lock. The next waiter is given the lock file at once. */
  const share = (grant: LockFileGrant): Granted<ReaderGrant> => {
    const { fiber, key, place, recovered, request } = grant
    return Immediate.matchEffect(readers.publish(place, request.label), {
      onFailure: unavailable(grant),
      onSuccess: (own) => {
        const reader = new ReaderGrant(context, key, request, own, recovered, place, fiber)
        return Immediate.as(grant.release, Option.some(reader))
      }
    })
  }

  const finish = (
    granted: Option.Option<LockFileGrant>,
    wait: (grant: LockFileGrant) => Granted<LockBackend.Grant>
  ): Granted<LockBackend.Grant> => {
    if (Option.isNone(granted)) {
      return Exit.succeed(granted)
    }
    const grant = granted.value
    return grant.request.mode === "shared"
      ? share(grant)
      : Immediate.flatMap(clear(grant), (left) => left.length === 0 ? Exit.succeed(granted) : wait(grant))
  }

  const later = (grant: LockFileGrant): Granted<LockBackend.Grant> => {
    if (!grant.request.waits) {
      return Immediate.as(grant.release, Option.none())
    }
    grant.onLostEarly = () => {}
    clearing.set(grant.request, grant)
    return Exit.succeed(Option.none())
  }

  const tryLockFile = (key: LockBackend.LockKey, request: LockBackend.Request): Granted<LockBackend.Grant> =>
    Immediate.flatMap(lockFile.tryAcquire(key, request), (granted) => finish(granted, later))

  /** R1 and R2. What is wrong is told by the lock file. */
  const tryToShare = (key: LockBackend.LockKey, request: LockBackend.Request): Granted<LockBackend.Grant> => {
    const place = Protocol.placeOf(key.lockPath)
    return Immediate.matchEffect(readers.enter(place, request.label), {
      onFailure: () => tryLockFile(key, request),
      onSuccess: (own) =>
        own === undefined
          ? tryLockFile(key, request)
          : Immediate.withFiber((fiber) =>
            Exit.succeed(Option.some(new ReaderGrant(context, key, request, own, false, place, fiber)))
          )
    })
  }

  const acquireLockFile = (key: LockBackend.LockKey, request: LockBackend.Request): Granted<LockBackend.Grant> =>
    Immediate.flatMap(lockFile.acquire(key, request), (granted) => finish(granted, untilClear))

  return {
    tryAcquire: (key, request) => request.mode === "shared" ? tryToShare(key, request) : tryLockFile(key, request),
    acquire: (key, request) => {
      const grant = clearing.get(request)
      return grant === undefined ? acquireLockFile(key, request) : untilClear(grant)
    }
  }
}
