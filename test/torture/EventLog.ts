/**
 * What every process did, in one file.
 *
 * Lines have a fixed size that divides a page and are appended with one synchronous write each, so a killed process leaves
 * whole lines only, and the lines of many processes never mix.
 */
import * as Fs from "node:fs"
import { nanos } from "./Monotonic.js"

const codes = {
  /** It has got the lock; the value is the fencing number of the grant, without those that the fibers of the process count up. */
  fence: "F",
  /** A fiber starts to wait for the lock. */
  waiting: "W",
  /** It is inside, alone. */
  enterExclusive: "E",
  /** It is inside, perhaps with other readers. */
  enterShared: "e",
  /** It has read the counter and is about to write `value`. */
  intent: "I",
  /** `value` is written. */
  acknowledged: "A",
  /** It is about to leave; still inside. */
  leave: "L",
  /** The lock has been let go. */
  released: "R",
  /** On entering, it found the mark of a dead process (`value` is its incarnation). */
  foundDead: "T",
  /** On entering, it found the mark of a living one: two are inside. */
  foundAlive: "O",
  /** It has read the counter, which is `value`. */
  observed: "V",
  /** What it has read is not whole. */
  torn: "M",
  /** The lock failed: no acquisition, or lost. */
  failed: "X",
  /** The parent is about to send SIGKILL. */
  kill: "K",
  /** The parent is about to send SIGSTOP. */
  stop: "S",
  /** The stopped process owns the lock or a claim on it, which no other process may take. */
  stoppedOwner: "H",
  /** The parent is about to send SIGCONT. */
  resume: "C",
  /** The parent saw the process end. */
  exit: "D"
} as const

/** What happened. */
export type Kind = keyof typeof codes

/** One line. */
export interface Event {
  readonly kind: Kind
  /** Which process: pids come back, these numbers do not. */
  readonly incarnation: number
  /** Which of its sections; 0 where it is about the process. */
  readonly section: number
  /** Nanoseconds on the machine's monotonic clock. */
  readonly at: bigint
  readonly value: number
}

const lineSize = 64

const kinds = new Map<string, Kind>()
for (const kind of Object.keys(codes)) {
  if (isKind(kind)) kinds.set(codes[kind], kind)
}

function isKind(kind: string): kind is Kind {
  return kind in codes
}

const encode = (event: Event): string =>
  [
    codes[event.kind],
    String(event.incarnation).padStart(6, "0"),
    String(event.section).padStart(8, "0"),
    String(event.at).padStart(20, "0"),
    String(event.value).padStart(20, "0")
  ].join(" ").padEnd(lineSize - 1) + "\n"

/** Where one process writes its lines. */
export interface Writer {
  /** Writes one line now; `at` is the present moment unless given. */
  readonly write: (kind: Kind, section: number, value?: number, at?: bigint) => void
  /** The same on behalf of another process. */
  readonly writeFor: (incarnation: number, kind: Kind, value?: number, at?: bigint) => void
}

/** Opens the log for appending. */
export const open = (path: string, incarnation: number): Writer => {
  const file = Fs.openSync(path, "a")
  const append = (event: Event): void => {
    Fs.writeSync(file, encode(event))
  }
  return {
    write: (kind, section, value = 0, at = nanos()) => append({ kind, incarnation, section, at, value }),
    writeFor: (other, kind, value = 0, at = nanos()) => append({ kind, incarnation: other, section: 0, at, value })
  }
}

/** All lines, in the order in which they happened. */
export const read = (path: string): ReadonlyArray<Event> => {
  const text = Fs.readFileSync(path, "latin1")
  if (text.length % lineSize !== 0) throw new Error(`${path}: ${text.length} bytes is no whole number of lines`)
  const events: Array<Event> = []
  for (let offset = 0; offset < text.length; offset += lineSize) {
    const line = text.slice(offset, offset + lineSize)
    const [code = "", incarnation, section, at = "", value] = line.trimEnd().split(" ")
    const kind = kinds.get(code)
    if (kind === undefined) throw new Error(`${path}: not one of our lines at ${offset}: ${JSON.stringify(line)}`)
    events.push({
      kind,
      incarnation: Number(incarnation),
      section: Number(section),
      at: BigInt(at),
      value: Number(value)
    })
  }
  return events.sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0))
}

/** A line for people; times are milliseconds after `origin`. */
export const format = (event: Event, origin: bigint): string =>
  `${(Number(event.at - origin) / 1e6).toFixed(3).padStart(12)} ms  process ${
    String(event.incarnation).padStart(4)
  }  section ${String(event.section).padStart(5)}  ${event.kind}${event.value === 0 ? "" : ` ${event.value}`}`
