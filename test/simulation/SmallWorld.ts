/**
 * The shortest programs in the smallest worlds, in every order of their steps and of the messages between them, and with at most one crash
 * or one withdrawal anywhere. Time stands still while they run, so that nothing but the order matters; what needs time to pass has let it
 * pass before.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import * as FileLock from "../../src/FileLock.js"
import { Faults } from "./Faults.js"
import { remember } from "./FiberRoots.js"
import type { Parked } from "./Kernel.js"
import * as Plan from "./Plan.js"
import * as Program from "./Program.js"
import * as Search from "./Search.js"
import * as Processes from "./SimulatedProcess.js"
import type { SimulatedProcess } from "./SimulatedProcess.js"
import { changedBy, levelOf, readerOf, type Violation } from "./Watcher.js"
import { claimPath, directory, lockPath, readersPath, valuePath, World } from "./World.js"

/** What the processes find at the beginning. */
export type Scene =
  | "nothing"
  /** No process has used the directory before, so that each cleans it up. A dead process has left its request file. */
  | "dead request, first use"
  | "no hard links"
  | "dead holder"
  | "dead reader"
  | "dead holder and dead claim"
  | "dead holder and dead claims of two levels"
  /** One process of another machine is about to link its request file, and has been silent for a lease; another is about to remove it. */
  | "silent request"

export interface SmallWorld {
  readonly scene: Scene
  readonly processes: number
  /** How many of them, the first ones, are readers. */
  readonly readers: number
  /** Whether the directory of readers is removed in one step, as on the disk of Node, or in several, as over any `FileSystem`. */
  readonly removal: "one step" | "several steps"
  /** Whether those that came in leave in every order, too. Otherwise they stay until nobody can go on, and leave one after the other. */
  readonly leaves: boolean
  /** How often each process tries. */
  readonly tries: number
  readonly crashes: 0 | 1
  /** Whether the processes wait for the lock. No time has to pass for that: each is told. */
  readonly waits: boolean
  /** Whether one of them withdraws, while it waits or whatever else it does. */
  readonly withdrawals: 0 | 1
  /** Whether the processes clean up after a takeover. */
  readonly cleanup: boolean
  /** Whether it is explored to the end in some seconds. */
  readonly quick: boolean
}

const plan: Plan.Plan = {
  ...Plan.make(0),
  kind: "host",
  synchronous: 0,
  lease: 30_000,
  faults: new Set(),
  // Fresh numbers are told apart from each other and by nothing else, so their order does not matter.
  reuseInodes: false,
  clockSteps: 0
}

const planOf = ({ scene }: SmallWorld): Plan.Plan => ({
  ...plan,
  kind: scene === "silent request" ? "hosts" : "host",
  faults: new Set(scene === "no hard links" ? ["noLinks"] : [])
})

const millis = 1e6

/** Gives each place a bit of its own. */
class Places {
  private readonly bits = new Map<string, number>()

  of(...places: ReadonlyArray<string>): number {
    return places.reduce((set, place) => {
      let bit = this.bits.get(place)
      if (bit === undefined) {
        if (this.bits.size > 30) throw new Error("too many places")
        bit = 1 << this.bits.size
        this.bits.set(place, bit)
      }
      return set | bit
    }, 0)
  }
}

/**
 * What a step reads and writes in the directory of readers: whether it is there, and the files of each process. What a step does not change,
 * because something is there, or is not there, or is in the way, changes by steps alone that write.
 */
