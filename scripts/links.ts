/**
 * The links between the files of a package.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import ts from "typescript"

const withoutBlocks = (text: string): string => text.replace(/^(`{3,}|~{3,})[^]*?^\1/gm, "")

/** What the links of a text lead to. Brackets in code are none. */
const targetsIn = (text: string): ReadonlyArray<string> => {
  const prose = withoutBlocks(text).replace(/(`+)(?!`)[^]*?[^`]\1(?!`)/g, "")
  return [
    /\]\(\s*<?([^\s)>]+)/g, // [text](target), and an image
    /^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)/gm, // [name]: target
    /\b(?:href|src)\s*=\s*["']([^"']+)/g // <a href="target">
  ].flatMap((pattern) => [...prose.matchAll(pattern)].flatMap((match) => match[1] ?? []))
}

/** The anchors of the headings of a document, as GitHub and npm name them. */
const anchorsIn = (text: string): ReadonlySet<string> => {
  const anchors = new Set<string>()
  for (const [, heading = ""] of withoutBlocks(text).matchAll(/^#{1,6} +(.*?)[ #]*$/gm)) {
    const name = heading.toLowerCase().replace(/[^\p{L}\p{N}\p{M}_ -]/gu, "").replaceAll(" ", "-")
    let anchor = name
    for (let count = 1; anchors.has(anchor); count++) anchor = `${name}-${count}`
    anchors.add(anchor)
  }
  return anchors
}

/** The text of the comments of a declaration file. */
const commentsIn = (text: string): string =>
  [...text.matchAll(/\/\*\*[^]*?\*\//g)].map(([comment]) => comment.replace(/^\s*\/?\*+ ?/gm, "")).join("\n\n")

/** The files of the repository that a text names, by their path from its root. */
const filesIn = (text: string): ReadonlyArray<string> =>
  [...text.matchAll(/(?<![\w/.-])(?:\.{1,2}\/)*((?:bench|docs|scripts|src|test)\/[\w./-]*\w|[A-Z]+\.md)/g)]
    .flatMap((match) => match[1] ?? [])

/** The relative links of the documents and types below `root` that do not lead to a file, or a heading, that is there. */
export const brokenLinks = (root: string): ReadonlyArray<string> => {
  const isBroken = (from: string) => (target: string): boolean => {
    if (/^[a-z][a-z\d+.-]*:/i.test(target)) return false
    const [path = "", anchor] = target.split("#").map(decodeURIComponent)
    const name = path === "" ? from : Path.join(Path.dirname(from), path)
    const file = Path.join(root, name)
    if (path.startsWith("/") || name.startsWith("..") || !Fs.existsSync(file)) return true
    return anchor !== undefined && name.endsWith(".md") && !anchorsIn(Fs.readFileSync(file, "utf8")).has(anchor)
  }
  const brokenIn = (name: string): ReadonlyArray<string> => {
    if (!/\.(md|d\.ts)$/.test(name)) return []
    const text = Fs.readFileSync(Path.join(root, name), "utf8")
    if (name.endsWith(".md")) return targetsIn(text).filter(isBroken(name))
    const comments = commentsIn(text)
    const imported = ts.preProcessFile(text).importedFiles.map(({ fileName }) => fileName)
    return [
      ...imported.filter((target) => target.startsWith(".") && isBroken(name)(target.replace(/\.js$/, ".d.ts"))),
      ...targetsIn(comments).filter(isBroken(name)),
      ...filesIn(comments).filter(isBroken("."))
    ]
  }
  return Fs.readdirSync(root, { recursive: true, encoding: "utf8" }).sort().flatMap((name) =>
    brokenIn(name).map((target) => `${name} refers to ${target}, which is not there`)
  )
}
