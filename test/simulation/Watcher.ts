/**
 * Knows the truth about a world: who lives, who is inside, what lies on the disk and since when. Holds every step against the
 * promises of the lock.
 */
import type * as Effect from "effect/Effect"
import type { Step } from "../../src/MemoryFileSystem.js"
import type { Liveness } from "../../src/ProcessIdentity.js"
import type { Kernel, Parked } from "./Kernel.js"
import type { Player } from "./Player.js"

/** What is at a path. */
export type Seen =
  | { readonly _tag: "Absent" }
  | { readonly _tag: "Record"; readonly token: string }
  | { readonly _tag: "Broken" }
  | { readonly _tag: "Foreign" }

/** The content of a foreign file in these worlds. */
export const foreignContent = "locked by another tool\n"

const toSeen = (content: string | undefined): Seen => {
  if (content === undefined) return { _tag: "Absent" }
  if (content === foreignContent) return { _tag: "Foreign" }
  const token = /^\{"v":1,"token":"([^"]+)".*\}\n$/.exec(content)?.[1]
  return token === undefined ? { _tag: "Broken" } : { _tag: "Record", token }
}

/** One critical section, from the first moment inside to the last. */
export interface Section {
  readonly player: Player
  readonly who: string
  readonly token: string | undefined
  /** Its lock was taken away from it, for a reason that the lock cannot help. */
  robbed: boolean
  inside: boolean
}

/** Ends a simulation: a promise was broken. */
export class Violation extends Error {
  constructor(readonly kind: string, message: string) {
    super(message)
  }
}

const grace = 2e9

const doubt = grace / 2

/** Whether a step may change something at a lock or a claim. */
export const changes = ({ method, path, syscall }: Step): boolean =>
  (syscall === "write" || syscall === "rename" || syscall === "unlink" || syscall === "rmdir" ||
    (syscall === "open" && method !== "readFile")) && /\.lock(\.reap)*$/.test(path)

export class Watcher {
  readonly inside = new Set<Section>()
  /** Tokens that a person has declared to be fair game. */
  readonly permitted = new Set<string>()
  /** Who is breaking the lock of a living holder; if that goes just then, it may be its successor's that is broken. */
  readonly breaking = new Set<string>()
  violation: Violation | undefined
  /** When somebody was inside last. */
  lastInside = 0
  /** How many were robbed, for whatever reason: the history of the register means nothing then. */
  robberies = 0
  private readonly changedAt = new Map<string, number>()
  private readonly creators = new Map<string, Player>()
  /** Records that took so long to be written that their own process does not believe in them. */
  private readonly doubted = new Set<string>()
  private contentBefore: string | undefined

  constructor(
    private readonly options: {
      readonly kernel: Kernel<Player>
      readonly lockPath: string
      readonly lease: number
      /** Whether a loss has to be noticed in time: not where calls fail or take for ever. */
      readonly promptly: boolean
      readonly read: (path: string) => string | undefined
      readonly runSync: <A>(effect: Effect.Effect<A>) => A
      readonly note: (line: () => string) => void
    }
  ) {}

  readonly players: Array<Player> = []

  fail(kind: string, message: string): void {
    if (this.violation === undefined) {
      this.violation = new Violation(kind, message)
      this.options.note(() => `*** ${kind}: ${message}`)
    }
  }

  seen(path: string): Seen {
    return toSeen(this.options.read(path))
  }

  ownerOf(token: string): Player | undefined {
    return this.players.find(({ tokens }) => tokens.has(token))
  }

  /** What is at a path, in words. */
  describe(path: string): string {
    const seen = this.seen(path)
    return seen._tag === "Record"
      ? `record of ${this.ownerOf(seen.token)?.tokens.get(seen.token)?.name ?? "somebody gone"}`
      : seen._tag.toLowerCase()
  }

  /** Whether a process may be in the wrong for a while: it paused for longer than any lease allows, or was robbed. */
  private strays(player: Player): boolean {
    return player.strayedUntil > this.options.kernel.now
  }

  mayStray(player: Player, until: number): void {
    const { kernel, lease } = this.options
    player.strayedUntil = Math.max(player.strayedUntil, Math.max(until, player.lastPauseEnd) + lease * 1e6)
    player.strayedAt = kernel.steps
    if (until > kernel.now) {
      kernel.after(until - kernel.now, undefined, () => {
        player.strayedAt = kernel.steps
      })
    }
  }