const footprintOfReaders = (
  places: Places,
  { process, step }: Parked<SimulatedProcess>,
  world: World
): Search.Footprint => {
  const own = `crash ${process.name}`
  const path = step.to ?? step.path
  const filesOf = (name: string | undefined) => `files of ${name}`
  const all = world.watcher.processes.map(({ name }) => filesOf(name))
  const token = readerOf(lockPath, path)
  if (token === undefined) {
    switch (step.syscall) {
      case "mkdir":
        return world.isShared
          ? { reads: places.of(own, readersPath), writes: 0 }
          : { reads: places.of(own), writes: places.of(readersPath) }
      case "rmdir":
        return world.isShared && world.readers().length === 0
          ? { reads: places.of(own, ...all), writes: places.of(readersPath) }
          : { reads: places.of(own, readersPath, ...all), writes: 0 }
      case "scandir":
        return { reads: places.of(own, readersPath, ...all), writes: 0 }
      default:
        // Nobody asks for the mode of the directory.
        return { reads: places.of(own, readersPath), writes: 0 }
    }
  }
  const owner = world.watcher.ownerOf(token)
  const files = filesOf(owner?.name)
  switch (step.syscall) {
    case "rename":
      return world.isShared
        ? { reads: places.of(own, readersPath), writes: places.of(files, `requests ${owner?.name}`) }
        : { reads: places.of(own, readersPath, `requests ${owner?.name}`), writes: 0 }
    case "unlink":
      // Whether another process may do so depends on who lives, who is inside, and who has the lock and the claim.
      return {
        reads: owner === process ? places.of(own) : places.of(own, "lives", "inside", lockPath, claimPath(1)),
        writes: places.of(files)
      }
    default:
      return { reads: places.of(own, files), writes: 0 }
  }
}

/**
 * What a step reads and writes. The request files of one process are one place. A link or an exclusive create where something is only
 * reads, and that it is there changes by steps alone that write.
 */
const footprint = (
  places: Places,
  parked: Parked<SimulatedProcess>,
  world: World
): Search.Footprint => {
  const { process, step } = parked
  const { method, path, syscall } = step
  // What a process does next depends on whether it lives, and on what it hears.
  const own = `crash ${process.name}`
  const placeOf = (path: string): string => {
    if (levelOf(lockPath, path) !== undefined) return path
    const token = path.slice(lockPath.length + 1).replace(/^claim-/, "")
    return `requests ${world.watcher.ownerOf(token)?.name}`
  }
  if (method === "identity") {
    return { reads: places.of(own, `life ${path}`), writes: 0 }
  }
  if (method === "section") {
    return { reads: places.of(own, lockPath, `files of ${process.name}`), writes: places.of("inside") }
  }
  if (
    [path, step.to].some((path) =>
      path === readersPath || (path !== undefined && readerOf(lockPath, path) !== undefined)
    )
  ) {
    return footprintOfReaders(places, parked, world)
  }
  if (syscall === "scandir") {
    const requests = world.watcher.processes.map(({ name }) => `requests ${name}`)
    const claims = [1, 2, 3, 4].map(claimPath)
    return { reads: places.of(own, readersPath, ...claims, ...requests), writes: 0 }
  }
  if (syscall === "close" || !path.includes(".lock")) {
    return { reads: places.of(own), writes: 0 }
  }
  const changed = changedBy(step)
  switch (syscall) {
    case "rename":
      return { reads: places.of(own, "lives"), writes: places.of(path, step.to ?? path) }
    case "unlink":
      return { reads: places.of(own, "lives"), writes: places.of(placeOf(path)) }
    case "link": {
      const to = step.to ?? path
      const reads = places.of(own, placeOf(path))
      return world.read(to) === undefined
        ? { reads, writes: places.of(to) }
        : { reads: reads | places.of(to), writes: 0 }
    }
    case "fstat":
    case "read":
      // What is at a lock or a claim appears as a whole, and no heartbeat changes it while time stands still.
      if (levelOf(lockPath, path) !== undefined && !world.plan.faults.has("noLinks")) {
        return { reads: places.of(own), writes: 0 }
      }
  }
  return changed !== undefined && !(syscall === "open" && world.read(path) !== undefined)
    ? { reads: places.of(own), writes: places.of(placeOf(path)) }
    : { reads: places.of(own, placeOf(path)), writes: 0 }
}

/** Its own next step, whether it lives for those who ask, and who is inside all depend on a crash; so does any other crash. */
const crashOf = (places: Places, process: SimulatedProcess): Search.Footprint => ({
  reads: 0,
  writes: places.of(`crash ${process.name}`, `life ${process.name}`, "lives", "inside", "any crash")
})

/** What a process hears, and that it withdraws, changes what it does next. */
const changeOf = (places: Places, process: SimulatedProcess): Search.Footprint => ({
  reads: 0,
  writes: places.of(`crash ${process.name}`)
})

