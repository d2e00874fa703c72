/*
 * The system calls that open files, and those that work on what is open. Synchronous, like the calls on paths.
 */
import type { OpenFlag } from "@effect/platform/FileSystem"
import { Blocked, Errno } from "./errno.js"
import * as Inode from "./inode.js"
import * as Lookup from "./lookup.js"
import { accessed, changeMode, dropPrivileges } from "./pathCalls.js"
import type { Handle, Process } from "./process.js"
import { R, W } from "./process.js"

interface Flags {
  readonly readable: boolean
  readonly writable: boolean
  readonly append: boolean
  readonly create: boolean
  readonly exclusive: boolean
  readonly truncate: boolean
}

const flags = (flag: OpenFlag | "copy"): Flags => {
  const plus = flag.endsWith("+")
  const kind = flag === "copy" ? "copy" : flag.charAt(0)
  return {
    readable: kind === "r" || plus,
    writable: kind !== "r" || plus,
    append: kind === "a",
    create: kind !== "r",
    exclusive: flag.includes("x"),
    truncate: kind === "w"
  }
}

/**
 * `open(2)` with the flags of Node; "copy" is what libuv opens the target of a copy with: created, but not truncated yet.
 *
 * @internal
 */
export const open = (process: Process, path: string, flag: OpenFlag | "copy", mode: number): Handle => {
  const options = flags(flag)
  process.requireDescriptor()
  const found = options.create
    ? Lookup.findOrPlace(process, path, !options.exclusive)
    : Lookup.find(process, path, true)
  if (!("node" in found)) {
    process.requireWritableDisk()
    Lookup.requirePlace(process, found)
    const bits = creationMode(process, found.parent, mode)
    const entry = process.volume.createFile(found.parent, found.name, bits, process.options)
    return process.openHandle(entry, options)
  }
  const { node } = found
  if (options.exclusive) throw new Errno("EEXIST")
  if (node.type === "Directory" && (options.create || options.writable)) throw new Errno("EISDIR")
  process.require(node, (options.readable ? R : 0) | (options.writable ? W : 0))
  if (node.type === "Socket" || node.type === "BlockDevice") throw new Errno("ENXIO")
  // With both ends in one hand a FIFO opens at once; otherwise open waits for the other side, which this disk does not play.
  if (node.type === "FIFO" && !(options.readable && options.writable)) throw new Blocked()
  const entry = found.entry ?? { node, parent: process.volume.root, name: "" }
  if (options.truncate && node.type === "File") resize(process, { node, entry }, 0)
  return process.openHandle(entry, options)
}

/** A setgid directory hands on its group, but to nobody outside of that group a program that runs as it. */
const creationMode = (process: Process, parent: Inode.Directory, mode: number): number => {
  const bits = mode & Inode.S_IALLUGO & ~process.options.umask
  const runsAsGroup = Inode.S_ISGID | Inode.S_IXGRP
  const foreign = (parent.mode & Inode.S_ISGID) !== 0 && !process.mayShareGroup(parent.gid)
  return foreign && (bits & runsAsGroup) === runsAsGroup ? bits & ~Inode.S_ISGID : bits
}

const resize = (process: Process, { entry, node }: { node: Inode.File; entry: Inode.Entry }, size: number): void => {
  process.volume.truncate(node, size)
  if (!process.superuser) dropPrivileges(process, node)
  modified(process, node, entry)
}

const modified = (process: Process, node: Inode.Inode, entry: Inode.Entry): void => {
  node.mtime = process.volume.now
  node.ctime = process.volume.now
  process.volume.changed(node, entry, "modify")
}

/**
 * Reads at a position, or where it is `undefined` at the handle's own offset, which then moves.
 *
 * @internal
 */
export const read = (process: Process, fd: number, into: Uint8Array, position: number | undefined): number => {
  const handle = process.handle(fd)
  const { node } = handle.entry
  if (!handle.readable) throw new Errno("EBADF")
  if (node.type === "Directory") throw new Errno("EISDIR")
  if (node.type === "FIFO") throw position === undefined ? new Blocked() : new Errno("ESPIPE")
  if (node.type !== "File") return 0
  const length = process.volume.read(node, position ?? handle.offset, into)
  if (position === undefined) handle.offset += length
  accessed(process, node)
  return length
}

/** @internal */
export const write = (process: Process, fd: number, bytes: Uint8Array, position: number | undefined): number => {
  const handle = process.handle(fd)
  const { node } = handle.entry
  if (!handle.writable) throw new Errno("EBADF")
  if (node.type === "FIFO" && position !== undefined) throw new Errno("ESPIPE")
  if (node.type !== "File") return bytes.length
  if (bytes.length === 0) return 0
  const at = handle.append ? node.size : position ?? handle.offset
  const length = process.volume.write(node, at, bytes)
  if (position === undefined) handle.offset = at + length
  if (!process.superuser) dropPrivileges(process, node)
  modified(process, node, handle.entry)
  return length
}

/** @internal */
export const fstat = (process: Process, fd: number): Inode.Inode => process.handle(fd).entry.node

/** @internal */
export const ftruncate = (process: Process, fd: number, size: number): void => {
  const { entry, writable } = process.handle(fd)
  if (!writable || entry.node.type !== "File") throw new Errno("EINVAL")
  resize(process, { node: entry.node, entry }, size)
}

/** @internal */
export const fchmod = (process: Process, fd: number, mode: number): void => {
  const { entry } = process.handle(fd)
  changeMode(process, { node: entry.node, entry }, mode)
}

/** @internal */
export const fsync = (process: Process, fd: number): void => {
  const { node } = process.handle(fd).entry
  if (node.type !== "File" && node.type !== "Directory") throw new Errno("EINVAL")
}

/** @internal */
export const close = (process: Process, fd: number): void => process.close(fd)
