/**
 * The result of a question, and its form as text.
 */
import * as Statistics from "../test/torture/Statistics.js"
import type * as Chart from "./Chart.js"

/** A target, and what was measured. */
export interface Target {
  readonly aim: string
  readonly value: string
  readonly reached: boolean
}

/** The result of one question. */
export interface Report {
  /** The name of its files. */
  readonly name: string
  readonly title: string
  readonly method: string
  readonly columns: ReadonlyArray<string>
  readonly rows: ReadonlyArray<ReadonlyArray<string>>
  readonly targets: ReadonlyArray<Target>
  readonly chart: Chart.Chart
  /** All measured values. */
  readonly samples: unknown
}

/** Median, minimum and maximum of the rounds. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** Of at least one value, each divided by `unit`. */
export const spread = (values: ReadonlyArray<number>, unit = 1): Spread => ({
  median: Statistics.median(values) / unit,
  min: Statistics.quantile(values, 0) / unit,
  max: Statistics.quantile(values, 1) / unit
})

/** Median of the ratios of each round: what disturbs one round disturbs both of its values. */
export const ratio = (values: ReadonlyArray<number>, references: ReadonlyArray<number>): number =>
  Statistics.median(values.flatMap((value, round) => {
    const reference = references[round]
    return reference === undefined ? [] : [value / reference]
  }))

/** By how many percent the largest value exceeds the smallest. */
export const excess = (values: ReadonlyArray<number>): number =>
  (Statistics.max(values) / Statistics.quantile(values, 0) - 1) * 100

/** Three significant figures, no exponent. */
export const format = (value: number): string =>
  Number.isNaN(value)
    ? "–"
    : value === 0
    ? "0"
    : Math.abs(value) >= 100
    ? String(Math.round(value))
    : value.toFixed(Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3)

/** The median, followed by minimum and maximum if they differ. */
export const formatSpread = ({ max, median, min }: Spread): string =>
  min === max || Number.isNaN(median) ? format(median) : `${format(median)} (${format(min)} to ${format(max)})`

/** How many times as much. */
export const formatRatio = (ratio: number): string => Number.isNaN(ratio) ? "–" : `${format(ratio)} ×`

/** A target with an upper limit. */
export const atMost = (subject: string, limit: number, unit: string, value: number): Target => ({
  aim: `${subject}: at most ${limit} ${unit}`.trim(),
  value: `${format(value)} ${unit}`.trim(),
  reached: value <= limit
})

/** A target with a lower limit. */
export const atLeast = (subject: string, limit: number, unit: string, value: number): Target => ({
  aim: `${subject}: at least ${limit} ${unit}`.trim(),
  value: `${format(value)} ${unit}`.trim(),
  reached: value >= limit
})

const table = (columns: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = columns.map((title, index) => Math.max(title.length, ...rows.map((row) => row[index]?.length ?? 0)))
  const line = (cells: ReadonlyArray<string>): string =>
    `| ${
      widths.map((width, index) => index === 0 ? (cells[0] ?? "").padEnd(width) : (cells[index] ?? "").padStart(width))
        .join(" | ")
    } |`
  const rule = widths.map((width, index) => index === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)
  return [line(columns), line(rule), ...rows.map(line)].join("\n")
}

const tables = (report: Report): ReadonlyArray<string> => [
  table(report.columns, report.rows),
  table(
    ["target", "measured", "result"],
    report.targets.map(({ aim, reached, value }) => [aim, value, reached ? "reached" : "not reached"])
  )
]

/** The document of a question. `chart` is the path of its chart. */
export const markdown = (report: Report, machine: string, chart: string): string =>
  [
    `# ${report.title}`,
    report.method,
    ...tables(report),
    `![${report.title}](${chart})`,
    `Measured on ${machine}. The ratios count; absolute times depend on the machine.`
  ].join("\n\n") + "\n"

/** The output on the terminal. */
export const text = (report: Report): string => [`\n${report.title}`, ...tables(report)].join("\n\n")
