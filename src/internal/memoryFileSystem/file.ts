import type { PlatformError } from "@effect/platform/Error"
import * as Error_ from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { call, wrap } from "./call.js"
import { badArgument, outOfRange } from "./errno.js"
import * as FileCalls from "./fileCalls.js"
import * as Inode from "./inode.js"
import type { Process } from "./process.js"

const dev = 1

/** @internal */
export const makeInfo = (node: Inode.Inode): FileSystem.File.Info => {
  const size = Inode.sizeOf(node)
  const stored = node.type === "File" ? node.stored : node.type === "Directory" ? Inode.blockSize : 0
  return {
    type: node.type,
    mtime: Option.some(date(node.mtime)),
    atime: Option.some(date(node.atime)),
    birthtime: Option.some(date(node.birthtime)),
    dev,
    rdev: Option.some(0),
    ino: Option.some(node.ino),
    mode: Inode.fullMode(node),
    nlink: Option.some(node.nlink),
    uid: Option.some(node.uid),
    gid: Option.some(node.gid),
    size: FileSystem.Size(size),
    blksize: Option.some(FileSystem.Size(Inode.blockSize)),
    blocks: Option.some(Math.ceil(stored / Inode.blockSize) * (Inode.blockSize / 512))
  }
}

/** Node rounds to whole milliseconds. */
const date = (millis: number): Date => new Date(Math.round(millis))

const maximumPosition = 2n ** 63n

/** Before the beginning means wherever the kernel's offset is. What a number cannot count exactly is EFBIG in any case. */
const toPosition = (position: bigint): number | undefined => position < 0n ? undefined : Number(position)

/**
 * What Node's length check says: a length is a whole number, and a negative one means zero.
 *
 * @internal
 */
export const checkLength = (
  method: string,
  length: FileSystem.SizeInput | undefined
): Effect.Effect<number, PlatformError> => {
  const value = Number(length ?? 0)
  return Number.isSafeInteger(value)
    ? Effect.succeed(Math.max(0, value))
    : Effect.fail(badArgument(method, outOfRange("len", "an integer", value)))
}

/**
 * A file as the service hands it out. Position and turn-taking are the handle's own, as they are in the implementation for
 * Node: the kernel's offset moves only where that one leaves it to the kernel.
 *
 * @internal
 */
export class FileHandle implements FileSystem.File {
  readonly [FileSystem.FileTypeId]: FileSystem.FileTypeId = FileSystem.FileTypeId
  readonly fd: FileSystem.File.Descriptor
  private readonly semaphore = Effect.unsafeMakeSemaphore(1)
  private position = 0n

  constructor(
    private readonly process: Process,
    fd: number,
    private readonly path: string,
    private readonly append: boolean
  ) {
    this.fd = FileSystem.FileDescriptor(fd)
  }

  private call<A>(method: string, syscall: string, run: () => A): Effect.Effect<A, PlatformError> {
    const site = { method: `File.${method}`, syscall, path: this.path, descriptor: true }
    return wrap(call(this.process, site, run), method, this.fd)
  }

  get stat() {
    return this.call("stat", "fstat", () => makeInfo(FileCalls.fstat(this.process, this.fd)))
  }

  get sync() {
    return this.call("sync", "fsync", () => FileCalls.fsync(this.process, this.fd))
  }

  seek(offset: FileSystem.SizeInput, from: FileSystem.SeekMode) {
    const size = FileSystem.Size(offset)
    return this.semaphore.withPermits(1)(
      Effect.sync(() => this.position = from === "start" ? size : this.position + size)
    )
  }

  private readInto(method: string, buffer: Uint8Array): Effect.Effect<number, PlatformError> {
    return Effect.suspend(() => {
      if (buffer.length === 0) return Effect.succeed(0)
      if (this.position >= maximumPosition || this.position < -maximumPosition) {
        const expected = `>= ${-maximumPosition} && <= ${maximumPosition - 1n}`
        return Effect.fail(badArgument(method, outOfRange("position", expected, this.position)))
      }
      const position = toPosition(this.position)
      return Effect.tap(
        this.call(method, "read", () => FileCalls.read(this.process, this.fd, buffer, position)),
        (bytesRead) => Effect.sync(() => this.position += BigInt(bytesRead))
      )
    })
  }

  read(buffer: Uint8Array) {
    return this.semaphore.withPermits(1)(Effect.map(this.readInto("read", buffer), FileSystem.Size))
  }

  readAlloc(size: FileSystem.SizeInput) {
    return this.semaphore.withPermits(1)(Effect.suspend(() => {
      const buffer = new Uint8Array(Number(size))
      return Effect.map(
        this.readInto("readAlloc", buffer),
        (bytesRead) => bytesRead === 0 ? Option.none() : Option.some(buffer.slice(0, bytesRead))
      )
    }))
  }

  truncate(length?: FileSystem.SizeInput) {
    return this.semaphore.withPermits(1)(Effect.flatMap(
      checkLength("truncate", length),
      (size) =>
        Effect.map(this.call("truncate", "ftruncate", () => FileCalls.ftruncate(this.process, this.fd, size)), () => {
          const end = BigInt(length ?? 0)
          if (!this.append && this.position > end) this.position = end
        })
    ))
  }

  private writeFrom(method: string, buffer: Uint8Array): Effect.Effect<number, PlatformError> {
    return Effect.suspend(() => {
      const position = this.append ? undefined : toPosition(this.position)
      return Effect.tap(
        this.call(method, "write", () => FileCalls.write(this.process, this.fd, buffer, position)),
        (written) =>
          Effect.sync(() => {
            if (!this.append) this.position += BigInt(written)
          })
      )
    })
  }

  write(buffer: Uint8Array) {
    return this.semaphore.withPermits(1)(Effect.map(this.writeFrom("write", buffer), FileSystem.Size))
  }

  private writeRest(buffer: Uint8Array): Effect.Effect<void, PlatformError> {
    return Effect.flatMap(this.writeFrom("writeAll", buffer), (written) => {
      if (written === 0) {
        return Effect.fail(
          new Error_.SystemError({
            module: "FileSystem",
            method: "writeAll",
            reason: "WriteZero",
            pathOrDescriptor: this.fd,
            description: "write returned 0 bytes written"
          })
        )
      }
      return written < buffer.length ? this.writeRest(buffer.subarray(written)) : Effect.void
    })
  }

  writeAll(buffer: Uint8Array) {
    return this.semaphore.withPermits(1)(this.writeRest(buffer))
  }
}
