import { Errno } from "./errno.js"
import type * as Inode from "./inode.js"
import * as Path from "./path.js"
import type { Process } from "./process.js"
import { W, X } from "./process.js"

const NAME_MAX = 255
const PATH_MAX = 4096
const MAXSYMLINKS = 40

/**
 * Where a path leads but for its last component, which is not looked up yet.
 *
 * @internal
 */
export interface Last {
  readonly parent: Inode.Directory
  readonly name: string
  /** Only a "name" can be created or removed. */
  readonly kind: "name" | "dot" | "dotdot" | "root"
  /** Whether slashes follow: then nothing but a directory will do. */
  readonly slash: boolean
}

/**
 * Where a path leads: the node, and the entry that names it.
 *
 * @internal
 */
export interface Found {
  readonly node: Inode.Inode
  readonly entry: Inode.Entry | undefined
}

interface Walk {
  readonly process: Process
  links: number
}

/** @internal */
export const checkPath = (path: string): void => {
  if (path === "") throw new Errno("ENOENT")
  if (Path.byteLength(path) >= PATH_MAX) throw new Errno("ENAMETOOLONG")
}

/** @internal */
export const entryOf = (parent: Inode.Directory, name: string): Inode.Entry | undefined => {
  if (name.length * 3 > NAME_MAX && Path.byteLength(name) > NAME_MAX) throw new Errno("ENAMETOOLONG")
  return parent.entries.get(name)
}

const walkLast = (walk: Walk, from: Inode.Directory, path: string): Last => {
  let parent = path.startsWith("/") ? walk.process.volume.root : from
  const components = path.split("/").filter((component) => component !== "")
  const name = components.pop()
  if (name === undefined) return { parent, name: "", kind: "root", slash: false }
  for (const component of components) {
    walk.process.require(parent, X)
    const { node } = step(walk, parent, component, true)
    if (node.type !== "Directory") throw new Errno("ENOTDIR")
    parent = node
  }
  walk.process.require(parent, X)
  return { parent, name, kind: name === "." ? "dot" : name === ".." ? "dotdot" : "name", slash: path.endsWith("/") }
}

const step = (walk: Walk, parent: Inode.Directory, name: string, follow: boolean): Found => {
  if (name === ".") return { node: parent, entry: undefined }
  if (name === "..") return { node: parent.parent ?? parent, entry: undefined }
  const entry = entryOf(parent, name)
  if (entry === undefined) throw new Errno("ENOENT")
  return follow && entry.node.type === "SymbolicLink"
    ? resolve(walk, readLink(walk, parent, entry.node))
    : { node: entry.node, entry }
}

/** The link's own path, as one more path to walk. */
const readLink = (walk: Walk, parent: Inode.Directory, link: Inode.SymbolicLink): Last => {
  if (++walk.links > MAXSYMLINKS) throw new Errno("ELOOP")
  return walkLast(walk, parent, link.target)
}

const resolve = (walk: Walk, last: Last, follow = true): Found => {
  if (last.kind === "root") return { node: last.parent, entry: undefined }
  const found = step(walk, last.parent, last.name, follow || last.slash)
  if (last.slash && found.node.type !== "Directory") throw new Errno("ENOTDIR")
  return found
}

const begin = (process: Process, path: string): { readonly walk: Walk; readonly last: Last } => {
  checkPath(path)
  const walk: Walk = { process, links: 0 }
  const cwd = Path.isAbsolute(path) || process.options.cwd === "/"
    ? process.volume.root
    : resolve(walk, walkLast(walk, process.volume.root, process.options.cwd)).node
  if (cwd.type !== "Directory") throw new Errno("ENOENT")
  return { walk, last: walkLast(walk, cwd, path) }
}

/** @internal */
export const find = (process: Process, path: string, follow: boolean): Found => {
  const { last, walk } = begin(process, path)
  return resolve(walk, last, follow)
}

/** @internal */
export const findLast = (process: Process, path: string): Last => begin(process, path).last

/**
 * Where `open` with O_CREAT arrives: at something that exists, or at a place for it. It follows a dangling link to its end.
 *
 * @internal
 */
export const findOrPlace = (process: Process, path: string, follow: boolean): Found | Last => {
  const { last: first, walk } = begin(process, path)
  let last = first
  for (;;) {
    if (last.kind !== "name") return resolve(walk, last)
    if (last.slash) throw new Errno("EISDIR")
    const entry = entryOf(last.parent, last.name)
    if (entry === undefined) return last
    if (entry.node.type !== "SymbolicLink" || !follow) return { node: entry.node, entry }
    last = readLink(walk, last.parent, entry.node)
  }
}

/**
 * The place for a new name: it must not exist, and its directory must take it.
 *
 * @internal
 */
export const findPlace = (process: Process, path: string, directory: boolean): Last => {
  const last = findLast(process, path)
  if (last.kind !== "name" || entryOf(last.parent, last.name) !== undefined) throw new Errno("EEXIST")
  if (last.slash && !directory) throw new Errno("ENOENT")
  process.requireWritableDisk()
  return last
}

/** @internal */
export const requirePlace = (process: Process, last: Last): void => {
  if (last.parent.nlink === 0) throw new Errno("ENOENT")
  process.require(last.parent, W | X)
}
