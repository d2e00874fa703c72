/**
 * Lines as wide as the terminal.
 */

/** Where the demonstration is shown. */
export interface Output {
  readonly write: (text: string) => void
  /** How many columns a line may have. */
  readonly columns: () => number
  /** Whether what was written can be replaced. */
  readonly redraws: boolean
}

/** The standard output of this process. A file or a pipe takes lines of any length. */
export const standard: Output = {
  write: (text) => {
    process.stdout.write(text)
  },
  // A terminal that does not know its width says 0.
  columns: () => process.stdout.isTTY ? process.stdout.columns || 80 : Infinity,
  redraws: process.stdout.isTTY && !process.env["CI"] && process.env["TERM"] !== "dumb"
}

/**
 * Breaks a line between words, so that no part is longer than `columns`. The parts are indented as the line is. Only a word
 * that is too long for a line is broken.
 */
export const wrap = (line: string, columns: number): ReadonlyArray<string> => {
  const spaces = line.length - line.trimStart().length
  const indent = " ".repeat(spaces < columns ? spaces : 0)
  const room = Math.max(1, columns - indent.length)
  const parts: Array<string> = []
  let part = ""
  for (const word of line.trim().split(/ +/)) {
    const longer = part === "" ? word : `${part} ${word}`
    if (longer.length <= room) {
      part = longer
      continue
    }
    if (part !== "") parts.push(part)
    part = word
    while (part.length > room) {
      parts.push(part.slice(0, room))
      part = part.slice(room)
    }
  }
  return [...parts, part].map((text) => text === "" ? "" : `${indent}${text}`)
}

/** Writes lines that stay. */
export const print = (output: Output, text: string): void => {
  const lines = text.split("\n").flatMap((line) => wrap(line, output.columns()))
  output.write(`${lines.join("\n")}\n`)
}
