/**
 * Whether what several processes read and wrote can be explained by one order of their critical sections.
 */

/** One critical section, as a read and a write of one register. */
export interface Swap {
  readonly name: string
  readonly invoked: number
  /** `undefined`: it never came back, and may have had its effect or not. */
  readonly responded: number | undefined
  /** What it read; `undefined` if it never got to know. */
  readonly read: string | undefined
  /** What it wrote, or may have written; `undefined` if it only read. */
  readonly wrote: string | undefined
}

/**
 * Wing and Gong's search, with a memo of what was tried (Lowe): take as the next any operation that was invoked before every
 * other open one responded, and whose read is explained by the value then. Exponential in the number of operations that overlap
 * only, which the lock keeps at one; operations that never came back may be left out. Readers overlap readers, but one that only reads
 * changes nothing, and is taken as soon as it can be.
 *
 * It suffices to check one register: a lock is right when what it guards behaves like one object under atomic operations, and
 * a read followed by a write of a unique value is the operation that tells most about the order (each says after which other one
 * it came).
 */
export const isLinearizable = (history: ReadonlyArray<Swap>, initial: string): boolean => {
  const tried = new Set<string>()
  const done = history.map(() => false)
  const search = (value: string): boolean => {
    const key = `${done.map((yes) => yes ? 1 : 0).join("")}:${value}`
    if (tried.has(key)) {
      return false
    }
    tried.add(key)
    const open = history.filter((_, index) => !done[index])
    if (open.every(({ responded }) => responded === undefined)) {
      return true
    }
    const deadline = Math.min(...open.map(({ responded }) => responded ?? Infinity))
    const mayBeNext = (swap: Swap, index: number): boolean =>
      !done[index] && swap.invoked <= deadline && (swap.read === undefined || swap.read === value)
    const reader = history.findIndex((swap, index) => swap.wrote === undefined && mayBeNext(swap, index))
    if (reader >= 0) {
      done[reader] = true
      const explained = search(value)
      done[reader] = false
      return explained
    }
    return history.some((swap, index) => {
      if (!mayBeNext(swap, index)) {
        return false
      }
      done[index] = true
      const explained = search(swap.wrote ?? value)
      done[index] = false
      return explained
    })
  }
  return search(initial)
}
