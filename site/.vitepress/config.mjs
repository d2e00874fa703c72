import { defineConfig } from "vitepress"

/** The anchors of headings as GitHub names them, so that one link is right in both places. */
const slugify = (heading) => heading.trim().toLowerCase().replace(/[^\p{L}\p{N}\p{M}_ -]/gu, "").replaceAll(" ", "-")

const group = (text, pages, collapsed) => ({
  text,
  ...(collapsed === undefined ? {} : { collapsed }),
  items: pages.map(([text, link]) => ({ text, link }))
})

const modules = [
  "FileLock",
  "NodeFileLock",
  "LockedFile",
  "LockError",
  "LockHolder",
  "FileLockMetrics",
  "MemoryFileSystem",
  "ProcessIdentity",
  "LockBackend",
  "LockFileBackend",
  "FlockBackend",
  "PostgresBackend",
  "RedisBackend"
]

export default defineConfig({
  lang: "en",
  title: "effect-filelock",
  description: "File locks for Effect: one holder per file, across fibers, processes and crashes",
  srcDir: "pages",
  // Where the site is below its host, such as "/effect-filelock/".
  base: process.env.SITE_BASE ?? "/",
  markdown: { anchor: { slugify } },
  themeConfig: {
    search: { provider: "local" },
    outline: [2, 3],
    nav: [
      { text: "Guide", link: "/getting-started" },
      { text: "API", link: "/api/" },
      { text: "Examples", link: "/examples/" }
    ],
    sidebar: [
      group("Guide", [
        ["Overview", "/"],
        ["Getting started", "/getting-started"],
        ["Concepts", "/concepts"],
        ["Recipes", "/recipes"],
        ["Errors", "/errors"],
        ["Testing", "/testing"],
        ["Which engine", "/engines"],
        ["The command line", "/command-line"],
        ["Metrics, spans, logs", "/observability"],
        ["Compatibility", "/compatibility"],
        ["Migrating", "/migrating"]
      ]),
      group("API reference", [["All modules", "/api/"], ...modules.map((name) => [name, `/api/${name}`])], true),
      group("How it works", [
        ["Protocol", "/protocol"],
        ["Correctness", "/correctness"],
        ["Models", "/models/"],
        ["Simulation", "/simulation"],
        ["Seeded bugs", "/mutations"],
        ["Performance", "/performance"],
        ["Benchmark", "/bench/"],
        ["Writing an engine", "/backends"]
      ], true),
      group("More", [
        ["All documents", "/documents"],
        ["Examples", "/examples/"],
        ["Changelog", "/CHANGELOG"]
      ])
    ]
  }
})
