import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as NodeFS from "node:fs"
import * as NodePath from "node:path"
import * as NodeWorker from "node:worker_threads"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"
import { absent, type Disk, type DiskError, type Entry, maxBytes, modeForOthers, toError } from "./disk.js"
import { isOfReaders } from "./paths.js"

/** The calls of `node:fs` that are used, so that a test can slow them down. */
export interface Calls {
  readonly chmodSync: typeof NodeFS.chmodSync
  readonly closeSync: typeof NodeFS.closeSync
  readonly fstatSync: typeof NodeFS.fstatSync
  readonly linkSync: typeof NodeFS.linkSync
  readonly lstatSync: typeof NodeFS.lstatSync
  readonly mkdirSync: typeof NodeFS.mkdirSync
  readonly openSync: typeof NodeFS.openSync
  readonly readSync: typeof NodeFS.readSync
  readonly readdirSync: (path: string) => Array<string>
  readonly readlinkSync: typeof NodeFS.readlinkSync
  readonly realpathSync: Pick<typeof NodeFS.realpathSync, "native">
  readonly renameSync: typeof NodeFS.renameSync
  readonly rmdirSync: typeof NodeFS.rmdirSync
  readonly unlinkSync: typeof NodeFS.unlinkSync
  readonly writeSync: typeof NodeFS.writeSync
  readonly promises: typeof NodeFS.promises
}

/** What is known of the disk that a directory is on. */
interface Directory {
  readonly canonical: string
  /** Its data are on this machine. */
  readonly local: boolean
  /** How many calls were slow lately. */
  slow: number
  /** Until then its calls go to the threads, although it is local. */
  threadsUntil: number
}

/** A call that takes longer, in milliseconds, is slow. */
const slowAfter = 20

/** After so many slow calls the calls in a directory go to the threads for a while. */
const tooMany = 3

/** How long, in milliseconds; after that one more slow call is enough. A busy machine has slow calls, too. */
const threadsFor = 10_000

/** Each quick call makes up for a part of a slow one: a process that was stopped has slow calls, too. */
const forgiven = 0.01

/** How many directories are remembered. */
const maxDirectories = 10_000

/** The disk of Node, with what it needs to know of each directory. */
export interface NodeDisk extends Disk {
  /** Whether the calls below a directory are synchronous. `undefined` where that has not been asked yet. */
  readonly isLocal: (directory: string) => boolean | undefined
  /** Finds out, on threads, what a directory is on. Fibers that ask meanwhile wait for the same answer. A directory that is not there has none. */
  readonly classify: (directory: string) => Effect.Effect<void>
  /** A path as it is spelled, from the root on. Throws where the working directory is gone. */
  readonly absolute: (path: string) => string
  /** The canonical name of the directory of a file in a local directory, at once; `undefined` if the file is a link. */
  readonly locate: (directory: string, path: string) => string | undefined
}

/**
 * The file systems of Linux that keep their data on this machine, by the magic numbers of statfs(2). Calls on all others may wait for a
 * server, or for another process.
 */
const localOnLinux = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // xfs
  0x9123683e, // btrfs
  0x01021994, // tmpfs
  0x858458f6, // ramfs
  0x794c7630, // overlay
  0x2fc12fc1, // zfs
  0xf2f52010, // f2fs
  0xca451a4e, // bcachefs
  0x52654973, // reiserfs
  0x3153464a, // jfs
  0x4d44, // vfat
  0x2011bab0, // exfat
  0x7366746e, // ntfs3
  0xf15f // ecryptfs
])

/** APFS and HFS+. */
const localOnDarwin = new Set([0x1a, 0x11])

const isLocalType = (type: number): boolean => {
  switch (process.platform) {
    case "linux":
      return localOnLinux.has(type)
    case "darwin":
      return localOnDarwin.has(type)
    default:
      return false
  }
}

/** Whether calls are made synchronously at some time. */
const isQuick = ({ local, threadsUntil }: Directory, now: number): boolean => local && now >= threadsUntil

