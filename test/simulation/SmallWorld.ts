/**
 * The shortest programs in the smallest worlds, in every order of their steps and with at most one crash anywhere. Time stands
 * still while they run, so that nothing but the order matters; what needs time to pass has let it pass before.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as FileLock from "../../src/FileLock.js"
import { remember } from "./Forgotten.js"
import type { Parked } from "./Kernel.js"
import * as Plan from "./Plan.js"
import * as Players from "./Player.js"
import type { Player } from "./Player.js"
import * as Program from "./Program.js"
import * as Search from "./Search.js"
import { Troubles } from "./Troubles.js"
import { changes, type Violation } from "./Watcher.js"
import { directory, lockPath, valuePath, World } from "./World.js"

/** What the processes find at the beginning. */
export type Scene =
  | "nothing"
  | "dead holder"
  | "dead holder and dead claim"
  | "unwritten, grace elapsed"
  | "slow creator"

export interface SmallWorld {
  readonly scene: Scene
  readonly processes: number
  /** How often each process tries. */
  readonly tries: number
  readonly crashes: 0 | 1
  /** Whether it is played to the end in some seconds. */
  readonly quick: boolean
}

const plan: Plan.Plan = {
  ...Plan.make(0, { without: [] }),
  kind: "host",
  lease: 30_000,
  troubles: new Set(),
  // Fresh numbers are told apart from each other and by nothing else, so their order does not matter.
  reuseInodes: false,
  clockSteps: 0
}

const parentOf = (claim: string): string => claim.slice(0, -".reap".length)

/** Gives each place a bit of its own. */
class Places {
  private readonly bits = new Map<string, number>()

  of(...places: ReadonlyArray<string>): number {
    return places.reduce((set, place) => {
      let bit = this.bits.get(place)
      if (bit === undefined) {
        bit = 1 << this.bits.size
        if (bit === 0 || this.bits.size > 30) throw new Error("too many places")
        this.bits.set(place, bit)
      }
      return set | bit
    }, 0)
  }
}

const places = new Places()

/** An exclusive create where something is only reads; and that it is there changes by steps alone that write. */
const footprint = ({ process, step }: Parked<Player>, exists: (path: string) => boolean): Search.Footprint => {
  const { method, path, syscall } = step
  const own = `crash ${process.name}`
  if (method === "identity") {
    return { reads: places.of(own, `life ${path}`), writes: 0 }
  }
  if (method === "section") {
    return { reads: places.of(own, lockPath), writes: places.of("inside") }
  }
  if (syscall === "close" || !path.includes(".lock")) {
    return { reads: places.of(own), writes: 0 }
  }
  if (syscall === "rename") {
    return { reads: places.of(own, "lives"), writes: places.of(path, parentOf(path)) }
  }
  if (syscall === "unlink") {
    return { reads: places.of(own, "lives"), writes: places.of(path) }
  }
  return changes(step) && !(syscall === "open" && exists(path))
    ? { reads: places.of(own), writes: places.of(path) }
    : { reads: places.of(own, path), writes: 0 }
}

/** Its own next step, whoever asks whether it lives, and who is inside all depend on a crash; so does any other crash. */
const crashOf = (player: Player): Search.Footprint => ({
  reads: 0,
  writes: places.of(`crash ${player.name}`, `life ${player.name}`, "lives", "inside", "any crash")
})

/** Tries so often, and does nothing inside. */
const program =
  (world: World, player: Player, tries: number) =>
  (_: FileSystem.FileSystem): Effect.Effect<void, never, FileLock.FileLock | Scope.Scope> =>
    Effect.flatMap(FileLock.FileLock, (locks) => {
      const step = (syscall: string) =>
        Players.park(world.kernel, player, { method: "section", syscall, path: lockPath })
      const inside = Effect.zipRight(
        step("enter"),
        Effect.suspend(() => {
          const section = world.watcher.enter(player, player.name)
          return Effect.ensuring(step("leave"), Effect.sync(() => world.watcher.leave(section)))
        })
      )
      return locks.withLockIfAvailable(inside, valuePath).pipe(
        Effect.catchAll((error) =>
          // Who was slow for longer than the library's patience has given up, and its attempt ends in the background.
          error._tag === "LockAcquisitionError" && error.reason === "Timeout"
            ? Effect.void
            : Effect.sync(() => world.watcher.fail("failure", error.message))
        ),
        Effect.repeatN(tries - 1)
      )
    })

