/**
 * The directory in which one run takes place, and where in it everything lies.
 *
 * The guarded file has a directory to itself, so that whatever else is found there was left by the lock.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Content from "./Content.js"

/** Paths of one run. */
export interface Arena {
  /** Holds the guarded file and what the lock puts beside it, nothing else. */
  readonly locked: string
  /** The guarded file: a number that every exclusive section raises by one. */
  readonly counter: string
  /** Where new contents are prepared; the same file system, so a rename replaces the counter at once. */
  readonly scratch: string
  readonly marks: string
  readonly log: string
}

/** The paths below a root. */
export const make = (root: string): Arena => ({
  locked: Path.join(root, "locked"),
  counter: Path.join(root, "locked", "counter"),
  scratch: Path.join(root, "scratch"),
  marks: Path.join(root, "marks"),
  log: Path.join(root, "events.log")
})

/** Creates the directories and a counter of zero. */
export const prepare = (arena: Arena): void => {
  for (const directory of [arena.locked, arena.scratch, arena.marks]) Fs.mkdirSync(directory)
  Fs.writeFileSync(arena.counter, Content.make(0, 0))
  Fs.writeFileSync(arena.log, "")
}

/** The number in the guarded file; `undefined` if that is not whole. */
export const readCounter = (arena: Arena): number | undefined => Content.valueOf(Fs.readFileSync(arena.counter, "utf8"))

/** What the lock has beside the guarded file at this moment. */
export const lockFiles = (arena: Arena): ReadonlyArray<string> =>
  Fs.readdirSync(arena.locked).filter((name) => name !== Path.basename(arena.counter)).sort()

/**
 * Whether a file beside the guarded one is still empty: the request file of a process that was killed between creating and writing it.
 * Nothing tells whose it is. It is removed only after it has been the same for a lease.
 */
export const isEmpty = (arena: Arena, name: string): boolean => {
  const found = Fs.statSync(Path.join(arena.locked, name), { throwIfNoEntry: false })
  return found !== undefined && found.isFile() && found.size === 0
}

/** Which process a file beside the guarded one names; `undefined` if it is gone or not (yet) a record. */
export const ownerOf = (arena: Arena, name: string): number | undefined => {
  try {
    const record: unknown = JSON.parse(Fs.readFileSync(Path.join(arena.locked, name), "utf8"))
    return typeof record === "object" && record !== null && "pid" in record && typeof record.pid === "number"
      ? record.pid
      : undefined
  } catch {
    return undefined
  }
}

/** Whether a file beside the guarded one is the lock, a claim on it, or the file of one that shares it. A request file owns nothing. */
export const isOwned = (name: string): boolean => /\.lock(\.claim\d?|\.shared\/[\w-]+)?$/.test(name)

/** The lock file itself. */
export const lockName = (arena: Arena): string => `${Path.basename(arena.counter)}.lock`

/** The files of those that share the lock. */
export const readerNames = (arena: Arena): ReadonlyArray<string> => {
  const directory = `${lockName(arena)}.shared`
  try {
    return Fs.readdirSync(Path.join(arena.locked, directory)).map((name) => Path.join(directory, name))
  } catch {
    return []
  }
}
