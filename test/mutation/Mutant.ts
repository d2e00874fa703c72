/**
 * A seeded bug: what the lock would be if somebody had forgotten, or broken, one thing. A suite that stays green with it in place
 * has a hole.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Url from "node:url"

/** One change of the source: a text that is there exactly once, and what stands in its place. */
export interface Edit {
  /** Below `src`. */
  readonly file: string
  readonly find: string
  readonly replace: string
}

export interface Mutant {
  readonly name: string
  /** What is wrong with it, in a sentence. */
  readonly bug: string
  readonly edits: ReadonlyArray<Edit>
  /** The test that is most likely to notice: its file, and a part of its name. */
  readonly likely: { readonly file: string; readonly test?: string | undefined }
  /** Among the few that every change is checked with. */
  readonly important: boolean
}

export const root = Path.resolve(Path.dirname(Url.fileURLToPath(import.meta.url)), "../..")

export const pathOf = (edit: Edit): string => Path.join(root, "src", edit.file)

/** The source with one change; fails when it is no longer the source that the change was made for. */
export const apply = (mutant: Mutant, edit: Edit, source: string): string => {
  const parts = source.split(edit.find)
  if (parts.length !== 2) {
    throw new Error(
      `${mutant.name}: src/${edit.file} has ${parts.length - 1} places, and not one, with ${JSON.stringify(edit.find)}`
    )
  }
  return parts.join(edit.replace)
}

/** The files that a bug changes, as they are with it. */
export const sources = (mutant: Mutant): ReadonlyMap<string, string> => {
  const changed = new Map<string, string>()
  for (const edit of mutant.edits) {
    const path = pathOf(edit)
    changed.set(path, apply(mutant, edit, changed.get(path) ?? Fs.readFileSync(path, "utf8")))
  }
  return changed
}

/** A bug that is one change. */
export const seed = (
  name: string,
  bug: string,
  options: Edit & {
    readonly also?: ReadonlyArray<Edit> | undefined
    /** The test file without its ending, and a part of the test's name. */
    readonly likely: readonly [file: string, test?: string | undefined]
    readonly important?: boolean | undefined
  }
): Mutant => {
  const { also = [], file, find, important = false, likely: [test, part], replace } = options
  return {
    name,
    bug,
    edits: [{ file, find, replace }, ...also],
    likely: { file: `test/${test}.test.ts`, test: part },
    important
  }
}
