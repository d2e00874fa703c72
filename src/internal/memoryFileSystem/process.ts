import type * as Effect from "effect/Effect"
import { Errno } from "./errno.js"
import * as Inode from "./inode.js"
import type { Volume } from "./volume.js"

/**
 * One system call that is about to be made.
 *
 * @internal
 */
export interface Step {
  readonly method: string
  readonly syscall: string
  readonly path: string
}

/** @internal */
export interface Handle {
  readonly fd: number
  readonly entry: Inode.Entry
  readonly readable: boolean
  readonly writable: boolean
  readonly append: boolean
  offset: number
}

/** @internal */
export interface Options {
  readonly uid: number
  readonly gid: number
  readonly groups: ReadonlyArray<number>
  readonly umask: number
  readonly cwd: string
  readonly temporaryDirectory: string
  readonly maxOpenFiles: number
  readonly step: (step: Step) => Effect.Effect<void>
}

/** @internal */
export const R = 4
/** @internal */
export const W = 2
/** @internal */
export const X = 1

/** Standard input, output and error are taken in a real process. */
const firstDescriptor = 3

/**
 * A process as the disk sees it: who it is, and what it has open.
 *
 * @internal
 */
export class Process {
  private readonly handles = new Map<number, Handle>()

  constructor(readonly volume: Volume, readonly options: Options) {}

  get superuser(): boolean {
    return this.options.uid === 0
  }

  inGroup(gid: number): boolean {
    return this.options.gid === gid || this.options.groups.includes(gid)
  }

  /** Whether a file of that group may be setgid in this process's hands. */
  mayShareGroup(gid: number): boolean {
    return this.superuser || this.inGroup(gid)
  }

  owns(node: Inode.Inode): boolean {
    return this.superuser || this.options.uid === node.uid
  }

  may(node: Inode.Inode, wanted: number): boolean {
    if (this.superuser) {
      return (wanted & X) === 0 || node.type === "Directory" || (node.mode & 0o111) !== 0
    }
    const shift = this.options.uid === node.uid ? 6 : this.inGroup(node.gid) ? 3 : 0
    return ((node.mode >> shift) & wanted) === wanted
  }

  require(node: Inode.Inode, wanted: number): void {
    if ((wanted & W) !== 0 && onDisk(node)) this.requireWritableDisk()
    if (!this.may(node, wanted)) throw new Errno("EACCES")
  }

  requireWritableDisk(): void {
    if (this.volume.settings.readOnly) throw new Errno("EROFS")
  }

  requireOwner(node: Inode.Inode): void {
    if (!this.owns(node)) throw new Errno("EPERM")
  }

  /** Whether a name may be taken out of a directory: in a sticky one, by the owner of either alone. */
  requireRemovable(entry: Inode.Entry, asDirectory: boolean): void {
    this.require(entry.parent, W | X)
    const sticky = (entry.parent.mode & Inode.S_ISVTX) !== 0
    if (sticky && !this.owns(entry.node) && this.options.uid !== entry.parent.uid) throw new Errno("EPERM")
    const isDirectory = entry.node.type === "Directory"
    if (asDirectory && !isDirectory) throw new Errno("ENOTDIR")
    if (!asDirectory && isDirectory) throw new Errno("EISDIR")
  }

  requireDescriptor(): void {
    if (this.handles.size >= this.options.maxOpenFiles) throw new Errno("EMFILE")
  }

  openHandle(entry: Inode.Entry, access: Pick<Handle, "readable" | "writable" | "append">): Handle {
    let fd = firstDescriptor
    while (this.handles.has(fd)) fd++
    const handle: Handle = { fd, entry, offset: 0, ...access }
    this.handles.set(fd, handle)
    this.volume.hold(entry.node)
    return handle
  }

  handle(fd: number): Handle {
    const handle = this.handles.get(fd)
    if (handle === undefined) throw new Errno("EBADF")
    return handle
  }

  close(fd: number): void {
    const handle = this.handle(fd)
    this.handles.delete(fd)
    this.volume.letGo(handle.entry.node)
  }
}

/** A FIFO or a device is only named on the disk: writing to one does not write to the disk. */
const onDisk = (node: Inode.Inode): boolean =>
  node.type === "File" || node.type === "Directory" || node.type === "SymbolicLink"
