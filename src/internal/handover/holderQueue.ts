import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LockHolder } from "../../LockHolder.js"
import { type Alarm, timerOf } from "../lock/timer.js"
import type { DiskError } from "../lockFile/disk.js"
import type { Place, Protocol } from "../lockFile/protocol.js"
import * as Record from "../lockFile/record.js"
import type { Requested } from "../lockFile/requests.js"
import * as Runtime from "../runtime.js"
import type { Channel, Endpoint, Reply } from "./channel.js"
import { instanceOf, maxQueue, type Message } from "./message.js"
import type { Pollers } from "./pollers.js"

/**
 * A waiter that has not answered for so long, in milliseconds, may be stopped: the lock goes to one that has. For less, it goes to the
 * first one without an answer.
 */
const answerTime = 5

/** How long the holder waits for an answer of the first waiter before it asks the others, in milliseconds. */
const askOthersAfter = 20

/**
 * How often it asks again while it holds, in milliseconds, since a waiter that has answered may be stopped by now: after an eighth of the
 * time that it has held the lock, within these bounds.
 */
const shortestPause = 50
const longestPause = 1_000

/** How many waiters are asked, or told to look for themselves, at once. */
const atOnce = 16

/** What has to be known of a lock that is held. */
export interface Context {
  readonly channel: Channel
  readonly protocol: Protocol
  /** Whether messages come from this process to another. */
  readonly canReach: (holder: LockHolder) => boolean
  readonly list: (place: Place) => Effect.Effect<ReadonlyArray<Requested>, DiskError>
  readonly pollers: Pollers
}

/** A request of another process. */
interface Entry {
  readonly token: string
  /** It has been heard of since it was asked last. */
  awake: boolean
  /** When this holder asked it last, on the monotonic clock. */
  askedAt: number | undefined
  unwatch: (() => void) | undefined
}

/**
 * The waiters of other processes, as the process keeps them that holds the lock: who comes next when it is released. They have said so
 * themselves, or the last holder has, or the directory.
 */
export class HolderQueue implements Endpoint {
  private entries: Array<Entry> = []
  /** A waiter that polls, and whose turn it is. */
  private poller: string | undefined
  private released = false
  /** The directory was read, or the last holder has told who waits. */
  private known: boolean
  private alarm: Alarm | undefined
  private readonly since: number

  constructor(
    private readonly context: Context,
    private readonly place: Place,
    private readonly token: string,
    /** Its clock goes for all that is done here. */
    readonly fiber: Runtime.RuntimeFiber,
    /** Who waits, as the last holder has told. `"ask"`: the directory knows. `undefined`: nobody, as far as is known. */
    queue: ReadonlyArray<string> | "ask" | undefined
  ) {
    this.known = typeof queue === "object"
    this.since = Runtime.monotonic(fiber)
    context.channel.hold(place.lockPath, token, this)
    if (typeof queue === "object") {
      this.adopt(queue)
    } else if (queue === "ask") {
      this.list()
    }
  }

  /** Whether other processes wait. */
  get isWanted(): boolean {
    return this.entries.length > 0
  }

  hear(message: Message, reply: Reply): boolean {
    switch (message._tag) {
      case "wait":
        if (this.released) {
          reply({ _tag: "moved", token: message.token, owner: this.token })
          return true
        }
        return this.register(message.token)
      case "ready":
        return this.heard(message.token)
      case "granted":
        // The lock was found before the message came.
        if (!this.known && !this.released) {
          this.known = true
          this.adopt(message.queue)
        }
        return true
      default:
        return false
    }
  }

  private find(token: string): Entry | undefined {
    return this.entries.find((entry) => entry.token === token)
  }

  /** Whether that was not known. */
  private heard(token: string): boolean {
    const entry = this.find(token)
    const isNew = entry?.awake === false
    if (entry !== undefined) entry.awake = true
    return isNew
  }

  /** A waiter has asked for its turn. Its request file proves that it may. */
  private register(token: string): boolean {
    if (token === this.token || this.entries.length >= maxQueue || this.find(token) !== undefined) {
      return this.heard(token)
    }
    const { protocol } = this.context
    let proven = true
    this.run(
      Effect.match(protocol.readRequest(this.place, token), {
        onFailure: () => {
          proven = false
        },
        onSuccess: (seen) => {
          proven = Record.hasToken(seen, token) && seen._tag === "Record" && this.context.canReach(seen.holder)
          if (!proven) {
            return
          }
          if (this.released) {
            return this.tell(token)
          }
          const entry = this.enqueue(token)
          if (entry !== undefined) {
            entry.awake = true
            this.watch(entry)
          }
          if (!this.known) {
            this.known = true
            this.list()
          }
        }
      })
    )
    return proven
  }

  /** On a local disk it has ended when this returns. */
  private run(effect: Effect.Effect<void>): void {
    Runtime.startUninterruptible(this.fiber, effect)
  }

  private enqueue(token: string): Entry | undefined {
    if (token === this.token || this.entries.length >= maxQueue || this.find(token) !== undefined) {
      return undefined
    }
    const entry: Entry = { token, awake: false, askedAt: undefined, unwatch: undefined }
    if (this.entries.push(entry) === 1) {
      this.lookForPollers()
    }
    this.arm(askOthersAfter)
    return entry
  }