/** What comes between a first attempt, which is not explored, and the others. */
type WarmUp = (step: (syscall: string) => Effect.Effect<void>) => Effect.Effect<void>

/** Tries so often, and does nothing inside. With `waits` it waits for the lock, until it withdraws. */
const program = (
  world: World,
  process: SimulatedProcess,
  tries: number,
  waits: Deferred.Deferred<void> | undefined,
  reads: boolean,
  warmUp?: WarmUp
) =>
(_: FileSystem.FileSystem): Effect.Effect<void, never, FileLock.FileLock | Scope.Scope> =>
  Effect.flatMap(FileLock.FileLock, (locks) => {
    const step = (syscall: string) =>
      Processes.park(world.kernel, process, { method: "section", syscall, path: lockPath })
    const inside = (reader?: string) =>
      Effect.zipRight(
        step("enter"),
        Effect.suspend(() => {
          const section = world.watcher.enter(process, process.name, reader)
          return Effect.ensuring(step("leave"), Effect.sync(() => world.watcher.leave(section)))
        })
      )
    const attempt = (reads
      ? Program.withSharedLock(locks, inside, { timeout: waits === undefined ? 0 : "infinity" })
      : waits === undefined
      ? locks.withLockIfAvailable(inside(), valuePath)
      : locks.withLock(inside(), valuePath, { timeout: "infinity" })).pipe(
        Effect.catchAll((error) =>
          // A process that was slow for longer than the clean-up timeout has given up, and its attempt ends in the background.
          // Without hard links a lock file is foreign until it is written.
          error._tag === "LockAcquisitionError" &&
            (error.reason === "Timeout" || (error.reason === "Foreign" && world.plan.faults.has("noLinks")))
            ? Effect.void
            : Effect.sync(() => world.watcher.fail("failure", error.message))
        )
      )
    const before = warmUp === undefined ? Effect.void : Effect.zipRight(attempt, warmUp(step))
    const each = waits === undefined ? attempt : Effect.raceFirst(attempt, Deferred.await(waits))
    return Effect.zipRight(before, Effect.repeatN(each, tries - 1))
  })

/** What can happen to a process next. */
interface Event {
  readonly footprint: Search.Footprint
  readonly happen: () => void
}

/** A process has a thread for its steps, one for its crash, one for its withdrawal, and one for what it hears of each process. */
const ownThreads = 3

class Execution implements Search.Execution {
  readonly world: World
  private readonly processes: ReadonlyArray<SimulatedProcess>
  private crashesLeft: number
  /** The processes that may withdraw still. */
  private readonly withdrawals = new Map<SimulatedProcess, Deferred.Deferred<void>>()
  /** How far time may go while all processes wait. */
  private readonly waiting: number

  constructor(
    private readonly small: SmallWorld,
    private readonly places: Places,
    private readonly ends: Set<string>,
    trace: ((line: string) => void) | undefined,
    /** The threads that have gone, in order. */
    private readonly path: Array<number>
  ) {
    this.world = new World(planOf(small), trace)
    this.crashesLeft = small.crashes
    this.world.messagesWait = small.waits
    this.world.removesInOneStep = small.removal === "one step"
    const host = this.world.addHost()
    this.waiting = small.scene === "silent request" ? 2 * plan.lease * millis : 1e9
    this.processes = small.scene === "silent request" ? this.makeSilentRequest() : Array.from(
      { length: small.processes },
      (_, index) => this.makeProcess(host, index < small.readers, small.scene !== "dead request, first use")
    )
    this.leave(small.scene)
    for (const each of this.processes) {
      each.beforeLook = (instance) =>
        Processes.park(this.world.kernel, each, { method: "identity", syscall: "isAlive", path: this.nameOf(instance) })
    }
  }

  private leave(scene: Scene): void {
    const faults = new Faults(this.world)
    switch (scene) {
      case "dead request, first use":
        faults.leaveRequest(1)
        break
      case "dead holder":
        faults.leaveAt([lockPath])
        break
      case "dead reader":
        faults.leaveReader()
        break
      case "dead holder and dead claim":
        faults.leaveAt([lockPath, claimPath(1)])
        break
      case "dead holder and dead claims of two levels":
        faults.leaveAt([lockPath, claimPath(1), claimPath(2)])
        break
      case "nothing":
      case "no hard links":
      case "silent request":
        break
    }
  }

