import * as Duration from "effect/Duration"
import * as Either from "effect/Either"

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

/** `10` and `0.5` are seconds, as for flock(1). On the left it is said of `--timeout` what is wrong with it. */
export const parse = (text: string): Either.Either<Duration.Duration, string> => {
  if (text === "infinity") return Either.right(Duration.infinity)
  const match = /^(\d+(?:\.\d+)?|\.\d+)\s*([a-z]+)?$/.exec(text)
  const unit = match?.[2] === undefined ? 1_000 : units.get(match[2])
  if (match !== null && unit !== undefined) return Either.right(Duration.millis(Number(match[1]) * unit))
  return Either.fromOption(
    Duration.decodeUnknown(text),
    () => `--timeout ${JSON.stringify(text)} is no time: ${understood}`
  )
}
