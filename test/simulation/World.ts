/**
 * A simulated world as a thing to act on: its disk, its machines and processes, and what can happen to them.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as FileLock from "../../src/FileLock.js"
import { MemoryNetwork } from "../../src/internal/handover/memoryChannel.js"
import * as Locks from "../../src/internal/lock/fileLock.js"
import { WaitQueues } from "../../src/internal/lock/waitQueue.js"
import * as Backend from "../../src/internal/lockFile/backend.js"
import { type Disk, toError } from "../../src/internal/lockFile/disk.js"
import * as FileSystemDisk from "../../src/internal/lockFile/fileSystemDisk.js"
import * as NodeDisk from "../../src/internal/lockFile/nodeDisk.js"
import { nodeError } from "../../src/internal/memoryFileSystem/errno.js"
import * as MemoryFiles from "../../src/internal/memoryFileSystem/fileSystem.js"
import * as PathCalls from "../../src/internal/memoryFileSystem/pathCalls.js"
import { Process as MemoryProcess } from "../../src/internal/memoryFileSystem/process.js"
import { Volume } from "../../src/internal/memoryFileSystem/volume.js"
import * as NodeFileLock from "../../src/internal/nodeFileLock.js"
import * as Machine from "../../src/internal/process/machine.js"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import type * as ProcessIdentity from "../../src/ProcessIdentity.js"
import type { Fate } from "./Faults.js"
import type { Swap } from "./History.js"
import { Kernel, type Parked, type Step } from "./Kernel.js"
import * as Plan from "./Plan.js"
import { RandomSource } from "./RandomSource.js"
import * as Processes from "./SimulatedProcess.js"
import { Host, SimulatedProcess } from "./SimulatedProcess.js"
import * as SynchronousCalls from "./SynchronousCalls.js"
import { changedBy, levelOf, pathOfLevel, pathOfReader, readersOf, type Section, Watcher } from "./Watcher.js"

export const directory = "/w"
export const valuePath = `${directory}/value`
export const lockPath = `${valuePath}.lock`
export const claimPath = (level: number): string => pathOfLevel(lockPath, level)
export const readersPath = readersOf(lockPath)
export const readerPath = (token: string): string => pathOfReader(lockPath, token)
export const initialValue = "00000000"

/** Files whose names come near to those of the library. */
const unrelatedFiles: ReadonlyArray<readonly [name: string, content: string]> = [
  ["value.lock.bak", ""],
  ["value.lock.claims", "not a claim\n"],
  ["other.lock", ""]
]

const errnos = ["EIO", "EMFILE", "ENOSPC", "EAGAIN", "EACCES", "ESTALE", "EINTR"]

const millis = 1e6

/** Milliseconds since 1970, at the beginning of a world. */
const startedAt = 1_700_000_000_000

/** What a program needs to end: nothing of it may go on for longer. */
const exitTime = 2_000 * millis

/** A person removes a file by hand that its process has not written. */
const patienceOfPerson = 1_000 * millis

/** A critical section as the register sees it. */
export interface Entry extends Swap {
  responded: number | undefined
  read: string | undefined
  wrote: string | undefined
}

export class World {
  readonly kernel = new Kernel<SimulatedProcess>()
  readonly random: RandomSource
  readonly hosts: Array<Host> = []
  readonly watcher: Watcher
  readonly history: Array<Entry> = []
  /** How many calls still wait for a lock that they are sure to get, and since when. */
  readonly waiting = new Map<string, number>()
  /** Processes that run, or are going to. */
  pending = 0
  /** When the last thing went wrong, or will have gone wrong. */
  lastFault = 0
  /** From here on nothing goes wrong any more. */
  quiet = false
  sections = 0
  /** Messages arrive when they are let go, as steps are. */
  messagesWait = false
  /** Whether the disk removes an empty directory in one step, as that of Node does, where calls are not synchronous. */
  removesInOneStep = false
  private readonly volume: Volume
  private readonly superuser: MemoryProcess
  /** What happens before a synchronous call: other processes run, or this one dies. */
  beforeCall: (entry: Parked<SimulatedProcess>, writing: boolean) => Fate = () => "goes on"
  diedInCall: (process: SimulatedProcess) => void = () => {}
  private fileFaultsLeft: number
  private readonly root: FileSystem.FileSystem
  private values = 0
  private names = 0