const endOfDirectory = (path: string): number =>
  process.platform === "win32" ? Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) : path.lastIndexOf("/")

/** The directory of a file, as it is spelled: `..` after a link leads elsewhere than its name says. */
export const directoryOf = (path: string): string => path.slice(0, Math.max(1, endOfDirectory(path)))

/** The path of a file in a directory, as it is spelled. */
export const join = (directory: string, name: string): string =>
  directory.endsWith(NodePath.sep) ? `${directory}${name}` : `${directory}${NodePath.sep}${name}`

/** What goes for the directory of a lock goes for that of its readers. */
const directoryOfLock = (directory: string): string => isOfReaders(directory) ? directoryOf(directory) : directory

const isIn = (path: string, directory: string): boolean =>
  endOfDirectory(path) === directory.length && path.startsWith(directory)

/** What is there instead of a file. */
export const kindOf = (info: NodeFS.Stats): string =>
  info.isDirectory()
    ? "a directory"
    : info.isSymbolicLink()
    ? "a symbolic link"
    : info.isFIFO()
    ? "a fifo"
    : info.isSocket()
    ? "a socket"
    : "a device"

const other = (what: string): Entry => ({ _tag: "Other", what })

/** A FIFO that takes the place of a file between two calls must not block. */
const readFlags = NodeFS.constants.O_RDONLY | (NodeFS.constants.O_NOFOLLOW ?? 0) | (NodeFS.constants.O_NONBLOCK ?? 0)
const rewriteFlags = NodeFS.constants.O_RDWR | (NodeFS.constants.O_NOFOLLOW ?? 0) | (NodeFS.constants.O_NONBLOCK ?? 0)

const sharedBuffer = Buffer.allocUnsafe(maxBytes + 1)

/** A file that goes between two calls is not there. */
const orElse = <A>(call: Effect.Effect<A, DiskError>, absent: A): Effect.Effect<A, DiskError> =>
  Immediate.matchEffect(call, {
    onSuccess: Exit.succeed,
    onFailure: (error) => error.code === "ENOENT" ? Exit.succeed(absent) : Exit.fail(error)
  })

/**
 * The disk over `node:fs`. A metadata call on a local file system takes some microseconds, less than handing it to another thread, so
 * it is made synchronously; calls on all other file systems, and in directories where calls turned out to be slow, go to the threads.
 */
