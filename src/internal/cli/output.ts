import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Ending from "./ending.js"

/** Writes a line about what went wrong. That it cannot be written is no failure of its own. */
export const complain = (message: string): void => void process.stderr.write(`effect-filelock: ${message}\n`)

/** The text in at most so many columns of a terminal. Dots stand for what is cut off. */
export const cut = (text: string, width: number): string =>
  text.length <= width ? text : width <= 0 ? "" : `${text.slice(0, width - 1)}…`

/** Says what went wrong. */
export const failed = (message: string, code: number): Effect.Effect<Ending.Ending> =>
  Effect.sync(() => {
    complain(message)
    return Ending.exit(code)
  })

/** The log of the locks: warnings, on stderr. */
export const logger = [
  Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ cause, message }) => {
      const texts = Array.isArray(message) ? message : [message]
      complain([...texts.map(String), ...cause._tag === "Empty" ? [] : [String(cause)]].join(" "))
    })
  ),
  Logger.minimumLogLevel(LogLevel.Warning)
] as const
