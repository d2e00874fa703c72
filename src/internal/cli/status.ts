import * as DateTime from "effect/DateTime"
import * as Schema from "effect/Schema"
import type { LockStatus } from "../../FileLock.js"
import * as LockHolder from "../../LockHolder.js"
import { printable } from "../text.js"

/** A lock, and where it is. */
export interface Located {
  readonly path: string
  /** `undefined` for a lock that is free. */
  readonly status: LockStatus | undefined
}

const ordinal = (number: number): string => {
  const tens = number % 100
  const suffix = tens >= 11 && tens <= 13 ? "th" : ["th", "st", "nd", "rd"][number % 10] ?? "th"
  return `${number}${suffix}`
}

/** What is wrong with a holder; nothing for one that lives. */
const doubts: Readonly<Record<LockStatus["state"], string>> = {
  held: "",
  abandoned: ", which is dead",
  unverifiable: ", which cannot be checked from here",
  foreign: ""
}

const shared = ({ mode }: LockStatus): string => mode === "shared" ? " (shared)" : ""

/** Who has a lock, in a sentence without an end. */
export const holding = (status: LockStatus, now: DateTime.Utc): string => {
  const [first, ...others] = status.holders
  if (first === undefined) return status.state === "abandoned" ? "held by a dead process" : "not a lock of this program"
  const more = others.length === 0 ? "" : ` and ${others.length} more`
  return `${LockHolder.format(first, now)}${doubts[status.state]}${more}${shared(status)}`
}

/** A moment that is whole seconds after the acquisition: a line that is written each second needs no more. */
const toSecond = ({ holders }: LockStatus, now: DateTime.Utc): DateTime.Utc => {
  const since = holders[0]?.acquiredAt
  return since === undefined
    ? now
    : DateTime.add(since, { seconds: Math.max(0, Math.floor(DateTime.distance(since, now) / 1_000)) })
}

/** For whom a waiter waits. */
export const waiting = (path: string, status: LockStatus, instance: string, now: DateTime.Utc): string => {
  const index = status.waiters.findIndex((waiter) => waiter.instance === instance)
  const place = index < 0 ? "" : ` as ${ordinal(index + 1)}`
  return `Waiting${place} for ${printable(path)}.lock: ${holding(status, toSecond(status, now))}`
}

/** A lock, and what can be done. */
export const describe = ({ path, status }: Located, now: DateTime.Utc): string => {
  const lockPath = `${printable(path)}.lock`
  if (status === undefined) return `${lockPath}: free`
  const waiters = status.waiters.length === 0 ? "" : `; ${status.waiters.length} waiting`
  return `${lockPath}: ${holding(status, now)}${waiters}`
}

const Holders = Schema.Array(LockHolder.LockHolder)

/** What `--json` writes of a lock. */
const Lock = Schema.Struct({
  path: Schema.String,
  lockPath: Schema.String,
  state: Schema.Literal("free", "held", "abandoned", "unverifiable", "foreign"),
  mode: Schema.optionalWith(Schema.Literal("exclusive", "shared"), { exact: true }),
  holders: Holders,
  waiters: Holders
})

const Json = Schema.parseJson(Schema.Array(Lock), { space: 2 })

/** All locks as a JSON array. */
export const toJson = (locks: ReadonlyArray<Located>): string =>
  Schema.encodeSync(Json)(locks.map(({ path, status }) => ({
    path,
    lockPath: `${path}.lock`,
    state: status?.state ?? "free",
    ...(status === undefined ? {} : { mode: status.mode }),
    holders: status?.holders ?? [],
    waiters: status?.waiters ?? []
  })))
