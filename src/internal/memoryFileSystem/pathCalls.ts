/*
 * The system calls that take paths. Each is synchronous and therefore indivisible, checks in Linux's order (of two errors
 * that both apply, the kernel's first is the one to give), and throws `Errno`.
 */
import { Errno } from "./errno.js"
import * as Inode from "./inode.js"
import * as Lookup from "./lookup.js"
import { byteLength, compareBytes } from "./path.js"
import type { Process } from "./process.js"
import { R, W } from "./process.js"

/** @internal */
export const stat = (process: Process, path: string): Inode.Inode => Lookup.find(process, path, true).node

/** @internal */
export const lstat = (process: Process, path: string): Inode.Inode => Lookup.find(process, path, false).node

/** @internal */
export const access = (process: Process, path: string, wanted: number): void => {
  const { node } = Lookup.find(process, path, true)
  if (wanted !== 0) process.require(node, wanted)
}

/** @internal */
export const readlink = (process: Process, path: string): string => {
  const { node } = Lookup.find(process, path, false)
  if (node.type !== "SymbolicLink") throw new Errno("EINVAL")
  return node.target
}

/** @internal */
export const scandir = (process: Process, path: string): Array<string> => {
  const { node } = Lookup.find(process, path, true)
  if (node.type !== "Directory") throw new Errno("ENOTDIR")
  process.require(node, R)
  process.requireDescriptor()
  accessed(process, node)
  return [...node.entries.keys()].sort(compareBytes)
}

/** @internal */
export const mkdir = (process: Process, path: string, mode: number): void => {
  const last = Lookup.findPlace(process, path, true)
  Lookup.requirePlace(process, last)
  const bits = mode & (Inode.S_IRWXUGO | Inode.S_ISVTX) & ~process.options.umask
  process.volume.createDirectory(last.parent, last.name, bits, process.options)
}

/** @internal */
export const symlink = (process: Process, target: string, path: string): void => {
  Lookup.checkPath(target)
  const last = Lookup.findPlace(process, path, false)
  Lookup.requirePlace(process, last)
  if (byteLength(target) >= Inode.blockSize) throw new Errno("ENAMETOOLONG")
  process.volume.createSymbolicLink(last.parent, last.name, target, process.options)
}

/** @internal */
export const mknod = (process: Process, path: string, type: Inode.Special["type"], mode: number): void => {
  const last = Lookup.findPlace(process, path, false)
  Lookup.requirePlace(process, last)
  process.volume.createSpecial(last.parent, last.name, type, mode & ~process.options.umask, process.options)
}

/** @internal */
export const link = (process: Process, existingPath: string, path: string): void => {
  const { node } = Lookup.find(process, existingPath, false)
  const last = Lookup.findPlace(process, path, false)
  if (!linkable(process, node)) throw new Errno("EPERM")
  Lookup.requirePlace(process, last)
  if (node.type === "Directory") throw new Errno("EPERM")
  process.volume.link(last.parent, last.name, node)
}

/** `fs.protected_hardlinks`, which every distribution switches on. */
const linkable = (process: Process, node: Inode.Inode): boolean => {
  if (process.owns(node)) return true
  const privileged = (node.mode & Inode.S_ISUID) !== 0 ||
    (node.mode & (Inode.S_ISGID | Inode.S_IXGRP)) === (Inode.S_ISGID | Inode.S_IXGRP)
  return node.type === "File" && !privileged && process.may(node, R | W)
}

/** @internal */
export const unlink = (process: Process, path: string): void => {
  const last = Lookup.findLast(process, path)
  if (last.kind !== "name") throw new Errno("EISDIR")
  process.requireWritableDisk()
  const entry = Lookup.entryOf(last.parent, last.name)
  if (entry === undefined) throw new Errno("ENOENT")
  if (last.slash) throw new Errno(entry.node.type === "Directory" ? "EISDIR" : "ENOTDIR")
  process.requireRemovable(entry, false)
  process.volume.unlink(entry)
}

/** @internal */
export const rmdir = (process: Process, path: string): void => {
  const last = Lookup.findLast(process, path)
  if (last.kind === "dotdot") throw new Errno("ENOTEMPTY")
  if (last.kind === "dot") throw new Errno("EINVAL")
  if (last.kind === "root") throw new Errno("EBUSY")
  process.requireWritableDisk()
  const entry = Lookup.entryOf(last.parent, last.name)
  if (entry === undefined) throw new Errno("ENOENT")
  process.requireRemovable(entry, true)
  if (entry.node.type === "Directory" && entry.node.entries.size > 0) throw new Errno("ENOTEMPTY")
  process.volume.unlink(entry)
}

