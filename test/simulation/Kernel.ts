/**
 * Time and turns of a simulated world. Fibers run until each of them waits: for an alarm, or parked before a step that somebody
 * has to let go. Nothing here decides; whoever drives the kernel does.
 */
import type * as Scheduler from "effect/Scheduler"
import type { Step } from "../../src/MemoryFileSystem.js"

/** Whatever can be stopped as a whole: a process. */
export interface Runner {
  readonly alive: boolean
  /** Until when nothing of it runs, in the kernel's nanoseconds. */
  readonly stalledUntil: number
  /** For how long its machine has been suspended up to now: its timers did not run meanwhile. */
  readonly suspended: number
}

/** Somebody before a step. */
export interface Parked<P extends Runner> {
  readonly id: number
  readonly process: P
  readonly who: string
  /** Several fibers may act for one who: a release can go on in the background. */
  readonly fiber: number
  readonly step: Step
  /** Slow storage: nobody may let it go earlier. */
  heldUntil: number
  readonly resume: () => void
}

interface Alarm<P extends Runner> {
  at: number
  /** When it was due first: what was late together fires in that order. */
  readonly due: number
  readonly serial: number
  readonly process: P | undefined
  suspended: number
  readonly fire: () => void
  cancelled: boolean
}

const isBefore = <P extends Runner>(left: Alarm<P>, right: Alarm<P>): boolean =>
  left.at !== right.at
    ? left.at < right.at
    : left.due !== right.due
    ? left.due < right.due
    : left.serial < right.serial

export class Kernel<P extends Runner> implements Scheduler.Scheduler {
  /** Nanoseconds since the beginning. */
  now = 0
  /** How many steps were let go. */
  steps = 0
  readonly parked: Array<Parked<P>> = []
  private serial = 0
  private readonly heap: Array<Alarm<P>> = []
  private tasks: Array<Scheduler.Task> = []

  /** Never by itself: a turn lasts until everybody waits, with or without a trace. */
  shouldYield(): false {
    return false
  }

  scheduleTask(task: Scheduler.Task): void {
    this.tasks.push(task)
  }

  /** Runs all fibers until each of them waits. */
  drain(): void {
    while (this.tasks.length > 0) {
      const tasks = this.tasks
      this.tasks = []
      for (const task of tasks) {
        task()
      }
    }
  }

  park(process: P, who: string, fiber: number, step: Step, resume: () => void): Parked<P> {
    const entry = { id: this.serial++, process, who, fiber, step, heldUntil: 0, resume }
    if (process.alive) {
      this.parked.push(entry)
    }
    return entry
  }

  unpark(entry: Parked<P>): void {
    const index = this.parked.indexOf(entry)
    if (index >= 0) {
      this.parked.splice(index, 1)
    }
  }

  /** Who could go on now. */
  runnable(): ReadonlyArray<Parked<P>> {
    return this.parked.filter(({ heldUntil, process }) => process.stalledUntil <= this.now && heldUntil <= this.now)
  }

  /** Lets somebody do one step, and run on up to the next. */
  go(entry: Parked<P>): void {
    this.unpark(entry)
    this.steps++
    entry.resume()
    this.drain()
  }

  /** The process is dead: it does nothing any more. */
  forget(process: P): void {
    for (let index = this.parked.length - 1; index >= 0; index--) {
      if (this.parked[index]?.process === process) {
        this.parked.splice(index, 1)
      }
    }
  }

  /** Calls `fire` when `delay` nanoseconds have passed, for a process only when it can run; the result cancels it. */
  after(delay: number, process: P | undefined, fire: () => void): () => void {
    const at = this.now + delay
    const alarm: Alarm<P> = {
      at,
      due: at,
      serial: this.serial++,
      process,
      suspended: process?.suspended ?? 0,
      fire,
      cancelled: false
    }
    this.push(alarm)
    return () => {
      alarm.cancelled = true
    }
  }

  /** When something is due next; `undefined` if nothing ever is. */
  nextAlarm(): number | undefined {
    for (let top = this.heap[0]; top !== undefined; top = this.heap[0]) {
      const { process } = top
      if (top.cancelled || process?.alive === false) {
        this.pop()
      } else if (process !== undefined && process.suspended > top.suspended) {
        this.pop()
        top.at += process.suspended - top.suspended
        top.suspended = process.suspended
        this.push(top)
      } else if (process !== undefined && process.stalledUntil > Math.max(this.now, top.at)) {
        this.pop()
        top.at = process.stalledUntil
        this.push(top)
      } else {
        return top.at
      }
    }
    return undefined
  }

  /** Goes to the next alarm, and lets everybody run on that it wakes. */
  ring(): void {
    if (this.nextAlarm() === undefined) {
      return
    }
    const alarm = this.pop()
    if (alarm !== undefined) {
      this.now = Math.max(this.now, alarm.at)
      alarm.fire()
      this.drain()
    }
  }

  private push(alarm: Alarm<P>): void {
    const { heap } = this
    let index = heap.length
    heap.push(alarm)
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = heap[parent]
      if (above === undefined || !isBefore(alarm, above)) {
        break
      }
      heap[index] = above
      index = parent
    }
    heap[index] = alarm
  }

  private pop(): Alarm<P> | undefined {
    const { heap } = this
    const top = heap[0]
    const last = heap.pop()
    if (top === undefined || last === undefined || heap.length === 0) {
      return top
    }
    let index = 0
    for (;;) {
      const left = heap[2 * index + 1]
      const right = heap[2 * index + 2]
      const child = left === undefined || (right !== undefined && isBefore(right, left)) ? right : left
      if (child === undefined || !isBefore(child, last)) {
        break
      }
      const from = child === left ? 2 * index + 1 : 2 * index + 2
      heap[index] = child
      index = from
    }
    heap[index] = last
    return top
  }
}
