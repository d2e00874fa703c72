/**
 * What the command ends with. The numbers are those of sysexits(3) and of a shell.
 */
import * as NodeOS from "node:os"

/** An answer of "no": a lock that is not broken. */
export const refused = 1

/** EX_USAGE: the command line is not understood. */
export const usage = 64

/** EX_IOERR: the lock was lost while the command ran. */
export const lost = 74

/** EX_TEMPFAIL: the lock was not obtained. */
export const notObtained = 75

/** The command was found, and cannot be run. */
export const cannotRun = 126

/** There is no such command. */
export const notFound = 127

/** A process that a signal has ended, as a shell says it. */
export const ofSignal = (signal: NodeJS.Signals): number => 128 + NodeOS.constants.signals[signal]