  constructor(readonly plan: Plan.Plan, readonly trace: ((line: string) => void) | undefined) {
    this.random = new RandomSource(plan.seed, 1 + plan.salt)
    this.fileFaultsLeft = Plan.hasFileFaults(plan) ? this.random.integer(1, 8) : 0
    const settings = {
      capacity: Number.POSITIVE_INFINITY,
      inodes: Number.POSITIVE_INFINITY,
      readOnly: false,
      reuseInodes: plan.reuseInodes
    }
    this.volume = new Volume(settings, startedAt, { uid: 1000, gid: 1000 })
    this.superuser = this.processOn({ uid: 0, step: () => Effect.void })
    this.root = MemoryFiles.make(this.superuser)
    this.watcher = new Watcher({
      kernel: this.kernel,
      lockPath,
      lease: plan.lease,
      promptly: !Plan.hasFileFaults(plan) && !plan.faults.has("slowStorage"),
      read: (path) => this.read(path),
      runSync: (effect) => this.runSync(effect),
      note: (line) => this.note(line)
    })
    this.runSync(this.root.makeDirectory(directory, { mode: 0o777 }))
    this.runSync(this.root.chmod(directory, 0o777))
    this.write(valuePath, initialValue)
    this.runSync(this.root.chmod(valuePath, 0o666))
    if (plan.faults.has("foreign")) {
      for (const [name, content] of unrelatedFiles) this.write(`${directory}/${name}`, content)
    }
  }

  // ---------------------------------------------------------------------------------------------
  // what only the simulation can do
  // ---------------------------------------------------------------------------------------------

  private withClock<A, E>(effect: Effect.Effect<A, E>, now: number): Effect.Effect<A, E> {
    const clock: Clock.Clock = {
      ...Clock.make(),
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: () => now,
      currentTimeMillis: Effect.succeed(now)
    }
    return Effect.withClock(effect, clock)
  }

  /** Runs an effect between two steps of the world. */
  runSync<A, E>(effect: Effect.Effect<A, E>): A {
    return Effect.runSync(this.withClock(effect, Math.floor(startedAt + this.kernel.now / 1e6)))
  }

  /** Runs a synchronous call of a process. */
  private runCall<A, E>(process: SimulatedProcess, effect: Effect.Effect<A, E>): Exit.Exit<A, E> {
    return Effect.runSyncExit(this.withClock(effect, process.host.wall(this.kernel.now)))
  }

  /** A process as the disk knows it. */
  private processOn(options: Partial<MemoryProcess["options"]>): MemoryProcess {
    return new MemoryProcess(this.volume, {
      uid: 1000,
      gid: 1000,
      groups: [],
      umask: 0o022,
      cwd: "/",
      temporaryDirectory: "/tmp",
      maxOpenFiles: Number.POSITIVE_INFINITY,
      step: () => Effect.void,
      ...options
    })
  }

  /** The content of a file. Made without the service, because each step is followed by some of these. */
  read(path: string): string | undefined {
    try {
      const node = PathCalls.stat(this.superuser, path)
      if (node.type !== "File") {
        return undefined
      }
      const bytes = Buffer.alloc(node.size)
      this.volume.read(node, 0, bytes)
      return bytes.toString("latin1")
    } catch {
      return undefined
    }
  }

  write(path: string, content: string): void {
    this.runSync(this.root.writeFileString(path, content))
    this.runSync(this.root.chown(path, 1000, 1000))
  }

  remove(path: string): void {
    this.runSync(this.root.remove(path, { force: true }))
    this.watcher.placed(path)
  }

  /** A file of another tool appears. */
  place(path: string, content: string): void {
    this.write(path, content)
    this.watcher.placed(path)
  }

