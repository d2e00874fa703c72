import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Message from "../../../src/internal/handover/message.js"

/** Replays a failure: `FAST_CHECK_SEED`, as the failure names it. */
const parameters = {
  seed: process.env.FAST_CHECK_SEED === undefined ? Date.now() | 0 : Number(process.env.FAST_CHECK_SEED),
  numRuns: 500
}

const instance = "0123456789abcdef0123456789abcdef"
const token = `${instance}-1`
const owner = `${instance}-2`

const pairs = ["wait", "next", "ready", "moved"] as const

const tokens = FastCheck.stringMatching(/^[0-9a-f]{32}-[0-9a-z]{1,16}$/)

const messages: FastCheck.Arbitrary<Message.Message> = FastCheck.oneof(
  FastCheck.record({ _tag: FastCheck.constantFrom(...pairs), token: tokens, owner: tokens }),
  FastCheck.record({
    _tag: FastCheck.constant<"granted">("granted"),
    token: tokens,
    queue: FastCheck.array(tokens, { maxLength: 40 })
  })
)

/** Distinct tokens, as long as a token can be. */
const longTokens = (count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, index) => `${instance}-${index.toString(36).padStart(16, "z")}`)

/** What arrives of a message. */
const sent = (message: Message.Message): Option.Option<Message.Message> =>
  Message.decode(Message.encode(message).slice(0, -1))

/** Not a message, and no exception either. */
const refuses = (what: string, line: string) =>
  it(`refuses ${what}`, () => assert.deepStrictEqual(Message.decode(line), Option.none()))

const line = (...parts: ReadonlyArray<unknown>): string => JSON.stringify(parts)

describe("A message", () => {
  it("arrives as it was sent, in one line of ASCII, whatever it says", () => {
    FastCheck.assert(
      FastCheck.property(messages, (message) => {
        const encoded = Message.encode(message)
        assert.match(encoded, /^[\x20-\x7e]+\n$/)
        assert.deepStrictEqual(sent(message), Option.some(message))
      }),
      parameters
    )
  })

  it("names the process that its token belongs to", () => {
    FastCheck.assert(
      FastCheck.property(tokens, (token) => {
        assert.match(Message.instanceOf(token), /^[0-9a-f]{32}$/)
        assert.isTrue(token.startsWith(`${Message.instanceOf(token)}-`))
      }),
      parameters
    )
  })

  it("carries an empty queue, and a full one within the longest line", () => {
    assert.deepStrictEqual(
      sent({ _tag: "granted", token, queue: [] }),
      Option.some({ _tag: "granted", token, queue: [] })
    )
    const queue = longTokens(Message.maxQueue)
    const full: Message.Message = { _tag: "granted", token: `${instance}-${"z".repeat(16)}`, queue }
    assert.deepStrictEqual(sent(full), Option.some(full))
    assert.isAtMost(Message.encode(full).length, Message.maxLine)
  })

  it("leaves those out at the end of a queue that are too many", () => {
    const queue = longTokens(2 * Message.maxQueue)
    assert.deepStrictEqual(
      sent({ _tag: "granted", token, queue }),
      Option.some({ _tag: "granted", token, queue: queue.slice(0, Message.maxQueue) })
    )
  })
})

