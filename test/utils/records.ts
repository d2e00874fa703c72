/**
 * Records of holders that do not exist.
 */
import * as DateTime from "effect/DateTime"
import * as Record from "../../src/internal/lockFile/record.js"
import type { LockHolder } from "../../src/LockHolder.js"
import type { ProcessInfo } from "../../src/ProcessIdentity.js"

const elsewhere: ProcessInfo = {
  pid: 4242,
  startTime: "17",
  bootId: "another boot",
  pidNamespace: "pid:[9]",
  timeNamespace: "time:[9]",
  thread: 0,
  network: "",
  hostname: "elsewhere",
  instance: "another realm"
}

/** A holder on a machine that cannot be asked. */
export const makeHolder = (changes: Partial<LockHolder> = {}): LockHolder => ({
  ...elsewhere,
  token: "token-of-another",
  acquiredAt: DateTime.unsafeMake("2026-01-02T03:04:05.678Z"),
  ...changes
})

/** The record that a holder writes. */
export const encode = (holder: LockHolder): string =>
  Record.encode(holder, holder.token, DateTime.toEpochMillis(holder.acquiredAt), holder.label)

/** The record of a holder on a machine that cannot be asked. */
export const makeRecord = (changes: Partial<LockHolder> = {}): string => encode(makeHolder(changes))

/** A record with fields as no holder would write them; those that are `undefined` are left out. */
export const forge = (changes: { readonly [field: string]: unknown }): string => {
  const fields: { readonly [field: string]: unknown } = JSON.parse(makeRecord())
  return JSON.stringify({ ...fields, ...changes }) + "\n"
}
