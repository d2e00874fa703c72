/**
 * Figures of a sample.
 */

/** The value below which a share of the sample lies; `NaN` for an empty one. */
export const quantile = (sample: ReadonlyArray<number>, share: number): number => {
  const sorted = [...sample].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN
}

/** The middle of a sample. */
export const median = (sample: ReadonlyArray<number>): number => quantile(sample, 0.5)

/** The largest of a sample; 0 for an empty one. */
export const max = (sample: ReadonlyArray<number>): number => sample.reduce((a, b) => Math.max(a, b), 0)

/** Milliseconds for people. */
export const formatMillis = (millis: number): string =>
  Number.isNaN(millis)
    ? "none"
    : millis < 10
    ? `${millis.toFixed(1)} ms`
    : millis < 10_000
    ? `${Math.round(millis)} ms`
    : `${(millis / 1000).toFixed(1)} s`

/** A sample for people, by its middle and its end. */
export const formatSpread = (sample: ReadonlyArray<number>, what: string): string =>
  `median ${formatMillis(median(sample))}, 99 % ${formatMillis(quantile(sample, 0.99))}, max ${
    formatMillis(max(sample))
  } (${sample.length} ${what})`

/** How evenly a good was shared: 1 is perfectly even, 1/n is everything for one (Jain's index). */
export const fairness = (shares: ReadonlyArray<number>): number => {
  const sum = shares.reduce((a, b) => a + b, 0)
  const squares = shares.reduce((a, b) => a + b * b, 0)
  return squares === 0 ? 1 : (sum * sum) / (shares.length * squares)
}
