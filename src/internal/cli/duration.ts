import * as Duration from "effect/Duration"
import * as Option from "effect/Option"

const units: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["m", 60_000],
  ["min", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000]
])

/** What is understood, for messages and help. */
export const understood = "a time is a number of seconds, or has a unit: 500ms, 10s, 2m, 1h; or it is \"infinity\""

/** `10` and `0.5` are seconds, as for flock(1). `undefined` for what is not a time. */
export const parse = (text: string): Duration.Duration | undefined => {
  if (text === "infinity") return Duration.infinity
  const match = /^(\d+(?:\.\d+)?|\.\d+)\s*([a-z]+)?$/.exec(text)
  const unit = match?.[2] === undefined ? 1_000 : units.get(match[2])
  if (match !== null && unit !== undefined) return Duration.millis(Number(match[1]) * unit)
  return Option.getOrUndefined(Duration.decodeUnknown(text))
}