  /** The last holder has told the first one of these that it is next. */
  private adopt(queue: ReadonlyArray<string>): void {
    for (const token of queue) {
      const entry = this.enqueue(token)
      if (entry !== undefined && entry === this.entries[0]) entry.askedAt = Runtime.monotonic(this.fiber)
    }
  }

  /** Those that the directory knows. What is found after the release is told to look for itself. */
  private list(): void {
    const { canReach, list } = this.context
    this.run(
      Effect.match(list(this.place), {
        // Those that are not found look by themselves before long.
        onFailure: () => {},
        onSuccess: (requests) => {
          for (const { holder } of requests.filter(({ holder }) => canReach(holder))) {
            if (this.released) this.tell(holder.token)
            else this.enqueue(holder.token)
          }
        }
      })
    )
  }

  /** Those that no message reaches have their turn as well. */
  private lookForPollers(): void {
    const { canReach, list, pollers } = this.context
    if (!pollers.isDue(this.place.lockPath)) {
      return
    }
    this.run(
      Effect.match(list(this.place), {
        // They look by themselves before long.
        onFailure: () => {},
        onSuccess: (requests) => {
          const polling = requests.filter(({ holder }) => !canReach(holder))
          const texts = new Map(polling.map(({ holder, text }) => [holder.token, text]))
          this.poller = pollers.alive(this.place.lockPath, texts)[0]
        }
      })
    )
  }

  private watch(entry: Entry): void {
    entry.unwatch ??= this.context.channel.watch(instanceOf(entry.token), () => {
      this.entries = this.entries.filter((other) => other !== entry)
    })
  }

  private ask(entry: Entry, now: number): void {
    entry.awake = false
    entry.askedAt = now
    this.watch(entry)
    this.context.channel.send(instanceOf(entry.token), { _tag: "next", token: entry.token, owner: this.token })
  }

  /** While the lock is held for longer, one of the waiters is known to be awake. */
  private arm(after: number): void {
    if (this.alarm === undefined && !this.released && this.entries.length > 0) {
      this.alarm = {
        at: Runtime.monotonic(this.fiber) + after,
        run: () => {
          this.alarm = undefined
          const now = Runtime.monotonic(this.fiber)
          const first = this.entries.find(({ awake }) => awake)
          if (first === undefined) {
            for (const entry of this.entries.slice(0, atOnce)) this.ask(entry, now)
          } else {
            this.ask(first, now)
          }
          this.arm(
            first === undefined
              ? askOthersAfter
              : Math.min(Math.max((now - this.since) / 8, shortestPause), longestPause)
          )
        }
      }
      timerOf(this.fiber).add(this.fiber, this.alarm)
    }
  }

  private tell(token: string): void {
    this.context.channel.send(instanceOf(token), { _tag: "moved", token, owner: this.token })
  }

  /** Our record is gone from the lock: the next one gets it. To be run uninterruptibly. */
  handOver(): Effect.Effect<void> {
    this.released = true
    if (this.alarm !== undefined) {
      timerOf(this.fiber).cancel(this.fiber, this.alarm)
    }
    return this.entries.length === 0 ? this.end() : Effect.suspend(() => this.give())
  }

  private give(): Effect.Effect<void> {
    const { poller } = this
    if (poller !== undefined) {
      this.poller = undefined
      // All others have to poll until it has released the lock.
      return Effect.flatMap(
        this.context.protocol.give(this.place, poller),
        (given) => given === "withdrawn" ? this.give() : this.tellAll()
      )
    }
    const next = this.next()
    if (next === undefined) {
      return this.tellAll()
    }
    return Effect.flatMap(this.context.protocol.give(this.place, next.token), (given) => {
      switch (given) {
        case "given":
          this.tellNext(next)
          return this.end()
        case "withdrawn":
          this.drop(next)
          return this.give()
        case "occupied":
        case "refused":
          return this.tellAll()
      }
    })
  }

  /** The first one that has not failed to answer. */
  private next(): Entry | undefined {
    const now = Runtime.monotonic(this.fiber)
    return this.entries.find(({ askedAt, awake }) => awake || askedAt === undefined || now - askedAt < answerTime)
  }

  private drop(entry: Entry): void {
    entry.unwatch?.()
    this.entries = this.entries.filter((other) => other !== entry)
  }

  /** One of those that wait on hears who holds the lock, and so of its death. */
  private tellNext(granted: Entry): void {
    const { channel } = this.context
    this.entries = this.entries.filter((entry) => entry !== granted)
    const head = this.next() ?? this.entries[0]
    const others = this.entries.filter((entry) => entry !== head)
    const queue = (head === undefined ? others : [head, ...others]).map(({ token }) => token)
    channel.send(instanceOf(granted.token), { _tag: "granted", token: granted.token, queue })
    granted.unwatch?.()
    if (head !== undefined) {
      channel.send(instanceOf(head.token), { _tag: "next", token: head.token, owner: granted.token })
    }
  }

  /** Another process was faster, or none is known to be awake: each looks for itself. */
  private tellAll(): Effect.Effect<void> {
    for (const { token } of this.entries.slice(0, atOnce)) this.tell(token)
    return this.end()
  }

  private end(): Effect.Effect<void> {
    for (const { unwatch } of this.entries) unwatch?.()
    this.entries = []
    this.context.channel.release(this.place.lockPath, this.token)
    return Exit.void
  }
}