  /** A pause takes nothing from the time in which it may find out. */
  pauses(player: Player, until: number): void {
    if (this.strays(player)) player.strayedUntil = Math.max(player.strayedUntil, until + this.options.lease * 1e6)
  }

  /**
   * Whether a fiber has an excuse for what it does to a path: what it knows of it is from before its process strayed. Where faults
   * are injected the calls of one fiber are made by others, and only the time can tell.
   */
  private excused({ fiber, process, who }: Parked<Player>, path: string): boolean {
    if (this.breaking.has(who)) return true
    const looked = process.looks.get(`${fiber} ${path}`)
    return looked === undefined ? this.strays(process) : looked <= process.strayedAt
  }

  private holderBy(token: string): Section | undefined {
    return [...this.inside].find((section) => section.token === token)
  }

  private silence(path: string): number {
    return this.options.kernel.now - (this.changedAt.get(path) ?? -1e15)
  }

  // ---------------------------------------------------------------------------------------------
  // critical sections
  // ---------------------------------------------------------------------------------------------

  enter(player: Player, who: string): Section {
    const { kernel, lockPath, note } = this.options
    const seen = this.seen(lockPath)
    const ours = seen._tag === "Record" && player.tokens.has(seen.token)
    const section: Section = {
      player,
      who,
      token: ours ? seen.token : undefined,
      robbed: false,
      inside: true
    }
    note(() => `${who} ENTERS`)
    if (!ours) {
      if (!this.strays(player)) {
        this.fail("no record", `${who} is inside, and at the lock is ${this.describe(lockPath)}`)
      }
      this.inside.add(section)
      this.rob(section)
    }
    for (const other of this.inside) {
      if (other !== section && !other.robbed && !section.robbed) {
        this.fail("two inside", `${who} came in while ${other.who} was inside`)
      }
    }
    this.inside.add(section)
    this.lastInside = kernel.now
    this.overtaken(player, who)
    return section
  }

  /** First come, first served, within a process: who waits without a step under way since before the call has drawn its ticket. */
  private overtaken(player: Player, who: string): void {
    const call = player.calls.get(who)
    if (call === undefined) {
      return
    }
    for (const other of player.calls.values()) {
      const waits = other !== call && other.steps > 0 && other.lastStep < call.calledAt &&
        ![...this.inside].some((section) => section.who === other.who) &&
        !this.options.kernel.parked.some((parked) => parked.who === other.who)
      if (waits) {
        this.fail("overtaken", `${who} came in before ${other.who}, who waits for longer in the same process`)
      }
    }
  }

  leave(section: Section): void {
    if (section.inside && section.player.alive) {
      this.options.note(() => `${section.who} LEAVES`)
      this.end(section)
      section.player.calls.delete(section.who)
    }
  }

  private end(section: Section): void {
    section.inside = false
    this.inside.delete(section)
    this.lastInside = this.options.kernel.now
  }

  died(player: Player): void {
    for (const section of this.inside) {
      if (section.player === player) this.end(section)
    }
  }

  /** A holder has lost its lock by no fault of the library. From then on it has to be told before long. */
  rob(section: Section): void {
    if (section.robbed) {
      return
    }
    section.robbed = true
    this.robberies++
    const { kernel, lease, note, promptly } = this.options
    this.mayStray(section.player, kernel.now)
    note(() => `${section.who} has lost its lock`)
    const patience = lease * 1e6 * 0.6 + 1e8
    const check = (since: number): void => {
      kernel.after(patience, section.player, () => {
        if (section.inside && section.player.lastPauseEnd > since) {
          check(kernel.now)
        } else if (section.inside) {
          this.fail("not told", `${section.who} is still inside, ${patience / 1e6} ms after it lost its lock`)
        }
      })
    }
    if (promptly) {
      check(kernel.now)
    }
  }

  robToken(token: string): void {
    for (const section of this.inside) {
      if (section.token === token) this.rob(section)
    }
  }

  // ---------------------------------------------------------------------------------------------
  // steps
  // ---------------------------------------------------------------------------------------------

  before(entry: Parked<Player>): void {
    const { fiber, process, step } = entry
    if (step.method === "readFile" && step.syscall === "open") {
      process.looks.set(`${fiber} ${step.path}`, this.options.kernel.steps + 1)
    }
    if (!changes(step)) {
      return
    }
    if (step.syscall === "unlink" || step.syscall === "rmdir") {
      this.beforeUnlink(entry)
    } else if (step.syscall === "rename") {
      this.beforeRename(entry)
    }
    this.contentBefore = this.options.read(step.path)
  }

