/**
 * What goes wrong in a world: which process dies, pauses or loses its lock, and when. All of it by the world's random source.
 */
import type { Parked } from "./Kernel.js"
import * as Plan from "./Plan.js"
import * as Program from "./Program.js"
import type { Host, SimulatedProcess } from "./SimulatedProcess.js"
import { changedBy, foreignContents } from "./Watcher.js"
import { claimPath, directory, lockPath, readerPath, type World } from "./World.js"

const millis = 1e6

/** What becomes of a synchronous call. */
export type Fate = "goes on" | "dies" | "dies in the middle" | "dies after"

/** Where a step changes what others rely on, more goes wrong. */
const isCritical = ({ step }: Parked<SimulatedProcess>): boolean =>
  step.path.includes(".lock") &&
  (changedBy(step) !== undefined || step.syscall === "lstat" || step.syscall === "access")

export class Faults {
  private crashesLeft: number
  private stallsLeft: number

  constructor(private readonly world: World) {
    const { plan } = world
    this.crashesLeft = plan.faults.has("crashes") ? plan.crashes : 0
    this.stallsLeft = plan.faults.has("stalls") || plan.faults.has("longStalls") || plan.faults.has("slowStorage")
      ? plan.stalls
      : 0
  }

  // ---------------------------------------------------------------------------------------------
  // processes
  // ---------------------------------------------------------------------------------------------

  /** Starts the processes that the plan wants. */
  populate(): void {
    const { plan, random } = this.world
    const hosts = Array.from({ length: plan.kind === "hosts" ? 2 : 1 }, () => this.world.addHost())
    let main: SimulatedProcess | undefined
    for (let index = 0; index < plan.processes; index++) {
      const host = hosts[index < hosts.length ? index : random.integer(0, hosts.length - 1)] ?? this.world.addHost()
      const namespace = plan.kind === "containers" ? `pid:[${index < 2 ? index : random.integer(0, 1)}]` : undefined
      const threadOf = plan.kind === "threads" && main !== undefined && (index === 1 || random.chance(0.5))
        ? main
        : undefined
      const process = this.world.addProcess(
        host,
        { pidNamespace: namespace, threadOf: threadOf?.identity, network: this.networkOf() },
        threadOf?.name
      )
      main ??= process
      this.begin(process, plan.rounds, random.real(plan.spread) * millis)
    }
  }

  /** Containers may share the network of their host, and some processes cannot be reached at all. */
  private networkOf(): string {
    const { plan, random } = this.world
    return plan.faults.has("networks") ? random.pick(["net:[1]", "net:[2]", ""]) : "net:[1]"
  }

  private begin(process: SimulatedProcess, rounds: number, delay: number): void {
    this.world.pending++
    this.world.kernel.after(delay, undefined, () => {
      this.world.pending--
      if (process.alive) {
        this.world.start(process, Program.make(this.world, process, { fibers: this.world.plan.fibers, rounds }))
      }
    })
  }

  private crash(process: SimulatedProcess): void {
    this.crashesLeft--
    this.world.kill(process)
    if (this.world.random.chance(0.6)) this.revive(process)
  }

  /** A process like the dead one, started again; now and then it gets the same process id. */
  private revive(dead: SimulatedProcess): void {
    const { random } = this.world
    const { pid, pidNamespace } = dead.identity.info
    const taken = this.world.watcher.processes.some(({ alive, identity: { info } }) =>
      alive && info.pid === pid && info.pidNamespace === pidNamespace
    )
    const network = this.networkOf()
    const spawn = { pidNamespace, pid: random.chance(0.3) && !taken ? pid : undefined, network }
    const process = this.world.addProcess(dead.host, spawn, undefined)
    this.begin(
      process,
      random.integer(1, 2),
      random.chance(0.5) ? random.real(5) * millis : random.real(4_000) * millis
    )
  }

  // ---------------------------------------------------------------------------------------------
  // at a step
  // ---------------------------------------------------------------------------------------------

  private crashesAt(entry: Parked<SimulatedProcess>): boolean {
    return this.crashesLeft > 0 && !entry.process.ended && this.world.random.chance(isCritical(entry) ? 0.032 : 0.004)
  }

  private stallsAt(entry: Parked<SimulatedProcess>): boolean {
    const stalls = this.stallsLeft > 0 && this.mayPause(entry.process) &&
      this.world.random.chance(isCritical(entry) ? 0.048 : 0.006)
    if (stalls) this.stallsLeft--
    return stalls
  }

  /** Something may happen instead of the step, or around it; `true` if the step is not to be made now. */
  strike(entry: Parked<SimulatedProcess>): boolean {
    const { plan, random } = this.world
    if (this.world.quiet) {
      return false
    }
    if (this.crashesAt(entry)) {
      this.crashAt(entry)
      return true
    }
    if (this.stallsAt(entry)) {
      const duration = this.pause()
      if (plan.faults.has("slowStorage") && random.chance(0.5) && entry.step.syscall !== "clock") {
        this.world.hold(entry, duration)
      } else {
        this.world.stall(entry.process, duration)
      }
      return true
    }
    return false
  }

