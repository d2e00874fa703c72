/**
 * The content of the guarded file: a number, and a text that follows from it from its first byte to its last.
 *
 * The length is another one for each number. So any mixture of two contents, and any part of one, is told from a whole one.
 */

/** Spreads neighbouring numbers over all 32 bits. */
const scatter = (value: number): number => {
  const mixed = Math.imul(value ^ (value >>> 16), 0x45d9f3b)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

/** The content for a number: up to so many lines after the first one. Most contents are short. */
export const make = (value: number, maxLines: number): string => {
  const scattered = scatter(value)
  const share = scattered / 2 ** 32
  const lines = Math.floor(share ** 4 * (maxLines + 1))
  const line = `${String(value).padStart(31)}\n`
  return `${value} ${maxLines} ${scattered}\n${line.repeat(lines)}`
}

/** The number of a content; `undefined` if that is not whole. */
export const valueOf = (content: string): number | undefined => {
  const [, value, maxLines] = /^(\d+) (\d+) \d+\n/.exec(content) ?? []
  return value !== undefined && make(Number(value), Number(maxLines)) === content ? Number(value) : undefined
}