  after({ process, step }: Parked<Player>): void {
    if (!changes(step)) {
      return
    }
    const target = step.syscall === "rename" ? step.path.slice(0, -".reap".length) : step.path
    const content = this.options.read(step.path)
    if (content !== this.contentBefore) {
      const written = this.seen(step.path)
      if (step.syscall === "write" && written._tag === "Record" && this.silence(step.path) > doubt) {
        this.doubted.add(written.token)
      }
      this.changedAt.set(target, this.options.kernel.now)
      if (step.syscall === "open" || step.syscall === "rename") {
        this.creators.set(target, process)
      }
    }
  }

  /** Somebody did what breaks the rules. With an excuse it is the victim's bad luck. */
  private blame(by: Parked<Player>, path: string, what: string, victim: string | undefined): void {
    if (!this.excused(by, path)) {
      this.fail("not its own", `${by.who} ${what}`)
    } else if (victim !== undefined) {
      this.robToken(victim)
      const owner = this.ownerOf(victim)
      if (owner !== undefined) this.mayStray(owner, this.options.kernel.now)
    }
  }

  private beforeUnlink(entry: Parked<Player>): void {
    const { process: by, step: { path } } = entry
    const seen = this.seen(path)
    switch (seen._tag) {
      case "Absent":
        return
      case "Foreign":
        // Its own was removed by hand between its look and this.
        return this.excused(entry, path)
          ? undefined
          : this.fail("foreign", `${by.name} removes a foreign file at ${path}`)
      case "Broken": {
        const creator = this.creators.get(path)
        if (creator !== by) {
          this.blame(entry, path, `removes a broken record at ${path} that it has not made`, undefined)
          if (creator !== undefined) this.mayStray(creator, this.options.kernel.now)
        }
        return
      }
      case "Record": {
        const holder = this.holderBy(seen.token)
        if (!by.tokens.has(seen.token)) {
          this.blame(entry, path, `removes at ${path} the ${this.describe(path)}`, seen.token)
        } else if (holder !== undefined) {
          this.blame(entry, path, `removes the lock that ${holder.who} is inside of`, seen.token)
        }
      }
    }
  }

  private beforeRename(entry: Parked<Player>): void {
    const { process: by, step: { path: from } } = entry
    const to = from.slice(0, -".reap".length)
    const source = this.seen(from)
    if (source._tag === "Absent") {
      return
    }
    if (source._tag !== "Record" || !by.tokens.has(source.token)) {
      this.blame(entry, to, `renames from ${from} the ${this.describe(from)}`, undefined)
    }
    const target = this.seen(to)
    switch (target._tag) {
      case "Absent":
        return
      case "Foreign":
        return this.fail("foreign", `${by.name} replaces a foreign file at ${to}`)
      case "Broken": {
        const creator = this.creators.get(to)
        if (creator?.alive === true && creator !== by && this.silence(to) < grace * 0.9) {
          this.blame(entry, to, `replaces at ${to} a record that is being written`, undefined)
        }
        return
      }
      case "Record":
        return this.beforeReplacing(entry, to, target.token)
    }
  }

  private beforeReplacing(entry: Parked<Player>, path: string, token: string): void {
    const by = entry.process
    const owner = this.ownerOf(token)
    if (owner === undefined || !owner.alive) {
      return
    }
    const holder = this.holderBy(token)
    if (this.permitted.has(token)) {
      this.mayStray(owner, this.options.kernel.now)
      return this.robToken(token)
    }
    if (owner === by) {
      return holder === undefined
        ? undefined
        : this.blame(entry, path, `replaces the lock that ${holder.who} is inside of`, token)
    }
    if (holder === undefined && this.doubted.has(token)) {
      return
    }
    const name = owner.tokens.get(token)?.name ?? ""
    if (this.liveness(by, owner, token) !== "unknown") {
      return this.blame(entry, path, `replaces at ${path} the record ${name} of a living process`, token)
    }
    const silence = this.silence(path)
    if (silence < this.options.lease * 1e6 * 0.9) {
      return this.blame(
        entry,
        path,
        `replaces at ${path} the record ${name} after ${Math.round(silence / 1e6)} ms`,
        token
      )
    }
    if (holder !== undefined && !this.strays(owner)) {
      return this.fail(
        "robbed",
        `${by.name} takes the lock from ${holder.who}, who lives and is inside and did not pause`
      )
    }
    this.robToken(token)
  }

  private liveness(by: Player, owner: Player, token: string): Liveness {
    return this.options.runSync(by.identity.isAlive({ ...owner.identity.info, token }))
  }
}