  /** What becomes of a synchronous call, and for how many nanoseconds its process pauses before it. */
  strikeCall(entry: Parked<SimulatedProcess>, writing: boolean): { readonly fate: Fate; readonly pause: number } {
    const { random } = this.world
    if (this.world.quiet) {
      return { fate: "goes on", pause: 0 }
    }
    if (this.crashesAt(entry)) {
      this.crashesLeft--
      const fate = random.pick<Fate>(writing ? ["dies", "dies in the middle", "dies after"] : ["dies", "dies after"])
      return { fate, pause: 0 }
    }
    return { fate: "goes on", pause: this.stallsAt(entry) ? this.pause() : 0 }
  }

  /** After a process has died in a synchronous call. */
  diedInCall(process: SimulatedProcess): void {
    if (this.world.random.chance(0.6)) this.revive(process)
  }

  /** Before the step, after it, or in the middle of what it writes. */
  private crashAt(entry: Parked<SimulatedProcess>): void {
    const { kernel, random, watcher } = this.world
    if (random.chance(0.5)) {
      return this.crash(entry.process)
    }
    const { path, syscall } = entry.step
    const before = this.world.read(path) ?? ""
    const share = random.real(1)
    const after = watcher.before(entry, kernel.steps + 1)
    kernel.go(entry)
    after()
    this.world.noteChange(entry.step)
    if (syscall === "write" && changedBy(entry.step) !== undefined && random.chance(0.7)) {
      this.world.tear(path, before, share, entry.process)
    }
    if (entry.process.alive && !entry.process.ended) this.crash(entry.process)
  }

  /** Pauses that keep to the lease come one at a time. */
  private mayPause(process: SimulatedProcess): boolean {
    const { kernel, plan } = this.world
    return plan.kind === "host" || plan.faults.has("longStalls") || process.lastPauseEnd === 0 ||
      kernel.now - process.lastPauseEnd > plan.lease * millis * 1.1
  }

  /** Nanoseconds. */
  private pause(): number {
    const { plan, random } = this.world
    const { lease } = plan
    if (plan.kind !== "host" && !plan.faults.has("longStalls")) {
      return random.real(random.chance(0.3) ? 20 : lease * Plan.allowedPause) * millis
    }
    const long = plan.kind === "host" ? 6_000 : lease * 3
    return random.weighted<() => number>([
      [2, () => random.real(20)],
      [3, () => 900 + random.real(1_400)],
      [3, () => 2_000 + random.real(3_000)],
      [3, () => random.real(long)]
    ])() * millis
  }

  // ---------------------------------------------------------------------------------------------
  // at a time
  // ---------------------------------------------------------------------------------------------

  /** Sets what will happen whatever the processes do. */
  schedule(): void {
    const { kernel, plan, random } = this.world
    const at = (most: number, happen: () => void): void => {
      const delay = random.real(1) ** 2 * most * millis
      kernel.after(delay, undefined, () => {
        if (!this.world.quiet) happen()
      })
    }
    const { faults } = plan
    if (faults.has("crashes")) {
      at(3_000, () => this.crashOne())
    }
    if (faults.has("foreign")) at(500, () => this.placeForeign())
    if (faults.has("vandal")) at(2_000, () => this.vandalize())
    if (faults.has("reboot")) at(1_000, () => this.reboot(random.pick(this.world.hosts)))
    if (faults.has("suspend")) {
      at(2_000, () => this.world.suspend(random.pick(this.world.hosts), random.real(3 * plan.lease) * millis))
    }
    if (faults.has("clockSet")) {
      at(2_000, () => {
        const host = random.pick(this.world.hosts)
        const change = random.integer(-5_000, 5_000)
        this.world.note(() => `the clock of ${host.name} is SET by ${change} ms`)
        host.wallOffset += change
      })
    }
    if (faults.has("leftovers")) this.leave()
  }

  private crashOne(): void {
    const living = this.world.watcher.processes.filter(({ alive, ended }) => alive && !ended)
    if (this.crashesLeft > 0 && living.length > 0) this.crash(this.world.random.pick(living))
  }

  private placeForeign(): void {
    const { kernel, random } = this.world
    const path = random.chance(0.7) ? lockPath : claimPath(random.integer(1, 2))
    if (this.world.read(path) !== undefined) {
      return
    }
    const stay = random.real(3_000) * millis
    const content = random.pick(foreignContents)
    this.world.note(() => `another tool puts ${content === "" ? "an empty file" : "a file"} at ${path}`)
    this.world.place(path, content)
    this.world.lastFault = Math.max(this.world.lastFault, kernel.now + stay)
    kernel.after(stay, undefined, () => {
      this.world.note(() => `the other tool takes its file away from ${path}`)
      if (this.world.read(path) !== content && !this.world.plan.faults.has("vandal")) {
        this.world.watcher.fail("foreign", `a foreign file at ${path} is gone`)
      }
      this.world.remove(path)
      this.world.lastFault = Math.max(this.world.lastFault, kernel.now)
    })
  }

