import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as LockBackend from "../../LockBackend.js"
import type { LockDirectoryError } from "../../LockError.js"
import * as Immediate from "../immediate.js"
import { type Alarm, timerAt } from "../lock/timer.js"
import * as Polling from "../polling.js"
import * as Runtime from "../runtime.js"
import type { DiskError } from "./disk.js"
import { type Context, type LockFileGrant, ReaderGrant } from "./grant.js"
import * as Protocol from "./protocol.js"
import type { Reader } from "./readers.js"
import { type Blocked, blockedBy, blockedByOwn, failed, reasonOf, refused } from "./refusal.js"

type Failure = LockBackend.BackendError | LockDirectoryError

type Granted<G> = Effect.Effect<Option.Option<G>, Failure>

/** How the lock file is obtained: at once, or after a wait. */
interface LockFile {
  readonly tryAcquire: (key: LockBackend.LockKey, request: LockBackend.Request) => Granted<LockFileGrant>
  readonly acquire: (key: LockBackend.LockKey, request: LockBackend.Request) => Granted<LockFileGrant>
}

/**
 * How often a writer looks that is told by all readers that it waits for, in milliseconds: an eighth of the time that it has waited, within
 * these bounds.
 */
const shortestLook = 100
const longestLook = 1_000

/** How many readers that have left are remembered. */
const maxHeard = 1_000

/** A writer that has the lock file and waits for readers: what it is told meanwhile. */
class Wait {
  /** The lock file is not ours any more. */
  isLost = false
  private readers: ReadonlySet<string> = new Set()
  /** Those that have said that they have left while they were looked for. */
  private readonly heard = new Set<string>()
  private isNotified = false
  private resume: (() => void) | undefined

  constructor(readonly grant: LockFileGrant) {
    grant.onLostEarly = () => {
      this.isLost = true
      this.notify()
    }
    for (const token of grant.queue.left) this.heard.add(token)
    grant.queue.onLeft = (token) => {
      const isNew = !this.heard.has(token) && this.heard.size < maxHeard
      if (isNew) this.heard.add(token)
      if (this.readers.has(token)) this.notify()
      return isNew
    }
  }

  private notify(): void {
    this.isNotified = true
    this.resume?.()
  }

  /** Waits until a reader says that it has left, or seems to be dead, or the lock file is lost, or until a time on the monotonic clock. */
  until(at: number, readers: ReadonlyArray<Reader>, { canReach, channel }: Context): Effect.Effect<void> {
    return Effect.async((resume) => {
      const { fiber } = this.grant
      const timer = timerAt(Runtime.clockOf(fiber))
      this.readers = new Set(readers.map(({ holder }) => holder.token))
      const watches = readers.flatMap(({ holder }) =>
        canReach(holder) ? [channel.watch(holder.instance, () => this.notify())] : []
      )
      const stop = () => {
        this.resume = undefined
        this.isNotified = false
        timer.cancel(fiber, alarm)
        for (const unwatch of watches) unwatch()
      }
      const wake = () => {
        stop()
        resume(Effect.void)
      }
      const alarm: Alarm = { at, run: wake }
      timer.add(fiber, alarm)
      this.resume = wake
      if (this.isNotified || readers.some(({ holder }) => this.heard.delete(holder.token))) wake()
      return Effect.sync(stop)
    })
  }
}

/**
 * The two modes of a lock, over the lock file. A writer obtains it and waits for the readers that are there. A reader does without it as long
 * as nobody has it; otherwise it waits for it as writers do, first come, first served, and gives it back as soon as it is a reader.
 */
