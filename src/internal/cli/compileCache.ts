import * as NodeFS from "node:fs"
import * as NodeModule from "node:module"

/** The rights of others to write. */
const writable = 0o022

/** Whether nobody but this user can put anything there: Node runs what it finds without a further look. */
const isOurs = (path: string, owner: number): boolean => {
  const info = NodeFS.lstatSync(path, { throwIfNoEntry: false })
  return info === undefined || (info.uid === owner && (info.mode & writable) === 0)
}

/**
 * Lets Node keep what it compiles of the programs of a directory in there, from Node 22.8 on. It is done by the owner of the programs only: others would
 * leave files there that the owner cannot remove.
 */
export const enable = (
  directory: string,
  enableCompileCache: unknown = Reflect.get(NodeModule, "enableCompileCache")
): void => {
  const owner = process.geteuid?.()
  if (typeof enableCompileCache !== "function" || owner === undefined) return
  const cache = `${directory}/.cache`
  try {
    if (NodeFS.statSync(directory).uid !== owner || !isOurs(cache, owner)) return
    const mask = process.umask(0o077)
    try {
      enableCompileCache(cache)
    } finally {
      process.umask(mask)
    }
  } catch {
    // It starts without, only later.
  }
}
