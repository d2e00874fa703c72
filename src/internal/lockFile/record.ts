import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as LockHolder from "../../LockHolder.js"
import type { ProcessInfo } from "../../ProcessIdentity.js"
import type { Entry } from "./disk.js"

/** How many digits the beat has: it is overwritten in place and never changes its width. */
const beatDigits = 10

const end = `"}\n`

/** Where the beat starts, in bytes from the end of the record. */
export const beatFromEnd = beatDigits + end.length

const lengthOf = (text: string): number => new TextEncoder().encode(text).length

/** Where the beat starts, in bytes from the beginning of the record. */
export const offsetOfBeat = (text: string): number => lengthOf(text) - beatFromEnd

export const formatBeat = (beat: number): string => String(beat).padStart(beatDigits, "0")

/** The same record with another beat. */
export const withBeat = (text: string, beat: number): string => text.slice(0, -beatFromEnd) + formatBeat(beat) + end

/** The last second of the year 9999: a later one is written in another width. */
const latest = 253_402_300_799_999

const formatTime = (millis: number): string => new Date(Math.min(Math.max(millis, 0), latest)).toISOString()

/** The end of a record: the time of the acquisition, and the beat. Once it has waited for long, its process overwrites both. */
const tail = (acquiredAt: number, beat: number): string =>
  `"acquiredAt":"${formatTime(acquiredAt)}","beat":"${formatBeat(beat)}${end}`

const tailFromEnd = tail(0, 0).length

/** Where the time of the acquisition and the beat start, in bytes from the beginning of the record. */
export const offsetOfTail = (text: string): number => lengthOf(text) - tailFromEnd

/** The same record with another time of the acquisition and another beat. */
export const withTail = (text: string, acquiredAt: number, beat: number): string =>
  text.slice(0, -tailFromEnd) + tail(acquiredAt, beat)

/** What of a record is overwritten. */
export const tailOf = (text: string): string => text.slice(-tailFromEnd)

/** Whether two texts are one record, whatever its beat and the time of its acquisition are. */
export const isSameRecord = (left: string, right: string): boolean =>
  left.length === right.length && left.slice(0, -tailFromEnd) === right.slice(0, -tailFromEnd)

/** The beat of a record, or `NaN`. */
export const beatOf = (text: string): number => {
  const beat = text.slice(-beatFromEnd, -end.length)
  return /^\d+$/.test(beat) ? Number(beat) : NaN
}

/**
 * One line of JSON, which people and other tools can read. Written piece by piece: what stays the same for a process is encoded once.
 */
export const encode = (process: ProcessInfo, token: string, acquiredAt: number, label: string | undefined): string =>
  `${beginningOf(token)}${encodeProcess(process)},"label":${label === undefined ? "null" : JSON.stringify(label)},${
    tail(acquiredAt, 0)
  }`

const beginningOf = (token: string): string => `{"v":1,"token":"${token}"`

/**
 * Whether a request file with this token in its name is one that was never written completely. Its name tells: no token but ours looks like
 * that.
 */
export const isUnwritten = (text: string, token: string): boolean =>
  /^[0-9a-f]{32}-[0-9a-z]+$/.test(token) && Option.isNone(decode(text)) &&
  (/^\0*$/.test(text) || text.startsWith(beginningOf(token)) || beginningOf(token).startsWith(text))

const encoded = new WeakMap<ProcessInfo, { readonly network: string; readonly text: string }>()

/** A process can be reached from its first lock on. */
const encodeProcess = (process: ProcessInfo): string => {
  const known = encoded.get(process)
  if (known !== undefined && known.network === process.network) {
    return known.text
  }
  const { bootId, hostname, instance, network, pid, pidNamespace, startTime, thread, timeNamespace } = process
  const fields = { pid, startTime, bootId, pidNamespace, timeNamespace, hostname, instance, thread, network }
  const text = `,${JSON.stringify(fields).slice(1, -1)}`
  encoded.set(process, { network, text })
  return text
}

/** What is wrong with a record. */
class Malformed extends Error {}

type Fields = { readonly [field: string]: unknown }

const textIn = (fields: Fields, field: string, longest = 256): string => {
  const value = fields[field]
  if (typeof value === "string" && value.length <= longest) {
    return value
  }
  throw new Malformed(field)
}

const matchIn = (fields: Fields, field: string, pattern: RegExp): string => {
  const value = textIn(fields, field)
  if (pattern.test(value)) {
    return value
  }
  throw new Malformed(field)
}

