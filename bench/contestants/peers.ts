/**
 * The other packages: what is used of each, and how its users would use it.
 *
 * They are loaded at run time, from the folder that has them, so that the types of this repository hold where they are not installed.
 */
import * as FsPromises from "node:fs/promises"
import * as Contestant from "../Contestant.js"

/** Used of `proper-lockfile`. */
export interface ProperLockfile {
  readonly lock: (
    path: string,
    options: {
      readonly realpath: boolean
      readonly retries: {
        readonly forever: boolean
        readonly factor: number
        readonly minTimeout: number
        readonly maxTimeout: number
      }
    }
  ) => Promise<() => Promise<void>>
}

/** Used of `lockfile`. */
export interface Lockfile {
  readonly lock: (
    lockPath: string,
    options: { readonly wait: number; readonly pollPeriod: number },
    done: (cause?: Error | null) => void
  ) => void
  readonly unlock: (lockPath: string, done: (cause?: Error | null) => void) => void
}

/** Used of `fs-native-extensions`. */
export interface FsNativeExtensions {
  readonly tryLock: (fd: number) => boolean
  readonly waitForLock: (fd: number) => Promise<void>
  readonly unlock: (fd: number) => void
}

/** Used of `cross-process-lock`. */
export interface CrossProcessLock {
  readonly lock: (path: string, options: { readonly waitTimeout: number }) => Promise<() => Promise<void>>
}

/** Used of `async-mutex`. */
export interface AsyncMutex {
  readonly Mutex: new() => { readonly acquire: () => Promise<() => void> }
}

/** Longer than any measurement. */
const patience = 600_000

/** Tries again every `poll` milliseconds; everything else is its default. */
export const properLockfile = (peer: ProperLockfile, poll: number): Contestant.Contestant =>
  Contestant.fromAcquire((path) =>
    peer.lock(path, {
      realpath: false,
      retries: { forever: true, factor: 1, minTimeout: poll, maxTimeout: poll }
    })
  )

/** Never takes a lock for stale: that is its default. */
export const lockfile = (peer: Lockfile, poll: number): Contestant.Contestant => {
  const settled = (act: (done: (cause?: Error | null) => void) => void): Promise<void> =>
    new Promise((resolve, reject) => {
      act((cause) => cause ? reject(cause) : resolve())
    })
  return Contestant.fromAcquire(async (path) => {
    const lockPath = `${path}.lock`
    await settled((done) => peer.lock(lockPath, { wait: patience, pollPeriod: poll }, done))
    return () => settled((done) => peer.unlock(lockPath, done))
  })
}

/** A lock of the kernel, on a file that stays; a waiter sleeps inside the kernel, on a thread of the pool. */
export const kernel = (peer: FsNativeExtensions): Contestant.Contestant =>
  Contestant.fromAcquire(async (path) => {
    const file = await FsPromises.open(`${path}.lock`, "a+")
    if (!peer.tryLock(file.fd)) await peer.waitForLock(file.fd)
    return async () => {
      peer.unlock(file.fd)
      await file.close()
    }
  })

/** The same on a file that is opened once and for all: the fastest there is, for one caller at a time in each process. */
export const kernelKeptOpen = (peer: FsNativeExtensions): Contestant.Contestant => {
  const files = new Map<string, FsPromises.FileHandle>()
  return Contestant.fromAcquire(async (path) => {
    const file = files.get(path) ?? await FsPromises.open(`${path}.lock`, "a+")
    files.set(path, file)
    if (!peer.tryLock(file.fd)) await peer.waitForLock(file.fd)
    return async () => peer.unlock(file.fd)
  })
}

/** Looks again every 500 milliseconds: that is not an option. */
export const crossProcessLock = (peer: CrossProcessLock): Contestant.Contestant =>
  Contestant.fromAcquire(async (path) => {
    const unlock = await peer.lock(path, { waitTimeout: patience })
    return () => unlock()
  })
