/**
 * Loads each page of the built site from a server, and all that the pages refer to: no link may be dead, no anchor and no asset missing. Runs on
 * what `npm run site` left in `site/.vitepress/dist`.
 */
import * as Fs from "node:fs"
import * as Http from "node:http"
import * as Path from "node:path"
import * as Url from "node:url"

const root = Path.dirname(Path.dirname(Url.fileURLToPath(import.meta.url)))
const directory = Path.join(root, "site/.vitepress/dist")
const base = process.env["SITE_BASE"] ?? "/"

const types: Readonly<Record<string, string>> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml"
}

/** A server of files, as the hosts of static sites are: it has no page but those that were built. */
const server = Http.createServer((request, response) => {
  const { pathname } = new URL(request.url ?? "/", "http://localhost")
  const name = decodeURIComponent(pathname.startsWith(base) ? pathname.slice(base.length) : "..")
  const file = Path.join(directory, name.endsWith("/") || name === "" ? `${name}index.html` : name)
  const found = file.startsWith(directory) && Fs.existsSync(file) && Fs.statSync(file).isFile()
  response.writeHead(found ? 200 : 404, { "content-type": types[Path.extname(file)] ?? "application/octet-stream" })
  response.end(found ? Fs.readFileSync(file) : "")
})

interface Loaded {
  readonly found: boolean
  readonly isPage: boolean
  readonly text: string
}

const known = new Map<string, Promise<Loaded>>()

/** What is at an address, asked once. */
const load = (address: string): Promise<Loaded> => {
  const loading = known.get(address) ??
    fetch(address).then(async (response) => ({
      found: response.ok,
      isPage: response.headers.get("content-type") === "text/html",
      text: await response.text()
    }))
  known.set(address, loading)
  return loading
}

const decode = (text: string): string =>
  text.replaceAll("&amp;", "&").replaceAll("&quot;", "\"").replaceAll("&#39;", "'")

/** What a page or a style sheet refers to. */
const targetsIn = ({ isPage, text }: Loaded): ReadonlyArray<string> =>
  (isPage ? [/\s(?:href|src)="([^"]*)"/g] : [/url\(["']?([^"')]+)/g])
    .flatMap((pattern) => [...text.matchAll(pattern)].map((match) => decode(match[1] ?? "")))

const hasAnchor = ({ text }: Loaded, anchor: string): boolean => {
  const ids = [...text.matchAll(/\sid="([^"]*)"/g)].map((match) => decode(match[1] ?? ""))
  return ids.includes(anchor)
}

/** What is wrong with a page, or a style sheet. */
const problemsOf = async (address: string, origin: string): Promise<ReadonlyArray<string>> => {
  const page = await load(address)
  const where = address.slice(origin.length)
  if (!page.found) return [`${where} is not there`]
  const problems: Array<string> = []
  if (page.isPage && !/<h1[ >]/.test(page.text) && !where.endsWith("/404.html")) problems.push(`${where} has no title`)
  for (const target of new Set(targetsIn(page))) {
    if (/^(data|mailto):/.test(target) || /^https?:/.test(target)) continue
    const url = new URL(target, address)
    const anchor = decodeURIComponent(url.hash.slice(1))
    url.hash = ""
    const there = await load(url.href)
    if (!there.found) problems.push(`${where} refers to ${target}, which is not there`)
    else if (anchor !== "" && !hasAnchor(there, anchor)) {
      problems.push(`${where} refers to ${target}, which has no such anchor`)
    }
  }
  return problems
}

const check = async (origin: string): Promise<void> => {
  const files = Fs.readdirSync(directory, { recursive: true, encoding: "utf8" }).map((name) =>
    name.replaceAll(Path.sep, "/")
  )
  const pages = files.filter((name) => /\.(html|css)$/.test(name))
  const found = await Promise.all(pages.map((name) => problemsOf(`${origin}${base}${encodeURI(name)}`, origin)))
  const problems = found.flat()
  if (!files.some((name) => /@localSearchIndex.*\.js$/.test(name))) problems.push("there is no index for the search")
  for (const problem of problems) console.error(problem)
  console.log(`${pages.length} pages and style sheets, ${known.size} addresses loaded, ${problems.length} problems`)
  process.exitCode = problems.length > 0 || pages.length < 2 ? 1 : 0
}

server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  const port = typeof address === "object" && address !== null ? address.port : 0
  check(`http://127.0.0.1:${port}`).catch((error: unknown) => {
    console.error(error)
    process.exitCode = 1
  }).finally(() => {
    server.close()
    server.closeAllConnections()
  })
})
