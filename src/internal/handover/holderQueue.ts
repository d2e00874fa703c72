import * as Array from "effect/Array"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LockHolder } from "../../LockHolder.js"
import * as Immediate from "../immediate.js"
import { type Alarm, timerAt } from "../lock/timer.js"
import type { DiskError } from "../lockFile/disk.js"
import type { Given, Place, Protocol } from "../lockFile/protocol.js"
import type { Requested } from "../lockFile/requests.js"
import * as Runtime from "../runtime.js"
import type { Channel, Endpoint } from "./channel.js"
import { Entries, type Entry } from "./entries.js"
import { instanceOf, type Message } from "./message.js"
import type { Others } from "./others.js"

/** A waiter that has not answered for so long, in milliseconds, may be stopped. */
const answerTime = 5

/**
 * How often the holder asks whether the next ones are awake, in milliseconds: a waiter that has answered may be stopped by now. After a
 * quarter of the time that it has held the lock, within these bounds. To be asked wakes an idle process up.
 */
const shortestPause = 50
const longestPause = 1_000

/** How much longer than that a waiter that has answered counts as awake, in milliseconds. */
const allowance = 10

/** How many of the next ones are asked. */
const nextOnes = 2

/** How many waiters are asked, or told to look for themselves, at once. */
const atOnce = 16

/** How many request files are read at once. What is said meanwhile is said again later. */
const maxReads = 16

/** How many processes that share the lock no more are remembered. */
const maxLeft = 16

/** No message makes the holder look at its lock sooner after the last look, in milliseconds. */
export const lookPause = 1

const nobody: ReadonlySet<string> = new Set()

/** What has to be known of a lock that is held. */
export interface Context {
  readonly channel: Channel
  readonly protocol: Protocol
  /** Whether there is a request file with a token, and its process lives and can be told. */
  readonly isRequested: (place: Place, token: string) => Effect.Effect<boolean>
  /** Whether messages come from this process to another. */
  readonly canReach: (holder: LockHolder) => boolean
  readonly list: (place: Place) => Effect.Effect<ReadonlyArray<Requested>, DiskError>
  readonly others: Others
}

/**
 * The waiters of other processes, as the process keeps them that holds the lock: who comes next when it is released. They have said so
 * themselves, or the last holder has, or the directory.
 */
export class HolderQueue implements Endpoint {
  /** Made when others wait. */
  private waiters: Entries | undefined
  private released = false
  /** The hand-over is under way. */
  private gives = false
  /** Another process has heard who waits. */
  private hasPassed = false
  /** Who waits is known: the last holder has told it, or the directory. */
  private known: boolean
  /** The last holder may tell yet who waits. */
  private isUntold = false
  /** Whether others have waited. */
  private begun = false
  private reads = 0
  private lookedAt = -Infinity
  private alarm: Alarm | undefined
  /** Those that have said that they share the lock no more, before it was known that they are waited for. */
  left: ReadonlyArray<string> = []
  /** The process with a token says that it shares the lock no more. `false` if that says nothing new. */
  onLeft: ((token: string) => boolean) | undefined
  /** Its clock at the acquisition goes for all that is done here: the fiber may go by another one later. */
  private readonly clock: Clock.Clock
  private readonly since: number

  constructor(
    private readonly context: Context,
    private readonly place: Place,
    private readonly token: string,
    readonly fiber: Runtime.RuntimeFiber,
    /**
     * Who waits, as the last holder has told. `"unknown"`: the directory tells. `"untold"`: the last holder tells, or if it does not
     * do so soon, the directory. `undefined`: nobody, as far as is known.
     */
    queue: ReadonlyArray<string> | "unknown" | "untold" | undefined,
    /** Looks whether the lock is ours still. `true` if it is found that it is not. */
    private readonly isGone: () => boolean
  ) {
    this.clock = Runtime.clockOf(fiber)
    this.since = this.now
    context.channel.hold(place.lockPath, token, this)
    this.known = typeof queue === "object"
    if (typeof queue === "object") {
      this.adopt(queue)
    } else if (queue === "unknown") {
      this.list()
    } else if (queue === "untold") {
      this.isUntold = true
      this.arm()
    }
  }