  /** What a power failure leaves of a file that was not yet on the disk. */
  zero(path: string): void {
    const content = this.read(path) ?? ""
    const before = this.runSync(Effect.map(this.root.stat(path), ({ mtime }) => mtime))
    this.runSync(this.root.writeFile(path, new Uint8Array(content.length)))
    if (before._tag === "Some") {
      const time = new Date(Math.min(before.value.getTime(), startedAt + this.kernel.now / 1e6 - 1))
      this.runSync(this.root.utimes(path, time, time))
    }
    // Other names of the file are full of NULs as well.
    for (const name of this.list()) {
      const other = `${directory}/${name}`
      if (this.watcher.seen(other)._tag === "Zeros") {
        this.watcher.placed(other)
        this.watcher.zeroed.add(other)
      }
    }
  }

  /** Makes the directory of readers, as a process would. */
  makeReaders(): void {
    this.runSync(this.root.makeDirectory(readersPath, { recursive: true }))
    this.runSync(this.root.chown(readersPath, 1000, 1000))
    this.runSync(this.root.chmod(readersPath, 0o777))
  }

  removeReaders(): void {
    this.runSync(this.root.remove(readersPath, { recursive: true, force: true }))
  }

  /** Whether there is a directory of readers. */
  get isShared(): boolean {
    return this.runSync(this.root.exists(readersPath))
  }

  /** The names of the files of locks, claims, requests and readers, and of all others that should not be there. */
  list(): ReadonlyArray<string> {
    const known = new Set(["value", ...unrelatedFiles.map(([name]) => name)])
    return this.runSync(this.root.readDirectory(directory, { recursive: true })).filter((name) => !known.has(name))
  }

  /** The paths of the readers' files. */
  readers(): ReadonlyArray<string> {
    return this.isShared ? this.runSync(this.root.readDirectory(readersPath)).map(readerPath) : []
  }

  /** What has become of the files that have nothing to do with the lock. */
  checkUnrelatedFiles(): void {
    if (!this.plan.faults.has("foreign")) return
    for (const [name, content] of unrelatedFiles) {
      const now = this.read(`${directory}/${name}`)
      if (now !== content) this.watcher.fail("foreign", `${name} is ${now === undefined ? "gone" : "changed"}`)
    }
  }

  note(line: () => string): void {
    this.trace?.(`${(this.kernel.now / 1e9).toFixed(6).padStart(11)}  ${line()}`)
  }

  newValue(): string {
    return String(++this.values).padStart(initialValue.length, "0")
  }

  // ---------------------------------------------------------------------------------------------
  // machines and processes
  // ---------------------------------------------------------------------------------------------

  addHost(): Host {
    const name = `h${this.hosts.length}`
    const network = new MemoryNetwork((from, to, what, arrive) => this.carry(from, to, what, arrive))
    const machine = this.runSync(Machine.make({ hostname: name, number: this.hosts.length, network }))
    const skewed = this.plan.kind === "hosts"
    const host = new Host(
      name,
      machine,
      skewed ? 0.98 + this.random.real(0.04) : 1,
      skewed ? this.random.integer(-3_600_000, 3_600_000) : 0
    )
    this.hosts.push(host)
    return host
  }

  addProcess(host: Host, spawn: ProcessIdentity.SpawnOptions, group: string | undefined): SimulatedProcess {
    const name = `p${this.names++}`
    const process = new SimulatedProcess(name, host, this.runSync(host.machine.spawn(spawn)), group ?? name)
    this.watcher.processes.push(process)
    return process
  }

  private nameOf(instance: string): string {
    return this.watcher.processes.find(({ identity }) => identity.info.instance === instance)?.name ?? instance
  }

  /** A message, or the end of a connection, on its way to a process, which hears of it when it can run. */
  private carry(from: string, to: string, what: "message" | "end", arrive: () => void): void {
    const { kernel, plan, random } = this
    const process = this.watcher.processes.find(({ identity }) => identity.info.instance === to)
    if (process === undefined) {
      return
    }
    const hear = () => {
      this.note(() => `${process.name} HEARS ${what === "end" ? "of the end" : "a message"} of ${this.nameOf(from)}`)
      arrive()
    }
    if (this.messagesWait) {
      kernel.park(process, process.name, -1, { method: "message", syscall: what, path: this.nameOf(from) }, hear)
      return
    }
    const isUnreliable = what === "message" && plan.faults.has("messages") && !this.quiet
    if (isUnreliable && random.chance(0.2)) {
      this.note(() => `a message of ${this.nameOf(from)} to ${process.name} IS LOST`)
      return
    }
    for (let times = isUnreliable && random.chance(0.2) ? 2 : 1; times > 0; times--) {
      // Over one connection messages come in order. Those of different connections do not.
      const delay = isUnreliable && random.chance(0.3) ? random.real(2_000) * millis : random.real(4 * plan.stepCost)
      kernel.after(delay, undefined, () => this.deliver(process, hear))
    }
  }

