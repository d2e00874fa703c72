/**
 * How long nobody came in although somebody could have.
 *
 * The clock runs while a process that is alive and not stopped waits, nobody is inside, and no stopped process owns the
 * lock or a claim on it: that is a live owner, which must not be robbed however long it is stopped. It starts anew each time
 * somebody enters.
 */
import type { Event } from "./EventLog.js"

/** The longest one. */
export interface Standstill {
  readonly millis: number
  readonly from: bigint
  readonly until: bigint
}

interface ProcessState {
  waiting: Set<number>
  inside: Set<number>
  stopped: boolean
}

/** The longest standstill in a log. */
export const longest = (events: ReadonlyArray<Event>): Standstill => {
  const processes = new Map<number, ProcessState>()
  const stoppedOwners = new Set<number>()
  let since: bigint | undefined
  let found: Standstill = { millis: 0, from: 0n, until: 0n }

  const stateOf = (incarnation: number): ProcessState => {
    const known = processes.get(incarnation)
    if (known !== undefined) return known
    const created: ProcessState = { waiting: new Set(), inside: new Set(), stopped: false }
    processes.set(incarnation, created)
    return created
  }

  const isStandstill = (): boolean => {
    if (stoppedOwners.size > 0) return false
    let waiting = false
    for (const state of processes.values()) {
      if (state.inside.size > 0) return false
      if (!state.stopped && state.waiting.size > 0) waiting = true
    }
    return waiting
  }

  const end = (at: bigint): void => {
    if (since === undefined) return
    const millis = Number(at - since) / 1e6
    if (millis > found.millis) found = { millis, from: since, until: at }
    since = undefined
  }

  const dead = new Set<number>()
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
        end(event.at)
        state.waiting.delete(event.section)
        state.inside.add(event.section)
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
        processes.delete(event.incarnation)
        stoppedOwners.delete(event.incarnation)
        break
      default:
        break
    }
    if (!isStandstill()) end(event.at)
    else if (since === undefined) since = event.at
  }
  end(events.at(-1)?.at ?? 0n)
  return found
}
