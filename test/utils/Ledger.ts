/**
 * Everything that somebody asks of a file system, written down, and how many watchers are open.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

export interface Entry {
  readonly method: string
  readonly path: string
  /** When it began, in milliseconds. */
  readonly at: number
}

export interface Ledger {
  /** The file system, whose calls are written down when they begin. */
  readonly fs: FileSystem.FileSystem
  readonly entries: ReadonlyArray<Entry>
  /** How many watchers are open now. */
  readonly watchers: () => number
  /** How many were open at the same time. */
  readonly mostWatchers: () => number
}

export const make = (fs: FileSystem.FileSystem): Ledger => {
  const entries: Array<Entry> = []
  let open = 0
  let most = 0
  const watcher = Effect.acquireRelease(
    Effect.sync(() => {
      open++
      most = Math.max(most, open)
    }),
    () => Effect.sync(() => void open--)
  )
  const watched = (stream: ReturnType<FileSystem.FileSystem["watch"]>) =>
    Stream.unwrapScoped(Effect.as(watcher, stream))

  return {
    entries,
    watchers: () => open,
    mostWatchers: () => most,
    fs: new Proxy(fs, {
      get: (target, name) => {
        const method: unknown = Reflect.get(target, name)
        if (typeof method !== "function" || typeof name !== "string") {
          return method
        }
        return (...args: ReadonlyArray<unknown>): unknown => {
          const note = Effect.map(Clock.currentTimeMillis, (at) => {
            entries.push({ method: name, path: String(args[0]), at })
          })
          if (name === "watch") {
            const [path, options] = args
            return typeof path === "string"
              ? Stream.unwrap(Effect.as(note, watched(target.watch(path, { ...(options ?? {}) }))))
              : Stream.dieMessage("a watch of nothing")
          }
          const result: unknown = Reflect.apply(method, target, args)
          if (Effect.isEffect(result)) {
            return Effect.zipRight(note, result)
          }
          throw new Error(`${name} is not written down`)
        }
      }
    })
  }
}