  /** Nothing keeps a process alive that is on its way to it. */
  private deliver(process: SimulatedProcess, arrive: () => void): void {
    const { kernel } = this
    if (!process.alive) {
      return
    }
    if (process.stalledUntil > kernel.now || kernel.isInCall(process)) {
      const wait = Math.max(process.stalledUntil - kernel.now, this.plan.stepCost)
      return void kernel.after(wait, undefined, () => this.deliver(process, arrive))
    }
    arrive()
  }

  /** What happens to one operation. Where a file system has no hard links, each `link` is refused. */
  private fileFault(method: string, path: string): { readonly errno: string; readonly after: boolean } | undefined {
    const { plan, random } = this
    if (method === "link" && plan.faults.has("noLinks")) {
      return { errno: "EPERM", after: false }
    }
    if (
      this.fileFaultsLeft === 0 || this.quiet || !path.includes(".lock") || method === "File.close" ||
      method === "close"
    ) {
      return undefined
    }
    // What a file server answers to a request that it had already carried out when its answer was lost.
    const lost = method === "link" || method === "open" || method === "writeFileString" || method === "makeDirectory" ||
        method === "mkdir"
      ? "EEXIST"
      : method === "rename" || method === "remove" || method === "unlink" || method === "rmdir"
      ? "ENOENT"
      : undefined
    const fault = plan.faults.has("lostAnswers") && lost !== undefined && random.chance(0.1)
      ? { errno: lost, after: true }
      : plan.faults.has("fileFaults") && random.chance(0.02)
      ? { errno: random.pick(errnos), after: random.chance(0.4) }
      : undefined
    if (fault !== undefined) {
      this.fileFaultsLeft--
      this.lastFault = Math.max(this.lastFault, this.kernel.now)
      this.note(() =>
        `${method} ${this.watcher.show(path)} FAILS with ${fault.errno}, ${fault.after ? "after" : "before"} it happens`
      )
    }
    return fault
  }

  /** The disk as a process sees it. */
  viewOf(process: SimulatedProcess): FileSystem.FileSystem {
    const destinations = new Map<string, string>()
    const fs = MemoryFiles.make(
      this.processOn({
        step: (step) => {
          const isDouble = step.syscall === "link" || step.syscall === "rename"
          return Processes.park(
            this.kernel,
            process,
            isDouble ? { ...step, to: destinations.get(step.path) } : step
          )
        }
      })
    )
    return Processes.asOnNode(fs, (from, to) => destinations.set(from, to))
  }

  /** The file system that the locks of a process stand on. */
  private faulty(process: SimulatedProcess, fs: FileSystem.FileSystem): FileSystem.FileSystem {
    const { plan } = this
    return Plan.hasFileFaults(plan) || plan.faults.has("noLinks") || !process.mayList
      ? this.runSync(MemoryFileSystem.withFaults(fs, {
        fault: ({ method, path }) => {
          const fault = method === "readDirectory" && path === directory && !process.mayList
            ? { errno: "EACCES", after: false }
            : this.fileFault(method, path)
          return fault === undefined
            ? undefined
            : MemoryFileSystem.Fault.Fail({ errno: fault.errno, moment: fault.after ? "after" : "before" })
        }
      }))
      : fs
  }