  private get entries(): Entries {
    return this.waiters ??= new Entries(this.token, () => this.now)
  }

  private get now(): number {
    return Runtime.monotonicOf(this.clock)
  }

  hear(message: Message): boolean {
    if (this.released && message._tag === "granted") {
      return this.passLate(message.queue)
    }
    switch (message._tag) {
      case "wait":
        return this.register(message.token)
      case "ready":
        return this.entries.has(message.token) ? this.entries.heard(message.token) : this.register(message.token)
      case "granted": {
        // The lock was found before the message came, or between the release of the last holder and its hand-over.
        const isNew = !this.known
        this.known = true
        this.adopt(message.queue)
        return isNew
      }
      case "moved":
        return this.lookWhetherGone()
      case "left":
        return this.onLeft === undefined ? this.hearLeft(message.token) : this.onLeft(message.token)
      case "next":
        return false
    }
  }

  private hearLeft(token: string): boolean {
    const isNew = this.left.length < maxLeft && !this.left.includes(token)
    if (isNew) this.left = [...this.left, token]
    return isNew
  }

  /** Another process says that our record is not at the lock any more, as one does that has broken it. */
  private lookWhetherGone(): boolean {
    if (this.released || this.now - this.lookedAt < lookPause) {
      return false
    }
    this.lookedAt = this.now
    return this.isGone()
  }

  // ---------------------------------------------------------------------------------------------
  // entries
  // ---------------------------------------------------------------------------------------------

  /**
   * A waiter has asked for its turn. Its request file proves that it may. `false` as long as that is not read. One that has asked too late
   * gets the lock, if it is free, and otherwise the holder hears of it.
   */
  private register(token: string): boolean {
    if (token === this.token || this.entries.get(token)?.proven === true || this.reads >= maxReads) {
      return this.entries.heard(token)
    }
    let proven = false
    this.reads += 1
    this.run(() =>
      Immediate.flatMap(this.context.isRequested(this.place, token), (isRequest) => {
        this.reads -= 1
        proven = isRequest
        const entry = isRequest ? this.enqueue(token, true) : undefined
        if (entry !== undefined) {
          entry.proven = entry.spoken = true
          entry.heardAt = this.now
          if (!this.released) this.watch(entry)
        }
        return entry !== undefined && this.released && !this.gives ? this.give() : Exit.void
      })
    )
    return proven
  }

  /** On a local disk it has ended when this returns. */
  private run(make: () => Effect.Effect<void>): void {
    Immediate.start(this.fiber, make, `The hand-over of ${this.place.lockPath}`)
  }

  private enqueue(token: string, proven: boolean): Entry | undefined {
    const entry = this.entries.enqueue(token, proven)
    this.begin()
    return entry
  }

  private adopt(queue: ReadonlyArray<string>): void {
    this.entries.adopt(queue)
    this.begin()
  }

  /** Others wait: from now on the holder looks after them. */
  private begin(): void {
    if (this.entries.size === 0) {
      return
    }
    if (!this.begun) {
      this.begun = true
      this.lookForOthers()
    }
    this.arm()
  }

  /** Reads the directory. Those that are not found look by themselves before long. */
  private readDirectory(onSuccess: (requests: ReadonlyArray<Requested>) => void): void {
    this.run(() => Effect.match(this.context.list(this.place), { onFailure: () => {}, onSuccess }))
  }

  /** Those that the directory knows. */
  private list(): void {
    this.readDirectory((requests) => {
      const tokens = requests.filter(({ holder }) => this.context.canReach(holder)).map(({ holder }) => holder.token)
      if (this.released) this.passLate(tokens)
      else tokens.forEach((token) => this.enqueue(token, true))
    })
  }