class Execution implements Search.Execution {
  readonly world: World
  private readonly players: ReadonlyArray<Player>
  private crashesLeft: number

  constructor(
    small: SmallWorld,
    private readonly ends: Set<string>,
    trace: ((line: string) => void) | undefined
  ) {
    this.world = new World(plan, trace)
    this.crashesLeft = small.crashes
    const host = this.world.addHost()
    const troubles = new Troubles(this.world)
    if (small.scene === "dead holder") troubles.leaveAt([lockPath], false)
    if (small.scene === "dead holder and dead claim") troubles.leaveAt([lockPath, `${lockPath}.reap`], false)
    if (small.scene === "unwritten, grace elapsed") troubles.leaveAt([lockPath], true)
    const player = () => this.world.addPlayer(host, {}, undefined)
    const creator = small.scene === "slow creator" ? [player()] : []
    const others = Array.from({ length: small.processes }, player)
    this.players = [...creator, ...others]
    for (const slow of creator) {
      this.world.start(slow, program(this.world, slow, 1))
      this.world.kernel.drain()
      this.settle((parked) => parked.step.syscall === "write")
    }
    const aged = creator.length > 0 || small.scene === "unwritten, grace elapsed"
    for (const other of others) {
      // Whoever is to find the grace elapsed has looked at its beginning.
      this.world.start(other, program(this.world, other, aged ? small.tries + 1 : small.tries))
      this.world.kernel.drain()
      if (aged) this.settle((parked) => parked.process === other && parked.step.syscall === "open" && this.looks > 0)
      this.looks = 0
    }
    if (aged) this.world.kernel.now += 2.1e9
    for (const slow of creator) slow.lastPauseEnd = this.world.kernel.now
    for (const each of this.players) {
      each.beforeLook = (instance) =>
        Players.park(this.world.kernel, each, { method: "identity", syscall: "isAlive", path: this.nameOf(instance) })
    }
  }

  private looks = 0

  private nameOf(instance: string): string {
    return this.world.watcher.players.find(({ identity }) => identity.info.instance === instance)?.name ?? ""
  }

  /** Lets everybody go on until somebody is before the step that is waited for. */
  private settle(isBefore: (parked: Parked<Player>) => boolean): void {
    for (;;) {
      const next = this.world.kernel.parked.find((parked) => !isBefore(parked) && !this.isWaiting(parked))
      if (next === undefined) {
        return
      }
      if (next.step.syscall === "read") this.looks++
      this.step(next)
    }
  }

  /** Set aside while the others settle. */
  private isWaiting({ process }: Parked<Player>): boolean {
    return process !== this.world.watcher.players.filter(({ started }) => started).at(-1)
  }

  private step(parked: Parked<Player>): void {
    const { kernel, watcher } = this.world
    const { method, path, syscall } = parked.step
    this.world.note(() => `${parked.process.name.padEnd(4)} ${method}: ${syscall} ${path}`)
    watcher.before(parked)
    kernel.go(parked)
    watcher.after(parked)
  }

  /** What a process does at the same time comes in the order in which it was begun. */
  private parkedOf(player: Player): Parked<Player> | undefined {
    return this.world.kernel.parked.find(({ process }) => process === player)
  }

  /** Threads are the processes, and after them the crash of each. */
  enabled(): ReadonlyMap<number, Search.Footprint> {
    const enabled = new Map<number, Search.Footprint>()
    if (this.world.watcher.violation !== undefined) {
      return enabled
    }
    this.players.forEach((player, index) => {
      const parked = this.parkedOf(player)
      if (parked !== undefined) enabled.set(index, footprint(parked, (path) => this.world.read(path) !== undefined))
    })
    this.players.forEach((player, index) => {
      if (this.crashesLeft > 0 && this.parkedOf(player) !== undefined) {
        enabled.set(this.players.length + index, crashOf(player))
      }
    })
    return enabled
  }

