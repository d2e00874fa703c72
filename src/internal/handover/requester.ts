import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LockHolder } from "../../LockHolder.js"
import * as Immediate from "../immediate.js"
import { type Alarm, timerAt } from "../lock/timer.js"
import type { DiskError } from "../lockFile/disk.js"
import { momentAt, type OwnRecord } from "../lockFile/ownRecord.js"
import type * as Protocol from "../lockFile/protocol.js"
import * as Record from "../lockFile/record.js"
import * as Runtime from "../runtime.js"
import type { Channel, Endpoint, Reply } from "./channel.js"
import { maxQueue, type Message } from "./message.js"

/**
 * The pause after a look that a message led to and that found nothing new, in milliseconds: it doubles each time, between these. Such
 * messages are invented, or come late.
 */
const shortestPause = 1
const longestPause = 4

/** A holder asks no oftener than this whether a waiter is awake, in milliseconds. */
const answerEvery = 15

/** How many waiters that believe that this one holds the lock get an answer. */
const maxAsking = 64

/**
 * A waiter, as other processes see it: its request file, its connection to the holder, and what it has been told.
 *
 * A message makes it look at the lock file. Only what is found there counts.
 */
export class Requester implements Endpoint {
  private readonly clock: Clock.Clock
  /** The record in the request file. */
  own: OwnRecord | undefined
  /** Who waits behind this one, if the last holder has told. */
  queue: ReadonlyArray<string> | undefined
  /** Whose queue it stands in, by the token of the record at the lock. */
  private known: string | undefined
  /** It did not get the lock at once. */
  hasWaited = false
  /** Who holds the lock, as the last holder has told. */
  private told: string | undefined
  private unwatch: (() => void) | undefined
  private asking: Array<readonly [message: Message, reply: Reply]> = []
  private resume: (() => void) | undefined
  private hinted = false
  /** It has been told that its record is at the lock. */
  private isGranted = false
  /** When it looked last, whether a message led to that, what it found, and how long after it no message leads to another look. */
  private lookedAt = -Infinity
  private wasHinted = false
  private found: string | undefined
  private pause = 0
  /** The token whose process has said that it does not hold the lock. */
  private denied: string | undefined
  /** When it said last that it is awake. */
  private answeredAt = -Infinity

  constructor(
    private readonly channel: Channel,
    private readonly protocol: Protocol.Protocol,
    private readonly place: Protocol.Place,
    private readonly label: string | undefined,
    readonly fiber: Runtime.RuntimeFiber
  ) {
    this.clock = Runtime.clockOf(fiber)
  }

  private get now(): number {
    return Runtime.monotonicOf(this.clock)
  }

  // ---------------------------------------------------------------------------------------------
  // the file
  // ---------------------------------------------------------------------------------------------

  /** Puts our record at the lock if nothing is there. The request file is made when it is missing. */
  enter(): Effect.Effect<Protocol.Published | Protocol.Occupied, DiskError> {
    const { own } = this
    if (own === undefined) {
      return Immediate.flatMap(this.request(), (own) => this.protocol.enter(this.place, own))
    }
    const renew = () =>
      Immediate.andThen(
        this.renounce(),
        () => Immediate.flatMap(this.request(), (own) => this.protocol.enter(this.place, own))
      )
    return own.retired ? renew() : Immediate.matchEffect(this.protocol.enter(this.place, own), {
      onSuccess: (entered): Effect.Effect<Protocol.Published | Protocol.Occupied, DiskError> => Exit.succeed(entered),
      // It was silent for a lease, and another process has cleaned up; or the directory is gone.
      onFailure: (error) => error.code === "ENOENT" ? renew() : Exit.fail(error)
    })
  }

  private request(): Effect.Effect<OwnRecord, DiskError> {
    return Immediate.map(this.protocol.request(this.place, this.label), (own) => {
      this.own = own
      this.known = undefined
      this.channel.attach(own.token, this)
      return own
    })
  }

  /** What is at the lock; our own record there is accepted. */
  look(): Effect.Effect<Protocol.Published | Protocol.Occupied, DiskError> {
    const { isGranted, own } = this
    this.isGranted = false
    return own !== undefined && isGranted
      ? Immediate.matchEffect(this.protocol.holds(this.place, own), {
        onSuccess: (holds) => holds ? this.protocol.accept(this.place, own) : this.lookAgain(),
        onFailure: () => this.lookAgain()
      })
      : this.lookAgain()
  }

  private lookAgain(): Effect.Effect<Protocol.Published | Protocol.Occupied, DiskError> {
    const startedAt = momentAt(this.clock)
    this.lookedAt = startedAt.monotonic
    return Immediate.matchEffect(this.protocol.read(this.place.lockPath), {
      onSuccess: (seen) => {
        const { own } = this
        if (own !== undefined && Record.hasToken(seen, own.token)) {
          return this.protocol.accept(this.place, own)
        }
        if (own !== undefined) {
          // Another process puts it there from now on, or never.
          own.heardAt = startedAt
        }
        const token = seen._tag === "Record" ? seen.holder.token : undefined
        const isNew = !this.wasHinted || token !== this.found
        if (token !== this.denied) this.denied = undefined
        this.pause = isNew ? 0 : Math.min(Math.max(2 * this.pause, shortestPause), longestPause)
        this.found = token
        return seen._tag === "Absent" ? this.enter() : Exit.succeed<Protocol.Occupied>({ _tag: "Occupied", seen })
      },
      // Whether it is the directory or the file that refuses is told by the request file.
      onFailure: () => this.enter()
    })
  }