export const make = (calls: Calls = NodeFS): NodeDisk => {
  const directories = new Map<string, Directory>()
  const questions = new Map<string, Fiber.RuntimeFiber<void>>()
  const { promises } = calls
  /** The directory of the last call: those of one lock follow each other. */
  let last: { readonly name: string; readonly known: Directory | undefined } = { name: "", known: undefined }

  /** What is known of the directory of a file. */
  const findAt = (path: string): Directory | undefined => {
    const { known, name } = last
    if (known !== undefined && isIn(path, name)) {
      return known
    }
    const directory = directoryOf(path)
    last = { name: directory, known: directories.get(directoryOfLock(directory)) }
    return last.known
  }

  const threaded = <A>(run: () => Promise<A>): Effect.Effect<A, DiskError> =>
    Effect.tryPromise({ try: run, catch: toError })

  /** A call on a file. */
  const callAt = <A>(path: string, local: () => A, onThread: () => Promise<A>): Effect.Effect<A, DiskError> =>
    call(findAt(path), local, onThread)

  const call = <A>(
    known: Directory | undefined,
    local: () => A,
    onThread: () => Promise<A>
  ): Effect.Effect<A, DiskError> => {
    const began = performance.now()
    if (known === undefined || !isQuick(known, began)) {
      return threaded(onThread)
    }
    let result: Exit.Exit<A, DiskError>
    try {
      result = Exit.succeed(local())
    } catch (error) {
      result = Exit.fail(toError(error))
    }
    const ended = performance.now()
    if (ended - began > slowAfter) {
      known.slow += 1
      // Calls that a worker thread has left to others would go on after it was terminated.
      if (known.slow >= tooMany && NodeWorker.isMainThread) {
        known.slow = tooMany - 1
        known.threadsUntil = ended + threadsFor
      }
    } else if (known.slow > 0) {
      known.slow -= forgiven
    }
    return result
  }

  const classify = (directory: string): Effect.Effect<void> =>
    threaded(() => promises.realpath(directory)).pipe(
      Effect.flatMap((canonical) =>
        Effect.map(threaded(() => promises.statfs(canonical)), ({ type }) => {
          if (directories.size >= maxDirectories) {
            directories.clear()
          }
          const known = directories.get(canonical) ??
            { canonical, local: isLocalType(type >>> 0), slow: 0, threadsUntil: 0 }
          directories.set(canonical, known)
          directories.set(directory, known)
        })
      ),
      // It is made with the first lock in it, and asked for with the next one.
      Effect.ignore,
      Effect.ensuring(Effect.sync(() => questions.delete(directory)))
    )

  /** Node remembers the name that it once had, also where it has been renamed. */
  const workingDirectory = (): string => calls.realpathSync.native(".")

  const textOf = (length: number): string => sharedBuffer.toString("utf8", 0, length)

  const readLocal = (path: string): Entry => {
    const info = calls.lstatSync(path, { throwIfNoEntry: false })
    if (info === undefined) {
      return absent
    }
    if (!info.isFile()) {
      return other(kindOf(info))
    }
    if (info.size > maxBytes) {
      return other(`a file of ${info.size} bytes`)
    }
    const file = calls.openSync(path, readFlags)
    try {
      const length = calls.readSync(file, sharedBuffer, 0, maxBytes + 1, null)
      return length > maxBytes
        ? other("a file that grows")
        : { _tag: "File", text: textOf(length), inode: info.ino, modifiedAt: info.mtimeMs }
    } finally {
      calls.closeSync(file)
    }
  }

  /** A lock file that was ours a moment ago is read without asking first what it is. */
  const peekLocal = (path: string): Entry => {
    let file: number | undefined
    try {
      file = calls.openSync(path, readFlags)
      const length = calls.readSync(file, sharedBuffer, 0, maxBytes, null)
      return { _tag: "File", text: textOf(length), inode: -1, modifiedAt: -1 }
    } catch {
      return readLocal(path)
    } finally {
      if (file !== undefined) calls.closeSync(file)
    }
  }

  const readOnThread = async (path: string): Promise<Entry> => {
    const info = await promises.lstat(path)
    if (!info.isFile()) {
      return other(kindOf(info))
    }
    if (info.size > maxBytes) {
      return other(`a file of ${info.size} bytes`)
    }
    const file = await promises.open(path, readFlags)
    try {
      const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(maxBytes + 1), 0, maxBytes + 1, null)
      return bytesRead > maxBytes
        ? other("a file that grows")
        : { _tag: "File", text: buffer.toString("utf8", 0, bytesRead), inode: info.ino, modifiedAt: info.mtimeMs }
    } finally {
      await file.close()
    }
  }

  const read: Disk["read"] = (path) =>
    orElse(
      callAt(path, () => readLocal(path), () => readOnThread(path)),
      absent
    )

  return {
    isSynchronous: (path) => findAt(path)?.local === true,
    create: (path, text) =>
      callAt(path, () => {
        const file = calls.openSync(path, "wx")
        try {
          const written = calls.writeSync(file, text)
          if (written < Buffer.byteLength(text)) {
            throw Object.assign(new Error(`ENOSPC: no space left on device, write '${path}'`), { code: "ENOSPC" })
          }
        } finally {
          calls.closeSync(file)
        }
      }, () => promises.writeFile(path, text, { flag: "wx" })),
    link: (from, to) => callAt(to, () => calls.linkSync(from, to), () => promises.link(from, to)),
    rename: (from, to) => callAt(to, () => calls.renameSync(from, to), () => promises.rename(from, to)),
    unlink: (path) => callAt(path, () => calls.unlinkSync(path), () => promises.unlink(path)),
    exists: (path) =>
      callAt(
        path,
        () => calls.lstatSync(path, { throwIfNoEntry: false }) !== undefined,
        () =>
          promises.lstat(path).then(() => true, (error) =>
            toError(error).code === "ENOENT" ? false : Promise.reject(error))
      ),
    read,
    peek: (path) =>
      orElse(
        callAt(path, () => peekLocal(path), () => readOnThread(path)),
        absent
      ),
    rewrite: (path, expected, offset, text) =>
      callAt(path, () => {
        const file = calls.openSync(path, rewriteFlags)
        try {
          const content = textOf(calls.readSync(file, sharedBuffer, 0, maxBytes, 0))
          if (content !== expected) {
            return { content, inPlace: false }
          }
          calls.writeSync(file, text, offset)
          const now = calls.lstatSync(path, { throwIfNoEntry: false })
          return { content, inPlace: now?.ino === calls.fstatSync(file).ino }
        } finally {
          calls.closeSync(file)
        }
      }, async () => {
        const file = await promises.open(path, rewriteFlags)
        try {
          const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(maxBytes), 0, maxBytes, 0)
          const content = buffer.toString("utf8", 0, bytesRead)
          if (content !== expected) {
            return { content, inPlace: false }
          }
          await file.write(text, offset)
          const [now, written] = await Promise.all([promises.lstat(path), file.stat()])
          return { content, inPlace: now.ino === written.ino }
        } finally {
          await file.close()
        }
      }),
    // A listing takes as long as the directory is large, and nobody waits for one, but for that of readers.
    list: (directory) =>
      isOfReaders(directory)
        ? callAt(directory, () => calls.readdirSync(directory), () => promises.readdir(directory))
        : threaded(() => promises.readdir(directory)),
    makeDirectory: (path) =>
      callAt(path, () => {
        calls.mkdirSync(path)
        const mode = isOfReaders(path) ? modeForOthers(calls.lstatSync(directoryOf(path)).mode) : undefined
        if (mode !== undefined) calls.chmodSync(path, mode)
      }, async () => {
        await promises.mkdir(path)
        const mode = isOfReaders(path) ? modeForOthers((await promises.lstat(directoryOf(path))).mode) : undefined
        if (mode !== undefined) await promises.chmod(path, mode)
      }),
    removeDirectory: (path) => callAt(path, () => calls.rmdirSync(path), () => promises.rmdir(path)),
    removesInOneStep: true,
    realPath: (path) =>
      call(directories.get(path), () => calls.realpathSync.native(path), () => promises.realpath(path)),
    readLink: (path) =>
      orElse(
        callAt<string | undefined>(
          path,
          () =>
            calls.lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true
              ? calls.readlinkSync(path)
              : undefined,
          async () => (await promises.lstat(path)).isSymbolicLink() ? promises.readlink(path) : undefined
        ),
        undefined
      ),
    owner: (path) => callAt(path, () => calls.lstatSync(path).uid, async () => (await promises.lstat(path)).uid),
    workingDirectory: Effect.try({ try: () => workingDirectory(), catch: toError }),
    absolute: (path) => NodePath.isAbsolute(path) ? path : join(workingDirectory(), path),
    isLocal: (directory) => {
      const known = directories.get(directory)
      return known === undefined ? undefined : isQuick(known, performance.now())
    },
    classify: (directory) =>
      Effect.withFiberRuntime((fiber) => {
        if (directories.has(directory)) {
          return Effect.void
        }
        // The fiber that asked first may be interrupted.
        const asked = questions.get(directory) ?? Runtime.start(fiber, classify(directory))
        if (asked.unsafePoll() === null) {
          questions.set(directory, asked)
        }
        return Effect.asVoid(Fiber.await(asked))
      }),
    locate: (directory, path) =>
      calls.lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true
        ? undefined
        // A lock file that is named through its directory's canonical name is the same file, whatever has become of that.
        : directories.get(directory)?.canonical === directory
        ? directory
        : calls.realpathSync.native(directory)
  }
}
