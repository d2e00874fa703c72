/**
 * The holder of a lock: its record, the schema of the record, and a sentence about it.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { quote } from "./internal/text.js"

/**
 * The longest label, in UTF-16 code units, that is kept; a longer one is cut.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxLabelLength = 200

const Text = Schema.String.pipe(Schema.maxLength(256))

/**
 * One holder of a lock, as other processes see it.
 *
 * `token` is unique to one acquisition. `pid`, `startTime`, `bootId`, `pidNamespace`, `timeNamespace`, `instance`,
 * `thread` and `network` are what another process needs to check whether the holder lives, see `ProcessIdentity`. An empty
 * string means that the holder's system does not tell. `acquiredAt` is the wall clock of the holder's machine. No decision depends on it.
 *
 * @since 0.1.0
 * @category models
 */
export const LockHolder = Schema.Struct({
  token: Schema.String.pipe(Schema.pattern(/^[\w-]{8,96}$/)),
  pid: Schema.Int.pipe(Schema.between(1, 2 ** 31 - 1)),
  startTime: Text,
  bootId: Text,
  pidNamespace: Text,
  timeNamespace: Schema.optionalWith(Text, { default: () => "" }),
  hostname: Text,
  instance: Text,
  thread: Schema.optionalWith(Schema.NonNegativeInt, { default: () => 0 }),
  network: Schema.optionalWith(Text, { default: () => "" }),
  acquiredAt: Schema.DateTimeUtc,
  label: Schema.optionalWith(Schema.String.pipe(Schema.maxLength(maxLabelLength)), { exact: true })
}).annotations({ identifier: "LockHolder" })

/**
 * The type of a `LockHolder`.
 *
 * @since 0.1.0
 * @category models
 */
export interface LockHolder extends Schema.Schema.Type<typeof LockHolder> {}

/**
 * A sentence about a holder and for how long it has held the lock: `held for 31s by pid 4242 on build-7 ("nightly compaction")`. Without
 * `now` it says since when. Control characters of a label or a host name are escaped.
 *
 * @since 0.1.0
 * @category formatting
 */
export const format = (holder: LockHolder, now?: DateTime.Utc): string => {
  const label = holder.label === undefined ? "" : ` (${quote(holder.label)})`
  const who = `by pid ${holder.pid} on ${quote(holder.hostname).slice(1, -1)}${label}`
  if (now === undefined) {
    return `held since ${DateTime.formatIso(holder.acquiredAt)} ${who}`
  }
  return `held for ${formatDuration(Math.max(0, DateTime.distance(holder.acquiredAt, now)))} ${who}`
}

/**
 * A duration in milliseconds as text: to the millisecond below 1 s, to a tenth of a second below 10 s, to the second from there on.
 *
 * @since 0.1.0
 * @category formatting
 */
export const formatDuration = (millis: number): string =>
  Number.isFinite(millis)
    ? Duration.format(Duration.millis(roundTo(millis, millis < 1000 ? 1 : millis < 10_000 ? 100 : 1000)))
    : "for ever"

const roundTo = (millis: number, step: number): number => Math.round(millis / step) * step
