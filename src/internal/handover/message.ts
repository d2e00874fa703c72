import * as Option from "effect/Option"

/** The part of a token that says which process it is of: the `instance` of that process. */
export const instanceOf = (token: string): string => token.slice(0, instanceLength)

const instanceLength = 32

const isToken = (value: unknown): value is string =>
  typeof value === "string" && /^[0-9a-f]{32}-[0-9a-z]{1,16}$/.test(value)

/**
 * What processes say to each other about one lock. A message never decides who holds the lock: the file does. `owner` is the token of the
 * record at the lock, `token` that of a request.
 */
export type Message =
  /** A waiter to the holder: put my request into your queue. */
  | { readonly _tag: "wait"; readonly owner: string; readonly token: string }
  /** The last holder to the next one: your record is at the lock, and these wait behind you. */
  | { readonly _tag: "granted"; readonly token: string; readonly queue: ReadonlyArray<string> }
  /** A holder to a waiter: you are one of the next, and `owner` holds the lock. */
  | { readonly _tag: "next"; readonly owner: string; readonly token: string }
  /** The answer of a waiter to `next`, to the holder: I am awake. */
  | { readonly _tag: "ready"; readonly owner: string; readonly token: string }
  /** To a waiter: `owner` does not hold the lock any more, look for yourself. */
  | { readonly _tag: "moved"; readonly owner: string; readonly token: string }
  /** A reader to the holder, which may wait for it: I share the lock no more. */
  | { readonly _tag: "left"; readonly owner: string; readonly token: string }

/** The longest line, in bytes. */
export const maxLine = 65_536

/** How many requests a holder keeps, and a message carries. Those that do not fit poll. */
export const maxQueue = 1_000

/** One line of JSON. */
export const encode = (message: Message): string =>
  `${
    JSON.stringify(
      message._tag === "granted"
        ? [message._tag, message.token, ...message.queue.slice(0, maxQueue)]
        : [message._tag, message.token, message.owner]
    )
  }\n`

const parse = (line: string): unknown => {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

/** The message of a line, without its end; nothing for any other line. */
export const decode = (line: string): Option.Option<Message> => {
  const parts = parse(line)
  if (!Array.isArray(parts) || parts.length > maxQueue + 2) {
    return Option.none()
  }
  const [_tag, token, ...others]: ReadonlyArray<unknown> = parts
  if (!isToken(token) || !others.every(isToken)) {
    return Option.none()
  }
  switch (_tag) {
    case "granted":
      return Option.some({ _tag, token, queue: others })
    case "wait":
    case "next":
    case "ready":
    case "moved":
    case "left": {
      const [owner] = others
      return owner !== undefined && others.length === 1 ? Option.some({ _tag, token, owner }) : Option.none()
    }
    default:
      return Option.none()
  }
}
