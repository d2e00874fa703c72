/**
 * What a program logs.
 */
import * as Logger from "effect/Logger"

/** Collects the messages instead of printing them. */
export const collect = (lines: Array<string>) =>
  Logger.replace(Logger.defaultLogger, Logger.make(({ message }) => void lines.push(String(message))))
