/**
 * What a question has found, and how it is written down.
 */
import * as Statistics from "../test/torture/Statistics.js"
import type * as Chart from "./Chart.js"

/** What was to be reached, and what was. */
export interface Target {
  readonly aim: string
  readonly value: string
  readonly reached: boolean
}

/** The answer to one question. */
export interface Report {
  /** How its files are called. */
  readonly name: string
  readonly title: string
  /** How it was measured. */
  readonly method: string
  readonly columns: ReadonlyArray<string>
  readonly rows: ReadonlyArray<ReadonlyArray<string>>
  readonly targets: ReadonlyArray<Target>
  readonly chart: Chart.Chart
  /** Everything that was measured, for whoever wants to reckon with it. */
  readonly samples: unknown
}

/** The middle of a few rounds and how far they lie apart. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** Of at least one value. */
export const spread = (values: ReadonlyArray<number>): Spread => ({
  median: Statistics.median(values),
  min: Statistics.quantile(values, 0),
  max: Statistics.quantile(values, 1)
})

/** Three figures that count, and no exponent. */
export const format = (value: number): string =>
  Number.isNaN(value)
    ? "–"
    : value === 0
    ? "0"
    : Math.abs(value) >= 100
    ? String(Math.round(value))
    : Math.abs(value) >= 10
    ? value.toFixed(1)
    : Math.abs(value) >= 1
    ? value.toFixed(2)
    : value.toFixed(3)

/** The median, with minimum and maximum after it where there was more than one round. */
export const formatSpread = ({ max, median, min }: Spread): string =>
  min === max ? format(median) : `${format(median)} (${format(min)} to ${format(max)})`

/** How many times as much. */
export const formatRatio = (ratio: number): string => `${format(ratio)} ×`

const table = (columns: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = columns.map((title, index) => Math.max(title.length, ...rows.map((row) => row[index]?.length ?? 0)))
  const line = (cells: ReadonlyArray<string>): string =>
    `| ${
      widths.map((width, index) => index === 0 ? (cells[0] ?? "").padEnd(width) : (cells[index] ?? "").padStart(width))
        .join(" | ")
    } |`
  const rule = `| ${
    widths.map((width, index) => index === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`).join(" | ")
  } |`
  return [line(columns), rule, ...rows.map(line)].join("\n")
}

/** A document; `illustration` is where its chart lies. */
export const markdown = (report: Report, machine: string, illustration: string): string =>
  [
    `# ${report.title}`,
    report.method,
    table(report.columns, report.rows),
    ...(report.targets.length === 0 ? [] : [
      report.targets.map(({ aim, reached, value }) =>
        `- To reach: ${aim}. It is ${value}: ${reached ? "reached" : "not reached"}.`
      )
        .join("\n")
    ]),
    `![${report.title}](${illustration})`,
    `Measured on ${machine}. What counts are the ratios.`
  ].join("\n\n") + "\n"

/** What the terminal gets to see. */
export const text = (report: Report): string =>
  [
    `\n${report.title}`,
    table(report.columns, report.rows),
    ...report.targets.map(({ aim, reached, value }) => `${reached ? "reached    " : "NOT reached"}  ${aim}: ${value}`)
  ].join("\n")
