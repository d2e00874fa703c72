/**
 * How often a process that hands a lock over looks for waiters that cannot be told: at each of so many acquisitions for which others
 * waited. One that is found twice, and has shown a sign of life in between, gets the lock next.
 */
export const lookEvery = 32

/** How many locks are remembered. */
const maxLocks = 1_000

interface Seen {
  acquisitions: number
  requests: ReadonlyMap<string, string>
}

/**
 * The waiters that poll, as one process has seen them: those of other machines and containers, which no message reaches. They would
 * find the lock free only by luck, as long as it is handed over.
 */
export class Pollers {
  private readonly locks = new Map<string, Seen>()

  /** The process holds a lock for which others wait. Whether it is to look for pollers. */
  isDue(lockPath: string): boolean {
    const seen = this.locks.get(lockPath) ?? { acquisitions: 0, requests: new Map() }
    this.locks.delete(lockPath)
    this.locks.set(lockPath, seen)
    for (const oldest of this.locks.keys()) {
      if (this.locks.size <= maxLocks) break
      this.locks.delete(oldest)
    }
    seen.acquisitions += 1
    return seen.acquisitions % lookEvery === 0
  }

  /** Of the requests of pollers, by token, those that live: they are new, or have another text, since this process looked last. */
  alive(lockPath: string, requests: ReadonlyMap<string, string>): ReadonlyArray<string> {
    const seen = this.locks.get(lockPath)
    if (seen === undefined) {
      return []
    }
    const before = seen.requests
    const isFirst = seen.acquisitions <= lookEvery
    seen.requests = requests
    return isFirst ? [] : [...requests].filter(([token, text]) => before.get(token) !== text).map(([token]) => token)
  }
}
