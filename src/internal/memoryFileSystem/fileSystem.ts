import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import { call, operation } from "./call.js"
import { copy } from "./copy.js"
import { badArgument, invalidPath, outOfRange, systemError } from "./errno.js"
import { checkLength, FileHandle, makeInfo } from "./file.js"
import * as FileCalls from "./fileCalls.js"
import * as Path from "./path.js"
import * as PathCalls from "./pathCalls.js"
import type { Process } from "./process.js"
import { R, W } from "./process.js"
import { realPath } from "./realPath.js"
import * as Recipes from "./recipes.js"
import { remove } from "./remove.js"
import { watch } from "./watch.js"

const maximumId = 2 ** 32 - 1

const checkRange = (method: string, name: string, value: number, least: number): Effect.Effect<void, PlatformError> =>
  Number.isInteger(value) && value >= least && value <= maximumId
    ? Effect.void
    : Effect.fail(badArgument(method, outOfRange(name, `an integer >= ${least} && <= ${maximumId}`, value)))

const checkMode = (method: string, mode: number | undefined) =>
  mode === undefined ? Effect.void : checkRange(method, "mode", mode, 0)

/** Seconds as a number, or a date, to milliseconds: Node takes a negative number for now, and keeps microseconds. */
const toMillis = (now: number, time: Date | number): number =>
  typeof time !== "number" ? time.getTime() : time < 0 ? now : Math.trunc(time * 1e6) / 1e3

const checkTime = (time: Date | number): Effect.Effect<void, PlatformError> =>
  Number.isFinite(Number(time))
    ? Effect.void
    : Effect.fail(badArgument("utime", outOfRange("time", "a date or a number of seconds", Number(time))))

/**
 * The service of one process over its disk.
 *
 * @internal
 */
