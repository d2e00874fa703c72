/**
 * Files of others that lie about where locks are taken, and whether they were left alone.
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"

/** What `docs/protocol.md` calls ours are `.lock` and `.lock.reap…`; these come as near to that as names can. */
const names = [".lock.txt", ".lock.reaper", ".loc"]

/** Everything of a file that somebody could have changed. */
const snapshot = (fs: FileSystem.FileSystem, path: string): Effect.Effect<string, PlatformError> =>
  Effect.gen(function*() {
    const info = yield* fs.stat(path)
    const mtime = Option.match(info.mtime, { onNone: () => 0, onSome: (date) => date.getTime() })
    const content = info.type === "File" ? yield* fs.readFileString(path) : info.type
    return JSON.stringify([Option.getOrElse(info.ino, () => 0), mtime, info.mode, content])
  })

export interface Bystanders {
  /** Files that were not there before. */
  readonly newcomers: Effect.Effect<ReadonlyArray<string>, PlatformError>
  /** What in the directory is not as it was: a bystander that was touched, or a file that is new. */
  readonly complaints: Effect.Effect<ReadonlyArray<string>, PlatformError>
}

/** Puts files of others beside the guarded file `${directory}/${guarded}`, which is one of them. */
export const make = (
  fs: FileSystem.FileSystem,
  directory: string,
  guarded: string
): Effect.Effect<Bystanders, PlatformError> =>
  Effect.gen(function*() {
    for (const name of names) {
      yield* fs.writeFileString(`${directory}/${guarded}${name}`, `not a lock (${name})`)
    }
    yield* fs.writeFileString(`${directory}/${guarded}`, "the guarded file")
    yield* fs.writeFileString(`${directory}/other.lock`, "")
    const before = new Map<string, string>()
    for (const name of yield* fs.readDirectory(directory)) {
      before.set(name, yield* snapshot(fs, `${directory}/${name}`))
    }
    const newcomers = Effect.map(
      fs.readDirectory(directory),
      (present) => present.filter((name) => !before.has(name))
    )
    return {
      newcomers,
      complaints: Effect.gen(function*() {
        const complaints: Array<string> = []
        const present = yield* fs.readDirectory(directory)
        for (const name of yield* newcomers) {
          complaints.push(`${name} is left behind`)
        }
        for (const [name, was] of before) {
          const is = present.includes(name) ? yield* snapshot(fs, `${directory}/${name}`) : "gone"
          if (is !== was) {
            complaints.push(`${name} was touched: ${was} became ${is}`)
          }
        }
        return complaints
      })
    }
  })
