/*
 * What Node builds out of several system calls. Others see every state in between, as they do on a real disk, and an
 * interruption leaves things as the last call left them.
 */
import type { OpenFlag } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import type { Call } from "./call.js"
import { announce, call, forever, perform } from "./call.js"
import { Errno, nodeError } from "./errno.js"
import * as FileCalls from "./fileCalls.js"
import { sizeOf } from "./inode.js"
import * as Path from "./path.js"
import * as PathCalls from "./pathCalls.js"
import type { Handle, Process } from "./process.js"

/** How much one `write` or `read` moves at most: `readFile`'s own buffer. */
const chunkSize = 512 * 1024

const withHandle = <A>(
  process: Process,
  method: string,
  path: string,
  flag: OpenFlag | "copy",
  mode: number,
  use: (handle: Handle) => Call<A>
): Call<A> =>
  Effect.uninterruptibleMask((restore) => {
    const site = { method, syscall: "open", path }
    return Effect.flatMap(
      Effect.zipRight(
        restore(announce(process, site)),
        perform(process, site, () => FileCalls.open(process, path, flag, mode), restore(forever))
      ),
      (handle) => Effect.ensuring(restore(use(handle)), close(process, method, path, handle.fd))
    )
  })

const close = (process: Process, method: string, path: string, fd: number) =>
  Effect.orDie(call(process, { method, syscall: "close", path, descriptor: true }, () => FileCalls.close(process, fd)))

/** @internal */
export const writeFile = (process: Process, path: string, data: Uint8Array, flag: OpenFlag, mode: number): Call<void> =>
  withHandle(process, "writeFile", path, flag, mode, ({ fd }) => {
    const site = { method: "writeFile", syscall: "write", path, descriptor: true }
    const loop = (rest: Uint8Array): Call<void> =>
      Effect.flatMap(
        call(process, site, () => FileCalls.write(process, fd, rest, undefined)),
        (written) => written === rest.length ? Effect.void : loop(rest.subarray(written))
      )
    return loop(data)
  })

/** @internal */
export const readFile = (process: Process, path: string): Call<Uint8Array> =>
  withHandle(process, "readFile", path, "r", 0o666, ({ fd }) =>
    Effect.gen(function*() {
      const site = { method: "readFile", syscall: "read", path, descriptor: true }
      const size = yield* call(process, { ...site, syscall: "fstat" }, () => {
        const node = FileCalls.fstat(process, fd)
        return node.type === "File" ? node.size : 0
      })
      // Of a file that grows meanwhile Node gives what it was on opening, and of an empty one all that comes.
      let content = new Uint8Array(size)
      let length = 0
      for (;;) {
        const buffer = new Uint8Array(size === 0 ? 64 * 1024 : Math.min(chunkSize, size - length))
        const bytesRead = yield* call(process, site, () => FileCalls.read(process, fd, buffer, undefined))
        if (length + bytesRead > content.length) {
          const grown = new Uint8Array(length + bytesRead)
          grown.set(content)
          content = grown
        }
        content.set(buffer.subarray(0, bytesRead), length)
        length += bytesRead
        if (bytesRead === 0 || length === size) return content.subarray(0, length)
      }
    }))

/** @internal */
export const truncate = (process: Process, path: string, length: number): Call<void> =>
  withHandle(process, "truncate", path, "r+", 0o666, ({ fd }) =>
    call(
      process,
      { method: "truncate", syscall: "ftruncate", path, descriptor: true },
      () => FileCalls.ftruncate(process, fd, length)
    ))

/**
 * libuv's `uv_fs_copyfile`: a copy that fails takes its target with it, even one that was there before.
 *
 * @internal
 */
export const copyFile = (process: Process, method: string, from: string, to: string): Call<void> => {
  const site = (syscall: string) => ({ method, syscall, path: to })
  const copyTo = (source: Handle, target: Handle): Call<void> =>
    Effect.gen(function*() {
      const node = source.entry.node
      yield* call(process, site("ftruncate"), () => FileCalls.ftruncate(process, target.fd, 0))
      yield* call(process, site("fchmod"), () => FileCalls.fchmod(process, target.fd, node.mode))
      const size = sizeOf(node)
      let copied = 0
      while (copied < size) {
        const buffer = new Uint8Array(Math.min(chunkSize, size - copied))
        const moved = yield* call(process, site("copy_file_range"), () => {
          const length = FileCalls.read(process, source.fd, buffer, copied)
          return FileCalls.write(process, target.fd, buffer.subarray(0, length), undefined)
        })
        if (moved === 0) return
        copied += moved
      }
    })
  const removeTarget = Effect.ignore(call(process, site("unlink"), () => PathCalls.unlink(process, to)))
  return withHandle(process, method, from, "r", 0, (source) =>
    Effect.flatMap(
      Effect.either(
        withHandle(process, method, to, "copy", source.entry.node.mode, (target) =>
          target.entry.node === source.entry.node
            ? Effect.succeed(Effect.void)
            : Effect.map(Effect.either(copyTo(source, target)), (result) =>
              result._tag === "Right" ? Effect.void : Effect.zipRight(removeTarget, Effect.fail(result.left))))
      ),
      (opened) =>
        opened._tag === "Right" ? opened.right : Effect.fail(opened.left)
    )).pipe(Effect.mapError((error) => nodeError(error.code, { syscall: "copyfile", path: from, dest: to })))
}