const integerIn = (fields: Fields, field: string, least: number, most: number): number => {
  const value = fields[field]
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) {
    return value
  }
  throw new Malformed(field)
}

const timeIn = (fields: Fields, field: string): DateTime.Utc =>
  DateTime.unsafeMake(Date.parse(matchIn(fields, field, /^(\d{4}|[+-]\d{6})-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)))

/** As the schema of `LockHolder` decodes it, which takes ten times as long. */
const toHolder = (fields: Fields): LockHolder.LockHolder => ({
  token: matchIn(fields, "token", /^[\w-]{8,96}$/),
  pid: integerIn(fields, "pid", 1, 2 ** 31 - 1),
  startTime: textIn(fields, "startTime"),
  bootId: textIn(fields, "bootId"),
  pidNamespace: textIn(fields, "pidNamespace"),
  timeNamespace: "timeNamespace" in fields ? textIn(fields, "timeNamespace") : "",
  hostname: textIn(fields, "hostname"),
  instance: textIn(fields, "instance"),
  thread: "thread" in fields ? integerIn(fields, "thread", 0, Infinity) : 0,
  network: "network" in fields ? textIn(fields, "network") : "",
  acquiredAt: timeIn(fields, "acquiredAt"),
  ...(fields["label"] == null ? {} : { label: textIn(fields, "label", LockHolder.maxLabelLength) })
})

/** Whose record this is; nothing if it is no whole record. */
export const decode = Option.liftThrowable((text: string): LockHolder.LockHolder => {
  const fields: unknown = JSON.parse(text)
  if (!Predicate.isReadonlyRecord(fields) || fields["v"] !== 1) {
    throw new Malformed("v")
  }
  matchIn(fields, "beat", /^\d{10}$/)
  return toHolder(fields)
})

/** What the engine of flock(2) writes begins with this. */
export const flockBeginning = `{"v":1,"engine":"flock"`

/** What is at the path of a lock or a claim, as the protocol sees it. */
export type Seen =
  | { readonly _tag: "Absent" }
  | { readonly _tag: "Record"; readonly text: string; readonly holder: LockHolder.LockHolder }
  /** A file that is locked with flock(2), and its last holder, if it says so. Programs that do not read it may wait for it: it is not replaced. */
  | { readonly _tag: "Flock"; readonly holder: LockHolder.LockHolder | undefined }
  /** NULs where a record should be: what a power failure leaves of a file that was not yet on the disk. */
  | { readonly _tag: "Zeros"; readonly identity: string; readonly modifiedAt: number }
  /** Something else: it is never opened for writing, moved, replaced or removed. */
  | { readonly _tag: "Foreign"; readonly what: string }

/** A waiter reads the same record again and again. */
const decoded = new Map<string, Option.Option<LockHolder.LockHolder>>()
const maxDecoded = 256

const decodeOnce = (text: string): Option.Option<LockHolder.LockHolder> => {
  const known = decoded.get(text)
  if (known !== undefined) {
    return known
  }
  if (decoded.size >= maxDecoded) {
    decoded.clear()
  }
  const holder = decode(text)
  decoded.set(text, holder)
  return holder
}

export const toSeen = (entry: Entry): Seen => {
  switch (entry._tag) {
    case "Absent":
      return entry
    case "Other":
      return { _tag: "Foreign", what: entry.what }
    case "File": {
      const { inode, modifiedAt, text } = entry
      const holder = decodeOnce(text)
      if (text.startsWith(flockBeginning)) {
        return { _tag: "Flock", holder: Option.getOrUndefined(holder) }
      }
      if (Option.isSome(holder)) {
        return { _tag: "Record", text, holder: holder.value }
      }
      return /^\0+$/.test(text)
        ? { _tag: "Zeros", identity: `${inode}:${modifiedAt}:${text.length}`, modifiedAt }
        : { _tag: "Foreign", what: text === "" ? "an empty file" : "a file with other content" }
    }
  }
}

/** Whether what is there now is what was seen before. The beat counts: a holder that was heard of again is not silent. */
export const isSame = (before: Seen, now: Seen): boolean =>
  before._tag === "Record"
    ? now._tag === "Record" && now.text === before.text
    : before._tag === "Zeros" && now._tag === "Zeros" && now.identity === before.identity

/** Who has written what is there. */
export const holderOf = (seen: Seen): LockHolder.LockHolder | undefined => "holder" in seen ? seen.holder : undefined

/** Whether it is the record with this token. */
export const hasToken = (seen: Seen, token: string): boolean => holderOf(seen)?.token === token
