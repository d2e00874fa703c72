/**
 * What is in the file of a lock. It is overwritten in one call, and always has the same length: no other process reads half of it.
 */
import type { ProcessInfo } from "../../ProcessIdentity.js"
import * as Record from "../lockFile/record.js"

/** In bytes. */
const size = 2_048

const byteLength = (text: string): number => new TextEncoder().encode(text).length

/** JSON may end in white space. */
const fill = (line: string): string => `${line}${" ".repeat(Math.max(0, size - 1 - byteLength(line)))}\n`

/** No process of this package has the lock for itself. */
export const marker = fill(
  `${Record.flockBeginning},"note":"Programs lock this file with flock(2). It may be removed when none of them runs."}`
)

/** The record of a holder, as the engine of lock files reads it, too. Where a label is too long, it is left out. */
export const encode = (process: ProcessInfo, token: string, acquiredAt: number, label: string | undefined): string => {
  const record = Record.encode(process, token, acquiredAt, label).trimEnd()
  const line = `${Record.flockBeginning}${record.slice(`{"v":1`.length)}`
  return byteLength(line) < size || label === undefined ? fill(line) : encode(process, token, acquiredAt, undefined)
}