  /** Starts a process, which has used the directory before, or not. */
  private makeProcess(host: Processes.Host, reads: boolean, knowsDirectory: boolean): SimulatedProcess {
    const process = this.world.addProcess(host, {}, undefined)
    process.mayList = this.small.cleanup
    const warmUp: WarmUp | undefined = knowsDirectory ? (step) => step("begin") : undefined
    this.world.start(process, program(this.world, process, this.small.tries, this.withdrawalOf(process), reads, warmUp))
    this.world.kernel.drain()
    if (knowsDirectory) {
      this.runUntil(process, ({ step }) => step.syscall === "begin", true)
      this.step(this.parkedOf(process))
    }
    return process
  }

  /** What lets a process withdraw that waits. All processes are the same: the first one is as good as any. */
  private withdrawalOf(process: SimulatedProcess): Deferred.Deferred<void> | undefined {
    if (!this.small.waits) {
      return undefined
    }
    const withdrawal = Deferred.unsafeMake<void>(FiberId.none)
    if (this.withdrawals.size < this.small.withdrawals) this.withdrawals.set(process, withdrawal)
    return withdrawal
  }

  private makeSilentRequest(): ReadonlyArray<SimulatedProcess> {
    const { kernel } = this.world
    const slow = this.world.addProcess(this.world.hosts[0] ?? this.world.addHost(), {}, undefined)
    this.world.start(slow, program(this.world, slow, this.small.tries, undefined, false))
    kernel.drain()
    // It is going to be slow: its call gives up, and its attempt goes on in the background.
    slow.lastPauseEnd = 1
    this.runUntil(slow, ({ step }) => step.syscall === "link")
    const others = Array.from({ length: this.small.processes - 1 }, () => {
      const other = this.world.addProcess(this.world.addHost(), {}, undefined)
      this.world.start(
        other,
        program(
          this.world,
          other,
          this.small.tries,
          undefined,
          false,
          () => Effect.sleep(Duration.millis(plan.lease * 1.2))
        )
      )
      kernel.drain()
      return other
    })
    for (const other of others) {
      this.runUntil(other, ({ step }) =>
        step.method === "remove" && levelOf(lockPath, step.path) === undefined &&
        kernel.now > plan.lease * 0.9 * millis)
    }
    slow.lastPauseEnd = kernel.now
    return [slow, ...others]
  }

  /** Lets one process go on until it is before the step that is waited for, and with `last` has nothing else to do. */
  private runUntil(
    process: SimulatedProcess,
    isBefore: (parked: Parked<SimulatedProcess>) => boolean,
    last = false
  ): void {
    const { kernel } = this.world
    for (;;) {
      const mine = this.world.kernel.parked.filter((parked) => parked.process === process)
      const next = mine.find((parked) => !isBefore(parked))
      if (mine.some(isBefore) && (!last || next === undefined)) {
        return
      }
      if (next !== undefined) {
        this.step(next)
      } else if (kernel.nextAlarm() === undefined) {
        throw new Error("the process never comes there")
      } else {
        kernel.ring()
      }
    }
  }

  private nameOf(instance: string): string {
    return this.world.watcher.processes.find(({ identity }) => identity.info.instance === instance)?.name ?? ""
  }

  private step(parked: Parked<SimulatedProcess> | undefined): void {
    if (parked === undefined) {
      throw new Error("the process has no next step")
    }
    const { kernel, watcher } = this.world
    const { method, path, syscall } = parked.step
    this.world.note(() => `${parked.process.name.padEnd(4)} ${method}: ${syscall} ${watcher.show(path)}`)
    const after = watcher.before(parked, kernel.steps + 1)
    kernel.go(parked)
    after()
    this.world.noteChange(parked.step)
  }

  /** What a process does at the same time comes in the order in which it was begun. */
  private parkedOf(process: SimulatedProcess): Parked<SimulatedProcess> | undefined {
    return this.world.kernel.parked.find((parked) => parked.process === process && parked.step.method !== "message")
  }

