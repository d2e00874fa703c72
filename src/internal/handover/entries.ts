import { maxQueue } from "./message.js"

/** A request of another process, as a holder knows it. Times are milliseconds on the monotonic clock. */
export interface Entry {
  readonly token: string
  /** Its request file has been read. */
  proven: boolean
  /** Its process has said that it waits: to this holder, or to one before. */
  spoken: boolean
  /** When it was heard of last, by this holder, or by the last one that has told of it. */
  heardAt: number
  /** When it was asked last. */
  askedAt: number
  unwatch: (() => void) | undefined
}

/** The requests of other processes, in order. */
export class Entries {
  private byToken = new Map<string, Entry>()

  constructor(
    /** The token of the holder, which does not wait. */
    private readonly own: string,
    private readonly now: () => number
  ) {}

  get size(): number {
    return this.byToken.size
  }

  has(token: string): boolean {
    return this.byToken.has(token)
  }

  get(token: string): Entry | undefined {
    return this.byToken.get(token)
  }

  values(): Iterable<Entry> {
    return this.byToken.values()
  }

  first(count: number): ReadonlyArray<Entry> {
    const first: Array<Entry> = []
    for (const entry of this.byToken.values()) {
      if (first.push(entry) >= count) break
    }
    return first
  }

  find(suits: (entry: Entry) => boolean): Entry | undefined {
    for (const entry of this.byToken.values()) {
      if (suits(entry)) {
        return entry
      }
    }
    return undefined
  }

  /** A waiter was heard of. Whether that was not known. */
  heard(token: string): boolean {
    const entry = this.byToken.get(token)
    if (entry === undefined) {
      return false
    }
    const isNew = entry.heardAt < entry.askedAt
    entry.heardAt = this.now()
    entry.spoken = true
    return isNew
  }

  /** Where there is no room, one that has proven that it waits takes that of one that has not. */
  enqueue(token: string, proven: boolean): Entry | undefined {
    const there = this.byToken.get(token)
    if (token === this.own || there !== undefined) {
      return there
    }
    if (this.byToken.size >= maxQueue) {
      const unproven = proven ? [...this.byToken.values()].reverse().find(({ proven }) => !proven) : undefined
      if (unproven === undefined) {
        return undefined
      }
      this.drop(unproven)
    }
    const entry: Entry = { token, proven, spoken: false, heardAt: -Infinity, askedAt: -Infinity, unwatch: undefined }
    this.byToken.set(token, entry)
    return entry
  }

  /** The last holder has told the first one of these that it is next. They come before those that have registered meanwhile. */
  adopt(queue: ReadonlyArray<string>): void {
    const others = this.byToken
    this.byToken = new Map()
    for (const token of queue) {
      const entry = others.get(token)
      if (entry !== undefined) this.byToken.set(token, entry)
      others.delete(token)
    }
    for (const [index, token] of queue.entries()) {
      const entry = this.enqueue(token, false)
      if (entry !== undefined) {
        entry.spoken = true
        if (index === 0) entry.askedAt = this.now()
        else entry.heardAt = this.now()
      }
    }
    for (const [token, entry] of others) {
      if (this.byToken.size < maxQueue) this.byToken.set(token, entry)
      else entry.unwatch?.()
    }
  }

  drop(entry: Entry | undefined): void {
    if (entry !== undefined) {
      entry.unwatch?.()
      this.byToken.delete(entry.token)
    }
  }

  clear(): void {
    for (const { unwatch } of this.byToken.values()) unwatch?.()
    this.byToken = new Map()
  }
}