  /** The calls of a process that makes them synchronously. Other processes run between two of them, and it can die there. */
  private callsOf(process: SimulatedProcess): NodeDisk.Calls {
    const view = MemoryFiles.make(this.processOn({}))
    const dead = () => Object.assign(new Error("EIO: the process is dead"), { code: "EIO" })
    const make = <A>(entry: Parked<SimulatedProcess>, make: () => A): A => {
      const { method, path, syscall } = entry.step
      this.kernel.steps++
      this.kernel.now += Math.floor(this.random.real(2 * this.plan.stepCost))
      const call = process.calls.get(entry.who)
      if (call !== undefined) {
        call.steps++
        call.lastStep = this.kernel.steps
      }
      this.note(() => `${entry.who.padEnd(5)} ${syscall} ${this.watcher.show(path)}`)
      const fault = this.fileFault(method, path)
      const error = fault === undefined ? undefined : nodeError(fault.errno, { syscall, path })
      if (error !== undefined && fault?.after === false) {
        throw error
      }
      const after = this.watcher.before(entry, this.kernel.steps)
      try {
        return make()
      } finally {
        after()
        this.noteChange(entry.step)
        if (error !== undefined) {
          // eslint-disable-next-line no-unsafe-finally -- the answer is lost, whatever it was
          throw error
        }
      }
    }
    return SynchronousCalls.make(view, {
      runSync: (effect) => this.runCall(process, effect),
      around: (step, run, writing) => {
        if (!process.alive) throw dead()
        const entry = Processes.currentStep(process, step)
        const fate = this.beforeCall(entry, writing !== undefined)
        if (!process.alive) throw dead()
        switch (fate) {
          case "goes on":
            return make(entry, run)
          case "dies":
            break
          case "dies after":
            try {
              make(entry, run)
            } catch {
              // Its answer is not heard.
            }
            break
          case "dies in the middle":
            make(entry, () => writing?.(this.random.real(1)))
        }
        this.kill(process)
        this.diedInCall(process)
        throw dead()
      },
      onThread: (step, done) => {
        this.kernel.park(process, process.name, -1, step, done)
      }
    })
  }

  private oneStepDisk(process: SimulatedProcess, fs: FileSystem.FileSystem): Disk {
    return {
      ...FileSystemDisk.make(fs),
      removesInOneStep: true,
      removeDirectory: (path) =>
        Effect.zipRight(
          Processes.park(this.kernel, process, { method: "removeDirectory", syscall: "rmdir", path }),
          Effect.try({ try: () => PathCalls.rmdir(this.superuser, path), catch: toError })
        )
    }
  }

  /** The locks of a process: those of `FileLock.layer`, or those of `NodeFileLock` where the calls are synchronous. */
  private locksOf(
    process: SimulatedProcess
  ): Effect.Effect<Context.Context<FileLock.FileLock>, never, FileSystem.FileSystem | Path.Path | Scope.Scope> {
    const { handoff, lease, pollInterval } = this.plan
    const settings = {
      lease: Duration.millis(lease),
      pollInterval: Duration.millis(pollInterval),
      handoff: Duration.millis(handoff)
    }
    if (!process.synchronous && this.removesInOneStep) {
      return Effect.gen(this, function*() {
        const disk = this.oneStepDisk(process, yield* FileSystem.FileSystem)
        const syntax = yield* Path.Path
        const engine = Backend.make({ disk, syntax, identity: process.traced, lease: settings.lease })
        yield* Effect.addFinalizer(() => engine.close)
        return Context.make(FileLock.FileLock, Locks.make(engine, settings, new WaitQueues()))
      })
    }
    if (!process.synchronous) {
      return Layer.build(FileLock.layerWith({ lease, pollInterval, handoff }))
    }
    const disk = NodeDisk.make(this.callsOf(process))
    const engine = NodeFileLock.makeEngine(disk, process.traced, Duration.millis(lease))
    return Effect.gen(function*() {
      yield* disk.classify(directory)
      yield* disk.classify("/")
      yield* Effect.addFinalizer(() => engine.close)
      return Context.make(FileLock.FileLock, Locks.make(engine, settings, new WaitQueues()))
    })
  }

