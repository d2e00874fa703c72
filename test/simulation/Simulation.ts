/**
 * Runs a world to its end, by its random source, and says what became of it.
 */
import { Faults } from "./Faults.js"
import { remember } from "./FiberRoots.js"
import { isLinearizable } from "./History.js"
import type { Parked } from "./Kernel.js"
import * as Plan from "./Plan.js"
import * as Program from "./Program.js"
import type { SimulatedProcess } from "./SimulatedProcess.js"
import { Violation } from "./Watcher.js"
import { directory, initialValue, World } from "./World.js"

export interface Outcome {
  readonly plan: Plan.Plan
  readonly violation: Violation | undefined
  readonly steps: number
  readonly sections: number
  /** Nanoseconds of simulated time. */
  readonly time: number
}

/** A world that has not ended after so many steps runs in circles. */
const maxSteps = 200_000

/** From then on nothing goes wrong any more. */
const quietAfterSteps = 4_000
const quietAfterTime = 20e9

const seconds = 1e9
const millis = 1e6

class Simulation {
  private readonly world: World
  private readonly faults: Faults
  private last: SimulatedProcess | undefined
  private lastProcess: SimulatedProcess | undefined
  /** By when the synchronous calls that are on the stack go on. */
  private callsGoOnAt = Infinity

  constructor(private readonly plan: Plan.Plan, trace: ((line: string) => void) | undefined) {
    this.world = new World(plan, trace)
    this.faults = new Faults(this.world)
    this.world.beforeCall = (entry, writing) => this.beforeCall(entry, writing)
    this.world.diedInCall = (process) => this.faults.diedInCall(process)
  }

  run(): Outcome {
    const { kernel, watcher } = this.world
    this.faults.populate()
    this.faults.schedule()
    kernel.drain()
    while (watcher.violation === undefined && this.turn()) {
      if (kernel.steps > maxSteps) watcher.fail("endless", `no end after ${maxSteps} steps`)
    }
    if (watcher.violation === undefined) this.checkRest()
    return {
      plan: this.plan,
      violation: watcher.violation,
      steps: kernel.steps,
      sections: this.world.sections,
      time: kernel.now
    }
  }

  /** Does one thing; `false` when the world has come to its end. */
  private turn(): boolean {
    const { kernel, random } = this.world
    const runnable = kernel.runnable()
    const alarm = kernel.nextAlarm()
    if (kernel.steps > quietAfterSteps || kernel.now > quietAfterTime) this.world.quiet = true
    if (runnable.length > 0 && (alarm === undefined || alarm > kernel.now || random.chance(0.5))) {
      this.step(runnable)
      return true
    }
    if (this.world.pending === 0) {
      return this.end()
    }
    if (alarm === undefined) {
      this.world.watcher.fail("stuck", "no process can go on, and nothing will wake any")
      return false
    }
    kernel.ring()
    this.checkProgress()
    return true
  }

  private step(runnable: ReadonlyArray<Parked<SimulatedProcess>>): void {
    const { kernel, plan, random, watcher } = this.world
    const same = runnable.filter(({ process }) => process === this.lastProcess)
    const entry = random.pick(same.length > 0 && random.chance(plan.stickiness) ? same : runnable)
    this.lastProcess = entry.process
    kernel.now += Math.floor(random.real(2 * plan.stepCost))
    if (this.faults.strike(entry)) {
      return
    }
    const { method, path, syscall } = entry.step
    const call = entry.process.calls.get(entry.who)
    if (call !== undefined) {
      call.steps++
      call.lastStep = kernel.steps + 1
    }
    if (syscall !== "clock" && method !== "section") {
      this.world.note(() =>
        `${entry.who.padEnd(5)} ${method === syscall ? method : `${method}: ${syscall}`} ${watcher.show(path)}`
      )
    }
    const after = watcher.before(entry, kernel.steps + 1)
    kernel.go(entry)
    after()
    this.world.noteChange(entry.step)
  }

  /** Before a synchronous call its process may be preempted, and then other processes run. */
  private beforeCall(entry: Parked<SimulatedProcess>, writing: boolean) {
    const { kernel, plan, random } = this.world
    const { process } = entry
    const { fate, pause } = this.faults.strikeCall(entry, writing)
    if (pause > 0) {
      const until = Math.min(kernel.now + pause, this.callsGoOnAt)
      this.world.stall(process, until - kernel.now)
      this.runOthers(process, until, Infinity)
    } else if (random.chance(plan.preemption)) {
      const until = Math.min(kernel.now + random.real(20) * plan.stepCost, this.callsGoOnAt)
      this.runOthers(process, until, random.integer(1, 12))
    }
    return fate
  }

