/**
 * Time and scheduling of a simulated world. Fibers run until each of them waits: for an alarm, or parked before a step that the
 * simulation has to let go. The kernel decides nothing; its driver does.
 */
import type * as Scheduler from "effect/Scheduler"
import type * as MemoryFileSystem from "../../src/MemoryFileSystem.js"

/** A system call, and the second path of a `link` or a `rename`. */
export interface Step extends MemoryFileSystem.Step {
  readonly to?: string | undefined
}

/** What can be stopped as a whole: a process. */
export interface Runner {
  readonly alive: boolean
  /** Until when nothing of it runs, in the kernel's nanoseconds. */
  readonly stalledUntil: number
  /** For how long its machine has been suspended up to now: its timers did not run meanwhile. */
  readonly suspended: number
}

/** A fiber before a step. */
export interface Parked<P extends Runner> {
  readonly id: number
  readonly process: P
  readonly who: string
  /** Several fibers may act for one caller: a release can go on in the background. */
  readonly fiber: number
  readonly step: Step
  /** Slow storage: it cannot go on earlier. */
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

/** The tasks of one process: a process runs one of them at a time. */
class Tasks implements Scheduler.Scheduler {
  tasks: Array<Scheduler.Task> = []
  /** A system call of the process is on the stack: other processes run before it returns, this one does not. */
  inCall = false

  /** Never by itself: fibers run until all of them wait, with or without a trace. */
  shouldYield(): false {
    return false
  }

  scheduleTask(task: Scheduler.Task): void {
    this.tasks.push(task)
  }

  run(): boolean {
    let ran = false
    while (this.tasks.length > 0 && !this.inCall) {
      const { tasks } = this
      this.tasks = []
      for (const task of tasks) {
        task()
      }
      ran = true
    }
    return ran
  }
}

export class Kernel<P extends Runner> {
  /** Nanoseconds since the beginning. */
  now = 0
  /** How many steps were let go. */
  steps = 0
  readonly parked: Array<Parked<P>> = []
  private serial = 0
  private readonly heap: Array<Alarm<P>> = []
  private readonly schedulers = new Map<P, Tasks>()

  /** What runs the fibers of a process. */
  schedulerOf(process: P): Scheduler.Scheduler {
    return this.tasksOf(process)
  }

  private tasksOf(process: P): Tasks {
    let tasks = this.schedulers.get(process)
    if (tasks === undefined) {
      tasks = new Tasks()
      this.schedulers.set(process, tasks)
    }
    return tasks
  }

  /** Runs other processes in the middle of a synchronous system call of one. */
  duringCall(process: P, run: () => void): void {
    const tasks = this.tasksOf(process)
    tasks.inCall = true
    try {
      run()
    } finally {
      tasks.inCall = false
    }
  }

  isInCall(process: P): boolean {
    return this.schedulers.get(process)?.inCall === true
  }

  /** Runs all fibers until each of them waits. */
  drain(): void {
    for (let ran = true; ran;) {
      ran = false
      for (const tasks of this.schedulers.values()) {
        ran = tasks.run() || ran
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

  /** The steps that could be made now. */
  runnable(): ReadonlyArray<Parked<P>> {
    return this.parked.filter(({ heldUntil, process }) =>
      process.stalledUntil <= this.now && heldUntil <= this.now && !this.isInCall(process)
    )
  }

  /** Makes one step, and lets its fiber run on up to the next. */
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

  /** Whether something of the process is still to come. */
  hasAlarm(process: P): boolean {
    return this.heap.some((alarm) => alarm.process === process && !alarm.cancelled)
  }

  /** Goes to the next alarm, and lets all fibers run on that it wakes. */
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
