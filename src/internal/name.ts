import * as Effect from "effect/Effect"
import { BackendError, type LockKey } from "../LockBackend.js"

const invalid = (why: string): BackendError => new BackendError({ reason: "InvalidPath", cause: new Error(why) })

/** One spelling of a POSIX path, without a look at any file: no `.`, no `//`, and `..` in front of a relative path only. */
const normalize = (path: string): string => {
  const root = path.startsWith("/") ? "/" : ""
  const parts: Array<string> = []
  for (const part of path.split("/")) {
    if (part === "" || part === ".") continue
    if (part === ".." && parts.length > 0 && parts.at(-1) !== "..") parts.pop()
    else if (part !== ".." || root === "") parts.push(part)
  }
  return root + parts.join("/") || "."
}

/** The key of a lock that is no file: its path is a name, which programs on all machines spell in the same way. */
export const canonical = (path: string): Effect.Effect<LockKey, BackendError> => {
  if (path === "") {
    return invalid("it is empty")
  }
  if (path.includes("\0")) {
    return invalid("it contains a NUL")
  }
  const normalized = normalize(path)
  return Effect.succeed({ path: normalized, lockPath: `${normalized}.lock` })
}