  /** Those that no message reaches have their turn as well, and those whose messages come too late. */
  private lookForOthers(): void {
    const { canReach, others } = this.context
    const { lockPath } = this.place
    if (others.isDue(lockPath)) {
      this.readDirectory((requests) => {
        const [polling, waiting] = Array.partition(requests, ({ holder }) => canReach(holder))
        others.add(lockPath, polling, waiting)
      })
    }
  }

  private watch(entry: Entry): void {
    entry.unwatch ??= this.context.channel.watch(instanceOf(entry.token), (isDead) => {
      if (isDead) this.entries.drop(entry)
    })
  }

  // ---------------------------------------------------------------------------------------------
  // while it is held
  // ---------------------------------------------------------------------------------------------

  private ask(entry: Entry): void {
    entry.askedAt = this.now
    this.watch(entry)
    this.context.channel.send(instanceOf(entry.token), { _tag: "next", token: entry.token, owner: this.token })
  }

  private get pause(): number {
    return Math.min(Math.max((this.now - this.since) / 4, shortestPause), longestPause)
  }

  /** Whether it has answered, and that not long ago, or was asked just now. */
  private isAwake({ askedAt, heardAt }: Entry): boolean {
    return heardAt >= askedAt ? this.now - heardAt < this.pause + allowance : this.now - askedAt < answerTime
  }

  /** While the lock is held for longer, it is known which of the next ones are awake. */
  private arm(): void {
    if (this.alarm === undefined && !this.released && (this.entries.size > 0 || this.isUntold)) {
      this.alarm = {
        at: this.now + (this.isUntold ? answerTime : this.pause),
        run: () => {
          this.alarm = undefined
          if (this.isUntold) {
            this.isUntold = false
            if (!this.known) this.list()
            return this.arm()
          }
          // Where the next ones do not answer, others are asked.
          const next = this.entries.first(nextOnes)
          const others = next.some((entry) => this.isAwake(entry)) ? next : this.entries.first(atOnce)
          for (const entry of others) this.ask(entry)
          this.arm()
        }
      }
      timerAt(this.clock).add(this.fiber, this.alarm)
    }
  }

  private disarm(): void {
    if (this.alarm !== undefined) {
      timerAt(this.clock).cancel(this.fiber, this.alarm)
      this.alarm = undefined
    }
  }

  private tell(token: string): void {
    this.context.channel.send(instanceOf(token), { _tag: "moved", token, owner: this.token })
  }

  // ---------------------------------------------------------------------------------------------
  // release
  // ---------------------------------------------------------------------------------------------

  /** Whether the lock is to be handed over when it is released. */
  get isAwaited(): boolean {
    const { others } = this.context
    return (this.waiters !== undefined && this.waiters.size > 0) ||
      (others.locks.size > 0 && others.has(this.place.lockPath))
  }

  /** Our record is gone from the lock: the next one gets it. To be run uninterruptibly. */
  handOver(): Effect.Effect<void> {
    // Who waits may have to be found out all the same: the last holder may have died before it could tell.
    if (!this.isUntold) this.disarm()
    if (!this.isAwaited) {
      this.end()
      return Exit.void
    }
    return this.give()
  }

  private give(): Effect.Effect<void> {
    this.released = this.gives = true
    const { polling, waiting } = this.context.others.take(this.place.lockPath)
    if (waiting.some((token) => !this.entries.has(token))) {
      this.adopt([...waiting, ...Array.fromIterable(this.entries.values()).map(({ token }) => token)])
    }
    return polling === undefined ? this.giveNext() : Immediate.flatMap(
      this.context.protocol.give(this.place, polling),
      // All others have to poll until it has released the lock.
      (given) => given === "withdrawn" ? this.giveNext() : this.tellAll()
    )
  }

