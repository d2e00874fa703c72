import { Errno } from "./errno.js"
import * as Inode from "./inode.js"

/** @internal */
export interface Settings {
  capacity: number
  inodes: number
  readOnly: boolean
  reuseInodes: boolean
}

/**
 * What happened to an inode, in the words of inotify.
 *
 * @internal
 */
export type Notice =
  | "attrib"
  | "modify"
  | "create"
  | "delete"
  | "deleteSelf"
  | "ignored"
  | "moveSelf"
  | "movedFrom"
  | "movedTo"

/** @internal */
export type Listener = (notice: Notice, name: string | undefined) => void

/**
 * One disk: the tree, what is left of it, and who watches it. Every method is one indivisible change.
 *
 * @internal
 */
export class Volume {
  readonly root: Inode.Directory
  /** The time of the system call under way, in milliseconds: a volume has no clock of its own. */
  now: number
  private usedBytes = 0
  private usedInodes = 0
  private nextIno = 2
  private readonly freed: Array<number> = []
  private readonly listeners = new Map<Inode.Inode, Set<Listener>>()

  constructor(readonly settings: Settings, now: number, owner: { readonly uid: number; readonly gid: number }) {
    this.now = now
    this.root = this.directory(undefined, 0o755, owner)
  }

  private common(mode: number, owner: { readonly uid: number; readonly gid: number }) {
    if (this.usedInodes >= this.settings.inodes) throw new Errno("ENOSPC")
    this.usedInodes++
    return {
      ino: (this.settings.reuseInodes ? this.freed.pop() : undefined) ?? this.nextIno++,
      mode,
      uid: owner.uid,
      gid: owner.gid,
      nlink: 1,
      handles: 0,
      atime: this.now,
      mtime: this.now,
      ctime: this.now,
      birthtime: this.now
    }
  }

  /** The inode in a directory takes its group where that one is setgid, as on Linux. */
  private owned(parent: Inode.Directory, owner: { readonly uid: number; readonly gid: number }) {
    return (parent.mode & Inode.S_ISGID) !== 0 ? { uid: owner.uid, gid: parent.gid } : owner
  }

  private directory(
    parent: Inode.Directory | undefined,
    mode: number,
    owner: { readonly uid: number; readonly gid: number }
  ): Inode.Directory {
    return { type: "Directory", entries: new Map(), parent, ...this.common(mode, owner), nlink: 2 }
  }

  createDirectory(
    parent: Inode.Directory,
    name: string,
    mode: number,
    owner: { readonly uid: number; readonly gid: number }
  ) {
    const inherited = parent.mode & Inode.S_ISGID
    const node = this.directory(parent, mode | inherited, this.owned(parent, owner))
    parent.nlink++
    return this.enter(parent, name, node)
  }

  createFile(
    parent: Inode.Directory,
    name: string,
    mode: number,
    owner: { readonly uid: number; readonly gid: number }
  ) {
    const node: Inode.File = {
      type: "File",
      data: new Uint8Array(0),
      stored: 0,
      size: 0,
      ...this.common(mode, this.owned(parent, owner))
    }
    return this.enter(parent, name, node)
  }

  createSymbolicLink(
    parent: Inode.Directory,
    name: string,
    target: string,
    owner: { readonly uid: number; readonly gid: number }
  ) {
    return this.enter(parent, name, {
      type: "SymbolicLink",
      target,
      ...this.common(0o777, this.owned(parent, owner))
    })
  }

  createSpecial(
    parent: Inode.Directory,
    name: string,
    type: Inode.Special["type"],
    mode: number,
    owner: { readonly uid: number; readonly gid: number }
  ) {
    return this.enter(parent, name, { type, ...this.common(mode, this.owned(parent, owner)) })
  }

  private enter(parent: Inode.Directory, name: string, node: Inode.Inode): Inode.Entry {
    const entry: Inode.Entry = { node, parent, name }
    parent.entries.set(name, entry)
    this.touch(parent)
    this.tell(parent, "create", name)
    return entry
  }

  /** Another name for a file. */
  link(parent: Inode.Directory, name: string, node: Inode.Inode): void {
    node.nlink++
    node.ctime = this.now
    this.tell(node, "attrib", undefined)
    this.enter(parent, name, node)
  }

  /** Takes a name away, and with the last name and the last handle the inode. */
  unlink(entry: Inode.Entry): void {
    const { name, node, parent } = entry
    parent.entries.delete(name)
    this.touch(parent)
    this.drop(node)
    this.tell(parent, "delete", name)
  }

