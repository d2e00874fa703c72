/**
 * A simulated world as a thing to act on: its disk, its machines and processes, and what can befall them.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as FileLock from "../../src/FileLock.js"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../../src/ProcessIdentity.js"
import { Dice } from "./Dice.js"
import type { Swap } from "./History.js"
import { Kernel, type Parked } from "./Kernel.js"
import * as Plan from "./Plan.js"
import * as Players from "./Player.js"
import { Host, Player } from "./Player.js"
import { foreignContent, type Section, Watcher } from "./Watcher.js"

export const directory = "/w"
export const valuePath = `${directory}/value`
export const lockPath = `${valuePath}.lock`
export const initialValue = "00000000"

const errnos = ["EIO", "EMFILE", "ENOSPC", "EAGAIN", "EACCES", "ESTALE", "EINTR"]

/** A critical section as the register sees it. */
export interface Entry extends Swap {
  responded: number | undefined
  read: string | undefined
  wrote: string | undefined
}

export class World {
  readonly kernel = new Kernel<Player>()
  readonly dice: Dice
  readonly hosts: Array<Host> = []
  readonly watcher: Watcher
  readonly history: Array<Entry> = []
  /** How many calls still wait for a lock that they are sure to get, and since when. */
  readonly waiting = new Map<string, number>()
  /** Processes that run, or are going to. */
  pending = 0
  /** When the last thing went wrong, or will have gone wrong. */
  lastTrouble = 0
  /** From here on nothing goes wrong any more. */
  quiet = false
  faultsLeft: number
  sections = 0
  private readonly god: FileSystem.FileSystem
  readonly disk: MemoryFileSystem.Disk
  private values = 0
  private names = 0

  constructor(readonly plan: Plan.Plan, readonly trace: ((line: string) => void) | undefined) {
    this.dice = new Dice(plan.seed, 1 + plan.salt)
    this.faultsLeft = plan.troubles.has("faults") ? this.dice.integer(1, 8) : 0
    this.disk = this.runSync(MemoryFileSystem.makeDisk({ reuseInodes: plan.reuseInodes }))
    this.god = this.runSync(this.disk.view({ uid: 0, step: () => Effect.void }))
    this.watcher = new Watcher({
      kernel: this.kernel,
      lockPath,
      lease: plan.lease,
      promptly: !plan.troubles.has("faults") && !plan.troubles.has("slowStorage"),
      read: (path) => this.read(path),
      runSync: (effect) => this.runSync(effect),
      note: (line) => this.note(line)
    })
    this.runSync(this.god.makeDirectory(directory, { mode: 0o777 }))
    this.runSync(this.god.chmod(directory, 0o777))
    this.write(valuePath, initialValue)
    this.runSync(this.god.chmod(valuePath, 0o666))
  }

  // ---------------------------------------------------------------------------------------------
  // what only the simulation can do
  // ---------------------------------------------------------------------------------------------

  /** Runs an effect between two steps of the world. */
  runSync<A, E>(effect: Effect.Effect<A, E>): A {
    const now = Math.floor(1_700_000_000_000 + this.kernel.now / 1e6)
    const clock: Clock.Clock = {
      ...Clock.make(),
      [Clock.ClockTypeId]: Clock.ClockTypeId,
      unsafeCurrentTimeMillis: () => now,
      currentTimeMillis: Effect.succeed(now)
    }
    return Effect.runSync(Effect.withClock(effect, clock))
  }

  read(path: string): string | undefined {
    const content = this.runSync(Effect.either(this.god.readFile(path)))
    if (Either.isRight(content)) {
      return Buffer.from(content.right).toString("latin1")
    }
    return this.runSync(this.god.exists(path)) ? foreignContent : undefined
  }

  write(path: string, content: string): void {
    this.runSync(this.god.writeFileString(path, content))
    this.runSync(this.god.chown(path, 1000, 1000))
  }

  remove(path: string): void {
    this.runSync(this.god.remove(path, { force: true }))
  }

  list(): ReadonlyArray<string> {
    return this.runSync(this.god.readDirectory(directory))
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
    const machine = this.runSync(ProcessIdentity.makeMachine({ hostname: name }))
    const skewed = this.plan.kind === "hosts"
    const host = new Host(
      name,
      machine,
      skewed ? 0.98 + this.dice.real(0.04) : 1,
      skewed ? this.dice.integer(-3_600_000, 3_600_000) : 0
    )
    this.hosts.push(host)
    return host
  }

  addPlayer(host: Host, spawn: ProcessIdentity.SpawnOptions, group: string | undefined): Player {
    const name = `p${this.names++}`
    const player = new Player(name, host, this.runSync(host.machine.spawn(spawn)), group ?? name)
    this.watcher.players.push(player)
    return player
  }

  /** Whether something is to happen to one operation. */
  private fault(operation: MemoryFileSystem.Operation): MemoryFileSystem.Fault | undefined {
    if (this.faultsLeft === 0 || this.quiet || !operation.path.includes(".lock") || operation.method === "File.close") {
      return undefined
    }
    if (!this.dice.chance(0.02)) {
      return undefined
    }
    this.faultsLeft--
    this.lastTrouble = this.kernel.now
    const errno = this.dice.pick(errnos)
    const moment = this.dice.chance(0.4) ? "after" : "before"
    this.note(() => `${operation.method} ${operation.path} FAILS with ${errno}, ${moment} it happens`)
    return MemoryFileSystem.Fault.Fail({ errno, moment })
  }