  go(thread: number): void {
    const player = this.players[thread % this.players.length]
    const parked = player === undefined ? undefined : this.parkedOf(player)
    if (player === undefined || parked === undefined) {
      throw new Error("the replay has left its path: something here is not determined")
    }
    if (thread < this.players.length) {
      this.step(parked)
    } else {
      this.crashesLeft--
      this.world.kill(player)
    }
    this.wake()
  }

  /** Whoever waits to try again does so when nobody else can go on. */
  private wake(): void {
    const { kernel, watcher } = this.world
    const until = kernel.now + 1e9
    const isIdle = () =>
      watcher.violation === undefined && this.players.every((player) => this.parkedOf(player) === undefined) &&
      this.players.some(({ alive, ended }) => alive && !ended)
    while (isIdle() && (kernel.nextAlarm() ?? Infinity) < until) kernel.ring()
  }

  /** From one state of the disk, the processes and their timers on, the end is the same: it is played once. */
  end(): void {
    const { kernel, watcher } = this.world
    if (watcher.violation !== undefined) {
      return
    }
    if (this.players.some(({ alive, ended }) => alive && !ended)) {
      watcher.fail("stuck", "somebody who may not wait waits")
      return
    }
    const state = [
      ...this.world.list().map((name) => `${name} ${watcher.describe(`${directory}/${name}`)}`),
      ...this.players.map(({ alive, name, tokens }) =>
        `${name} ${alive} ${[...tokens.values()].map(({ live }) => live ? 1 : 0).join("")}`
      ),
      kernel.nextAlarm() ?? "no alarm"
    ].join("; ")
    if (this.ends.has(state)) {
      return
    }
    this.ends.add(state)
    const last = this.world.addPlayer(this.world.hosts[0] ?? this.world.addHost(), {}, undefined)
    this.world.start(last, Program.last(this.world, last, 20_000))
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
    const left = this.world.list().filter((name) => name !== "value")
    if (!last.ended) watcher.fail("no progress", "nobody can have the lock any more")
    if (left.length > 0) watcher.fail("litter", `left at the end: ${left.join(", ")}`)
  }
}

export interface Report extends Search.Result {
  readonly small: SmallWorld
  /** Distinct states at the end of everybody's program. */
  readonly ends: number
  readonly violation: Violation | undefined
  readonly trace: ReadonlyArray<string>
}

/** Plays a small world in every order. Stops at the first violation, and plays that once more for its trace. */
export const run = (small: SmallWorld, limit = Infinity): Report => {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  const ends = new Set<string>()
  let lines: Array<string> = []
  let current: Execution | undefined
  let count = 0
  const forget = remember()
  const start = () => {
    forget()
    lines = []
    count++
    current = new Execution(small, ends, (line) => lines.push(line))
    return current
  }
  try {
    const result = Search.explore(start, () => current?.world.watcher.violation !== undefined || count >= limit)
    const violation = current?.world.watcher.violation
    return { ...result, small, ends: ends.size, violation, trace: violation === undefined ? [] : lines }
  } finally {
    forget()
    Error.stackTraceLimit = stackTraceLimit
  }
}

/** Those that are explored to the end. */
export const worlds: ReadonlyArray<SmallWorld> = [
  { scene: "nothing", processes: 2, tries: 1, crashes: 0, quick: true },
  { scene: "nothing", processes: 2, tries: 1, crashes: 1, quick: true },
  { scene: "dead holder", processes: 2, tries: 1, crashes: 0, quick: true },
  { scene: "dead holder", processes: 2, tries: 1, crashes: 1, quick: false },
  { scene: "dead holder and dead claim", processes: 2, tries: 1, crashes: 0, quick: false },
  { scene: "unwritten, grace elapsed", processes: 2, tries: 1, crashes: 0, quick: false },
  { scene: "unwritten, grace elapsed", processes: 2, tries: 1, crashes: 1, quick: false },
  { scene: "slow creator", processes: 1, tries: 1, crashes: 0, quick: false }
]
