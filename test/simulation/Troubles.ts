/**
 * What befalls a world: who dies, pauses, is robbed, and when. All of it by the world's dice.
 */
import type { Parked } from "./Kernel.js"
import * as Plan from "./Plan.js"
import type { Host, Player } from "./Player.js"
import * as Program from "./Program.js"
import { foreignContent } from "./Watcher.js"
import { lockPath, type World } from "./World.js"

const millis = 1e6

/** Where a step changes what others rely on, it is worth looking more closely. */
const isHot = ({ step }: Parked<Player>): boolean =>
  step.path.includes(".lock") &&
  (step.syscall === "rename" || step.syscall === "unlink" || step.syscall === "write" ||
    (step.syscall === "open" && step.method !== "readFile") || step.syscall === "lstat")

export class Troubles {
  private crashesLeft: number
  private stallsLeft: number

  constructor(private readonly world: World) {
    const { plan } = world
    this.crashesLeft = plan.troubles.has("crashes") ? plan.crashes : 0
    this.stallsLeft = plan.troubles.has("stalls") || plan.troubles.has("longStalls") || plan.troubles.has("slowStorage")
      ? plan.stalls
      : 0
  }

  // ---------------------------------------------------------------------------------------------
  // processes
  // ---------------------------------------------------------------------------------------------

  /** Starts the processes the plan wants. */
  populate(): void {
    const { dice, plan } = this.world
    const hosts = Array.from({ length: plan.kind === "hosts" ? 2 : 1 }, () => this.world.addHost())
    let main: Player | undefined
    for (let index = 0; index < plan.processes; index++) {
      const host = hosts[index < hosts.length ? index : dice.integer(0, hosts.length - 1)] ?? this.world.addHost()
      const namespace = plan.kind === "containers" ? `pid:[${index < 2 ? index : dice.integer(0, 1)}]` : undefined
      const threadOf = plan.kind === "threads" && main !== undefined && (index === 1 || dice.chance(0.5))
        ? main
        : undefined
      const player = this.world.addPlayer(
        host,
        { pidNamespace: namespace, threadOf: threadOf?.identity },
        threadOf?.name
      )
      main ??= player
      this.begin(player, plan.rounds, dice.real(plan.spread) * millis)
    }
  }

  private begin(player: Player, rounds: number, delay: number): void {
    this.world.pending++
    this.world.kernel.after(delay, undefined, () => {
      this.world.pending--
      if (player.alive) {
        this.world.start(player, Program.make(this.world, player, { fibers: this.world.plan.fibers, rounds }))
      }
    })
  }

  private crash(player: Player): void {
    this.crashesLeft--
    this.world.kill(player)
    if (this.world.dice.chance(0.6)) this.revive(player)
  }

  /** A process like the dead one, started again; now and then it gets the same process id. */
  private revive(dead: Player): void {
    const { dice } = this.world
    const { pid, pidNamespace } = dead.identity.info
    const taken = this.world.watcher.players.some(({ alive, identity: { info } }) =>
      alive && info.pid === pid && info.pidNamespace === pidNamespace
    )
    const spawn = { pidNamespace, pid: dice.chance(0.3) && !taken ? pid : undefined }
    const player = this.world.addPlayer(dead.host, spawn, undefined)
    this.begin(player, dice.integer(1, 2), dice.chance(0.5) ? dice.real(5) * millis : dice.real(4_000) * millis)
  }

  // ---------------------------------------------------------------------------------------------
  // at a step
  // ---------------------------------------------------------------------------------------------

  /** Something may happen instead of the step, or around it; `true` if the step is not to be let go now. */
  befall(entry: Parked<Player>): boolean {
    const { dice, plan } = this.world
    if (this.world.quiet) {
      return false
    }
    const heat = isHot(entry) ? 8 : 1
    if (this.crashesLeft > 0 && dice.chance(0.004 * heat)) {
      this.crashAt(entry)
      return true
    }
    if (this.stallsLeft > 0 && this.mayPause(entry.process) && dice.chance(0.006 * heat)) {
      this.stallsLeft--
      const duration = this.pause()
      if (plan.troubles.has("slowStorage") && dice.chance(0.5) && entry.step.syscall !== "clock") {
        this.world.hold(entry, duration)
      } else {
        this.world.stall(entry.process, duration)
      }
      return true
    }
    return false
  }

  /** Before the step, after it, or in the middle of what it writes. */
  private crashAt(entry: Parked<Player>): void {
    const { dice, kernel, watcher } = this.world
    if (dice.chance(0.5)) {
      return this.crash(entry.process)
    }
    const { path, syscall } = entry.step
    const before = this.world.read(path) ?? ""
    const share = dice.real(1)
    watcher.before(entry)
    kernel.go(entry)
    watcher.after(entry)
    if (syscall === "write" && path === lockPath && dice.chance(0.7)) {
      this.world.tear(path, before, share)
    }
    if (entry.process.alive && !entry.process.ended) this.crash(entry.process)
  }

  /** Pauses that keep to the lease come one at a time. */
  private mayPause(player: Player): boolean {
    const { kernel, plan } = this.world
    return plan.kind === "host" || plan.troubles.has("longStalls") || player.lastPauseEnd === 0 ||
      kernel.now - player.lastPauseEnd > plan.lease * millis * 1.1
  }

