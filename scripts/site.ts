/**
 * Builds the site from the documents of the repository: the README, the guides, what `npm run docgen` has written, and each file of the
 * repository that one of them links to. The pages are copies in `site/pages`, whose links lead to pages. VitePress makes the site of them.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Url from "node:url"

const root = Path.dirname(Path.dirname(Url.fileURLToPath(import.meta.url)))
const site = Path.join(root, "site")
const pages = Path.join(site, "pages")

const read = (name: string): string => Fs.readFileSync(Path.join(root, name), "utf8")

const isDirectory = (name: string): boolean => Fs.statSync(Path.join(root, name)).isDirectory()

const isImage = (name: string): boolean => /\.(svg|png)$/.test(name)

/** What shows a directory: its README, or a list of its files. */
const sourceOf = (name: string): string => {
  const readme = Path.posix.join(name, "README.md")
  return isDirectory(name) && Fs.existsSync(Path.join(root, readme)) ? readme : name
}

/** The page of a file of the repository, from the root of the site. */
const pageOf = (name: string): string => {
  if (isDirectory(name)) return `${name}/index.md`
  if (name === "README.md") return "index.md"
  if (name === "docs/README.md") return "documents.md"
  if (isImage(name)) return name
  if (!name.endsWith(".md")) return `${name}.md`
  return name.replace(/^docs\//, "").replace(/\.ts\.md$/, ".md").replace(/README\.md$/, "index.md")
}

/** What is no prose, and so has no links: blocks of code, and code within a line. */
const code = /^(`{3,}|~{3,})[^]*?^\1|(`+)(?!`)[^]*?[^`]\2(?!`)/gm

/** Documents that a text names without a link, as it does where the package does not have them. */
const named = /^`((?:docs|bench)\/[\w./-]+)`$/

/** The page that an address of one page leads to, from there. */
const relative = (from: string, to: string): string => {
  const path = Path.posix.relative(Path.posix.dirname(pageOf(from)), pageOf(sourceOf(to)))
  return path.startsWith(".") ? path : `./${path}`
}

/** A document with links to pages, and the files of the repository that these are made of. */
const relink = (name: string, text: string): { readonly text: string; readonly linked: ReadonlyArray<string> } => {
  const linked: Array<string> = []
  const link = (target: string): string => {
    if (/^([a-z][a-z\d+.-]*:|#)/i.test(target)) return target
    const [path = "", anchor] = target.split("#")
    const file = Path.posix.join(Path.posix.dirname(name), path).replace(/\/$/, "")
    if (!Fs.existsSync(Path.join(root, file))) return target
    linked.push(file)
    return relative(name, file) + (anchor === undefined ? "" : `#${anchor}`)
  }
  const prose = (part: string): string =>
    part.replace(/(\]\(\s*<?)([^\s)>]+)/g, (_, open: string, target: string) => open + link(target))
  let result = ""
  let end = 0
  for (const match of text.matchAll(code)) {
    const document = named.exec(match[0])?.[1]
    const isLink = document !== undefined && text[match.index - 1] !== "[" && Fs.existsSync(Path.join(root, document))
    result += prose(text.slice(end, match.index))
    result += isLink ? `[${match[0]}](${link(Path.posix.relative(Path.posix.dirname(name), document))})` : match[0]
    end = match.index + match[0].length
  }
  return { text: result + prose(text.slice(end)), linked }
}

/** What `docgen` writes is for another generator: its front matter, its list of contents, and categories as large as the title. */
const reference = (text: string): string => {
  const title = /^title: (\w+)\.ts$/m.exec(text)?.[1] ?? "Modules"
  const body = text
    .slice(text.indexOf("\n## "))
    .replace(/^## .* overview$/m, "")
    .replace(/^<h2 class="text-delta">[^]*?^---$/m, "")
    .replace(/^---$/gm, "")
  const parts = body.split(/(^```[^]*?^```)/m)
  return `# ${title}\n` + parts.map((part, index) => index % 2 === 0 ? part.replace(/^#+ /gm, "#$&") : part).join("")
}

const modules = (): ReadonlyArray<string> =>
  Fs.readdirSync(Path.join(root, "docs/api")).filter((name) => name.endsWith(".ts.md")).sort()

const listOfModules = (): string =>
  [
    "# API reference",
    "",
    "Each module is a subpath of the package, such as `effect-filelock/FileLock`.",
    "",
    "| module | |",
    "| --- | --- |",
    ...modules().map((name) => {
      const overview = reference(read(`docs/api/${name}`)).split(/\n\n+/)[1] ?? ""
      const sentence = overview.replaceAll("\n", " ").split(/(?<=\.) /)[0]?.replaceAll("|", "\\|") ?? ""
      return `| [${Path.basename(name, ".ts.md")}](${name}) | ${sentence} |`
    }),
    ""
  ].join("\n")

const listOfFiles = (name: string): string =>
  [
    `# ${name}`,
    "",
    ...Fs.readdirSync(Path.join(root, name)).filter((file) => !/^(node_modules|\.)/.test(file)).sort().map((file) =>
      `- [${file}](${Path.posix.basename(name)}/${file})`
    ),
    ""
  ].join("\n")

/** A file that is no document is shown as it is, and is not searched. */
const listing = (name: string): string => {
  const language = { ".ts": "ts", ".json": "json", ".mjs": "js" }[Path.extname(name)] ?? "txt"
  return `---\nsearch: false\nprev: false\nnext: false\n---\n\n# ${
    Path.posix.basename(name)
  }\n\nThe file \`${name}\` of the repository.\n\n` +
    `\`\`\`\`${language}\n${read(name).trimEnd()}\n\`\`\`\`\n`
}

const contentOf = (name: string): string => {
  if (name === "docs/api/index.md") return listOfModules()
  if (isDirectory(name)) return listOfFiles(name)
  if (!name.endsWith(".md")) return listing(name)
  const text = name.startsWith("docs/api/") ? reference(read(name)) : read(name)
  // Programs beside each other take all of the width.
  return text.includes("<table>") ? `---\naside: false\n---\n\n${text}` : text
}

/** Copies a file and, in turn, all that it links to. Answers with how many pages there are. */
const copyAll = (first: ReadonlyArray<string>): number => {
  const queue = [...first]
  const seen = new Set<string>()
  for (const name of queue) {
    const source = sourceOf(name)
    if (seen.has(source)) continue
    seen.add(source)
    const target = Path.join(pages, pageOf(source))
    Fs.mkdirSync(Path.dirname(target), { recursive: true })
    if (isImage(source)) {
      // Once for the pages that show it, and once for those that link to it.
      for (const copy of [target, Path.join(pages, "public", pageOf(source))]) {
        Fs.mkdirSync(Path.dirname(copy), { recursive: true })
        Fs.copyFileSync(Path.join(root, source), copy)
      }
      continue
    }
    const { linked, text } = relink(source, contentOf(source))
    Fs.writeFileSync(target, text)
    for (const file of linked) queue.push(file)
  }
  return seen.size
}

Fs.rmSync(pages, { recursive: true, force: true })
const guides = Fs.readdirSync(Path.join(root, "docs")).filter((name) => name.endsWith(".md"))
const count = copyAll([
  "README.md",
  "CHANGELOG.md",
  ...guides.map((name) => `docs/${name}`),
  "docs/api/index.md",
  ...modules().map((name) => `docs/api/${name}`)
])
console.log(`${count} files in site/pages`)

const { status } = ChildProcess.spawnSync("npx", ["--no", "vitepress", "build"], { cwd: site, stdio: "inherit" })
process.exitCode = status ?? 1