  /** What one process says to another comes in the order in which it was said. */
  private messageFor(process: SimulatedProcess, from: SimulatedProcess): Parked<SimulatedProcess> | undefined {
    return this.world.kernel.parked.find((parked) =>
      parked.process === process && parked.step.method === "message" && parked.step.path === from.name
    )
  }

  /** What can happen to a process next, by thread. */
  private eventsOf(process: SimulatedProcess): ReadonlyArray<Event | undefined> {
    const { small, world } = this
    const change = changeOf(this.places, process)
    const parked = this.parkedOf(process)
    const withdrawal = this.withdrawals.get(process)
    const mayCrash = this.crashesLeft > 0 && process.alive && (small.waits || parked !== undefined)
    const stays = !small.leaves && parked?.step.syscall === "leave"
    return [
      parked && !stays
        ? { footprint: footprint(this.places, parked, world), happen: () => this.step(parked) }
        : undefined,
      mayCrash
        ? {
          footprint: crashOf(this.places, process),
          happen: () => {
            this.crashesLeft--
            world.kill(process)
          }
        }
        : undefined,
      withdrawal !== undefined && process.alive && !process.ended
        ? {
          footprint: change,
          happen: () => {
            this.withdrawals.delete(process)
            world.note(() => `${process.name} WITHDRAWS`)
            Deferred.unsafeDone(withdrawal, Effect.void)
            world.kernel.drain()
          }
        }
        : undefined,
      ...this.processes.map((from) => {
        const message = this.messageFor(process, from)
        return message && { footprint: change, happen: () => world.kernel.go(message) }
      })
    ]
  }

  /** The threads of a process come one after the other. */
  private events(): ReadonlyMap<number, Event> {
    const events = new Map<number, Event>()
    this.processes.flatMap((process) => this.eventsOf(process)).forEach((event, thread) => {
      if (event !== undefined) events.set(thread, event)
    })
    return events
  }

  enabled(): ReadonlyMap<number, Search.Footprint> {
    return this.world.watcher.violation === undefined
      ? new Map(Array.from(this.events(), ([thread, { footprint }]) => [thread, footprint]))
      : new Map()
  }

  go(thread: number): ReadonlyArray<number> {
    this.path.push(thread)
    const event = this.events().get(thread)
    if (event === undefined) {
      throw new Error("the replay has left its path: something here is not determined")
    }
    const before = new Set(this.world.kernel.parked)
    event.happen()
    this.wake()
    return this.world.kernel.parked
      .filter((parked) => parked.step.method === "message" && !before.has(parked))
      .map(({ process, step }) => {
        const from = this.processes.findIndex(({ name }) => name === step.path)
        return this.processes.indexOf(process) * (ownThreads + this.processes.length) + ownThreads + from
      })
  }

  /** A process that waits to try again does so when no other can go on. */
  private wake(): void {
    const { kernel, watcher } = this.world
    const until = kernel.now + this.waiting
    const isIdle = () =>
      watcher.violation === undefined && kernel.parked.every(({ process }) => !this.processes.includes(process)) &&
      this.processes.some(({ alive, ended }) => alive && !ended)
    if (this.small.waits && isIdle()) watcher.fail("not told", "a process waits, and is not told that it need not")
    while (isIdle() && (kernel.nextAlarm() ?? Infinity) < until) kernel.ring()
  }

