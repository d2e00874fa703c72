/**
 * A lock file and nothing around it: no record that says who it is, no clean-up after the dead, no fairness. What every lock made of
 * files has to pay at least.
 */
import * as Fs from "node:fs"
import * as FsPromises from "node:fs/promises"
import * as Timers from "node:timers/promises"
import * as Contestant from "../Contestant.js"

/** As long as a record that says who holds the lock. */
const record = "x".repeat(350)

const isTaken = (cause: unknown): boolean => cause instanceof Error && "code" in cause && cause.code === "EEXIST"

/** With `fs.promises`; looks again every `poll` milliseconds. */
export const promises = (poll: number): Contestant.Contestant =>
  Contestant.fromAcquire(async (path) => {
    const lockPath = `${path}.lock`
    for (;;) {
      try {
        await FsPromises.writeFile(lockPath, record, { flag: "wx" })
        return () => FsPromises.unlink(lockPath)
      } catch (cause) {
        if (!isTaken(cause)) throw cause
        await Timers.setTimeout(poll)
      }
    }
  })

/** With the callbacks that Node's `FileSystem` service is made of: the least it could need for a lock. */
export const callbacks = (): Contestant.Contestant =>
  Contestant.fromAcquire((path) => {
    const lockPath = `${path}.lock`
    return new Promise((resolve, reject) => {
      Fs.writeFile(lockPath, record, { flag: "wx" }, (cause) => cause === null ? resolve(release) : reject(cause))
    })
    function release(): Promise<void> {
      return new Promise((resolve, reject) => {
        Fs.rm(lockPath, (cause) => cause === null ? resolve() : reject(cause))
      })
    }
  })
