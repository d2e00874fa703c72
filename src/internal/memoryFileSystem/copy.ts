import type { CopyOptions } from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type { Call } from "./call.js"
import { call } from "./call.js"
import type { Code } from "./errno.js"
import { nodeSystemError } from "./errno.js"
import type { Inode } from "./inode.js"
import { fullMode } from "./inode.js"
import * as Path from "./path.js"
import * as PathCalls from "./pathCalls.js"
import type { Process } from "./process.js"
import { copyFile, makeDirectories } from "./recipes.js"

const refuse = (code: string, errno: Code, summary: string, detail: string, path: string) =>
  Effect.fail(nodeSystemError(code, errno, summary, detail, { syscall: "cp", path }))

const into = (from: string, to: string) =>
  refuse("ERR_FS_CP_EINVAL", "EINVAL", "Invalid src or dest", `cannot copy ${from} to a subdirectory of self ${to}`, to)

/**
 * Node's `fs.cp`, always recursive. What it refuses and in which order follows its JavaScript, and so do its error codes.
 *
 * @internal
 */
export const copy = (
  process: Process,
  source: string,
  target: string,
  options: CopyOptions | undefined
): Call<void> => {
  const { cwd } = process.options
  const method = "copy"
  const on = <A>(syscall: string, path: string, run: (path: string) => A): Call<A> =>
    call(process, { method, syscall, path }, () => run(path))
  const stat = (path: string) => on("stat", path, (at) => PathCalls.stat(process, at))
  const lstat = (path: string) => on("lstat", path, (at) => PathCalls.lstat(process, at))
  const readlink = (path: string) => on("readlink", path, (at) => PathCalls.readlink(process, at))
  const unlink = (path: string) => on("unlink", path, (at) => PathCalls.unlink(process, at))
  const mkdir = (path: string) => on("mkdir", path, (at) => PathCalls.mkdir(process, at, 0o777))
  const chmod = (path: string, mode: number) => on("chmod", path, (at) => PathCalls.chmod(process, at, mode))
  const symlink = (to: string, path: string) =>
    call(process, { method, syscall: "symlink", path: to, dest: path }, () => PathCalls.symlink(process, to, path))

  const contains = (directory: string, path: string): boolean => {
    const outer = Path.resolve(cwd, directory).split("/").filter(Boolean)
    const inner = Path.resolve(cwd, path).split("/").filter(Boolean)
    return outer.every((name, index) => inner[index] === name)
  }

  /** Refuses what cannot be copied over what is there, and gives both. */
  const check = (from: string, to: string): Call<{ readonly node: Inode; readonly existing: Inode | undefined }> =>
    Effect.gen(function*() {
      const node = yield* lstat(from)
      const existing = yield* Effect.catchIf(
        lstat(to),
        (error) => error.code === "ENOENT",
        () => Effect.succeed(undefined)
      )
      if (existing !== undefined) {
        if (existing === node) {
          return yield* refuse(
            "ERR_FS_CP_EINVAL",
            "EINVAL",
            "Invalid src or dest",
            "src and dest cannot be the same",
            to
          )
        }
        if (node.type === "Directory" && existing.type !== "Directory") {
          const detail = `cannot overwrite non-directory ${to} with directory ${from}`
          return yield* refuse(
            "ERR_FS_CP_DIR_TO_NON_DIR",
            "EISDIR",
            "Cannot overwrite non-directory with directory",
            detail,
            to
          )
        }
        if (node.type !== "Directory" && existing.type === "Directory") {
          const detail = `cannot overwrite directory ${to} with non-directory ${from}`
          return yield* refuse(
            "ERR_FS_CP_NON_DIR_TO_DIR",
            "ENOTDIR",
            "Cannot overwrite directory with non-directory",
            detail,
            to
          )
        }
      }
      if (node.type === "Directory" && contains(from, to)) return yield* into(from, to)
      return { node, existing }
    })

  const checkParents = (node: Inode): Call<void> =>
    Effect.gen(function*() {
      const stop = Path.resolve(cwd, Path.dirname(source))
      // An error names the path just below the directory that turned out to be the source: so does Node's.
      for (let below = target;;) {
        const at = Path.resolve(cwd, Path.dirname(below))
        if (at === stop || at === "/") return
        const parent = yield* Effect.catchIf(stat(at), (error) =>
          error.code === "ENOENT", () =>
          Effect.succeed(undefined))
        if (parent === undefined) {
          return
        }
        if (parent === node) {
          return yield* into(source, below)
        }
        below = at
      }
    })

  const one = (existing: Inode | undefined, from: string, path: string): Call<void> =>
    Effect.flatMap(lstat(from), (node) => {
      switch (node.type) {
        case "Directory":
          return copyDirectory(node, existing, from, path)
        case "SymbolicLink":
          return copyLink(existing, from, path)
        case "Socket":
          return refuse(
            "ERR_FS_CP_SOCKET",
            "EINVAL",
            "Cannot copy a socket file",
            `cannot copy a socket file: ${path}`,
            path
          )
        case "FIFO":
          return refuse(
            "ERR_FS_CP_FIFO_PIPE",
            "EINVAL",
            "Cannot copy a FIFO pipe",
            `cannot copy a FIFO pipe: ${path}`,
            path
          )
        default:
          return copyContent(node, existing, from, path)
      }
    })

  const copyContent = (node: Inode, existing: Inode | undefined, from: string, path: string): Call<void> =>
    Effect.gen(function*() {
      if (existing !== undefined) {
        if (options?.overwrite !== true) return
        yield* unlink(path)
      }
      const mode = fullMode(node)
      yield* copyFile(process, method, from, path)
      if (options?.preserveTimestamps === true) {
        if ((mode & 0o200) === 0) yield* chmod(path, mode | 0o200)
        const { atime, mtime } = yield* stat(from)
        yield* on("utime", path, (at) => PathCalls.utimes(process, at, Math.round(atime), Math.round(mtime)))
      }
      yield* chmod(path, mode)
    })

  const copyDirectory = (node: Inode, existing: Inode | undefined, from: string, path: string): Call<void> =>
    Effect.gen(function*() {
      const mode = fullMode(node)
      if (existing === undefined) yield* mkdir(path)
      const names = yield* on("opendir", from, (at) => PathCalls.scandir(process, at))
      for (const name of names) {
        const child = Path.join(from, name)
        const childTarget = Path.join(path, name)
        const { existing: childExisting } = yield* check(child, childTarget)
        yield* one(childExisting, child, childTarget)
      }
      if (existing === undefined) yield* chmod(path, mode)
    })

  const copyLink = (existing: Inode | undefined, from: string, path: string): Call<void> =>
    Effect.gen(function*() {
      const link = yield* readlink(from)
      const resolved = Path.isAbsolute(link) ? link : Path.resolve(cwd, Path.dirname(from), link)
      if (existing === undefined) return yield* symlink(resolved, path)
      const other = yield* Effect.catchIf(readlink(path), (error) =>
        error.code === "EINVAL", () =>
        Effect.succeed(undefined))
      if (other === undefined) {
        return yield* symlink(resolved, path)
      }
      const resolvedOther = Path.isAbsolute(other) ? other : Path.resolve(cwd, Path.dirname(path), other)
      if (contains(resolved, resolvedOther)) {
        const detail = `cannot copy ${resolved} to a subdirectory of self ${resolvedOther}`
        return yield* refuse("ERR_FS_CP_EINVAL", "EINVAL", "Invalid src or dest", detail, path)
      }
      const node = yield* stat(from)
      if (node.type === "Directory" && contains(resolvedOther, resolved)) {
        const detail = `cannot overwrite ${resolvedOther} with ${resolved}`
        return yield* refuse(
          "ERR_FS_CP_SYMLINK_TO_SUBDIRECTORY",
          "EINVAL",
          "Cannot overwrite symlink in subdirectory of self",
          detail,
          path
        )
      }
      yield* unlink(path)
      yield* symlink(resolved, path)
    })

  return Effect.gen(function*() {
    const { existing, node } = yield* check(source, target)
    yield* checkParents(node)
    const parent = Path.dirname(target)
    const parentExists = yield* Effect.catchIf(
      Effect.as(stat(parent), true),
      (error) => error.code === "ENOENT",
      () => Effect.succeed(false)
    )
    if (!parentExists) yield* makeDirectories(process, method, parent, 0o777)
    yield* one(existing, source, target)
  })
}