  /** The request is not wanted any more; `true` if its record was at the lock by then. To be run uninterruptibly. */
  withdraw(): Effect.Effect<boolean> {
    const { own } = this
    return own === undefined ?
      Exit.succeed(false) :
      Immediate.map(this.protocol.withdraw(this.place, own), (granted) => {
        if (!granted) {
          this.channel.detach(own.token)
          this.own = undefined
        }
        return granted
      })
  }

  /**
   * Shows in the request file that its process lives, to those that no message comes from. A request file that was cleaned up meanwhile is
   * made anew: a process on another machine takes it for a dead one's when it has not changed for a lease.
   */
  beat(): Effect.Effect<void> {
    return this.own === undefined ? Exit.void : Immediate.matchEffect(this.protocol.beatRequest(this.own), {
      onSuccess: () => Exit.void,
      onFailure: ({ code }) =>
        code === "ENOENT" ? Effect.ignore(Immediate.andThen(this.renounce(), () => this.request())) : Exit.void
    })
  }

  /** The request counts no more. A new one may be made. */
  private renounce(): Effect.Effect<void> {
    const { own } = this
    return Immediate.flatMap(this.withdraw(), (granted) => {
      if (!granted || own === undefined) {
        return Exit.void
      }
      this.channel.detach(own.token)
      this.own = undefined
      return Immediate.as(this.protocol.remove(this.place, 0, own), undefined)
    })
  }

  // ---------------------------------------------------------------------------------------------
  // messages
  // ---------------------------------------------------------------------------------------------

  hear(message: Message, reply: Reply): boolean {
    switch (message._tag) {
      case "granted":
        this.isGranted = true
        this.queue = [...new Set([...this.queue ?? [], ...message.queue])].slice(0, maxQueue)
        return this.hint()
      case "next": {
        const { now } = this
        if (message.owner === this.known) {
          const isNew = now - this.answeredAt > answerEvery
          this.answeredAt = now
          reply({ _tag: "ready", token: message.token, owner: message.owner })
          return isNew
        }
        this.told = message.owner
        return this.hint()
      }
      case "moved":
        // One that says it again, while its record is still there, could not remove that.
        if (message.owner === this.denied) {
          return false
        }
        this.denied = message.owner
        this.known = undefined
        return this.hint()
      case "left":
        return false
      case "wait":
      case "ready":
        // It may have been given to us without our knowing.
        if (this.asking.length < maxAsking) this.asking.push([message, reply])
        return this.hint()
    }
  }

  /** The lock is held by a process that can be reached: it is to know of our request, and we of its death. */
  register(holder: LockHolder): void {
    const { own } = this
    const isTold = holder.token === this.told
    if (own === undefined || (holder.token === this.known && !isTold)) {
      return
    }
    if (holder.token !== this.known) {
      this.unwatch?.()
      this.unwatch = this.channel.watch(holder.instance, () => void this.hint())
    }
    this.known = holder.token
    this.told = undefined
    this.channel.send(holder.instance, { _tag: isTold ? "ready" : "wait", token: own.token, owner: holder.token })
  }

  /** The next time the holder is told again that we wait: a message may have been lost. */
  forget(): void {
    this.known = undefined
  }

  /** Those that believe that we hold the lock: we do not. */
  deny(): void {
    for (const [message, reply] of this.asking) {
      if (message._tag === "wait") reply({ _tag: "moved", token: message.token, owner: message.owner })
    }
    this.asking = []
  }

  /** Passes on what was meant for the holder, and stops listening. `endpoint` is what listens now, if the lock is ours. */
  end(endpoint: Endpoint | undefined): void {
    this.unwatch?.()
    if (endpoint === undefined) {
      this.deny()
    } else {
      for (const [message, reply] of this.asking) endpoint.hear(message, reply)
    }
  }

  // ---------------------------------------------------------------------------------------------
  // sleeping
  // ---------------------------------------------------------------------------------------------

  /** The lock should be looked at; `false` if that is known already. */
  private hint(): boolean {
    const isNew = !this.hinted
    this.hinted = true
    this.resume?.()
    return isNew
  }

  /** Sleeps until there is reason to look (`true`), or until a time on the monotonic clock. */
  sleepUntil(at: number): Effect.Effect<boolean> {
    return Effect.async((resume) => {
      const timer = timerAt(this.clock)
      let alarm: Alarm | undefined
      const stop = (): void => {
        this.resume = undefined
        if (alarm !== undefined) timer.cancel(this.fiber, alarm)
      }
      const wake = (): void => {
        stop()
        this.wasHinted = this.hinted
        this.hinted = false
        resume(Effect.succeed(this.wasHinted))
      }
      const arm = (at: number): void => {
        if (alarm !== undefined) timer.cancel(this.fiber, alarm)
        alarm = { at, run: wake }
        timer.add(this.fiber, alarm)
      }
      const onHint = (): void => {
        const earliest = this.lookedAt + this.pause
        if (this.now >= earliest) wake()
        else arm(Math.min(at, earliest))
      }
      this.resume = onHint
      if (this.hinted) {
        onHint()
      } else {
        arm(at)
      }
      return Effect.sync(stop)
    })
  }
}
