import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as LockHolder from "../../LockHolder.js"

/** More than this is nothing we wrote. */
export const maxRecordBytes = 4096

const firstBeat = "0000000000"
const end = `"}\n`

/** Where the beat starts, counted from the end of the record: it is rewritten in place and never changes its width. */
export const beatFromEnd = firstBeat.length + end.length

export const formatBeat = (beat: number): string => String(beat).padStart(firstBeat.length, "0")

/** The order of the fields is part of the format, because a torn record is known by its beginning. */
const fields = [
  "v",
  "token",
  "pid",
  "startTime",
  "bootId",
  "pidNamespace",
  "timeNamespace",
  "hostname",
  "instance",
  "acquiredAt",
  "label",
  "beat"
] as const

/** One line of JSON. */
export const encode = (holder: LockHolder.LockHolder): string =>
  JSON.stringify({
    v: 1,
    token: holder.token,
    pid: holder.pid,
    startTime: holder.startTime,
    bootId: holder.bootId,
    pidNamespace: holder.pidNamespace,
    timeNamespace: holder.timeNamespace,
    hostname: holder.hostname,
    instance: holder.instance,
    acquiredAt: DateTime.formatIso(holder.acquiredAt),
    label: holder.label ?? null,
    beat: firstBeat
  }) + "\n"

/** Keeps a byte order mark, which no record of ours begins with. */
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

export const textOf = (bytes: Uint8Array): string => decoder.decode(bytes)

const decodeHolder = Schema.decodeUnknownOption(LockHolder.LockHolder)
const parseJson = Schema.decodeUnknownOption(Schema.parseJson())

/** Who a complete record names; nothing if it is not one. */
export const decode = (text: string): Option.Option<LockHolder.LockHolder> =>
  parseJson(text).pipe(
    Option.filter(Predicate.isReadonlyRecord),
    Option.filter((line) => line["v"] === 1 && typeof line["beat"] === "string" && /^\d{10}$/.test(line["beat"])),
    Option.flatMap(({ label, ...line }) => decodeHolder(label === null ? line : { ...line, label }))
  )

const wholeValue = /"(?:[^"\\]|\\.)*"|\d+|null/y
const tornValue = /(?:"(?:[^"\\]|\\.)*\\?|\d*|n|nu|nul)$/y

const matchAt = (pattern: RegExp, text: string, position: number): number => {
  pattern.lastIndex = position
  return pattern.test(text) ? pattern.lastIndex : -1
}

/**
 * Whether `text` is what remains when somebody dies between creating a record and having written it: nothing, NULs (a
 * file system after a power failure), or the strict beginning of a record.
 */
export const isTorn = (text: string): boolean => {
  const written = text.replace(/\0+$/, "")
  let position = 0
  for (let index = 0; index < fields.length; index++) {
    const literal = `${index === 0 ? "{" : ","}"${fields[index]}":`
    const rest = written.slice(position, position + literal.length)
    if (rest !== literal) {
      return literal.startsWith(rest) && position + rest.length === written.length
    }
    position += literal.length
    const next = matchAt(wholeValue, written, position)
    if (next === -1) {
      return matchAt(tornValue, written, position) !== -1
    }
    position = next
  }
  return position === written.length
}
