import * as Cause from "effect/Cause"
import * as ConfigError from "effect/ConfigError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as FileLock from "../FileLock.js"

/** The settings of a layer, checked and complete. */
export interface Settings {
  readonly lease: Duration.Duration
  readonly handoff: Duration.Duration
  readonly pollInterval: Duration.Duration
}

interface Limits {
  readonly fallback: Duration.DurationInput
  readonly minimum: Duration.DurationInput
  readonly maximum: Duration.DurationInput
}

/** A shorter lease ends before a heartbeat can be made; a longer one does not fit a timer. */
const lease: Limits = { fallback: "30 seconds", minimum: "100 millis", maximum: "7 days" }
const handoff: Limits = { fallback: "5 millis", minimum: 0, maximum: "1 day" }
const pollInterval: Limits = { fallback: "100 millis", minimum: "1 millis", maximum: "1 day" }

const check = (
  name: keyof Settings,
  input: Duration.DurationInput | undefined,
  { fallback, maximum, minimum }: Limits
): Either.Either<Duration.Duration, string> => {
  const duration = Duration.decodeUnknown(input ?? fallback)
  // Effect takes what is below zero, and what is no number, for zero.
  const isNumber = typeof input !== "number" || input >= 0
  return isNumber && duration._tag === "Some" && Duration.between(duration.value, { minimum, maximum })
    ? Either.right(duration.value)
    : Either.left(
      `${name} must be a duration from ${Duration.format(minimum)} to ${Duration.format(maximum)}, not ${String(input)}`
    )
}

/** The settings with their defaults; what is wrong with them otherwise. */
export const decode = (settings: FileLock.Settings): Either.Either<Settings, string> =>
  Either.all({
    lease: check("lease", settings.lease, lease),
    handoff: check("handoff", settings.handoff, handoff),
    pollInterval: check("pollInterval", settings.pollInterval, pollInterval)
  })

/** The same, dying of what is wrong with them. */
export const decodeOrDie = (settings: FileLock.Settings): Effect.Effect<Settings> =>
  Either.match(decode(settings), {
    onLeft: (message) => Effect.die(new Cause.IllegalArgumentException(message)),
    onRight: Effect.succeed
  })

/** The same, as an error of the program's configuration. */
export const decodeConfig = (settings: FileLock.Settings): Effect.Effect<FileLock.Settings, ConfigError.ConfigError> =>
  Either.match(decode(settings), {
    // The message begins with the name of the setting.
    onLeft: (message) => Effect.fail(ConfigError.InvalidData([message.slice(0, message.indexOf(" "))], message)),
    onRight: () => Effect.succeed(settings)
  })