export const make = (process: Process): FileSystem.FileSystem => {
  /** An operation that is one system call. */
  const single = <A>(method: string, syscall: string, path: string, run: (path: string) => A) =>
    operation(method, [path], (at) => call(process, { method, syscall, path: at }, () => run(at)))

  const double = (
    method: string,
    syscall: string,
    from: string,
    to: string,
    run: (process: Process, from: string, to: string) => void
  ) =>
    operation(
      method,
      [from, to],
      (path, dest) => call(process, { method, syscall, path, dest }, () => run(process, path, dest))
    )

  const stat = (path: string) => single("stat", "stat", path, (at) => makeInfo(PathCalls.stat(process, at)))

  const open = (path: string, options?: FileSystem.OpenFileOptions) => {
    const flag = options?.flag ?? "r"
    const mode = options?.mode ?? 0o666
    const acquire = Effect.zipRight(
      checkMode("open", options?.mode),
      single("open", "open", path, (at) => FileCalls.open(process, at, flag, mode))
    )
    const site = { method: "File.close", syscall: "close", path, descriptor: true }
    return Effect.map(
      Effect.acquireRelease(
        acquire,
        ({ fd }) => Effect.orDie(call(process, site, () => FileCalls.close(process, fd)))
      ),
      ({ fd }): FileSystem.File => new FileHandle(process, fd, path, flag.startsWith("a"))
    )
  }

  const tempPrefix = (options: FileSystem.MakeTempDirectoryOptions | undefined): string => {
    const directory = options?.directory === undefined
      ? process.options.temporaryDirectory
      : Path.join(options.directory, ".")
    return options?.prefix ? Path.join(directory, options.prefix) : `${directory}/`
  }

  const makeTempDirectory = (method: string) => (options?: FileSystem.MakeTempDirectoryOptions) =>
    operation(method, [tempPrefix(options)], (prefix) => Recipes.makeTempDirectory(process, method, prefix))

  const makeTempFile = (method: string) => (options?: FileSystem.MakeTempFileOptions) =>
    operation(
      method,
      [tempPrefix(options), options?.suffix ?? ""],
      (prefix, suffix) => Recipes.makeTempFile(process, method, prefix, suffix)
    )

  const removeAll = (method: string, path: string) =>
    Effect.orDie(remove(process, method, path, { recursive: true, force: false }))

  return FileSystem.make({
    access: (path, options) => {
      const wanted = (options?.readable ? R : 0) | (options?.writable ? W : 0)
      return single("access", "access", path, (at) => PathCalls.access(process, at, wanted))
    },
    chmod: (path, mode) =>
      Effect.zipRight(
        checkMode("chmod", mode),
        single("chmod", "chmod", path, (at) => PathCalls.chmod(process, at, mode))
      ),
    chown: (path, uid, gid) =>
      Effect.all([
        checkRange("chown", "uid", uid, -1),
        checkRange("chown", "gid", gid, -1)
      ]).pipe(Effect.zipRight(single("chown", "chown", path, (at) => PathCalls.chown(process, at, uid, gid)))),
    copy: (from, to, options) => operation("copy", [from, to], (path, dest) => copy(process, path, dest, options)),
    copyFile: (from, to) =>
      operation("copyFile", [from, to], (path, dest) => Recipes.copyFile(process, "copyFile", path, dest)),
    link: (from, to) => double("link", "link", from, to, PathCalls.link),
    makeDirectory: (path, options) => {
      const method = "makeDirectory"
      const mode = options?.mode ?? 0o777
      return Effect.zipRight(
        checkMode(method, options?.mode),
        options?.recursive
          ? operation(method, [path], (at) => Recipes.makeDirectories(process, method, at, mode))
          : single(method, "mkdir", path, (at) => PathCalls.mkdir(process, at, mode))
      )
    },
    makeTempDirectory: makeTempDirectory("makeTempDirectory"),
    makeTempDirectoryScoped: (options) =>
      Effect.acquireRelease(
        makeTempDirectory("makeTempDirectoryScoped")(options),
        (directory) => removeAll("makeTempDirectoryScoped", directory)
      ),
    makeTempFile: makeTempFile("makeTempFile"),
    makeTempFileScoped: (options) =>
      Effect.acquireRelease(
        makeTempFile("makeTempFileScoped")(options),
        (file) => removeAll("makeTempFileScoped", Path.dirname(file))
      ),
    open,
    readDirectory: (path, options) =>
      Effect.suspend(() => {
        if (!path.includes("\0")) {
          return operation(
            "readDirectory",
            [path],
            (at) => Recipes.readDirectory(process, at, options?.recursive ?? false)
          )
        }
        // Alone among them this one goes through a promise, which turns what is thrown into one more system error.
        return Effect.fail(systemError("readDirectory", path, invalidPath(path)))
      }),
    readFile: (path) => operation("readFile", [path], (at) => Recipes.readFile(process, at)),
    readLink: (path) => single("readLink", "readlink", path, (at) => PathCalls.readlink(process, at)),
    realPath: (path) => operation("realPath", [path], (at) => realPath(process, at)),
    remove: (path, options) =>
      operation(
        "remove",
        [path],
        (at) =>
          remove(process, "remove", at, { recursive: options?.recursive ?? false, force: options?.force ?? false })
      ),
    rename: (from, to) => double("rename", "rename", from, to, PathCalls.rename),
    stat,
    symlink: (target, path) => double("symlink", "symlink", target, path, PathCalls.symlink),
    truncate: (path, length) =>
      Effect.flatMap(
        checkLength("truncate", length),
        (size) => operation("truncate", [path], (at) => Recipes.truncate(process, at, size))
      ),
    utimes: (path, atime, mtime) =>
      Effect.all([checkTime(atime), checkTime(mtime)]).pipe(
        Effect.zipRight(single("utime", "utime", path, (at) => {
          const { now } = process.volume
          PathCalls.utimes(process, at, toMillis(now, atime), toMillis(now, mtime))
        }))
      ),
    watch: (path, options) => watch(process, path, stat, options?.recursive ?? false),
    writeFile: (path, data, options) =>
      Effect.zipRight(
        checkMode("writeFile", options?.mode),
        operation("writeFile", [path], (at) =>
          Recipes.writeFile(process, at, data, options?.flag ?? "w", options?.mode ?? 0o666))
      )
  })
}