  /** A person removes the lock file by hand, or the file of a reader, or the directory of all readers. */
  private vandalize(): void {
    const { kernel, random, watcher } = this.world
    const readers = this.world.readers()
    const paths = readers.length === 0 || random.chance(0.3)
      ? [lockPath]
      : random.chance(0.5)
      ? [random.pick(readers)]
      : readers
    const tokens = paths.flatMap((path) => {
      const seen = watcher.seen(path)
      return seen._tag === "Record" ? [seen.token] : []
    })
    if (tokens.length === 0) {
      return
    }
    this.world.note(() => `a person REMOVES by hand: ${paths.map((path) => watcher.describe(path)).join(", ")}`)
    this.world.lastFault = Math.max(this.world.lastFault, kernel.now)
    // A process between a read and a removal may remove a successor's record, and one that was about to enter does so.
    for (const process of watcher.processes) watcher.mayStray(process, kernel.now)
    for (const path of paths) this.world.remove(path)
    if (paths === readers) this.world.removeReaders()
    for (const token of tokens) watcher.loseToken(token)
  }

  private reboot(host: Host): void {
    const { plan, random } = this.world
    this.world.note(() => `${host.name} REBOOTS`)
    const dying = this.world.watcher.processes.filter((process) => process.host === host && process.alive)
    const unfinished = dying.filter(({ ended }) => !ended)
    for (const process of dying) {
      if (process.alive) this.world.kill(process)
    }
    this.world.runSync(host.machine.reboot)
    // Files that were not yet on the disk are full of NULs. Only the clock of the same machine tells that they are from before the boot.
    if (plan.kind === "host" && !plan.faults.has("clockSet")) {
      for (const name of this.world.list()) {
        const path = `${directory}/${name}`
        if (this.world.watcher.seen(path)._tag === "Record" && random.chance(0.4)) {
          this.world.zero(path)
          this.world.note(() => `the power failure leaves NULs at ${this.world.watcher.show(path)}`)
        }
      }
    }
    for (const process of unfinished) this.revive(process)
  }

  /** What processes have left that died before the beginning. */
  private leave(): void {
    const { random } = this.world
    for (let level = 0; level <= 3; level++) {
      if (random.chance(level < 2 ? 0.5 : 0.3)) this.leaveAt([claimPath(level)])
    }
    for (let requests = random.integer(0, 2); requests > 0; requests--) {
      this.leaveRequest(random.chance(0.5) ? random.real(1) : 1)
    }
    if (this.world.plan.faults.has("readers")) {
      if (random.chance(0.3)) this.world.makeReaders()
      for (let readers = random.integer(0, 2); readers > 0; readers--) this.leaveReader()
    }
  }

  /** A process has died and left its records. */
  leaveAt(paths: ReadonlyArray<string>, host = this.world.random.pick(this.world.hosts)): SimulatedProcess {
    return this.leaveBy(host, (dead) => {
      for (const path of paths) {
        this.leaveRecord(dead, path, record(dead, this.world.runSync(dead.traced.issueToken)))
      }
    })
  }

  /** A process has died and left its request file, of which a share was written. */
  leaveRequest(share: number, host = this.world.random.pick(this.world.hosts)): SimulatedProcess {
    return this.leaveBy(host, (dead) => {
      const token = this.world.runSync(dead.traced.issueToken)
      const text = record(dead, token)
      this.leaveRecord(dead, `${lockPath}.${token}`, text.slice(0, Math.floor(share * text.length)))
    })
  }

  /** A process has died while it shared the lock. */
  leaveReader(host = this.world.random.pick(this.world.hosts)): SimulatedProcess {
    return this.leaveBy(host, (dead) => {
      const token = this.world.runSync(dead.traced.issueToken)
      this.world.makeReaders()
      this.leaveRecord(dead, readerPath(token), record(dead, token))
    })
  }

  private leaveBy(host: Host, leave: (dead: SimulatedProcess) => void): SimulatedProcess {
    const dead = this.world.addProcess(host, {}, undefined)
    leave(dead)
    dead.alive = false
    this.world.runSync(host.machine.kill(dead.identity))
    return dead
  }

  private leaveRecord(dead: SimulatedProcess, path: string, text: string): void {
    const { watcher } = this.world
    this.world.write(path, text)
    this.world.note(() => `${dead.name} has left at ${watcher.show(path)}: ${watcher.describe(path)}`)
  }
}

const record = (process: SimulatedProcess, token: string): string => {
  const { bootId, hostname, instance, network, pid, pidNamespace, startTime, thread, timeNamespace } =
    process.identity.info
  return JSON.stringify({
    v: 1,
    token,
    pid,
    startTime,
    bootId,
    pidNamespace,
    timeNamespace,
    hostname,
    instance,
    thread,
    network,
    label: null,
    acquiredAt: "2023-11-14T22:13:20.000Z",
    beat: "0000000000"
  }) + "\n"
}
