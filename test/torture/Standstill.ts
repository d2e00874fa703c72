/**
 * How long no process entered the critical section although one could have.
 *
 * The clock runs while a process that is alive and not stopped waits, no process is inside, and no stopped process owns the
 * lock or a claim on it: a stopped owner lives, and its lock is never taken. It starts anew each time a process enters.
 *
 * Two things are measured. `ofOne` is the longest standstill that a single process waited through from its beginning to its end. `ofAll`
 * joins the standstills of waiting processes that follow each other, which is longer where the waiters are killed, too.
 */
import type { Event } from "./EventLog.js"

/** A standstill. */
export interface Standstill {
  readonly millis: number
  readonly from: bigint
  readonly until: bigint
}

/** The longest ones. */
export interface Longest {
  readonly ofOne: Standstill
  readonly ofAll: Standstill
}

/** Measures one standstill after the other and keeps the longest. */
class Watch {
  longest: Standstill = { millis: 0, from: 0n, until: 0n }
  private since: bigint | undefined

  /** What holds from `at` on. */
  set(stands: boolean, at: bigint): void {
    if (stands) {
      this.since ??= at
    } else {
      this.end(at)
    }
  }

  end(at: bigint): void {
    if (this.since === undefined) return
    const millis = Number(at - this.since) / 1e6
    if (millis > this.longest.millis) this.longest = { millis, from: this.since, until: at }
    this.since = undefined
  }
}

class ProcessState {
  readonly waiting = new Set<number>()
  readonly inside = new Set<number>()
  readonly watch = new Watch()
  stopped = false

  get couldEnter(): boolean {
    return !this.stopped && this.waiting.size > 0
  }
}

/** The longest standstills in a log. */
export const longest = (events: ReadonlyArray<Event>): Longest => {
  const living = new Map<number, ProcessState>()
  const all: Array<ProcessState> = []
  const dead = new Set<number>()
  const stoppedOwners = new Set<number>()
  const watch = new Watch()

  const stateOf = (incarnation: number): ProcessState => {
    const known = living.get(incarnation)
    if (known !== undefined) return known
    const created = new ProcessState()
    living.set(incarnation, created)
    all.push(created)
    return created
  }

  const endAll = (at: bigint): void => {
    watch.end(at)
    for (const state of living.values()) state.watch.end(at)
  }

  for (const event of events) {
    // What a killed process wrote between the signal and its end does not bring it back.
    if (dead.has(event.incarnation)) continue
    const state = stateOf(event.incarnation)
    switch (event.kind) {
      case "waiting":
        state.waiting.add(event.section)
        break
      case "enterExclusive":
      case "enterShared":
        endAll(event.at)
        state.waiting.delete(event.section)
        state.inside.add(event.section)
        break
      case "observed":
        // It was inside, whether it says so or not.
        endAll(event.at)
        state.waiting.delete(event.section)
        break
      case "leave":
        state.inside.delete(event.section)
        break
      case "failed":
        state.waiting.delete(event.section)
        break
      case "stop":
        state.stopped = true
        break
      case "stoppedOwner":
        stoppedOwners.add(event.incarnation)
        break
      case "resume":
        state.stopped = false
        stoppedOwners.delete(event.incarnation)
        break
      case "kill":
      case "exit":
        dead.add(event.incarnation)
        state.watch.end(event.at)
        living.delete(event.incarnation)
        stoppedOwners.delete(event.incarnation)
        break
      default:
        break
    }
    const states = [...living.values()]
    const stands = stoppedOwners.size === 0 && states.every(({ inside }) => inside.size === 0)
    for (const one of states) one.watch.set(stands && one.couldEnter, event.at)
    watch.set(stands && states.some(({ couldEnter }) => couldEnter), event.at)
  }
  endAll(events.at(-1)?.at ?? 0n)

  const ofOne = all.reduce(
    (found, { watch: { longest } }) => longest.millis > found.millis ? longest : found,
    new Watch().longest
  )
  return { ofOne, ofAll: watch.longest }
}
