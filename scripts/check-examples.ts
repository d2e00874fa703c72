/**
 * Type-checks each TypeScript block of the README and the guides as a module of its own, with the rules the library holds
 * itself to. The examples inside JSDoc are compiled by `npm run docgen`.
 *
 * A sketch that is not meant to compile stands in a block without a language.
 *
 * A block below a line that ends with a link to a file of `examples` is that file, whole. So what a guide shows is what `npm test` runs.
 * Each file of `examples` is in a guide. `--write` copies the files into the guides.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Url from "node:url"
import ts from "typescript"

interface Block {
  readonly document: string
  /** The lines of its fences, from 1. */
  readonly line: number
  readonly end: number
  readonly code: string
  /** The file of `examples` that the block shows. */
  readonly file: string | undefined
}

const root = Path.dirname(Path.dirname(Url.fileURLToPath(import.meta.url)))

const guides = (): ReadonlyArray<string> => {
  const docs = Path.join(root, "docs")
  return Fs.existsSync(docs)
    ? Fs.readdirSync(docs, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".md") && !name.startsWith(`api${Path.sep}`))
      .map((name) => Path.join("docs", name))
      .sort()
    : []
}

const examples = (): ReadonlyArray<string> =>
  Fs.readdirSync(Path.join(root, "examples"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => Path.posix.join("examples", ...name.split(Path.sep)))
    .sort()

const readExample = (file: string): string => Fs.readFileSync(Path.join(root, file), "utf8").trimEnd()

const blocksOf = (document: string): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  let open: { readonly fence: string; readonly line: number; readonly code: Array<string> | undefined } | undefined
  let above = ""
  Fs.readFileSync(Path.join(root, document), "utf8").split(/\r?\n/).forEach((text, index) => {
    if (open === undefined) {
      const match = /^\s*(`{3,}|~{3,})\s*([\w-]*)/.exec(text)
      if (match !== null) {
        const typed = /^(ts|typescript)$/.test(match[2] ?? "")
        open = { fence: match[1] ?? "", line: index + 1, code: typed ? [] : undefined }
      } else if (text.trim() !== "") {
        above = text.trim()
      }
    } else if (text.trim() === open.fence) {
      if (open.code !== undefined) {
        const file = /\]\((?:\.\.\/)*(examples\/[^()]+\.ts)\):?$/.exec(above)?.[1]
        blocks.push({ document, line: open.line, end: index + 1, code: open.code.join("\n"), file })
      }
      open = undefined
      above = ""
    } else {
      open.code?.push(text)
    }
  })
  if (open !== undefined) {
    throw new Error(`${document}:${open.line}: this block is never closed`)
  }
  return blocks
}

/** Replaces the blocks of a document that show files by these files. */
const write = (document: string): void => {
  const lines = Fs.readFileSync(Path.join(root, document), "utf8").split("\n")
  // From the last to the first, since the lines below move.
  for (const { end, file, line } of [...blocksOf(document)].reverse()) {
    if (file !== undefined) {
      lines.splice(line, end - line - 1, ...readExample(file).split("\n"))
    }
  }
  Fs.writeFileSync(Path.join(root, document), lines.join("\n"))
}

const compilerOptions = (): ts.CompilerOptions => {
  const file = Path.join(root, "tsconfig.json")
  const { config, error } = ts.readConfigFile(file, ts.sys.readFile)
  const parsed = ts.parseJsonConfigFileContent(config, ts.sys, root, undefined, file)
  const problem = error ??
    parsed.errors.find((diagnostic) => diagnostic.code !== 18003 /* no inputs: they come below */)
  if (problem !== undefined) {
    throw new Error(ts.flattenDiagnosticMessageText(problem.messageText, "\n"))
  }
  return {
    ...parsed.options,
    noEmit: true,
    // A block may show how to get a value without showing what to do with it.
    noUnusedLocals: false
  }
}

const documents = ["README.md", ...guides()]
if (process.argv.includes("--write")) {
  documents.forEach(write)
}
const blocks = documents.flatMap(blocksOf)
const modules = new Map(
  blocks.map((block) => [
    Path.join(root, block.file ?? `${block.document.replaceAll(Path.sep, ".")}.${block.line}.ts`),
    // As many empty lines before it as in the document, so that a diagnostic names the document's own line.
    { block, text: "\n".repeat(block.line) + block.code }
  ])
)

const options = compilerOptions()
const host = ts.createCompilerHost(options)
const { fileExists, readFile } = host
host.fileExists = (name) => modules.has(name) || fileExists(name)
host.readFile = (name) => modules.get(name)?.text ?? readFile(name)

const program = ts.createProgram([...modules.keys()], options, host)
const problems = [...modules].flatMap(([name, { block }]) => {
  const source = program.getSourceFile(name)
  return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map((diagnostic) => {
    const line = source === undefined
      ? block.line
      : source.getLineAndCharacterOfPosition(diagnostic.start ?? 0).line + 1
    const message = ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n  ")
    return `${block.document}:${line}: TS${diagnostic.code}: ${message}`
  })
})

for (const { code, document, file, line } of blocks) {
  if (file !== undefined && code !== readExample(file)) {
    problems.push(`${document}:${line}: this is not ${file}; \`npm run check:examples -- --write\` copies the file`)
  }
}
for (const file of examples()) {
  if (!blocks.some((block) => block.file === file)) {
    problems.push(`${file}: no guide shows this program`)
  }
}
for (const problem of [...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()]) {
  problems.push(ts.flattenDiagnosticMessageText(problem.messageText, "\n  "))
}
for (const problem of problems) {
  console.error(problem)
}
if (blocks.length === 0) {
  console.error("README.md shows no TypeScript at all")
}
console.log(`${blocks.length} blocks compiled, ${problems.length} problems`)
process.exitCode = problems.length > 0 || blocks.length === 0 ? 1 : 0
