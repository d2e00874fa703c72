/**
 * A lock file alone: no recovery from a crash, no fairness. Each lock made of files costs at least this much.
 */
import * as Fs from "node:fs"
import * as FsPromises from "node:fs/promises"
import * as Timers from "node:timers/promises"
import * as Competitor from "../Competitor.js"

/** As long as the record of a holder. */
const record = "x".repeat(350)

const isTaken = (cause: unknown): boolean => cause instanceof Error && "code" in cause && cause.code === "EEXIST"

/** With `fs.promises`. A waiter polls every `poll` milliseconds. */
export const promises = (poll: number): Competitor.Competitor =>
  Competitor.fromAcquire(async (path) => {
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

/** With the callbacks under Node's `FileSystem` service: the least that a lock over this service costs. */
export const callbacks = (): Competitor.Competitor =>
  Competitor.fromAcquire((path) => {
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