  private drop(node: Inode.Inode): void {
    node.ctime = this.now
    if (node.type === "Directory") {
      node.nlink = 0
      if (node.parent !== undefined) node.parent.nlink--
    } else {
      node.nlink--
      this.tell(node, "attrib", undefined)
    }
    this.reclaim(node)
  }

  /** Moves an entry over whatever stands at the new name. */
  move(entry: Inode.Entry, parent: Inode.Directory, name: string): void {
    const from = entry.parent
    const oldName = entry.name
    const target = parent.entries.get(name)
    from.entries.delete(oldName)
    entry.parent = parent
    entry.name = name
    parent.entries.set(name, entry)
    this.touch(from)
    this.touch(parent)
    entry.node.ctime = this.now
    if (entry.node.type === "Directory") {
      entry.node.parent = parent
      from.nlink--
      parent.nlink++
    }
    this.tell(from, "movedFrom", oldName)
    this.tell(parent, "movedTo", name)
    if (target !== undefined) this.drop(target.node)
    this.tell(entry.node, "moveSelf", undefined)
  }

  private touch(directory: Inode.Directory): void {
    directory.mtime = this.now
    directory.ctime = this.now
  }

  hold(node: Inode.Inode): void {
    node.handles++
  }

  letGo(node: Inode.Inode): void {
    node.handles--
    this.reclaim(node)
  }

  private reclaim(node: Inode.Inode): void {
    if (node.nlink > 0 || node.handles > 0) return
    this.usedInodes--
    this.freed.push(node.ino)
    if (node.type === "File") this.usedBytes -= node.stored
    this.tell(node, "deleteSelf", undefined)
    this.tell(node, "ignored", undefined)
    this.listeners.delete(node)
  }

  /** Writes as much as there is room for. */
  write(node: Inode.File, position: number, bytes: Uint8Array): number {
    if (position + bytes.length > maximumStored) throw new Errno("EFBIG")
    const growth = Math.max(0, position + bytes.length - node.stored)
    const missing = Math.max(0, growth - (this.settings.capacity - this.usedBytes))
    const length = bytes.length - missing
    if (bytes.length > 0 && length <= 0) throw new Errno("ENOSPC")
    const end = position + length
    if (end > node.stored) {
      this.reserve(node, end)
      this.usedBytes += end - node.stored
      node.stored = end
    }
    node.data.set(bytes.subarray(0, length), position)
    node.size = Math.max(node.size, end)
    return length
  }

  private reserve(node: Inode.File, end: number): void {
    if (end <= node.data.length) return
    const grown = new Uint8Array(Math.max(end, Math.min(node.data.length * 2, node.data.length + (1 << 24))))
    grown.set(node.data.subarray(0, node.stored))
    node.data = grown
  }

  read(node: Inode.File, position: number, into: Uint8Array): number {
    const length = Math.max(0, Math.min(into.length, node.size - position))
    const stored = Math.max(0, Math.min(length, node.stored - position))
    into.set(node.data.subarray(position, position + stored))
    into.fill(0, stored, length)
    return length
  }

  truncate(node: Inode.File, size: number): void {
    if (size > maximumSize) throw new Errno("EFBIG")
    if (size < node.stored) {
      this.usedBytes -= node.stored - size
      node.data = node.data.slice(0, size)
      node.stored = size
    }
    node.size = size
  }

  /** Tells the watchers of an inode, and where it is known by a name, those of the directory it is in. */
  tell(node: Inode.Inode, notice: Notice, name: string | undefined): void {
    const listeners = this.listeners.get(node)
    if (listeners === undefined) return
    for (const listener of [...listeners]) listener(notice, name)
  }

  changed(node: Inode.Inode, entry: Inode.Entry | undefined, notice: "attrib" | "modify"): void {
    if (entry !== undefined) this.tell(entry.parent, notice, entry.name)
    this.tell(node, notice, undefined)
  }

  listen(node: Inode.Inode, listener: Listener): () => void {
    const listeners = this.listeners.get(node) ?? new Set()
    this.listeners.set(node, listeners.add(listener))
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0 && this.listeners.get(node) === listeners) this.listeners.delete(node)
    }
  }
}

/** A file's bytes are one array: beyond this a write answers EFBIG. */
const maximumStored = 0x7fffffff

/** ext4's limit with its usual blocks. */
const maximumSize = 0xfffffff_f000
