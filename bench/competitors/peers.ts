/**
 * The other packages: the used part of each, and its use.
 *
 * The peers are loaded at run time from their own installation. So this repository compiles where the peers are not installed.
 */
import * as FsPromises from "node:fs/promises"
import * as Competitor from "../Competitor.js"

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

/** In milliseconds; longer than any measurement. */
const waitLimit = 600_000

/** Retries every `poll` milliseconds. All other options have their defaults. */
export const properLockfile = (peer: ProperLockfile, poll: number): Competitor.Competitor =>
  Competitor.fromAcquire((path) =>
    peer.lock(path, {
      realpath: false,
      retries: { forever: true, factor: 1, minTimeout: poll, maxTimeout: poll }
    })
  )

/** Polls every `poll` milliseconds. By default, no lock counts as stale. */
export const lockfile = (peer: Lockfile, poll: number): Competitor.Competitor => {
  const settled = (act: (done: (cause?: Error | null) => void) => void): Promise<void> =>
    new Promise((resolve, reject) => {
      act((cause) => cause ? reject(cause) : resolve())
    })
  return Competitor.fromAcquire(async (path) => {
    const lockPath = `${path}.lock`
    await settled((done) => peer.lock(lockPath, { wait: waitLimit, pollPeriod: poll }, done))
    return () => settled((done) => peer.unlock(lockPath, done))
  })
}

/** A kernel lock on a file that is never removed. A waiter sleeps in the kernel, on a thread of Node's pool. */
export const kernel = (peer: FsNativeExtensions): Competitor.Competitor =>
  Competitor.fromAcquire(async (path) => {
    const file = await FsPromises.open(`${path}.lock`, "a+")
    if (!peer.tryLock(file.fd)) await peer.waitForLock(file.fd)
    return async () => {
      peer.unlock(file.fd)
      await file.close()
    }
  })

/** The same on a file that is opened once. It serves one caller at a time in each process. */
export const kernelKeptOpen = (peer: FsNativeExtensions): Competitor.Competitor => {
  const files = new Map<string, FsPromises.FileHandle>()
  return Competitor.fromAcquire(async (path) => {
    const file = files.get(path) ?? await FsPromises.open(`${path}.lock`, "a+")
    files.set(path, file)
    if (!peer.tryLock(file.fd)) await peer.waitForLock(file.fd)
    return async () => peer.unlock(file.fd)
  })
}

/** Polls every 500 ms, which is not configurable. */
export const crossProcessLock = (peer: CrossProcessLock): Competitor.Competitor =>
  Competitor.fromAcquire(async (path) => {
    const unlock = await peer.lock(path, { waitTimeout: waitLimit })
    return () => unlock()
  })