  /** Starts a process with a program. The file system that the program sees beside the locks knows no faults. */
  start(
    process: SimulatedProcess,
    program: (fs: FileSystem.FileSystem) => Effect.Effect<void, never, FileLock.FileLock | Scope.Scope>
  ): void {
    const fs = this.viewOf(process)
    this.pending++
    process.started = true
    process.synchronous = this.random.chance(this.plan.synchronous)
    this.note(() => `${process.name} STARTS on ${process.host.name}${process.synchronous ? ", synchronous" : ""}`)
    const fiber = Processes.start(
      Effect.scoped(Effect.flatMap(this.locksOf(process), (context) => Effect.provide(program(fs), context))),
      {
        kernel: this.kernel,
        process,
        fs: this.faulty(process, fs),
        seed: `${this.plan.seed} ${process.name}`,
        pauseAtClock: () => process.alive && !process.synchronous && this.random.chance(this.plan.clockSteps),
        onLog: (level, message, died) => {
          if (!process.alive) return
          if (level !== "DEBUG") this.note(() => `${process.name} logs: ${message()}`)
          if (message().includes("goes on in the background")) process.saidItGoesOn = true
          if (message().startsWith("Could not remove")) process.saidItLeftTheLock = true
          if (died) this.watcher.fail("defect", `${process.name}: ${message()}`)
        }
      }
    )
    fiber.addObserver((exit) => {
      if (!process.alive) return
      process.ended = true
      this.note(() => `${process.name} ENDS`)
      if (exit._tag === "Failure") this.watcher.fail("defect", `${process.name} ended with ${exit.cause.toString()}`)
      this.exit(process, process.host.running(this.kernel.now))
    })
  }

  /** A process whose program has ended exits once nothing of it goes on. Nothing may go on for long, unless the process has said so. */
  private exit(process: SimulatedProcess, endedAt: number): void {
    const { kernel, watcher } = this
    const sinceEnd = () => process.host.running(kernel.now) - endedAt
    const isBusy = () => kernel.hasAlarm(process) || kernel.parked.some((parked) => parked.process === process)
    const waits = () => {
      if (!process.alive) return
      const mayGoOn = process.saidItGoesOn || process.lastPauseEnd > 0 || Plan.hasFileFaults(this.plan)
      const limit = exitTime + (mayGoOn ? 60e9 : 0)
      if (!isBusy()) {
        this.checkExit(process)
        this.note(() => `${process.name} EXITS`)
        process.alive = false
        this.pending--
        const isLast = !watcher.processes.some(({ alive, group }) => alive && group === process.group)
        this.runSync(
          isLast ? process.host.machine.kill(process.identity) : process.host.machine.terminate(process.identity)
        )
      } else if (sinceEnd() > limit) {
        watcher.fail("leak", `${process.name} goes on, ${limit / 1e9} s after its program has ended`)
      } else {
        kernel.after(sinceEnd() < exitTime ? 50 * millis : 1_000 * millis, undefined, waits)
      }
    }
    kernel.after(0, undefined, waits)
  }

  /** A process that has given everything back stands by no record any more, and has left none. */
  private checkExit(process: SimulatedProcess): void {
    const live = [...process.tokens.values()].filter((token) => token.live)
    if (live.length > 0) {
      this.watcher.fail(
        "leak",
        `${process.name} has ended and still stands by ${live.map(({ name }) => name).join(", ")}`
      )
    }
    if (process.saidItLeftTheLock || Plan.hasFileFaults(this.plan)) {
      return
    }
    for (const name of this.list()) {
      const seen = this.watcher.seen(`${directory}/${name}`)
      if (seen._tag === "Record" && process.tokens.has(seen.token)) {
        this.watcher.fail("litter", `${process.name} has ended and left ${this.watcher.show(`${directory}/${name}`)}`)
      }
    }
  }

  kill(process: SimulatedProcess): void {
    for (const other of this.watcher.processes) {
      if (other.group === process.group && other.alive) {
        this.note(() => `${other.name} DIES`)
        other.alive = false
        this.kernel.forget(other)
        this.watcher.died(other)
        this.runSync(other.host.machine.kill(other.identity))
        for (const key of this.waiting.keys()) {
          if (key.startsWith(`${other.name}.`)) this.waiting.delete(key)
        }
        if (other.started) this.pending--
      }
    }
    this.lastFault = Math.max(this.lastFault, this.kernel.now)
  }

  /** Nothing of the process runs for so many nanoseconds. */
  stall(process: SimulatedProcess, duration: number): void {
    const until = this.kernel.now + duration
    this.note(() => `${process.name} PAUSES for ${(duration / 1e6).toFixed(1)} ms`)
    process.stalledUntil = Math.max(process.stalledUntil, until)
    this.paused(process, until, duration)
  }

