/**
 * Finds violations in an event log, without any knowledge of the lock.
 */
import type { Event } from "./EventLog.js"

/** A time inside the lock, as far as it is certain. */
export interface Section {
  readonly incarnation: number
  readonly section: number
  readonly mode: "exclusive" | "shared"
  readonly enter: bigint
  /**
   * The last instant at which it was certainly inside: when it said so, or when its killer was about to send the signal.
   * Between that signal and the moment the parent hears of the end nothing is certain from times; the marks are.
   */
  readonly until: bigint
  readonly killed: boolean
}

/** Two that were inside at once. */
export interface Overlap {
  readonly at: bigint
  readonly incarnation: number
  readonly other: number
  readonly seenBy: "times" | "mark"
}

const keyOf = (event: { readonly incarnation: number; readonly section: number }): string =>
  `${event.incarnation}/${event.section}`

const deathsOf = (events: ReadonlyArray<Event>): ReadonlyMap<number, bigint> => {
  const deaths = new Map<number, bigint>()
  for (const event of events) {
    if ((event.kind === "kill" || event.kind === "exit") && !deaths.has(event.incarnation)) {
      deaths.set(event.incarnation, event.at)
    }
  }
  return deaths
}

/** Every section, in the order of entering. */
export const sections = (events: ReadonlyArray<Event>): ReadonlyArray<Section> => {
  const deaths = deathsOf(events)
  const left = new Map<string, bigint>()
  for (const event of events) if (event.kind === "leave") left.set(keyOf(event), event.at)
  const end = events.at(-1)?.at ?? 0n
  const found: Array<Section> = []
  for (const event of events) {
    if (event.kind !== "enterExclusive" && event.kind !== "enterShared") continue
    const leave = left.get(keyOf(event))
    found.push({
      incarnation: event.incarnation,
      section: event.section,
      mode: event.kind === "enterExclusive" ? "exclusive" : "shared",
      enter: event.at,
      until: leave ?? deaths.get(event.incarnation) ?? end,
      killed: leave === undefined && deaths.has(event.incarnation)
    })
  }
  return found
}

/** Every pair that was inside at once although one of them was to be alone. */
export const overlaps = (events: ReadonlyArray<Event>): ReadonlyArray<Overlap> => {
  const found: Array<Overlap> = []
  let inside: Array<Section> = []
  for (const section of sections(events)) {
    inside = inside.filter((other) => other.until > section.enter)
    for (const other of inside) {
      if (section.mode === "exclusive" || other.mode === "exclusive") {
        found.push({ at: section.enter, incarnation: section.incarnation, other: other.incarnation, seenBy: "times" })
      }
    }
    inside.push(section)
  }
  for (const event of events) {
    if (event.kind === "foundAlive") {
      found.push({ at: event.at, incarnation: event.incarnation, other: event.value, seenBy: "mark" })
    }
  }
  return found
}

/** What became of the counter. */
export interface Reconciliation {
  readonly acknowledged: number
  /** Written by a process that was killed before it could say so; at most one a kill. */
  readonly unacknowledged: number
  /** Acknowledged and not in the counter. */
  readonly lost: number
  /** In the counter, although no process said that it would write it. */
  readonly unexplained: number
}

/** Holds the counter's last value against what the processes say they wrote. */
export const reconcile = (events: ReadonlyArray<Event>, counter: number): Reconciliation => {
  const acknowledged = new Map<number, number>()
  const intended = new Map<string, number>()
  let total = 0
  for (const event of events) {
    if (event.kind === "intent") intended.set(keyOf(event), event.value)
    if (event.kind === "acknowledged") {
      total++
      intended.delete(keyOf(event))
      acknowledged.set(event.value, (acknowledged.get(event.value) ?? 0) + 1)
    }
  }
  const interrupted = new Set(intended.values())
  let lost = 0
  for (const [value, times] of acknowledged) lost += value > counter ? times : times - 1
  let unacknowledged = 0
  let unexplained = 0
  for (let value = 1; value <= counter; value++) {
    if (acknowledged.has(value)) continue
    if (interrupted.has(value)) unacknowledged++
    else unexplained++
  }
  return { acknowledged: total, unacknowledged, lost, unexplained }
}

/** A reader saw a number that was out of date before it asked for the lock, or had it. */
export interface Stale {
  readonly at: bigint
  readonly incarnation: number
  readonly value: number
  /** Had been acknowledged before. */
  readonly acknowledged: number
}

/** Every read that missed an update which had been acknowledged before. */
export const staleReads = (events: ReadonlyArray<Event>): ReadonlyArray<Stale> => {
  const atLeast = new Map<string, number>()
  const found: Array<Stale> = []
  let acknowledged = 0
  for (const event of events) {
    switch (event.kind) {
      case "acknowledged":
        acknowledged = Math.max(acknowledged, event.value)
        break
      case "waiting":
      case "enterShared":
        atLeast.set(keyOf(event), acknowledged)
        break
      case "observed": {
        const expected = atLeast.get(keyOf(event)) ?? 0
        if (event.value < expected) {
          found.push({
            at: event.at,
            incarnation: event.incarnation,
            value: event.value,
            acknowledged: expected
          })
        }
        break
      }
      default:
        break
    }
  }
  return found
}

/** Every fencing number that is not larger than that of the process that was inside before. */
export const fencesBack = (events: ReadonlyArray<Event>): ReadonlyArray<Event> => {
  let last: Event | undefined
  return events.filter((event) => {
    if (event.kind !== "fence") return false
    const isBack = last !== undefined &&
      (event.incarnation === last.incarnation ? event.value < last.value : event.value <= last.value)
    last = event
    return isBack
  })
}

/** How long it took from the kill of one that was inside until the next was. */
export const takeovers = (events: ReadonlyArray<Event>): ReadonlyArray<number> => {
  const found: Array<number> = []
  const all = sections(events)
  for (const [index, section] of all.entries()) {
    const next = all[index + 1]
    if (section.killed && next !== undefined) found.push(Number(next.enter - section.until) / 1e6)
  }
  return found
}

/** One process leaves and another one is the next inside; nanoseconds on the machine's clock. */
export interface HandOver {
  readonly from: bigint
  readonly to: bigint
}

/** Every time that the lock went from one process to another. */
export const handOvers = (events: ReadonlyArray<Event>): ReadonlyArray<HandOver> => {
  const all = sections(events)
  return all.flatMap((section, index) => {
    const next = all[index + 1]
    return next === undefined || section.killed || next.incarnation === section.incarnation
      ? []
      : [{ from: section.until, to: next.enter }]
  })
}

/** How often each process was inside. */
export const sectionsPerIncarnation = (events: ReadonlyArray<Event>): ReadonlyMap<number, number> => {
  const counts = new Map<number, number>()
  for (const section of sections(events)) counts.set(section.incarnation, (counts.get(section.incarnation) ?? 0) + 1)
  return counts
}
