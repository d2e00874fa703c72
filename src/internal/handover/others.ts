import type { Requested } from "../lockFile/requests.js"
import { forgetOldest } from "./channel.js"

/**
 * How often a process that hands a lock over looks in the directory for waiters: at each of so many acquisitions for which others waited.
 * One that polls, and is found twice with a sign of life in between, gets the lock next. One whose messages come too late, since the lock
 * passes on faster, is put in front of the queue.
 */
export const lookEvery = 16

/** How many locks are remembered. */
const maxLocks = 1_000

/** Those to whom the lock is to go next. */
export interface Found {
  /** A waiter that no message reaches. */
  readonly polling: string | undefined
  /** Those that a message reaches. */
  readonly waiting: ReadonlyArray<string>
}

const nobody: Found = { polling: undefined, waiting: [] }

interface Seen {
  acquisitions: number
  looks: number
  /** The requests of those that poll, by token. */
  texts: ReadonlyMap<string, string>
  found: Found
}

/**
 * The waiters that a process has seen in the directory of a lock, and who may not be in the queue of its holder: those of other machines and
 * containers, which no message reaches and which would find the lock free only by luck as long as it is handed over, and those that wait
 * for a processor while the lock passes from one process to the next.
 */
export class Others {
  readonly locks = new Map<string, Seen>()

  /** The process holds a lock for which others wait. Whether it is to look in the directory. */
  isDue(lockPath: string): boolean {
    const seen = this.locks.get(lockPath) ?? { acquisitions: 0, looks: 0, texts: new Map(), found: nobody }
    this.locks.delete(lockPath)
    this.locks.set(lockPath, seen)
    forgetOldest(this.locks, maxLocks)
    seen.acquisitions += 1
    return seen.acquisitions % lookEvery === 0
  }

  /** What was found in the directory. Of those that poll, those live that are new, or have another text, since the last look. */
  add(lockPath: string, polling: ReadonlyArray<Requested>, waiting: ReadonlyArray<Requested>): void {
    const seen = this.locks.get(lockPath)
    if (seen !== undefined) {
      const alive = polling.find(({ holder, text }) => seen.texts.get(holder.token) !== text)
      seen.found = {
        polling: seen.looks === 0 ? undefined : alive?.holder.token,
        waiting: waiting.map(({ holder }) => holder.token)
      }
      seen.looks += 1
      seen.texts = new Map(polling.map(({ holder, text }) => [holder.token, text]))
    }
  }

  has(lockPath: string): boolean {
    return this.locks.get(lockPath)?.found.polling !== undefined
  }

  /** Those that were found, once. */
  take(lockPath: string): Found {
    const seen = this.locks.get(lockPath)
    const found = seen?.found ?? nobody
    if (seen !== undefined) seen.found = nobody
    return found
  }
}
