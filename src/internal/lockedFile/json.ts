import type * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as ParseResult from "effect/ParseResult"

/** What is wrong, and where. */
export interface Problem {
  readonly place: string | undefined
  readonly description: string
  readonly cause?: unknown
}

/** What a schema without effects answers is an `Either`: it has ended already. */
export const ended = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Either.isEither(effect)
    ? Either.match(effect as Either.Either<A, E>, { onLeft: (error) => Exit.fail(error), onRight: Exit.succeed })
    : effect

/** A program of another kind may have put a byte order mark in front. */
export const parse = (text: string): Either.Either<unknown, Problem> => {
  const json = text.startsWith("\ufeff") ? text.slice(1) : text
  try {
    const value: unknown = JSON.parse(json)
    return Either.right(value)
  } catch (cause) {
    return Either.left(
      json.trim() === ""
        ? { place: undefined, description: "it is empty", cause }
        : { place: placeIn(json), description: cause instanceof Error ? cause.message : String(cause), cause }
    )
  }
}

const space = /[ \t\n\r]*/y
const scalar = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y
// eslint-disable-next-line no-control-regex -- JSON has none of these in a string
const string = /"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y

/** Where a text ceases to be JSON: V8 does not always say so. */
const endOfJson = (text: string): number => {
  let at = 0
  const skip = (pattern: RegExp): boolean => {
    pattern.lastIndex = at
    const found = pattern.test(text)
    if (found) at = pattern.lastIndex
    return found
  }
  const next = (character: string): boolean => {
    skip(space)
    const found = text[at] === character
    if (found) at += 1
    return found
  }
  /** The closing brackets of what is open. */
  const open: Array<string> = []
  for (;;) {
    if (open.at(-1) === "}" && !(next("\"") && (at -= 1, skip(string)) && next(":"))) return at
    if (next("[") || next("{")) {
      const end = text[at - 1] === "[" ? "]" : "}"
      if (!next(end)) {
        open.push(end)
        continue
      }
    } else if (!skip(scalar) && !skip(string)) {
      return at
    }
    for (let end = open.at(-1); !next(","); end = open.at(-1)) {
      if (end === undefined || !next(end)) return at
      open.pop()
    }
    if (open.length === 0) return at - 1
  }
}

/** Line and column of where a text ceases to be JSON. */
const placeIn = (text: string): string => {
  const lines = text.slice(0, endOfJson(text)).split("\n")
  return `line ${lines.length}, column ${(lines.at(-1)?.length ?? 0) + 1}`
}

/** The first thing that a schema has against a value. */
export const problemOf = (issue: ParseResult.ParseIssue): Problem => {
  const [first] = ParseResult.ArrayFormatter.formatIssueSync(issue)
  const place = (first?.path ?? []).map((key) => `[${JSON.stringify(String(key))}]`).join("")
  return { place: place === "" ? undefined : place, description: first?.message ?? "the schema does not take it" }
}