  /** Nanoseconds. */
  private pause(): number {
    const { dice, plan } = this.world
    const { lease } = plan
    if (plan.kind !== "host" && !plan.troubles.has("longStalls")) {
      return dice.real(dice.chance(0.3) ? 20 : lease * Plan.allowedPause) * millis
    }
    const long = plan.kind === "host" ? 6_000 : lease * 3
    return dice.weighted<() => number>([
      [2, () => dice.real(20)],
      [3, () => 900 + dice.real(1_400)],
      [3, () => 2_000 + dice.real(3_000)],
      [3, () => dice.real(long)]
    ])() * millis
  }

  // ---------------------------------------------------------------------------------------------
  // at a time
  // ---------------------------------------------------------------------------------------------

  /** Sets what will happen whatever the processes do. */
  schedule(): void {
    const { dice, kernel, plan } = this.world
    const at = (most: number, happen: () => void): void => {
      const delay = dice.real(1) ** 2 * most * millis
      kernel.after(delay, undefined, () => {
        if (!this.world.quiet) happen()
      })
    }
    const { troubles } = plan
    if (troubles.has("crashes")) {
      at(3_000, () => this.crashSomebody())
    }
    if (troubles.has("foreign")) at(500, () => this.placeForeign())
    if (troubles.has("vandal")) at(2_000, () => this.vandalize())
    if (troubles.has("reboot")) at(1_000, () => this.reboot(dice.pick(this.world.hosts)))
    if (troubles.has("suspend")) {
      at(2_000, () => this.world.suspend(dice.pick(this.world.hosts), dice.real(3 * plan.lease) * millis))
    }
    if (troubles.has("clockSet")) {
      at(2_000, () => {
        const host = dice.pick(this.world.hosts)
        const change = dice.integer(-5_000, 5_000)
        this.world.note(() => `the clock of ${host.name} is SET by ${change} ms`)
        host.wallOffset += change
      })
    }
    if (troubles.has("leftovers")) this.leave()
  }

  private crashSomebody(): void {
    const living = this.world.watcher.players.filter(({ alive, ended }) => alive && !ended)
    if (this.crashesLeft > 0 && living.length > 0) this.crash(this.world.dice.pick(living))
  }

  private placeForeign(): void {
    const { dice, kernel } = this.world
    const path = dice.chance(0.7) ? lockPath : `${lockPath}.reap`
    if (this.world.read(path) !== undefined) {
      return
    }
    const stay = dice.real(3_000) * millis
    this.world.note(() => `somebody puts a file of another tool at ${path}`)
    this.world.write(path, foreignContent)
    this.world.lastTrouble = Math.max(this.world.lastTrouble, kernel.now + stay)
    kernel.after(stay, undefined, () => {
      this.world.note(() => `somebody takes the file of another tool away from ${path}`)
      if (this.world.read(path) !== foreignContent && !this.world.plan.troubles.has("vandal")) {
        this.world.watcher.fail("foreign", `a foreign file at ${path} is gone`)
      }
      this.world.remove(path)
      this.world.lastTrouble = Math.max(this.world.lastTrouble, kernel.now)
    })
  }

  /** Somebody removes the lock file by hand. */
  private vandalize(): void {
    const { kernel, watcher } = this.world
    const seen = watcher.seen(lockPath)
    if (seen._tag !== "Record" && seen._tag !== "Broken") {
      return
    }
    this.world.note(() => `somebody REMOVES ${watcher.describe(lockPath)} by hand`)
    this.world.lastTrouble = Math.max(this.world.lastTrouble, kernel.now)
    // Whoever is between a look and a removal may remove a successor's, and whoever was about to enter does.
    for (const player of watcher.players) watcher.mayStray(player, kernel.now)
    this.world.remove(lockPath)
    if (seen._tag === "Record") watcher.robToken(seen.token)
  }

  private reboot(host: Host): void {
    this.world.note(() => `${host.name} REBOOTS`)
    const dying = this.world.watcher.players.filter((player) => player.host === host && player.alive && !player.ended)
    for (const player of dying) {
      if (player.alive) this.world.kill(player)
    }
    this.world.runSync(host.machine.reboot)
    for (const player of dying) this.revive(player)
  }

  /** What processes that died before our time have left. */
  private leave(): void {
    const { dice } = this.world
    const paths = [lockPath, `${lockPath}.reap`, `${lockPath}.reap.reap`].filter(() => dice.chance(0.5))
    for (const path of paths) {
      this.leaveAt([path], dice.chance(0.5))
    }
  }

  /** A process has died and left its records, whole or torn. */
  leaveAt(paths: ReadonlyArray<string>, torn: boolean): void {
    const { dice } = this.world
    const host = dice.pick(this.world.hosts)
    const dead = this.world.addPlayer(host, {}, undefined)
    for (const path of paths) {
      const record = this.record(dead, this.world.runSync(dead.traced.issueToken))
      this.world.write(path, torn ? record.slice(0, dice.integer(0, 90)) : record)
      this.world.note(() => `${dead.name} has left at ${path}: ${this.world.watcher.describe(path)}`)
    }
    dead.alive = false
    this.world.runSync(host.machine.kill(dead.identity))
  }

  private record(player: Player, token: string): string {
    const { bootId, hostname, instance, pid, pidNamespace, startTime, timeNamespace } = player.identity.info
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
      acquiredAt: "2023-11-14T22:13:20.000Z",
      label: null,
      beat: "0000000000"
    }) + "\n"
  }
}