  /** One after the other, until one has the lock. */
  private giveNext(): Effect.Effect<void> {
    for (let next = this.next(); next !== undefined; next = this.next()) {
      const entry = next
      const given = Immediate.begin(this.giveTo(entry))
      if (!Immediate.isExit(given)) {
        return Effect.flatMap(given, (given) => this.onGiven(entry, given) ?? this.giveNext())
      }
      const done = Exit.isSuccess(given) ? this.onGiven(entry, given.value) : Exit.failCause(given.cause)
      if (done !== undefined) {
        return done
      }
    }
    return this.tellAll()
  }

  /** Nothing where another one is to have it. */
  private onGiven(entry: Entry, given: Given): Effect.Effect<void> | undefined {
    switch (given) {
      case "given":
        this.entries.drop(entry)
        return this.passTo(entry.token)
      case "withdrawn":
        this.entries.drop(entry)
        // Where its request file was cleaned up, it makes a new one.
        if (entry.proven) this.tell(entry.token)
        return undefined
      case "occupied":
        return this.passToOther()
      case "refused":
        return this.tellAll()
    }
  }

  private giveTo({ proven, token }: Entry): Effect.Effect<Given> {
    const { isRequested, protocol } = this.context
    return proven ? protocol.give(this.place, token) : Immediate.flatMap(
      isRequested(this.place, token),
      (isRequest) => isRequest ? protocol.give(this.place, token) : Exit.succeed<Given>("withdrawn")
    )
  }

  /** The first one that has said that it waits, and is awake. */
  private next(): Entry | undefined {
    return this.entries.find((entry) => entry.spoken && this.isAwake(entry))
  }

  /** Another process came in between. It keeps the queue from now on, if it can be told. */
  private passToOther(): Effect.Effect<void> {
    const { canReach, protocol } = this.context
    return Immediate.matchEffect(protocol.read(this.place.lockPath), {
      onFailure: () => this.tellAll(),
      onSuccess: (seen) => {
        if (seen._tag === "Record" && seen.holder.token !== this.token && canReach(seen.holder)) {
          this.entries.drop(this.entries.get(seen.holder.token))
          return this.passTo(seen.holder.token)
        }
        return this.tellAll()
      }
    })
  }

  /** The lock was released before it was known who waits. `false` if none of those that are named waits. */
  private passLate(queue: ReadonlyArray<string>): boolean {
    this.known = true
    const late = queue.filter((token) => token !== this.token).slice(0, atOnce)
    if (late.length === 0) {
      return false
    }
    this.hasPassed = this.gives
    this.adopt(late)
    if (!this.gives) this.run(() => this.give())
    return this.hasPassed
  }

  /** The new holder keeps the queue. One of those that wait hears who that is, and so of its death. */
  private passTo(holder: string): Effect.Effect<void> {
    const { channel } = this.context
    const [unheard, spoken] = Array.partition(this.entries.values(), ({ spoken }) => spoken)
    const head = this.next() ?? spoken[0]
    const others = spoken.filter((entry) => entry !== head)
    const queue = (head === undefined ? others : [head, ...others]).map(({ token }) => token)
    channel.send(instanceOf(holder), { _tag: "granted", token: holder, queue })
    if (head !== undefined) {
      channel.send(instanceOf(head.token), { _tag: "next", token: head.token, owner: holder })
    }
    // Those that the directory has named, and that have not been heard of yet, ask for their turn themselves.
    for (const { token } of unheard.slice(0, atOnce)) this.tell(token)
    this.hasPassed = true
    this.end(new Set([holder, ...queue]))
    return Exit.void
  }

  /** None is known to be awake, or none can be given the lock: each looks for itself. */
  private tellAll(): Effect.Effect<void> {
    for (const { token } of this.entries.first(atOnce)) this.tell(token)
    this.end()
    return Exit.void
  }

  private end(passed: ReadonlySet<string> = nobody): void {
    this.released = true
    this.gives = false
    if (!this.isUntold) this.disarm()
    this.waiters?.clear()
    this.context.channel.release(this.place.lockPath, this.token, passed)
  }
}
