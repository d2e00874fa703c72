/** Text from a path, a label or a system, for a terminal: no control character and no change of direction gets through. */
export const printable = (text: string): string =>
  text.replace(
    // eslint-disable-next-line no-control-regex -- these are what it is about
    /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`
  )

/** The same, in quotes. */
export const quote = (text: string): string => printable(JSON.stringify(text))