describe("A line of another program", () => {
  it("is a message only if every token in it is one, whatever else it contains", () => {
    const anything = FastCheck.oneof(
      { weight: 3, arbitrary: tokens },
      FastCheck.constantFrom(...pairs, "granted", "__proto__", "constructor", ""),
      FastCheck.jsonValue()
    )
    FastCheck.assert(
      FastCheck.property(
        FastCheck.constantFrom<unknown>(...pairs, "granted", "grant", "toString", null),
        FastCheck.array(anything, { maxLength: 5 }),
        (tag, parts) => {
          const decoded = Message.decode(line(tag, ...parts))
          const areTokens = parts.every((part) =>
            typeof part === "string" && /^[0-9a-f]{32}-[0-9a-z]{1,16}$/.test(part)
          )
          const isPair = pairs.some((pair) => pair === tag) && parts.length === 2
          const isGranted = tag === "granted" && parts.length > 0
          assert.strictEqual(Option.isSome(decoded), areTokens && (isPair || isGranted))
        }
      ),
      parameters
    )
  })

  it("never makes the reader fail, whatever characters it is made of", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.oneof(
          FastCheck.string({ unit: "binary" }),
          FastCheck.json(),
          FastCheck.tuple(messages, FastCheck.nat(), FastCheck.string({ unit: "binary", minLength: 1 })).map(
            ([message, at, text]) => {
              const encoded = Message.encode(message)
              return encoded.slice(0, at % encoded.length) + text + encoded.slice(at % encoded.length)
            }
          )
        ),
        (text) => {
          Option.map(Message.decode(text), (message) => assert.deepStrictEqual(sent(message), Option.some(message)))
        }
      ),
      parameters
    )
  })

  refuses("an empty line", "")
  refuses("a word", "wait")
  refuses("half a message", line("wait", token, owner).slice(0, -3))
  refuses("two messages in one line", line("wait", token, owner) + line("wait", token, owner))
  refuses("binary content", "\0\u0001\u00ff\ufffd")
  refuses("JSON that is no array", JSON.stringify({ _tag: "wait", token, owner, length: 3, 0: "wait" }))
  for (const json of ["null", "true", "0", "\"wait\"", "{}", "[]", "[null]", "[[]]"]) {
    refuses(`JSON of another shape, ${json}`, json)
  }

  refuses("an unknown message", line("take", token, owner))
  refuses("a message in other letters", line("Wait", token, owner))
  for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty", "valueOf"]) {
    refuses(`a message that is called ${name}`, line(name, token, owner))
    refuses(`a token that is called ${name}`, line("wait", name, owner))
    refuses(`a queue with ${name} in it`, line("granted", token, name))
  }
  refuses("a prototype", `["wait",{"__proto__":"${token}"},"${owner}"]`)

  for (const [what, part] of Object.entries({ "a number": 1, "null": null, "true": true, "an object": {} })) {
    refuses(`${what} for a message`, line(part, token, owner))
    refuses(`${what} for a token`, line("wait", part, owner))
    refuses(`${what} for an owner`, line("wait", token, part))
    refuses(`${what} in a queue`, line("granted", token, owner, part))
  }
  refuses("a message in a list of its own", line(["wait"], token, owner))
  refuses("a token in a list of its own", line("wait", [token], owner))
  refuses("a queue in a list of its own", line("granted", token, [owner]))
  refuses("a message within a message", line(["wait", token, owner]))
  refuses("an object with a toString", line("wait", { toString: token }, owner))
  refuses("brackets in brackets, as many as fit", "[".repeat(Message.maxLine / 2) + "]".repeat(Message.maxLine / 2))

  for (const tag of pairs) {
    refuses(`${tag} without an owner`, line(tag, token))
    refuses(`${tag} without a token`, line(tag))
    refuses(`${tag} with two owners`, line(tag, token, owner, owner))
  }
  refuses("granted without a token", line("granted"))

  for (
    const [what, wrong] of Object.entries({
      "an instance that is too short": `${instance.slice(1)}-1`,
      "an instance that is too long": `0${instance}-1`,
      "an instance in capitals": `${instance.toUpperCase()}-1`,
      "nothing behind the instance": `${instance}-`,
      "too much behind the instance": `${instance}-${"z".repeat(17)}`,
      "a path": `${instance}-../etc`,
      "a NUL": `${instance}-1\0`,
      "a line break at its end": `${instance}-1\n`,
      "a line break in front": `\n${instance}-1`,
      "a letter that looks like another": `${instance}-\u0430`,
      "nothing at all": ""
    })
  ) {
    refuses(`a token with ${what}`, line("wait", wrong, owner))
    refuses(`an owner with ${what}`, line("moved", token, wrong))
    refuses(`a queue with ${what}`, line("granted", token, owner, wrong))
  }

  refuses("a token that is as long as a line", line("wait", "a".repeat(Message.maxLine), owner))
  refuses("one token more than a queue has", line("granted", token, ...longTokens(Message.maxQueue + 1)))
  refuses("many more tokens than a queue has", line("granted", token, ...longTokens(100 * Message.maxQueue)))
})
