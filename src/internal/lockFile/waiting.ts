import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Hash from "effect/Hash"
import * as Option from "effect/Option"
import type * as LockBackend from "../../LockBackend.js"
import type { LockHolder } from "../../LockHolder.js"
import type { Liveness } from "../../ProcessIdentity.js"
import type { Requester } from "../handover/requester.js"
import * as Immediate from "../immediate.js"
import * as Polling from "../polling.js"
import * as Runtime from "../runtime.js"
import type { Blocked } from "./refusal.js"

/**
 * How often a waiter asks whether a holder lives that it cannot reach, or whether another process's takeover is over, in milliseconds: a
 * fortieth of the time that it has waited for this holder, within these bounds.
 */
const shortestProbe = 5
const longestProbe = 50

/**
 * How often a waiter looks at the lock that is going to be told when it is its turn, in milliseconds: an eighth of the time that it has
 * waited, within these bounds, and a quarter more or less. A message may be lost.
 */
const shortestLook = 100
const longestLook = 1_000

/** How often a waiter shows in its request file that it lives, in milliseconds, unless it looks less often. */
const signOfLife = 100

/** More waiters than this, on as many locks, poll and ask less often each. */
const maxPollers = 50

/** The same for those that are told. */
const maxLookers = 1_000

/** The waiters of a process: the many, on as many locks, look no oftener than a few do. */
export class Crowd {
  size = 0

  /** What the pauses of each are multiplied by. */
  factor(most: number): number {
    return Math.max(1, this.size / most)
  }
}

/** Between 0 and 1: waiters that have begun together do not look together. */
const spreadOf = (token: string, look: number): number => (Hash.string(`${token}/${look}`) & 1_023) / 1_024

/** One who waits for a lock, and when it looks at it. */
export class Wait<G extends LockBackend.Grant, E> {
  private readonly since: number
  private beatAt: number
  /** When it looks next, whatever it is told. */
  private scheduledAt = -Infinity
  private looks = 0
  /** Whom it waits for, and since when. */
  private token: string | undefined
  private foundAt = 0
  private polling: Polling.Polling | undefined
  /** A step that has not ended at once. */
  underWay: Fiber.RuntimeFiber<G | Blocked, E> | undefined

  constructor(
    private readonly clock: Clock.Clock,
    private readonly crowd: Crowd,
    private readonly request: LockBackend.Request,
    private readonly requester: Requester,
    /** Tries to get the lock. */
    private readonly attempt: () => Effect.Effect<G | Blocked, E>,
    /** Whether messages come from a holder. */
    private readonly isTold: (holder: LockHolder) => boolean,
    private readonly isAlive: (holder: LockHolder) => Effect.Effect<Liveness>,
    /** Nothing is waited for but the lock: an attempt that does not end at once, on a disk that has become slow, is left behind. */
    private readonly isImmediate: boolean
  ) {
    this.since = this.beatAt = this.now
  }

  private get now(): number {
    return Runtime.monotonicOf(this.clock)
  }

  /** Waits until it has the lock; nothing when its schedule has ended. `refused` is the answer to the last attempt. */
  run(refused?: Blocked, attempt = this.attempt): Effect.Effect<Option.Option<G>, E> {
    const began = this.now
    return Immediate.flatMap(
      refused === undefined ? this.try(attempt) : Exit.succeed(refused),
      (answer) => "release" in answer ? Exit.succeed(Option.some(answer)) : this.onBlocked(answer, began)
    )
  }

  private try(
    attempt: () => Effect.Effect<G | Blocked, E>
  ): Effect.Effect<G | Blocked, E> {
    const begun = Immediate.begin(Immediate.suspend(attempt))
    return Immediate.isExit(begun) || !this.isImmediate ? begun : Effect.withFiberRuntime((fiber) => {
      this.underWay = Runtime.startUninterruptible(fiber, begun)
      return Effect.interruptible(Effect.flatten(Fiber.await(this.underWay)))
    })
  }

  private onBlocked(answer: Blocked, began: number): Effect.Effect<Option.Option<G>, E> {
    const { holder, state } = answer
    const { request, requester } = this
    requester.hasWaited = true
    request.onBlocked(answer)
    requester.deny()
    const isTold = holder !== undefined && state === "held" && this.isTold(holder)
    if (isTold) {
      requester.register(holder)
    }
    if (holder?.token !== this.token) {
      this.token = holder?.token
      this.foundAt = this.now
    }
    return Immediate.flatMap(
      this.now >= this.scheduledAt ? this.schedule(isTold) : Exit.succeed(true),
      (goesOn) => goesOn ? this.sleep(answer, isTold, this.lookAt(answer, began)) : Exit.succeed(Option.none())
    )
  }

  /** `false` when the schedule has ended. */
  private schedule(isTold: boolean): Effect.Effect<boolean> {
    const { crowd, now, request } = this
    if (isTold && request.isDefaultSchedule) {
      const pause = Math.min(Math.max((now - this.since) / 8, shortestLook), longestLook)
      const spread = 0.75 + spreadOf(this.requester.own?.token ?? "", this.looks++) / 2
      this.scheduledAt = now + pause * crowd.factor(maxLookers) * spread
      return Exit.succeed(true)
    }
    this.polling ??= Polling.make(request.schedule)
    return Effect.map(Effect.interruptible(this.polling.next), (pause) => {
      if (pause === undefined) {
        return false
      }
      this.scheduledAt = now + (request.isDefaultSchedule ? pause * crowd.factor(maxPollers) : pause)
      return true
    })
  }

  private get probe(): number {
    const pause = Math.min(Math.max((this.now - this.foundAt) / 40, shortestProbe), longestProbe)
    return this.crowd.factor(maxPollers) * pause
  }

  /**
   * From the beginning of the attempt: on a slow disk, the reads of one owner would come too far apart to tell its silence. A process that
   * takes a dead holder's lock over is done at once, unless it is stopped or its disk is slow.
   */
  private lookAt({ readAgainIn, state }: Blocked, began: number): number {
    const again = readAgainIn === undefined
      ? state === "abandoned" ? this.now + this.probe : Infinity
      : began + readAgainIn
    return Math.min(this.scheduledAt, again)
  }

  private sleep(
    answer: Blocked,
    isTold: boolean,
    lookAt: number
  ): Effect.Effect<Option.Option<G>, E> {
    const probed = answer.state === "held" && !isTold ? answer.holder : undefined
    const wakeAt = probed === undefined ? lookAt : Math.min(lookAt, this.now + this.probe)
    return Effect.flatMap(
      Effect.interruptible(this.requester.sleepUntil(wakeAt)),
      (isHinted) =>
        isHinted || this.now >= lookAt
          ? this.look()
          : Immediate.flatMap(
            probed === undefined ? Exit.succeed("unknown") : this.isAlive(probed),
            (liveness) => liveness === "dead" ? this.look() : this.sleep(answer, isTold, lookAt)
          )
    )
  }

  private look(): Effect.Effect<Option.Option<G>, E> {
    const { now } = this
    if (now >= this.scheduledAt) {
      this.requester.forget()
      if (now - this.beatAt >= signOfLife) {
        this.beatAt = now
        return this.run(undefined, () => Immediate.andThen(this.requester.beat(), this.attempt))
      }
    }
    return this.run()
  }
}
