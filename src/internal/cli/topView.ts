import * as DateTime from "effect/DateTime"
import * as NodePath from "node:path"
import * as LockHolder from "../../LockHolder.js"
import { printable, quote } from "../text.js"
import type { Found } from "./locks.js"
import { cut } from "./output.js"
import type { Located } from "./status.js"

/** The size of a terminal. */
export interface Size {
  readonly columns: number
  readonly rows: number
}

/** The text in exactly so many columns. */
const cell = (text: string, width: number): string => cut(text, width).padEnd(width)

const stateWidth = 12
const ageWidth = 9

/** To the second: two units at most. */
const ageOf = ({ acquiredAt }: LockHolder.LockHolder, now: DateTime.Utc): string => {
  const seconds = Math.max(0, Math.floor(DateTime.distance(acquiredAt, now) / 1_000))
  return seconds === 0 ? "0s" : LockHolder.formatDuration(seconds * 1_000).split(" ").slice(0, 2).join(" ")
}

const nameOf = ({ hostname, label, pid }: LockHolder.LockHolder): string =>
  `pid ${pid} on ${printable(hostname)}${label === undefined ? "" : ` ${quote(label)}`}`

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`

/** The locks of a directory as lines that fit in a terminal: each with its holders, and those that wait, in order. */
export const lines = (
  directory: string,
  { found: locks, problems }: Found<Located>,
  now: DateTime.Utc,
  { columns, rows }: Size
): ReadonlyArray<string> => {
  // A terminal may clear its last column together with what is behind it.
  const width = columns - 1
  const lockWidth = Math.max(16, Math.floor(columns * 0.35))
  const row = (lock: string, state: string, age: string, holder: string): string =>
    cell([cell(lock, lockWidth), cell(state, stateWidth), cell(age, ageWidth), holder].join(" "), width).trimEnd()
  const ofLocks = locks.flatMap(({ path, status }) => {
    if (status === undefined) return []
    const name = `${printable(NodePath.relative(directory, path))}.lock`
    const state = status.mode === "shared" ? `${status.state}, shared` : status.state
    const [first, ...others] = status.holders
    return [
      row(name, state, first === undefined ? "" : ageOf(first, now), first === undefined ? "" : nameOf(first)),
      ...others.map((holder) => row("", "", ageOf(holder, now), nameOf(holder))),
      ...status.waiters.map((waiter, index) => row(`  ${index + 1}.`, "waits", ageOf(waiter, now), nameOf(waiter)))
    ]
  })
  const body = [...problems.map((problem) => `! ${printable(problem)}`), ...ofLocks]
  const waiters = locks.reduce((sum, { status }) => sum + (status?.waiters.length ?? 0), 0)
  const dead = locks.filter(({ status }) => status?.state === "abandoned").length
  const summary = [count(locks.length, "lock"), ...dead > 0 ? [`${dead} of the dead`] : [], count(waiters, "waiter")]
  const head = [
    cell(`${printable(directory)}: ${summary.join(", ")}`, width - 9) + "  q quits",
    row("LOCK", "STATE", "AGE", "HOLDER")
  ]
  const room = Math.max(0, rows - head.length)
  const shown = body.length <= room ? body : [
    ...body.slice(0, Math.max(0, room - 1)),
    `… and ${count(body.length - Math.max(0, room - 1), "line")} more`
  ]
  return [...head, ...shown].slice(0, rows).map((line) => cut(line, width))
}
