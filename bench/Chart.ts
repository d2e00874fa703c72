/**
 * The chart of a question, drawn by vega without a screen. The table has the same values with more precision.
 */
import * as Effect from "effect/Effect"

/** One bar, or one point of a line. */
export interface Datum {
  readonly name: string
  /** The panel that shows it, if there are several. */
  readonly panel?: string | undefined
  readonly value: number
  readonly low?: number | undefined
  readonly high?: number | undefined
  /** Its place on the horizontal axis of a line. */
  readonly size?: number | undefined
}

/** A chart. */
export interface Chart {
  readonly kind: "bars" | "lines"
  /** The unit of the values. */
  readonly unit: string
  /** The title of the horizontal axis of lines. */
  readonly sizes?: string | undefined
  readonly logarithmic?: boolean | undefined
  readonly data: ReadonlyArray<Datum>
}

/** The bars of this package begin with its name. */
const ours = "effect-filelock"

const scale = (chart: Chart) => chart.logarithmic ? { type: "log" } : { type: "linear", zero: true }

/** The panels of a question may have other competitors and other magnitudes, so each has its own scales. */
const bars = (chart: Chart) => ({
  vconcat: [...new Set(chart.data.map(({ panel }) => panel))].map((panel) => {
    const data = chart.data.filter((datum) => datum.panel === panel)
    const y = {
      field: "name",
      type: "nominal",
      sort: data.map(({ name }) => name),
      title: null,
      axis: { labelLimit: 300 }
    }
    const x = { field: "value", type: "quantitative", scale: scale(chart), title: chart.unit }
    const color = {
      condition: { test: `indexof(datum.name, '${ours}') === 0`, value: "#c2410c" },
      value: "#94a3b8"
    }
    return {
      title: panel ?? "",
      data: { values: data.map((datum) => ({ low: datum.value, high: datum.value, ...datum, from: least(data) })) },
      width: 520,
      height: { step: 20 },
      layer: [
        // A logarithmic axis has no zero, so a bar begins at the power of ten below the least value.
        { mark: "bar", encoding: { y, x, x2: chart.logarithmic ? { field: "from" } : { datum: 0 }, color } },
        { mark: "rule", encoding: { y, x: { ...x, field: "low" }, x2: { field: "high" } } }
      ]
    }
  })
})

const least = (data: ReadonlyArray<Datum>): number => {
  const lows = data.map(({ low, value }) => low ?? value).filter((value) => value > 0)
  return 10 ** Math.floor(Math.log10(Math.min(...lows)))
}

const lines = (chart: Chart) => ({
  data: { values: chart.data.map((datum) => ({ panel: "", ...datum })) },
  facet: { row: { field: "panel", type: "nominal", title: null } },
  resolve: { scale: { y: "independent" } },
  spec: {
    width: 520,
    height: 180,
    mark: { type: "line", point: true },
    encoding: {
      x: { field: "size", type: "quantitative", scale: { type: "log" }, title: chart.sizes ?? "" },
      y: { field: "value", type: "quantitative", scale: scale(chart), title: chart.unit },
      color: { field: "name", type: "nominal", title: null, legend: { labelLimit: 300 } }
    }
  }
})

/** Draws a chart. The libraries are loaded here, because the first run installs them. */
export const svg = (chart: Chart): Effect.Effect<string> =>
  Effect.promise(async () => {
    const [vega, vegaLite] = await Promise.all([import("vega"), import("vega-lite")])
    const { spec } = vegaLite.compile({
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      background: "white",
      config: { font: "sans-serif" },
      ...(chart.kind === "bars" ? bars(chart) : lines(chart))
    })
    return new vega.View(vega.parse(spec), { renderer: "none" }).toSVG()
  })