  /** One step takes so many nanoseconds longer. */
  hold(entry: Parked<SimulatedProcess>, duration: number): void {
    this.note(() => `${entry.who} waits for slow storage, ${(duration / 1e6).toFixed(1)} ms`)
    entry.heldUntil = this.kernel.now + duration
    this.kernel.after(duration, undefined, () => {})
    this.paused(entry.process, entry.heldUntil, duration)
  }

  private paused(process: SimulatedProcess, until: number, duration: number): void {
    process.lastPauseEnd = Math.max(process.lastPauseEnd, until)
    this.watcher.pauses(process, until)
    this.lastFault = Math.max(this.lastFault, until)
    this.kernel.after(until - this.kernel.now, undefined, () => {})
    if (this.plan.kind !== "host" && duration > this.plan.lease * 1e6 * Plan.allowedPause * 1.05) {
      this.watcher.mayStray(process, until)
    }
  }

  /** Every process of the machine pauses, and its monotonic clock stands still. None of them is in a synchronous call, which could not pause. */
  suspend(host: Host, duration: number): void {
    if (this.watcher.processes.some((process) => process.host === host && this.kernel.isInCall(process))) {
      return void this.kernel.after(this.plan.stepCost, undefined, () => this.suspend(host, duration))
    }
    this.note(() => `${host.name} is SUSPENDED for ${(duration / 1e6).toFixed(1)} ms`)
    host.frozen += duration
    for (const process of this.watcher.processes) {
      if (process.host === host && process.alive) this.stall(process, duration)
    }
  }

  // ---------------------------------------------------------------------------------------------
  // files
  // ---------------------------------------------------------------------------------------------

  /** What a writing process leaves that dies in the middle of it. */
  tear(path: string, before: string, share: number, process: SimulatedProcess): void {
    const after = this.read(path)
    if (after === undefined || after === before) {
      return
    }
    const length = Math.floor(share * Math.min(100, after.length))
    const torn = after.length === before.length
      ? after.slice(0, -4 + Math.floor(share * 3)) + before.slice(-4 + Math.floor(share * 3))
      : after.slice(0, length)
    this.note(() =>
      `of the record at ${this.watcher.show(path)} ${
        torn.length === after.length ? "the beat" : "the beginning"
      } was written`
    )
    this.write(path, torn)
    if (torn.length !== after.length) {
      this.watcher.unwritten(path, process)
      this.removeUnwrittenLater(path)
    }
  }

  noteChange(step: Step): void {
    const changed = changedBy(step)
    if (changed === readersPath) {
      this.note(() => `      now ${this.isShared ? "a" : "no"} directory of readers`)
    } else if (changed !== undefined) {
      this.note(() =>
        `      now ${this.watcher.show(changed).slice(directory.length + 1)}: ${this.watcher.describe(changed)}`
      )
      this.removeUnwrittenLater(changed)
    }
  }

  /**
   * Without hard links, a process that is killed before it has written its lock file leaves a file that a person has to remove, and so
   * does one whose disk refuses the removal.
   */
  private removeUnwrittenLater(path: string): void {
    const creator = this.watcher.creatorOf(path)
    if (creator === undefined || levelOf(lockPath, path) === undefined) {
      return
    }
    this.kernel.after(patienceOfPerson, undefined, () => {
      if (this.watcher.creatorOf(path) !== creator) {
        return
      }
      const isAtWork = creator.alive &&
        (this.kernel.isInCall(creator) ||
          this.kernel.parked.some(({ process, step }) => process === creator && step.path === path))
      if (isAtWork) {
        return this.removeUnwrittenLater(path)
      }
      this.note(() => `a person REMOVES the unwritten file at ${path}`)
      this.lastFault = Math.max(this.lastFault, this.kernel.now)
      this.remove(path)
    })
  }

  /** When a section begins to be known to the register. */
  section(section: Section): Entry {
    this.sections++
    const entry: Entry = {
      name: section.who,
      invoked: this.kernel.steps,
      responded: undefined,
      read: undefined,
      wrote: undefined
    }
    this.history.push(entry)
    return entry
  }
}
