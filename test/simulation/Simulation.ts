/**
 * Runs a world to its end, by its dice, and says what became of it.
 */
import { remember } from "./Forgotten.js"
import { isLinearizable } from "./History.js"
import type { Parked } from "./Kernel.js"
import * as Plan from "./Plan.js"
import type { Player } from "./Player.js"
import * as Program from "./Program.js"
import { Troubles } from "./Troubles.js"
import { changes, Violation } from "./Watcher.js"
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

class Simulation {
  private readonly world: World
  private readonly troubles: Troubles
  private last: Player | undefined
  private lastProcess: Player | undefined

  constructor(private readonly plan: Plan.Plan, trace: ((line: string) => void) | undefined) {
    this.world = new World(plan, trace)
    this.troubles = new Troubles(this.world)
  }

  run(): Outcome {
    const { kernel, watcher } = this.world
    this.troubles.populate()
    this.troubles.schedule()
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
    const { dice, kernel } = this.world
    const runnable = kernel.runnable()
    const alarm = kernel.nextAlarm()
    if (kernel.steps > quietAfterSteps || kernel.now > quietAfterTime) this.world.quiet = true
    if (runnable.length > 0 && (alarm === undefined || alarm > kernel.now || dice.chance(0.5))) {
      this.step(runnable)
      return true
    }
    if (this.world.pending === 0) {
      return this.end()
    }
    if (alarm === undefined) {
      this.world.watcher.fail("stuck", "nobody can go on, and nothing will wake anybody")
      return false
    }
    kernel.ring()
    this.checkProgress()
    return true
  }

  private step(runnable: ReadonlyArray<Parked<Player>>): void {
    const { dice, kernel, plan, watcher } = this.world
    const same = runnable.filter(({ process }) => process === this.lastProcess)
    const entry = dice.pick(same.length > 0 && dice.chance(plan.stickiness) ? same : runnable)
    this.lastProcess = entry.process
    kernel.now += Math.floor(dice.real(2 * plan.stepCost))
    if (this.troubles.befall(entry)) {
      return
    }
    const { method, path, syscall } = entry.step
    const call = entry.process.calls.get(entry.who)
    if (call !== undefined) {
      call.steps++
      call.lastStep = kernel.steps + 1
    }
    if (syscall !== "clock" && method !== "section") {
      this.world.note(() => `${entry.who.padEnd(5)} ${method === syscall ? method : `${method}: ${syscall}`} ${path}`)
    }
    watcher.before(entry)
    kernel.go(entry)
    watcher.after(entry)
    if (changes(entry.step)) {
      this.world.note(() => `      now ${path.slice(directory.length + 1)}: ${watcher.describe(path)}`)
    }
  }

  /** How long, in nanoseconds, the lock may stay free while somebody wants it and nothing goes wrong. */
  private get bound(): number {
    const { plan } = this.world
    const deaths = plan.crashes + 4
    const perDeath = 2.5 * seconds + (Plan.needsLease(plan) ? plan.lease * 1e6 * 1.5 : 0)
    const retries = plan.troubles.has("faults") || plan.troubles.has("slowStorage") ? 35 * seconds : 0
    return 5 * seconds + perDeath * deaths + retries
  }

  private checkProgress(): void {
    const { kernel, lastTrouble, waiting, watcher } = this.world
    if (waiting.size === 0 || watcher.inside.size > 0) {
      return
    }
    const since = Math.max(watcher.lastInside, lastTrouble, Math.min(...waiting.values()))
    if (kernel.now - since > this.bound) {
      watcher.fail("no progress", `${[...waiting.keys()].join(", ")} wait for a lock that is free`)
    }
  }

  /** When all are done one more comes, and stays until what the dead have left must be gone. */
  private end(): boolean {
    if (this.last !== undefined) {
      return false
    }
    const { kernel, plan } = this.world
    this.world.quiet = true
    this.world.lastTrouble = kernel.now
    const host = this.world.hosts[0] ?? this.world.addHost()
    this.last = this.world.addPlayer(host, {}, undefined)
    this.world.start(this.last, Program.last(this.world, this.last, this.bound / 1e6 + plan.lease))
    kernel.drain()
    return true
  }

  private checkRest(): void {
    const { kernel, plan, watcher } = this.world
    const left = this.world.list().filter((name) => name !== "value")
    if (left.length > 0) {
      const what = left.map((name) => `${name} (${watcher.describe(`${directory}/${name}`)})`)
      watcher.fail("litter", `left at the end: ${what.join(", ")}`)
    }
    const live = watcher.players.flatMap(({ alive, tokens }) =>
      alive ? [...tokens.values()].filter((token) => token.live).map(({ name }) => name) : []
    )
    if (live.length > 0) watcher.fail("leak", `tokens that still count as alive: ${live.join(", ")}`)
    const parked = kernel.parked.filter(({ process }) => process.alive)
    if (parked.length > 0) watcher.fail("leak", `${parked.map(({ who }) => who).join(", ")} still at work`)
    const until = kernel.now + 120 * seconds
    while ((kernel.nextAlarm() ?? Infinity) < until) kernel.ring()
    if (kernel.nextAlarm() !== undefined) watcher.fail("leak", "timers that go on for ever")
    const kept = watcher.robberies === 0 && Plan.keepsLease(plan)
    if (kept && !isLinearizable(this.world.history, initialValue)) {
      const sections = this.world.history.map(({ name, read, wrote }) => `${name} ${read ?? "?"}→${wrote ?? "?"}`)
      watcher.fail("not linearizable", sections.join(", "))
    }
  }
}

/** Runs the world of a plan. `trace` hears every line of what happens. */
export const run = (plan: Plan.Plan, trace?: (line: string) => void): Outcome => {
  // Every refused system call makes an error, and nobody looks at where it came from.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  const forget = remember()
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
    Error.stackTraceLimit = stackTraceLimit
  }
}
