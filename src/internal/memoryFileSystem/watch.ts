import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { call } from "./call.js"
import { Errno } from "./errno.js"
import * as Path from "./path.js"
import * as PathCalls from "./pathCalls.js"
import type { Process } from "./process.js"
import type { Notice } from "./volume.js"

/** What Node makes of the kernel's words: everything but a change in place is a "rename". */
const isChange = (notice: Notice): boolean => notice === "attrib" || notice === "modify"

interface Raw {
  readonly change: boolean
  readonly name: string
}

const method = "watch"

/** One inotify watch, on an inode: it does not notice when another file takes over the name. */
const listen = (process: Process, path: string, tell: (raw: Raw) => void): () => void =>
  process.volume.listen(
    PathCalls.watchable(process, path),
    (notice, name) => tell({ change: isChange(notice), name: name ?? Path.basename(path) })
  )

/**
 * Node's watcher below a whole directory: a watch for each file and directory, in JavaScript, and new ones on the fly.
 */
const listenRecursively = (process: Process, root: string, tell: (raw: Raw) => void): () => void => {
  const stops = new Map<string, () => void>()
  const links = new Set<string>()
  const relative = (path: string) => Path.relative("/", root, path)

  const typeOf = (look: typeof PathCalls.stat, path: string) => {
    try {
      return look(process, path).type
    } catch (error) {
      if (error instanceof Errno) return undefined
      throw error
    }
  }

  const forget = (path: string) => {
    for (const [other, stop] of stops) {
      if (!other.startsWith(path)) continue
      stop()
      stops.delete(other)
      links.delete(other)
    }
  }

  const watchFile = (path: string) => {
    if (stops.has(path)) return
    stops.set(
      path,
      listen(process, path, () => {
        const type = typeOf(PathCalls.stat, path)
        if (type === undefined) {
          tell({ change: false, name: relative(path) })
          forget(path)
        } else if (path === root && type !== "Directory") tell({ change: true, name: Path.basename(path) })
        else if (links.has(path)) tell({ change: false, name: relative(path) })
        else if (type === "Directory") watchDirectory(path)
        else tell({ change: true, name: relative(path) })
      })
    )
  }

  const watchDirectory = (directory: string) => {
    for (const name of PathCalls.scandir(process, directory)) {
      const path = Path.join(directory, name)
      if (stops.has(path)) continue
      tell({ change: false, name: relative(path) })
      const isLink = typeOf(PathCalls.lstat, path) === "SymbolicLink"
      if (isLink) links.add(path)
      const type = typeOf(PathCalls.stat, path)
      if (type === undefined) continue
      watchFile(path)
      if (type === "Directory" && !isLink) watchDirectory(path)
    }
  }

  watchFile(root)
  if (typeOf(PathCalls.stat, root) === "Directory") watchDirectory(root)
  return () => forget(root)
}

/**
 * @internal
 */
export const watch = (
  process: Process,
  path: string,
  stat: (path: string) => Effect.Effect<FileSystem.File.Info, PlatformError>,
  recursive: boolean
): Stream.Stream<FileSystem.WatchEvent, PlatformError> => {
  const subscribe = (raw: Queue.Queue<Raw>): Effect.Effect<void, never, Scope.Scope> => {
    const start = recursive ? listenRecursively : listen
    const root = recursive ? Path.resolve(process.options.cwd, path) : path
    return Effect.asVoid(Effect.acquireRelease(
      // `fs.watch` throws where it cannot watch, past anything that could have become an error of the stream.
      Effect.orDie(call(
        process,
        { method, syscall: "watch", path },
        () => start(process, root, (event) => raw.unsafeOffer(event))
      )),
      (stop) => Effect.sync(stop)
    ))
  }

  // The service for Node looks for the bare name, that is in its working directory: elsewhere a file that was created is
  // reported as removed. A program that works with this service works there as well.
  const interpret = ({ change, name }: Raw): Effect.Effect<Option.Option<FileSystem.WatchEvent>, PlatformError> => {
    if (name === "") return Effect.succeedNone
    if (change) return Effect.succeedSome(FileSystem.WatchEventUpdate({ path: name }))
    return Effect.matchEffect(stat(name), {
      onSuccess: () => Effect.succeedSome(FileSystem.WatchEventCreate({ path: name })),
      onFailure: (error) =>
        error._tag === "SystemError" && error.reason === "NotFound"
          ? Effect.succeedSome(FileSystem.WatchEventRemove({ path: name }))
          : Effect.fail(error)
    })
  }

  return Stream.unwrapScoped(Effect.gen(function*() {
    yield* stat(path)
    const raw = yield* Effect.acquireRelease(Queue.unbounded<Raw>(), Queue.shutdown)
    yield* subscribe(raw)
    return Stream.fromQueue(raw, { maxChunkSize: 1 }).pipe(
      Stream.mapEffect(interpret),
      Stream.filterMap((event) => event)
    )
  }))
}