/**
 * Node's recursive mkdir: makes what is missing from the bottom up, and asks what stands in the way only then.
 *
 * @internal
 */
export const makeDirectories = (process: Process, method: string, path: string, mode: number): Call<void> =>
  Effect.gen(function*() {
    const pending = [path]
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const at = next
      const site = { method, syscall: "mkdir", path: at }
      const made = yield* Effect.either(call(process, site, () => PathCalls.mkdir(process, at, mode)))
      if (made._tag === "Right") continue
      const { code } = made.left
      if (code === "EACCES" || code === "ENOSPC" || code === "ENOTDIR" || code === "EPERM") return yield* made
      const parent = at.includes("/") ? at.slice(0, at.lastIndexOf("/")) : at
      if (code === "ENOENT" && parent !== at) {
        pending.push(at, parent)
        continue
      }
      const stat = { ...site, syscall: "stat" }
      const found = yield* Effect.either(call(process, stat, () => PathCalls.stat(process, at)))
      const isDirectory = found._tag === "Right" && found.right.type === "Directory"
      if (pending.length > 0 && code === "EEXIST") {
        if (isDirectory) continue
        return yield* Effect.fail(nodeError("ENOTDIR", site))
      }
      if (found._tag === "Left") return yield* Effect.fail(nodeError(found.left.code, site))
      if (!isDirectory) return yield* Effect.fail(nodeError("EEXIST", site))
    }
  })

/** @internal */
export const makeTempDirectory = (process: Process, method: string, prefix: string): Call<string> => {
  const site = { method, syscall: "mkdtemp", path: `${prefix}XXXXXX` }
  const attempt: Call<string> = Effect.flatMap(randomName(6, alphanumeric), (name) => {
    const path = prefix + name
    return Effect.as(call(process, site, () => PathCalls.mkdir(process, path, 0o700)), path)
  })
  return Effect.retry(attempt, { while: (error) => error.code === "EEXIST", times: 1_000 })
}

/** @internal */
export const makeTempFile = (
  process: Process,
  method: string,
  prefix: string,
  suffix: string
): Call<string> =>
  Effect.gen(function*() {
    const directory = yield* makeTempDirectory(process, method, prefix)
    const path = Path.join(directory, (yield* randomName(12, "0123456789abcdef")) + suffix)
    yield* withHandle(process, method, path, "w+", 0o666, () => Effect.void)
    return path
  })

const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

const randomName = (length: number, alphabet: string): Effect.Effect<string> =>
  Effect.map(
    Effect.all(Array.from({ length }, () => Random.nextIntBetween(0, alphabet.length))),
    (indices) => indices.map((index) => alphabet.charAt(index)).join("")
  )

/** @internal */
export const readDirectory = (process: Process, path: string, recursive: boolean): Call<Array<string>> =>
  Effect.gen(function*() {
    const site = { method: "readDirectory", syscall: "scandir", path }
    const names = yield* call(process, site, () => PathCalls.scandir(process, path))
    if (!recursive) return names
    const result: Array<string> = []
    const queue: Array<readonly [directory: string, names: Array<string>]> = [[path, names]]
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      for (const name of next[1]) {
        const at = Path.join(next[0], name)
        result.push(Path.relative(process.options.cwd, path, at))
        const isDirectory = yield* call(
          process,
          { ...site, syscall: "stat", path: at },
          () => isDirectoryAt(process, at)
        )
        if (isDirectory) {
          queue.push([at, yield* call(process, { ...site, path: at }, () => PathCalls.scandir(process, at))])
        }
      }
    }
    return result
  })

/** Node lists through links to directories too, and takes what it cannot look at for a file. */
const isDirectoryAt = (process: Process, path: string): boolean => {
  try {
    return PathCalls.stat(process, path).type === "Directory"
  } catch (error) {
    if (error instanceof Errno) return false
    throw error
  }
}