export const make = (
  context: Context,
  instance: string,
  lockFile: LockFile
): Pick<LockBackend.LockBackend["Type"], "tryAcquire" | "acquire"> => {
  const { canReach, readers } = context

  /** Writers that have the lock file, and wait for readers. */
  const waiting = new WeakMap<LockBackend.Request, Wait>()
  /** Those that could not share the lock at once. */
  const tried = new WeakSet<LockBackend.Request>()

  /** Whatever goes wrong, nobody else is to wait for the lock file. */
  const orRelease = <A, E>(grant: LockFileGrant, self: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Immediate.matchCauseEffect(self, {
      onSuccess: Exit.succeed,
      onFailure: (cause) => Effect.zipRight(giveBack(grant), Effect.failCause(cause))
    })

  /** The last reader may have left meanwhile, without a way to remove the directory. */
  const giveBack = (grant: LockFileGrant): Effect.Effect<void> =>
    Immediate.andThen(grant.isLate ? Exit.void : readers.tidy(grant.place), () => grant.release)

  /** An error that may pass is waited out. */
  const orBlocked = (error: DiskError): Effect.Effect<Blocked, LockBackend.BackendError> =>
    error.code === "ENOTDIR"
      ? Exit.fail(new LockBackend.BackendError({ reason: "Foreign", cause: error.cause }))
      : reasonOf(error) === "SystemError"
      ? Exit.succeed(failed(error))
      : refused(error)

  /** E1: removes what dead readers have left. Answers with those that live. */
  const clear = (
    grant: LockFileGrant
  ): Effect.Effect<ReadonlyArray<Reader> | Blocked, LockBackend.BackendError> => {
    const { place, request } = grant
    return Immediate.matchEffect(readers.clear(place, () => grant.isLate), {
      onFailure: (error) =>
        Immediate.map(orBlocked(error), (blocked) => {
          request.onBlocked(blocked)
          return blocked
        }),
      onSuccess: (left) => {
        const own = left.find(({ holder }) => holder.instance === instance)
        const reader = own ?? left[0]
        if (reader !== undefined) {
          const { holder, staleness } = reader
          request.onBlocked(
            own !== undefined
              ? blockedByOwn(holder)
              : blockedBy(staleness._tag === "Unverifiable" ? "unverifiable" : "held", holder)
          )
        }
        return Exit.succeed(left)
      }
    })
  }

  /** Nobody shares the lock, and the lock file is ours still: while it looked, the process may have stood still. */
  const isClear = (grant: LockFileGrant, left: ReadonlyArray<Reader> | Blocked): boolean =>
    "length" in left && left.length === 0 && !grant.isLate

  /** E2: waits until all readers have left. They say so, or are found to be dead, or it looks. A lock file that is lost is waited for anew. */
  const untilClear = (wait: Wait): Granted<LockBackend.Grant> => {
    const { grant } = wait
    const { fiber, key, request } = grant
    const clock = Runtime.clockOf(fiber)
    const since = Runtime.monotonicOf(clock)
    const polling = Polling.make(request.schedule)

    const look: Effect.Effect<"clear" | "lost" | "given up", Failure> = Effect.flatMap(
      Effect.either(Effect.suspend(() => grant.verify)),
      (verified) => {
        if (wait.isLost || (verified._tag === "Left" && verified.left.reason !== "BackendUnavailable")) {
          return Effect.succeed("lost")
        }
        return verified._tag === "Left" ? pause([]) : Effect.flatMap(
          Effect.suspend(() => clear(grant)),
          (left) =>
            wait.isLost
              ? Effect.succeed("lost")
              : isClear(grant, left)
              ? Effect.succeed("clear")
              : pause("length" in left ? left : [])
        )
      }
    )

    const pause = (left: ReadonlyArray<Reader>): typeof look =>
      Effect.flatMap(Effect.interruptible(polling.next), (pause) => {
        if (pause === undefined) {
          return Effect.succeed("given up")
        }
        const now = Runtime.monotonicOf(clock)
        const isTold = request.isDefaultSchedule && left.length > 0 && left.every(({ holder }) => canReach(holder))
        const millis = isTold ? Math.min(Math.max((now - since) / 8, shortestLook), longestLook) : pause
        const again = left.map(({ staleness }) => staleness._tag === "Unverifiable" ? staleness.readAgainIn : Infinity)
        const until = wait.until(now + Math.min(millis, ...again), left, context)
        return Effect.zipRight(Effect.interruptible(until), Effect.suspend(() => look))
      })

    return Effect.flatMap(orRelease(grant, look), (outcome): Granted<LockBackend.Grant> => {
      switch (outcome) {
        case "clear":
          grant.onLostEarly = undefined
          return Effect.succeedSome(grant)
        case "given up":
          return Effect.as(giveBack(grant), Option.none())
        case "lost":
          return Effect.zipRight(grant.release, Effect.suspend(() => acquireLockFile(key, request)))
      }
    })
  }

  /** R3: while a reader has the lock file no writer has the lock. The next waiter is given the lock file at once. */
  const share = (grant: LockFileGrant): Granted<ReaderGrant> => {
    const { fiber, key, place, recovered, request } = grant
    let isLost = false
    grant.onLostEarly = () => {
      isLost = true
    }
    const published = Immediate.matchEffect(readers.publish(place, request.label), {
      onSuccess: (own): Effect.Effect<ReaderGrant | Blocked, LockBackend.BackendError> =>
        Exit.succeed(new ReaderGrant(context, key, request, own, recovered, place, fiber)),
      onFailure: orBlocked
    })
    return Immediate.flatMap(
      orRelease(grant, published),
      (reader) =>
        Immediate.andThen(grant.release, (): Granted<ReaderGrant> => {
          if ("release" in reader) {
            // Another process may have come in as a writer, and not have found us, or have evicted us.
            return isLost || reader.isLate
              ? Immediate.as(reader.release, Option.none())
              : Exit.succeed(Option.some(reader))
          }
          request.onBlocked(reader)
          return Exit.succeed(Option.none())
        })
    )
  }

  const shareOrWait = (
    grant: LockFileGrant,
    key: LockBackend.LockKey,
    request: LockBackend.Request
  ): Granted<LockBackend.Grant> => {
    const polling = Polling.make(request.schedule)
    const again: (shared: Option.Option<ReaderGrant>) => Granted<LockBackend.Grant> = (shared) =>
      Option.isSome(shared) ? Exit.succeed(shared) : Effect.flatMap(
        Effect.interruptible(polling.pause),
        (goesOn) => goesOn ? Effect.suspend(() => acquireLockFile(key, request)) : Effect.succeedNone
      )
    return Immediate.flatMap(share(grant), again)
  }

  const tryLockFile = (key: LockBackend.LockKey, request: LockBackend.Request): Granted<LockBackend.Grant> =>
    Immediate.flatMap(lockFile.tryAcquire(key, request), (granted): Granted<LockBackend.Grant> => {
      if (Option.isNone(granted)) {
        return Exit.succeed(granted)
      }
      const grant = granted.value
      return request.mode === "shared" ? share(grant) : Immediate.flatMap(
        orRelease(grant, clear(grant)),
        (left) => {
          if (isClear(grant, left)) {
            return Exit.succeed(granted)
          }
          if (request.waits) {
            waiting.set(request, new Wait(grant))
            return Exit.succeed(Option.none())
          }
          return Immediate.as(giveBack(grant), Option.none())
        }
      )
    })

  const acquireLockFile = (key: LockBackend.LockKey, request: LockBackend.Request): Granted<LockBackend.Grant> =>
    Immediate.flatMap(lockFile.acquire(key, request), (granted): Granted<LockBackend.Grant> => {
      if (Option.isNone(granted)) {
        return Exit.succeed(granted)
      }
      const grant = granted.value
      return request.mode === "shared" ? shareOrWait(grant, key, request) : Immediate.flatMap(
        orRelease(grant, clear(grant)),
        (left) => isClear(grant, left) ? Exit.succeed(granted) : untilClear(new Wait(grant))
      )
    })

  /** R1 and R2. What is wrong is told by the lock file. */
  const shareOr = (
    key: LockBackend.LockKey,
    request: LockBackend.Request,
    otherwise: () => Granted<LockBackend.Grant>
  ): Granted<LockBackend.Grant> => {
    const place = Protocol.placeOf(key.lockPath)
    tried.add(request)
    return Immediate.matchEffect(readers.enter(place, request.label), {
      onFailure: otherwise,
      onSuccess: (own) =>
        own === undefined
          ? otherwise()
          : Immediate.withFiber((fiber) =>
            Exit.succeed(Option.some(new ReaderGrant(context, key, request, own, false, place, fiber)))
          )
    })
  }

  return {
    tryAcquire: (key, request) => {
      const lockFile = () => tryLockFile(key, request)
      return request.mode === "shared" ? shareOr(key, request, lockFile) : lockFile()
    },
    acquire: (key, request) => {
      const wait = waiting.get(request)
      waiting.delete(request)
      const lockFile = () => acquireLockFile(key, request)
      return wait !== undefined
        ? untilClear(wait)
        : request.mode === "shared" && !tried.has(request)
        ? shareOr(key, request, lockFile)
        : lockFile()
    }
  }
}