  /** The disk as a process sees it. */
  viewOf(player: Player): Effect.Effect<FileSystem.FileSystem> {
    return Effect.map(
      this.disk.view({ step: (step) => Players.park(this.kernel, player, step) }),
      (fs) =>
        Players.asOnNode(
          fs,
          () => this.dice.chance(this.plan.lostEvents) ? undefined : this.dice.real(this.plan.lateEvents)
        )
    )
  }

  /** Starts a process with a program; the locks are its own, the file system beside them knows no faults. */
  start(
    player: Player,
    program: (fs: FileSystem.FileSystem) => Effect.Effect<void, never, FileLock.FileLock | Scope.Scope>
  ): void {
    const fs = this.runSync(this.viewOf(player))
    const faulty = this.plan.troubles.has("faults")
      ? this.runSync(MemoryFileSystem.withFaults(fs, { fault: (operation) => this.fault(operation) }))
      : fs
    const { handoff, lease, pollInterval } = this.plan
    const locks = FileLock.layerWith({ lease, pollInterval, handoff })
    this.note(() => `${player.name} STARTS on ${player.host.name}`)
    this.pending++
    player.started = true
    const fiber = Players.start(
      Effect.scoped(Effect.flatMap(Layer.build(locks), (context) => Effect.provide(program(fs), context))),
      {
        kernel: this.kernel,
        player,
        fs: faulty,
        seed: `${this.plan.seed} ${player.name}`,
        pauseAtClock: () => player.alive && this.dice.chance(this.plan.clockSteps),
        onLog: (level, message, died) => {
          if (!player.alive) return
          if (level !== "DEBUG") this.note(() => `${player.name} logs: ${message()}`)
          if (message().includes("going on in the background")) player.saidItGoesOn = true
          if (died) this.watcher.fail("defect", `${player.name}: ${message()}`)
        }
      }
    )
    fiber.addObserver((exit) => {
      if (!player.alive) return
      player.ended = true
      this.pending--
      this.note(() => `${player.name} ENDS`)
      if (exit._tag === "Failure") this.watcher.fail("defect", `${player.name} ended with ${exit.cause.toString()}`)
      this.checkEnd(player)
    })
  }

  /** A process that has given everything back stands by no claim any more, unless that took longer than the library waits. */
  private checkEnd(player: Player): void {
    const live = [...player.tokens.values()].filter((token) => token.live)
    const mayGoOn = player.saidItGoesOn || player.lastPauseEnd > 0 || this.plan.troubles.has("faults")
    if (live.length > 0 && !mayGoOn) {
      this.watcher.fail(
        "leak",
        `${player.name} has ended and still stands by ${live.map(({ name }) => name).join(", ")}`
      )
    }
  }

  kill(player: Player): void {
    for (const other of this.watcher.players) {
      if (other.group === player.group && other.alive && !other.ended) {
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
    this.lastTrouble = Math.max(this.lastTrouble, this.kernel.now)
  }

  /** Nothing of the process runs for so many nanoseconds. */
  stall(player: Player, duration: number): void {
    const until = this.kernel.now + duration
    this.note(() => `${player.name} PAUSES for ${(duration / 1e6).toFixed(1)} ms`)
    player.stalledUntil = Math.max(player.stalledUntil, until)
    this.paused(player, until, duration)
  }

  /** One step takes so many nanoseconds longer. */
  hold(entry: Parked<Player>, duration: number): void {
    this.note(() => `${entry.who} waits for slow storage, ${(duration / 1e6).toFixed(1)} ms`)
    entry.heldUntil = this.kernel.now + duration
    this.kernel.after(duration, undefined, () => {})
    this.paused(entry.process, entry.heldUntil, duration)
  }

  private paused(player: Player, until: number, duration: number): void {
    player.lastPauseEnd = Math.max(player.lastPauseEnd, until)
    this.watcher.pauses(player, until)
    this.lastTrouble = Math.max(this.lastTrouble, until)
    this.kernel.after(until - this.kernel.now, undefined, () => {})
    if (this.plan.kind !== "host" && duration > this.plan.lease * 1e6 * Plan.allowedPause * 1.05) {
      this.watcher.mayStray(player, until)
    }
  }

  /** Every process of the machine pauses, and its monotonic clock stands still. */
  suspend(host: Host, duration: number): void {
    this.note(() => `${host.name} is SUSPENDED for ${(duration / 1e6).toFixed(1)} ms`)
    host.frozen += duration
    for (const player of this.watcher.players) {
      if (player.host === host && player.alive) this.stall(player, duration)
    }
  }

  /** What a writing process leaves that dies in the middle of it. */
  tear(path: string, before: string, share: number): void {
    const after = this.read(path)
    if (after === undefined || after === before) {
      return
    }
    const length = Math.floor(share * Math.min(100, after.length))
    const torn = after.length === before.length
      ? after.slice(0, -4 + Math.floor(share * 3)) + before.slice(-4 + Math.floor(share * 3))
      : after.slice(0, length)
    this.note(() =>
      `of the record at ${path} ${torn.length === after.length ? "the beat" : "the beginning"} was written`
    )
    this.write(path, torn)
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
