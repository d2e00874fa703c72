/**
 * Contents that are chunks of the numbers from 0 on, each of 64 bits. A chunk has a power of two of them.
 */
import * as Effect from "effect/Effect"
import type * as Random from "effect/Random"

const maxWords = 8_192

const wordSize = 8

const numbers = new Uint8Array(BigUint64Array.from({ length: 2 * maxWords }, (_, index) => BigInt(index)).buffer)

const chunk = (offset: number, words: number): Uint8Array =>
  numbers.slice(offset * wordSize, (offset + words) * wordSize)

/** The content at first. */
export const first = chunk(0, 1)

/** Any chunk; short ones are as likely as long ones. */
export const random = (source: Random.Random): Effect.Effect<Uint8Array> =>
  Effect.gen(function*() {
    const words = 2 ** (yield* source.nextIntBetween(0, Math.log2(maxWords) + 1))
    return chunk(yield* source.nextIntBetween(0, words), words)
  })

/** What is wrong with a content, in a sentence; `undefined` if it is a chunk. */
export const problemOf = (content: Uint8Array): string | undefined => {
  const words = content.length / wordSize
  if (!Number.isInteger(Math.log2(words)) || words > maxWords) return `${content.length} bytes are no chunk`
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength)
  const offset = view.getBigUint64(0, true)
  for (let index = 1; index < words; index++) {
    const word = view.getBigUint64(index * wordSize, true)
    if (word !== offset + BigInt(index)) return `word ${index} of ${words} is ${word} after a first one of ${offset}`
  }
  return offset < words ? undefined : `a chunk of ${words} words begins with ${offset}`
}
