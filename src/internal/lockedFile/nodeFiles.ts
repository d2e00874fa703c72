import { SystemError } from "@effect/platform/Error"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as NodeFS from "node:fs"
import { codeOf, syscallOf } from "../errno.js"
import * as Immediate from "../immediate.js"
import { directoryOf, kindOf, type NodeDisk } from "../lockFile/nodeDisk.js"
import { reasonOf } from "../memoryFileSystem/errno.js"
import type { Attributes, Files } from "./files.js"

/** Reading or writing more than this, in bytes, is handed to another thread, as an fsync is. */
const maxSynchronous = 65_536

const toError = (method: string, path: string) => (cause: unknown): SystemError =>
  new SystemError({
    reason: reasonOf(codeOf(cause)),
    module: "FileSystem",
    method,
    pathOrDescriptor: path,
    syscall: syscallOf(cause),
    description: cause instanceof Error ? cause.message : undefined,
    cause
  })

const checkFile = (info: NodeFS.Stats): NodeFS.Stats => {
  if (!info.isFile()) throw Object.assign(new Error(`it is ${kindOf(info)}`), { code: "EISDIR" })
  return info
}

/** What has to be changed of a new file. */
const changesOf = (info: NodeFS.Stats, { gid, mode, uid }: Attributes) => {
  const isOwner = info.uid === uid && info.gid === gid
  return {
    owner: isOwner ? undefined : [uid ?? info.uid, gid ?? info.gid] as const,
    // A change of the owner takes some bits away.
    mode: isOwner && (info.mode & 0o7777) === mode ? undefined : mode
  }
}

const attributesOf = (info: NodeFS.Stats | undefined): Attributes | undefined =>
  info === undefined ? undefined : { mode: checkFile(info).mode & 0o7777, uid: info.uid, gid: info.gid }

/** Whole files over `node:fs`: as the disk of lock files, what is small and on a local disk is done at once. */
export const make = (disk: NodeDisk): Files => {
  const { promises } = NodeFS

  const isLocal = (path: string): boolean => disk.isLocal(directoryOf(path)) === true

  const local = <A>(method: string, path: string, call: () => A): Effect.Effect<A, SystemError> => {
    try {
      return Exit.succeed(call())
    } catch (cause) {
      return Exit.fail(toError(method, path)(cause))
    }
  }

  const threaded = <A>(method: string, path: string, call: () => Promise<A>): Effect.Effect<A, SystemError> =>
    Effect.tryPromise({ try: call, catch: toError(method, path) })

  const readNow = (path: string): Uint8Array | undefined => {
    const file = NodeFS.openSync(path, NodeFS.constants.O_RDONLY | (NodeFS.constants.O_NONBLOCK ?? 0))
    try {
      return checkFile(NodeFS.fstatSync(file)).size > maxSynchronous ? undefined : NodeFS.readFileSync(file)
    } finally {
      NodeFS.closeSync(file)
    }
  }

  const readLater = async (path: string): Promise<Uint8Array> => {
    const file = await promises.open(path, NodeFS.constants.O_RDONLY | (NodeFS.constants.O_NONBLOCK ?? 0))
    try {
      checkFile(await file.stat())
      return await file.readFile()
    } finally {
      await file.close()
    }
  }

  /** Returns the file as long as it is open. */
  const createNow = (path: string, content: Uint8Array, attributes: Attributes | undefined): number => {
    const file = NodeFS.openSync(path, "wx", attributes?.mode)
    try {
      NodeFS.writeFileSync(file, content)
      if (attributes !== undefined) {
        const { mode, owner } = changesOf(NodeFS.fstatSync(file), attributes)
        if (owner !== undefined) NodeFS.fchownSync(file, ...owner)
        if (mode !== undefined) NodeFS.fchmodSync(file, mode)
      }
      return file
    } catch (error) {
      NodeFS.closeSync(file)
      throw error
    }
  }

  /** An fsync is the only call that a thread makes: each further one would be as long on its way as all others together take. */
  const syncAndClose = (path: string, file: number): Effect.Effect<void, SystemError> =>
    Effect.async((resume) =>
      NodeFS.fsync(file, (error) =>
        resume(local("fsync", path, () => {
          NodeFS.closeSync(file)
          if (error !== null) throw error
        })))
    )

  const createLater = async (
    path: string,
    content: Uint8Array,
    attributes: Attributes | undefined,
    fsync: boolean
  ): Promise<void> => {
    const file = await promises.open(path, "wx", attributes?.mode)
    try {
      await file.writeFile(content)
      if (attributes !== undefined) {
        const { mode, owner } = changesOf(await file.stat(), attributes)
        if (owner !== undefined) await file.chown(...owner)
        if (mode !== undefined) await file.chmod(mode)
      }
      if (fsync) await file.sync()
    } finally {
      await file.close()
    }
  }

  return {
    read: (path) => {
      const read = isLocal(path) ? local("readFile", path, () => readNow(path)) : Exit.succeed(undefined)
      return Exit.isExit(read) && Exit.isSuccess(read) && read.value === undefined
        ? threaded("readFile", path, () => readLater(path))
        : read as Effect.Effect<Uint8Array, SystemError>
    },
    attributes: (path) =>
      isLocal(path)
        ? local("stat", path, () => attributesOf(NodeFS.statSync(path, { throwIfNoEntry: false })))
        : threaded("stat", path, () =>
          promises.stat(path).then(attributesOf, (error) =>
            codeOf(error) === "ENOENT" ? undefined : Promise.reject(error))),
    create: (path, content, attributes, fsync) =>
      isLocal(path) && content.length <= maxSynchronous
        ? Immediate.flatMap(
          local("open", path, () => createNow(path, content, attributes)),
          (file) => fsync ? syncAndClose(path, file) : local("close", path, () => NodeFS.closeSync(file))
        )
        : threaded("open", path, () => createLater(path, content, attributes, fsync)),
    rename: (from, to) =>
      isLocal(to)
        ? local("rename", to, () => NodeFS.renameSync(from, to))
        : threaded("rename", to, () => promises.rename(from, to)),
    remove: (path) => threaded("remove", path, () => promises.unlink(path)),
    list: (directory) => threaded("readDirectory", directory, () => promises.readdir(directory)),
    // Windows opens no directory, and some file systems sync none.
    syncDirectory: (directory) =>
      Effect.ignore(
        disk.isLocal(directory) === true
          ? Immediate.flatMap(
            local("open", directory, () => NodeFS.openSync(directory, "r")),
            (file) => syncAndClose(directory, file)
          )
          : threaded("open", directory, async () => {
            const file = await promises.open(directory, "r")
            try {
              await file.sync()
            } finally {
              await file.close()
            }
          })
      )
  }
}