const within = (node: Inode.Inode, directory: Inode.Directory): boolean => {
  for (let at: Inode.Directory | undefined = directory; at !== undefined; at = at.parent) {
    if (at === node) return true
  }
  return false
}

/** @internal */
export const rename = (process: Process, oldPath: string, newPath: string): void => {
  const from = Lookup.findLast(process, oldPath)
  const to = Lookup.findLast(process, newPath)
  if (from.kind !== "name" || to.kind !== "name") throw new Errno("EBUSY")
  process.requireWritableDisk()
  const entry = Lookup.entryOf(from.parent, from.name)
  if (entry === undefined) throw new Errno("ENOENT")
  const target = Lookup.entryOf(to.parent, to.name)
  const directory = entry.node.type === "Directory"
  if (!directory && (from.slash || to.slash)) throw new Errno("ENOTDIR")
  if (within(entry.node, to.parent)) throw new Errno("EINVAL")
  if (target !== undefined && within(target.node, from.parent)) throw new Errno("ENOTEMPTY")
  if (target?.node === entry.node) return
  process.requireRemovable(entry, directory)
  if (target === undefined) Lookup.requirePlace(process, to)
  else process.requireRemovable(target, directory)
  if (directory && from.parent !== to.parent) process.require(entry.node, W)
  if (target?.node.type === "Directory" && target.node.entries.size > 0) throw new Errno("ENOTEMPTY")
  process.volume.move(entry, to.parent, to.name)
}

/** @internal */
export const changeMode = (process: Process, { entry, node }: Lookup.Found, mode: number): void => {
  process.requireWritableDisk()
  process.requireOwner(node)
  node.mode = mode & Inode.S_IALLUGO & (process.mayShareGroup(node.gid) ? ~0 : ~Inode.S_ISGID)
  changed(process, node, entry)
}

/** @internal */
export const chmod = (process: Process, path: string, mode: number): void =>
  changeMode(process, Lookup.find(process, path, true), mode)

/** @internal */
export const chown = (process: Process, path: string, uid: number, gid: number): void => {
  const { entry, node } = Lookup.find(process, path, true)
  process.requireWritableDisk()
  const { superuser } = process
  const isOwner = process.options.uid === node.uid
  if (uid !== -1 && !superuser && !(isOwner && uid === node.uid)) throw new Errno("EPERM")
  if (gid !== -1 && !superuser && !(isOwner && (gid === node.gid || process.inGroup(gid)))) throw new Errno("EPERM")
  if (node.type !== "Directory") dropPrivileges(process, node)
  if (uid !== -1) node.uid = uid
  if (gid !== -1) node.gid = gid
  changed(process, node, entry)
}

/**
 * What Linux does to setuid and setgid when another user writes to the file, or the file gets another owner.
 *
 * @internal
 */
export const dropPrivileges = (process: Process, node: Inode.Inode): void => {
  node.mode &= ~Inode.S_ISUID
  if ((node.mode & Inode.S_IXGRP) !== 0 || !process.mayShareGroup(node.gid)) node.mode &= ~Inode.S_ISGID
}

/** @internal */
export const utimes = (process: Process, path: string, atime: number, mtime: number): void => {
  const { entry, node } = Lookup.find(process, path, true)
  process.requireWritableDisk()
  process.requireOwner(node)
  node.atime = atime
  node.mtime = mtime
  changed(process, node, entry)
}

const changed = (process: Process, node: Inode.Inode, entry: Inode.Entry | undefined): void => {
  node.ctime = process.volume.now
  process.volume.changed(node, entry, "attrib")
}

const day = 86_400_000

/**
 * The access time, as `relatime` keeps it: it moves when it would otherwise be older than the last change, or a day old.
 *
 * @internal
 */
export const accessed = (process: Process, node: Inode.Inode): void => {
  const { now, settings } = process.volume
  if (settings.readOnly) return
  if (node.atime <= node.mtime || node.atime <= node.ctime || now - node.atime >= day) node.atime = now
}

/** @internal */
export const watchable = (process: Process, path: string): Inode.Inode => {
  const { node } = Lookup.find(process, path, true)
  process.require(node, R)
  return node
}