  /** From one state of the disk, the processes and their timers on, the end is the same: it is played once. */
  end(): void {
    const { kernel, watcher } = this.world
    for (let next = kernel.runnable()[0]; next !== undefined && !this.small.leaves; next = kernel.runnable()[0]) {
      this.step(next)
    }
    if (watcher.violation !== undefined) {
      return
    }
    if (this.processes.some(({ alive, ended }) => alive && !ended)) {
      watcher.fail("stuck", "a process that may not wait waits")
      return
    }
    const state = [
      ...this.world.list().map((name) => {
        const path = `${directory}/${name}`
        return `${watcher.show(path)} ${watcher.describe(path)}`
      }),
      ...this.processes.map(({ alive, name, tokens }) =>
        `${name} ${alive} ${[...tokens.values()].map(({ live }) => live ? 1 : 0).join("")}`
      ),
      kernel.nextAlarm() ?? "no alarm"
    ].join("; ")
    if (this.ends.has(state)) {
      return
    }
    this.ends.add(state)
    const last = this.world.addProcess(this.world.hosts[0] ?? this.world.addHost(), {}, undefined)
    this.world.start(
      last,
      Program.last(this.world, last, 2 * plan.lease)
    )
    kernel.drain()
    const until = kernel.now + 120e9
    while (watcher.violation === undefined && kernel.now < until) {
      const next = kernel.runnable()[0]
      if (next !== undefined) {
        this.step(next)
      } else if (kernel.nextAlarm() === undefined) {
        break
      } else {
        kernel.ring()
      }
    }
    const left = this.world.list()
    if (!last.ended) watcher.fail("no progress", "no process can have the lock any more")
    if (left.length > 0) watcher.fail("litter", `left at the end: ${left.join(", ")}`)
  }
}

export interface Report extends Search.Result {
  readonly small: SmallWorld
  /** Distinct states at the end of all programs. */
  readonly ends: number
  readonly violation: Violation | undefined
  readonly trace: ReadonlyArray<string>
}

/** Runs one order once more, for its trace. */
const replay = (small: SmallWorld, path: ReadonlyArray<number>): ReadonlyArray<string> => {
  const lines: Array<string> = []
  const execution = new Execution(small, new Places(), new Set(), (line) => lines.push(line), [])
  for (const thread of path) execution.go(thread)
  if (execution.world.watcher.violation === undefined) execution.end()
  return lines
}

/** Explores a small world in every order. Stops at the first violation, with its trace. */
export const run = (small: SmallWorld, limit = Infinity): Report => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  const ends = new Set<string>()
  const places = new Places()
  let path: Array<number> = []
  let current: Execution | undefined
  let count = 0
  const forget = remember()
  const start = () => {
    forget()
    path = []
    count++
    current = new Execution(small, places, ends, undefined, path)
    return current
  }
  try {
    const result = Search.explore(start, () => current?.world.watcher.violation !== undefined || count >= limit)
    const violation = current?.world.watcher.violation
    return { ...result, small, ends: ends.size, violation, trace: violation === undefined ? [] : replay(small, path) }
  } finally {
    forget()
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** What a small world is, unless it says something else. */
export const smallest: SmallWorld = {
  scene: "nothing",
  processes: 2,
  readers: 0,
  removal: "one step",
  leaves: true,
  tries: 1,
  crashes: 0,
  waits: false,
  withdrawals: 0,
  cleanup: false,
  quick: true
}

/** Those that are explored to the end. */
export const worlds: ReadonlyArray<SmallWorld> = [
  smallest,
  { ...smallest, crashes: 1 },
  { ...smallest, scene: "no hard links" },
  { ...smallest, scene: "no hard links", crashes: 1, quick: false },
  { ...smallest, scene: "silent request", cleanup: true },
  { ...smallest, waits: true },
  { ...smallest, crashes: 1, waits: true },
  { ...smallest, waits: true, withdrawals: 1, quick: false },
  { ...smallest, scene: "dead request, first use", cleanup: true, quick: false },
  { ...smallest, readers: 1, leaves: false },
  { ...smallest, readers: 1, leaves: false, removal: "several steps" },
  { ...smallest, readers: 1 },
  { ...smallest, readers: 1, removal: "several steps" },
  { ...smallest, readers: 2 },
  { ...smallest, readers: 1, leaves: false, waits: true, quick: false },
  { ...smallest, readers: 1, leaves: false, waits: true, removal: "several steps", quick: false },
  { ...smallest, readers: 1, waits: true, quick: false },
  { ...smallest, readers: 1, leaves: false, crashes: 1, quick: false },
  { ...smallest, scene: "dead reader", readers: 1, leaves: false, quick: false },
  { ...smallest, scene: "dead holder" },
  { ...smallest, scene: "dead holder", crashes: 1, quick: false },
  { ...smallest, scene: "dead holder", cleanup: true, quick: false },
  { ...smallest, scene: "dead holder and dead claim", quick: false },
  { ...smallest, scene: "dead holder and dead claims of two levels", quick: false }
]
