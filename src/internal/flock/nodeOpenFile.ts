import * as NodeFS from "node:fs"
import { type Entry, maxBytes } from "../lockFile/disk.js"
import { kindOf } from "../lockFile/nodeDisk.js"

const { O_CREAT, O_EXCL, O_NOFOLLOW = 0, O_NONBLOCK = 0, O_RDWR } = NodeFS.constants

const buffer = Buffer.allocUnsafe(maxBytes + 1)

/** A file on its device. Inodes of some file systems do not fit a number. */
const identityOf = ({ dev, ino }: NodeFS.BigIntStats): string => `${dev}:${ino}`

/** The file of a lock, open: what flock(2) locks is this, whatever its name is by now. */
export class OpenFile {
  private constructor(readonly descriptor: number, private readonly identity: string) {}

  private static of(descriptor: number): OpenFile {
    try {
      return new OpenFile(descriptor, identityOf(NodeFS.fstatSync(descriptor, { bigint: true })))
    } catch (error) {
      NodeFS.closeSync(descriptor)
      throw error
    }
  }

  /** What is at a path, if it is no file that could be a lock. Links are not followed, and a FIFO is not waited for. */
  static open(path: string): OpenFile | Exclude<Entry, { readonly _tag: "File" }> {
    const info = NodeFS.lstatSync(path, { throwIfNoEntry: false })
    if (info === undefined) {
      return { _tag: "Absent" }
    }
    if (!info.isFile()) {
      return { _tag: "Other", what: kindOf(info) }
    }
    return OpenFile.of(NodeFS.openSync(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW))
  }

  static create(path: string): OpenFile {
    return OpenFile.of(NodeFS.openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o666))
  }

  /** Whether a path names this file. */
  isAt(path: string): boolean {
    const info = NodeFS.lstatSync(path, { bigint: true, throwIfNoEntry: false })
    return info !== undefined && identityOf(info) === this.identity
  }

  read(): Entry {
    const { ino, mtimeMs, size } = NodeFS.fstatSync(this.descriptor)
    const length = NodeFS.readSync(this.descriptor, buffer, 0, maxBytes + 1, 0)
    return length > maxBytes
      ? { _tag: "Other", what: `a file of ${size} bytes` }
      : { _tag: "File", text: buffer.toString("utf8", 0, length), inode: ino, modifiedAt: mtimeMs }
  }

  write(text: string): void {
    if (NodeFS.writeSync(this.descriptor, text, 0) < Buffer.byteLength(text)) {
      throw Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" })
    }
  }

  close(): void {
    NodeFS.closeSync(this.descriptor)
  }
}
