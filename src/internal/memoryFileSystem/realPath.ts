import * as Effect from "effect/Effect"
import type { Call } from "./call.js"
import { call } from "./call.js"
import * as Path from "./path.js"
import * as PathCalls from "./pathCalls.js"
import type { Process } from "./process.js"

/**
 * Node's `fs.realpath`, which is written in JavaScript: it walks the path with lstat, stat and readlink of its own, starting
 * over after each link.
 *
 * @internal
 */
export const realPath = (process: Process, input: string): Call<string> =>
  Effect.gen(function*() {
    const method = "realPath"
    const known = new Set<string>()
    const targets = new Map<number, string>()
    let path = Path.resolve(process.options.cwd, input)
    let position = 1
    let current = "/"
    while (position < path.length) {
      const previous = current
      const slash = path.indexOf("/", position)
      const end = slash < 0 ? path.length : slash
      const base = previous + path.slice(position, end)
      current = slash < 0 ? base : `${base}/`
      position = slash < 0 ? path.length : slash + 1
      if (known.has(base)) continue
      const node = yield* call(process, { method, syscall: "lstat", path: base }, () => PathCalls.lstat(process, base))
      if (node.type !== "SymbolicLink") {
        known.add(base)
        continue
      }
      let target = targets.get(node.ino)
      if (target === undefined) {
        yield* call(process, { method, syscall: "stat", path: base }, () => PathCalls.stat(process, base))
        target = yield* call(process, { method, syscall: "readlink", path: base }, () =>
          PathCalls.readlink(process, base))
        targets.set(node.ino, target)
      }
      path = Path.resolve(process.options.cwd, previous, target, path.slice(position))
      current = "/"
      position = 1
    }
    return path
  })
