/**
 * The pictures of `docs/concepts.md`, from their descriptions. `--write` writes them to `docs/images`.
 */
import * as Fs from "node:fs"
import * as Url from "node:url"

const colours = { ink: "#1f2937", line: "#6b7280", held: "#2563eb", lost: "#b91c1c", fill: "#f3f4f6" } as const
type Colour = keyof typeof colours

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")

const text = (x: number, y: number, content: string, attributes = ""): string =>
  `<text x="${x}" y="${y}" text-anchor="middle" ${attributes}>${escape(content)}</text>`

/** A straight arrow, and what is written above its middle. */
const arrow = (
  from: readonly [number, number],
  to: readonly [number, number],
  label: string,
  colour: Colour = "line"
) => {
  const [x, y] = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2]
  const line = `<path d="M${from.join(" ")}L${to.join(" ")}" fill="none" stroke="${
    colours[colour]
  }" marker-end="url(#${colour})" />`
  const lines = label.split("\n")
  // What belongs to an arrow that goes down stands on its right.
  const beside = from[0] === to[0]
  return line + lines.map((part, index) =>
    beside
      ? `<text class="label" x="${x + 8}" y="${y + 4 + (index - (lines.length - 1) / 2) * 15}">${escape(part)}</text>`
      : text(x, y - 7 - (lines.length - 1 - index) * 15, part, "class=\"label\"")
  ).join("")
}

const picture = (width: number, height: number, title: string, parts: ReadonlyArray<string>): string =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escape(title)}</title>`,
    "<defs>",
    ...(["line", "held", "lost"] as const).map((id) =>
      `<marker id="${id}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">` +
      `<path d="M0 0L8 4L0 8z" fill="${colours[id]}" stroke="none" /></marker>`
    ),
    "</defs>",
    `<rect width="${width}" height="${height}" rx="8" fill="white" />`,
    `<g font-family="system-ui, sans-serif" font-size="13" fill="${colours.ink}" stroke-width="1.5">`,
    // What is written above an arrow may cross the line of a process.
    "<style>.label{stroke:white;stroke-width:5px;paint-order:stroke}</style>",
    ...parts,
    "</g>",
    "</svg>",
    ""
  ].join("\n")

const box = (x: number, y: number, name: string, what: string, colour: Colour = "line"): string =>
  `<rect x="${x - 85}" y="${y - 25}" width="170" height="50" rx="8" fill="${colours.fill}" stroke="${
    colours[colour]
  }" />` +
  text(x, y - 3, name, "font-weight=\"600\"") + text(x, y + 14, what, `font-size="11" fill="${colours.line}"`)

/** What happens between processes, from the top to the bottom. */
type Step =
  | { readonly from: number; readonly to: number; readonly says: string; readonly colour?: Colour }
  | { readonly at: number; readonly is: string; readonly colour?: Colour }

const sequence = (title: string, names: ReadonlyArray<string>, steps: ReadonlyArray<Step>): string => {
  const column = (index: number) => 105 + index * 215
  const row = (index: number) => 88 + index * 42
  const bottom = row(steps.length) - 10
  return picture(column(names.length - 1) + 105, bottom + 16, title, [
    ...names.map((name, index) =>
      `<path d="M${column(index)} 50V${bottom}" stroke="${colours.line}" stroke-dasharray="3 4" />` +
      `<rect x="${
        column(index) - 80
      }" y="16" width="160" height="34" rx="8" fill="${colours.fill}" stroke="${colours.line}" />` +
      text(column(index), 38, name, "font-weight=\"600\"")
    ),
    ...steps.map((step, index) => {
      const y = row(index)
      if ("says" in step) return arrow([column(step.from), y], [column(step.to), y], step.says, step.colour)
      const colour = colours[step.colour ?? "line"]
      return `<rect x="${column(step.at) - 95}" y="${
        y - 15
      }" width="190" height="28" rx="14" fill="white" stroke="${colour}" />` +
        text(column(step.at), y + 4, step.is, `fill="${colour}" font-size="12"`)
    })
  ])
}

const life = picture(760, 330, "The states of a lock, as its waiter and its holder see them", [
  box(110, 60, "asked for", "in the queue of its process"),
  box(380, 60, "waiting", "in the queue of the holder"),
  box(380, 190, "held", "the body runs", "held"),
  box(650, 190, "lost", "the body is interrupted", "lost"),
  box(110, 190, "not acquired", "LockAcquisitionError"),
  box(380, 295, "released", "no file is left"),
  arrow([195, 60], [295, 60], "taken"),
  arrow([380, 85], [380, 165], "handed over, or\ntaken over from a dead holder", "held"),
  arrow([165, 85], [318, 165], "", "held"),
  text(285, 128, "free"),
  arrow([110, 85], [110, 165], "deadline"),
  arrow([295, 75], [196, 178], ""),
  arrow([380, 215], [380, 270], "the scope closes", "held"),
  arrow([465, 190], [565, 190], "removed, or\nlease expired", "lost")
])

/** The pictures by their names. */
export const diagrams: Readonly<Record<string, string>> = {
  life,
  handover: sequence("A lock is handed over", ["process A", "the lock file", "process B"], [
    { from: 0, to: 1, says: "creates its record" },
    { at: 0, is: "holds the lock", colour: "held" },
    { from: 2, to: 1, says: "finds the record of A" },
    { from: 2, to: 0, says: "wait" },
    { at: 2, is: "waits, and does not poll" },
    { from: 0, to: 1, says: "removes its record" },
    { from: 0, to: 1, says: "links the record of B" },
    { from: 0, to: 2, says: "granted" },
    { from: 2, to: 1, says: "reads its own record" },
    { at: 2, is: "holds the lock", colour: "held" }
  ]),
  takeover: sequence("The lock of a dead holder is taken over", ["process A", "the lock file", "process B"], [
    { at: 0, is: "holds the lock", colour: "held" },
    { from: 2, to: 0, says: "wait" },
    { at: 0, is: "is killed", colour: "lost" },
    { from: 0, to: 2, says: "the kernel closes the connection", colour: "lost" },
    { at: 2, is: "A is dead by proof" },
    { from: 2, to: 1, says: "claims the takeover" },
    { from: 2, to: 1, says: "still the record of A?" },
    { from: 2, to: 1, says: "renames its claim over it" },
    { at: 2, is: "holds the lock", colour: "held" }
  ]),
  fence: sequence("A holder that stood still is refused by its fencing number", ["host A", "the resource", "host B"], [
    { at: 0, is: "holds the lock, fence 7", colour: "held" },
    { at: 0, is: "stands still", colour: "lost" },
    { at: 2, is: "the lease of A has expired" },
    { at: 2, is: "holds the lock, fence 8", colour: "held" },
    { from: 2, to: 1, says: "writes with 8" },
    { at: 1, is: "takes it, remembers 8", colour: "held" },
    { at: 0, is: "goes on" },
    { from: 0, to: 1, says: "writes with 7", colour: "lost" },
    { at: 1, is: "refuses it: 7 < 8", colour: "lost" },
    { at: 0, is: "is told of its loss", colour: "lost" }
  ])
}

const directory = new URL("../docs/images/", import.meta.url)

if (process.argv[1] === Url.fileURLToPath(import.meta.url) && process.argv.includes("--write")) {
  Fs.mkdirSync(directory, { recursive: true })
  for (const [name, content] of Object.entries(diagrams)) Fs.writeFileSync(new URL(`${name}.svg`, directory), content)
}
