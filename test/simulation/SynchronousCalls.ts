/**
 * The calls of `node:fs` that `NodeFileLock` makes, on a disk in memory: each one happens at once, as a whole.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as NodeFS from "node:fs"
import type { Calls } from "../../src/internal/lockFile/nodeDisk.js"
import type { Step } from "./Kernel.js"

interface Open {
  readonly file: FileSystem.File
  readonly scope: Scope.CloseableScope
  readonly path: string
}

/** Of the file systems that count as local, ext4. */
const localType = 0xef53

/** What Node throws, from what the service fails with. */
const thrown = (cause: Cause.Cause<unknown>): unknown => {
  const error = Cause.squash(cause)
  return error instanceof Error && error.cause instanceof Error ? error.cause : error
}

const toStats = (info: FileSystem.File.Info) => ({
  ino: Option.getOrElse(info.ino, () => 0),
  size: Number(info.size),
  mode: info.mode,
  mtimeMs: Option.match(info.mtime, { onNone: () => 0, onSome: (date) => date.getTime() }),
  isFile: () => info.type === "File",
  isDirectory: () => info.type === "Directory",
  isSymbolicLink: () => false,
  isFIFO: () => info.type === "FIFO",
  isSocket: () => info.type === "Socket"
})

/**
 * Makes them over a file system whose calls do not wait. `around` makes each call, and what goes on before and after it; `onThread`
 * makes a call of the thread pool, which calls back when it has ended.
 */
export const make = (
  fs: FileSystem.FileSystem,
  options: {
    readonly runSync: <A, E>(effect: Effect.Effect<A, E>) => Exit.Exit<A, E>
    readonly around: <A>(step: Step, make: () => A, writing?: (share: number) => void) => A
    readonly onThread: (step: Step, done: () => void) => void
  }
): Calls => {
  const open = new Map<number, Open>()

  const run = <A, E>(effect: Effect.Effect<A, E>): A => {
    const exit = options.runSync(effect)
    if (Exit.isFailure(exit)) {
      throw thrown(exit.cause)
    }
    return exit.value
  }

  const call = <A, E>(syscall: string, path: string, effect: Effect.Effect<A, E>, to?: string): A =>
    options.around({ method: syscall, syscall, path, to }, () => run(effect))

  const fileOf = (fd: number): Open => {
    const found = open.get(fd)
    if (found === undefined) throw Object.assign(new Error("EBADF: bad file descriptor"), { code: "EBADF" })
    return found
  }

  /** A promise that calls back at once when the call has ended: nothing of a simulation waits for the event loop of Node. */
  const onThread = <A, E>(syscall: string, path: string, effect: Effect.Effect<A, E>): PromiseLike<A> => {
    const promise: PromiseLike<A> = {
      then: (onValue, onError) => {
        options.onThread({ method: syscall, syscall, path }, () => {
          const exit = options.runSync(effect)
          if (Exit.isSuccess(exit)) onValue?.(exit.value)
          else onError?.(thrown(exit.cause))
        })
        return promise as never
      }
    }
    return promise
  }

  const calls = {
    openSync: (path: string, flags: string | number): number => {
      const flag = flags === "wx" ? "wx" : (Number(flags) & NodeFS.constants.O_RDWR) !== 0 ? "r+" : "r"
      const method = flag === "r" ? "readFile" : "open"
      return options.around({ method, syscall: "open", path }, () => {
        const scope = run(Scope.make())
        const file = run(Scope.extend(fs.open(path, { flag }), scope))
        open.set(file.fd, { file, scope, path })
        return file.fd
      })
    },
    closeSync: (fd: number): void => {
      const { path, scope } = fileOf(fd)
      options.around({ method: "close", syscall: "close", path }, () => {
        open.delete(fd)
        run(Scope.close(scope, Exit.void))
      })
    },
    fstatSync: (fd: number) => {
      const { file, path } = fileOf(fd)
      return toStats(call("fstat", path, file.stat))
    },
    lstatSync: (path: string) =>
      options.around({ method: "lstat", syscall: "lstat", path }, () => {
        const exit = options.runSync(fs.stat(path))
        if (Exit.isSuccess(exit)) {
          return toStats(exit.value)
        }
        const error = thrown(exit.cause)
        if (error instanceof Error && "code" in error && error.code === "ENOENT") {
          return undefined
        }
        throw error
      }),
    readSync: (fd: number, buffer: Uint8Array, offset: number, length: number, position: number | null): number => {
      const { file, path } = fileOf(fd)
      const seek = position === null ? Effect.void : file.seek(position, "start")
      const read = file.read(buffer.subarray(offset, offset + length))
      return Number(call("read", path, Effect.zipRight(seek, read)))
    },
    writeSync: (fd: number, text: string, position?: number): number => {
      const { file, path } = fileOf(fd)
      const bytes = new TextEncoder().encode(text)
      const write = (part: Uint8Array) =>
        Effect.zipRight(
          position === undefined ? Effect.void : file.seek(position, "start"),
          part.length === 0 ? Effect.void : file.writeAll(part)
        )
      return options.around(
        { method: "write", syscall: "write", path },
        () => {
          run(write(bytes))
          return bytes.length
        },
        (share) => run(write(bytes.subarray(0, Math.floor(share * bytes.length))))
      )
    },
    linkSync: (from: string, to: string): void => call("link", from, fs.link(from, to), to),
    renameSync: (from: string, to: string): void => call("rename", from, fs.rename(from, to), to),
    unlinkSync: (path: string): void => call("unlink", path, fs.remove(path)),
    mkdirSync: (path: string): void => call("mkdir", path, fs.makeDirectory(path)),
    chmodSync: (path: string, mode: number): void => call("chmod", path, fs.chmod(path, mode)),
    readdirSync: (path: string) => call("scandir", path, fs.readDirectory(path)),
    rmdirSync: (path: string): void =>
      call(
        "rmdir",
        path,
        Effect.flatMap(fs.readDirectory(path), (names): Effect.Effect<void, unknown> =>
          names.length === 0
            ? fs.remove(path, { recursive: true })
            : Effect.fail(Object.assign(new Error(`ENOTEMPTY: ${path}`), { code: "ENOTEMPTY" })))
      ),
    readlinkSync: (path: string): string => call("readlink", path, fs.readLink(path)),
    realpathSync: { native: (path: string): string => call("realpath", path, fs.realPath(path)) },
    promises: {
      realpath: (path: string) => onThread("realpath", path, fs.realPath(path)),
      statfs: (path: string) => onThread("statfs", path, Effect.succeed({ type: localType })),
      readdir: (path: string) => onThread("scandir", path, fs.readDirectory(path))
    }
  }
  // The declarations of Node have more than is used.
  return calls as unknown as Calls
}
