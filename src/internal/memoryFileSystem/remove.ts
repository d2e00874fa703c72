import * as Effect from "effect/Effect"
import type { Call } from "./call.js"
import { call } from "./call.js"
import type { NodeError } from "./errno.js"
import { nodeSystemError } from "./errno.js"
import * as PathCalls from "./pathCalls.js"
import type { Process } from "./process.js"

/**
 * Node's `fs.rm`, which is a JavaScript rimraf: it looks first and removes then, so two at once can both succeed.
 *
 * @internal
 */
export const remove = (
  process: Process,
  method: string,
  path: string,
  options: { readonly recursive: boolean; readonly force: boolean }
): Call<void> => {
  const lstat = (at: string) =>
    call(process, { method, syscall: "lstat", path: at }, () => PathCalls.lstat(process, at))
  const unlink = (at: string) =>
    call(process, { method, syscall: "unlink", path: at }, () => PathCalls.unlink(process, at))
  const rmdir = (at: string) =>
    call(process, { method, syscall: "rmdir", path: at }, () => PathCalls.rmdir(process, at))

  const rimraf = (at: string): Call<void> =>
    Effect.flatMap(Effect.either(lstat(at)), (found) => {
      if (found._tag === "Left" && found.left.code === "ENOENT") return Effect.void
      if (found._tag === "Right" && found.right.type === "Directory") return removeDirectory(at, undefined)
      return Effect.catchIf(
        unlink(at),
        (error) => error.code === "EISDIR" || error.code === "EPERM",
        (error) => removeDirectory(at, error)
      )
    }).pipe(Effect.catchIf((error) => error.code === "ENOENT", () => Effect.void))

  const removeDirectory = (at: string, original: NodeError | undefined): Call<void> =>
    Effect.catchAll(rmdir(at), (error) => {
      if (error.code === "ENOTEMPTY" || error.code === "EEXIST" || error.code === "EPERM") return removeChildren(at)
      if (error.code === "ENOTDIR") return original === undefined ? Effect.void : Effect.fail(original)
      return Effect.fail(error)
    })

  // Node removes the children side by side: one that fails does not keep the others from going.
  const removeChildren = (at: string): Call<void> =>
    Effect.gen(function*() {
      const site = { method, syscall: "scandir", path: at }
      const names = yield* call(process, site, () => PathCalls.scandir(process, at))
      const results = yield* Effect.forEach(names, (name) => Effect.either(rimraf(`${at}/${name}`)), {
        concurrency: "unbounded"
      })
      for (const result of results) yield* result
      yield* rmdir(at)
    })

  return Effect.flatMap(Effect.either(lstat(path)), (found) => {
    if (found._tag === "Left") {
      return options.force && found.left.code === "ENOENT" ? rimraf(path) : Effect.fail(found.left)
    }
    if (found.right.type === "Directory" && !options.recursive) {
      const origin = { syscall: "rm", path }
      return Effect.fail(nodeSystemError("ERR_FS_EISDIR", "EISDIR", "Path is a directory", "is a directory", origin))
    }
    return rimraf(path)
  })
}
