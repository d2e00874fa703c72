/**
 * One clock for all processes of a machine.
 *
 * `process.hrtime` reads CLOCK_MONOTONIC, whose origin is the machine's and not the process's, so what one process
 * noted can be put in order with what another one noted.
 */

/** Nanoseconds since the machine's own origin. */
export const nanos = (): bigint => process.hrtime.bigint()

/** The same instant in milliseconds; exact to some nanoseconds for months of uptime. */
export const millis = (): number => Number(process.hrtime.bigint()) / 1e6