  /** Lets other processes run in the middle of a synchronous call, up to a time, and so many turns at most. */
  private runOthers(process: SimulatedProcess, until: number, turns: number): void {
    const { kernel, random, watcher } = this.world
    const { callsGoOnAt } = this
    const { stalledUntil } = process
    this.callsGoOnAt = until
    process.stalledUntil = Math.max(stalledUntil, until)
    kernel.duringCall(process, () => {
      for (let turn = 0; turn < turns && kernel.now < until && watcher.violation === undefined; turn++) {
        const runnable = kernel.runnable()
        const alarm = kernel.nextAlarm()
        if (runnable.length > 0 && (alarm === undefined || alarm > kernel.now || random.chance(0.5))) {
          this.step(runnable)
        } else if (alarm !== undefined && alarm < until) {
          kernel.ring()
        } else {
          kernel.now = until
        }
      }
    })
    process.stalledUntil = Math.min(Math.max(stalledUntil, kernel.now), process.stalledUntil)
    this.callsGoOnAt = callsGoOnAt
  }

  /** How long, in nanoseconds, the lock may stay free while a caller wants it and nothing goes wrong. */
  private get bound(): number {
    const { plan } = this.world
    const deaths = plan.crashes + 6
    const perDeath = (plan.pollInterval + 200) * millis + (Plan.needsLease(plan) ? plan.lease * millis * 1.5 : 0)
    const retries = Plan.hasFileFaults(plan) || plan.faults.has("slowStorage") ? 10 * seconds : 0
    return 3 * seconds + perDeath * deaths + retries
  }

  private checkProgress(): void {
    const { kernel, lastFault, waiting, watcher } = this.world
    if (waiting.size === 0 || watcher.inside.size > 0 || watcher.isLeftByLiveProcess(this.world.readers())) {
      return
    }
    const since = Math.max(watcher.lastInside, lastFault, Math.min(...waiting.values()))
    if (kernel.now - since > this.bound) {
      watcher.fail("no progress", `${[...waiting.keys()].join(", ")} wait for a lock that is free`)
    }
  }

  /** When all are done one more process comes, and stays until what dead processes have left must be gone. */
  private end(): boolean {
    if (this.last !== undefined) {
      return false
    }
    const { kernel, plan, watcher } = this.world
    this.world.quiet = true
    // A person, or the other tool, is going to remove it.
    const isForeign = (name: string): boolean => watcher.seen(`${directory}/${name}`)._tag === "Foreign"
    if (kernel.nextAlarm() !== undefined && this.world.list().some(isForeign)) {
      kernel.ring()
      return true
    }
    this.world.lastFault = Math.max(this.world.lastFault, kernel.now)
    const host = this.world.hosts[0] ?? this.world.addHost()
    this.last = this.world.addProcess(host, {}, undefined)
    this.world.start(this.last, Program.last(this.world, this.last, this.bound / 1e6 + plan.lease))
    kernel.drain()
    return true
  }

  private checkRest(): void {
    const { kernel, plan, watcher } = this.world
    const left = this.world.list()
    if (left.length > 0) {
      const what = left.map((name) => `${watcher.show(name)} (${watcher.describe(`${directory}/${name}`)})`)
      watcher.fail("litter", `left at the end: ${what.join(", ")}`)
    }
    this.world.checkUnrelatedFiles()
    const until = kernel.now + 120 * seconds
    while ((kernel.nextAlarm() ?? Infinity) < until) kernel.ring()
    if (kernel.nextAlarm() !== undefined) watcher.fail("leak", "timers that go on for ever")
    const kept = watcher.losses === 0 && Plan.keepsLease(plan)
    if (kept && !isLinearizable(this.world.history, initialValue)) {
      const sections = this.world.history.map(({ name, read, wrote }) => `${name} ${read ?? "?"}→${wrote ?? "?"}`)
      watcher.fail("not linearizable", sections.join(", "))
    }
  }
}

/** Runs the world of a plan. `trace` hears every line of what happens. */
export const run = (plan: Plan.Plan, trace?: (line: string) => void): Outcome => {
  // Every refused system call makes an error, and nothing looks at where it came from.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  const forget = remember()
  // The disk of Node tells slow storage by the real clock.
  const { now } = performance
  performance.now = () => 0
  try {
    return new Simulation(plan, trace).run()
  } catch (error) {
    const violation = new Violation(
      "defect",
      error instanceof Error ? `${error.message}\n${error.stack}` : String(error)
    )
    return { plan, violation, steps: 0, sections: 0, time: 0 }
  } finally {
    forget()
    performance.now = now
    Error.stackTraceLimit = stackTraceLimit
  }
}
