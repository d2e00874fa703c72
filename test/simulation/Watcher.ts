/**
 * Knows the truth about a world: which processes live, which caller is in a critical section, what is on the disk and since when. Holds
 * every step against the promises of the lock.
 */
import type * as Effect from "effect/Effect"
import type { Liveness } from "../../src/ProcessIdentity.js"
import type { Kernel, Parked, Step } from "./Kernel.js"
import type { SimulatedProcess } from "./SimulatedProcess.js"

/** What is at a path. */
export type Seen =
  | { readonly _tag: "Absent" }
  | { readonly _tag: "Record"; readonly token: string }
  /** NULs, as a power failure leaves them. */
  | { readonly _tag: "Zeros" }
  /** Anything else: a file of another tool, or one that is not written yet. */
  | { readonly _tag: "Foreign" }

/** The contents of files of other tools in these worlds. */
export const foreignContents: ReadonlyArray<string> = ["locked by another tool\n", ""]

const toSeen = (content: string | undefined): Seen => {
  if (content === undefined) return { _tag: "Absent" }
  if (/^\0+$/.test(content)) return { _tag: "Zeros" }
  const token = /^\{"v":1,"token":"([^"]+)".*\}\n$/.exec(content)?.[1]
  return token === undefined ? { _tag: "Foreign" } : { _tag: "Record", token }
}

/** One critical section, from the first moment inside to the last. */
export interface Section {
  readonly process: SimulatedProcess
  readonly who: string
  /** Whether it shares the lock: it may be inside together with others that do. */
  readonly shared: boolean
  readonly token: string | undefined
  /** Its lock was taken away from it, for a reason that the lock cannot help. */
  lost: boolean
  inside: boolean
}

/** Ends a simulation: a promise was broken. */
export class Violation extends Error {
  constructor(readonly kind: string, message: string) {
    super(message)
  }
}

/** The path of a lock or a claim, and its level; nothing for any other path. */
export const levelOf = (lockPath: string, path: string): number | undefined => {
  if (path === lockPath) return 0
  const level = path.startsWith(`${lockPath}.claim`)
    ? /^\.claim([2-9]?)$/.exec(path.slice(lockPath.length))?.[1]
    : undefined
  return level === undefined ? undefined : level === "" ? 1 : Number(level)
}

/** The path of a claim; level 0 is the lock. */
export const pathOfLevel = (lockPath: string, level: number): string =>
  level === 0 ? lockPath : `${lockPath}.claim${level === 1 ? "" : level}`

/** The directory of the readers of a lock. */
export const readersOf = (lockPath: string): string => `${lockPath}.shared`

/** The file of a reader. */
export const pathOfReader = (lockPath: string, token: string): string => `${readersOf(lockPath)}/${token}`

/** The token of the reader whose file has a path; nothing for any other path. */
export const readerOf = (lockPath: string, path: string): string | undefined => {
  const beginning = `${readersOf(lockPath)}/`
  return path.startsWith(beginning) ? path.slice(beginning.length) : undefined
}

/** The path that a step may change. */
export const changedBy = ({ method, path, syscall, to }: Step): string | undefined => {
  const changes = syscall === "write" || syscall === "rename" || syscall === "unlink" || syscall === "rmdir" ||
    syscall === "mkdir" || syscall === "link" || (syscall === "open" && method !== "readFile")
  const changed = to ?? path
  return changes && /\.lock(\.[\w-]+(\/[\w-]+)?)?$/.test(changed) ? changed : undefined
}

export class Watcher {
  readonly inside = new Set<Section>()
  readonly processes: Array<SimulatedProcess> = []
  /** Tokens of live holders that a person has decided to break. */
  readonly permitted = new Set<string>()
  /** Callers that break the lock of a live holder: if that goes just then, it may be its successor's that is broken. */
  readonly breaking = new Set<string>()
  /** Paths at which a power failure has left NULs. */
  readonly zeroed = new Set<string>()
  violation: Violation | undefined
  /** When a caller was inside last. */
  lastInside = 0
  /** How many sections have lost their lock, for whatever reason: the history of the register means nothing then. */
  losses = 0
  private readonly changedAt = new Map<string, number>()
  /** Which process has created the file that is not written yet. */
  private readonly creators = new Map<string, SimulatedProcess>()
  /** Processes that remove the directory of readers with all that is in it: they have found it empty before. */
  private readonly emptying = new Set<SimulatedProcess>()

  constructor(
    private readonly options: {
      readonly kernel: Kernel<SimulatedProcess>
      readonly lockPath: string
      readonly lease: number
      /** Whether a loss has to be noticed in time: not where calls fail or take for ever. */
      readonly promptly: boolean
      readonly read: (path: string) => string | undefined
      readonly runSync: <A>(effect: Effect.Effect<A>) => A
      readonly note: (line: () => string) => void
    }
  ) {}

  fail(kind: string, message: string): void {
    if (this.violation === undefined) {
      this.violation = new Violation(kind, message)
      this.options.note(() => `*** ${kind}: ${message}`)
    }
  }

  seen(path: string): Seen {
    return toSeen(this.options.read(path))
  }

  ownerOf(token: string): SimulatedProcess | undefined {
    return this.processes.find(({ tokens }) => tokens.has(token))
  }

  /** What is at a path, in words. */
  describe(path: string): string {
    const seen = this.seen(path)
    return seen._tag === "Record"
      ? `record of ${this.nameOf(seen.token)}`
      : seen._tag === "Foreign" && this.creators.has(path)
      ? `unwritten file of ${this.creators.get(path)?.name}`
      : seen._tag.toLowerCase()
  }

  private nameOf(token: string): string {
    return this.ownerOf(token)?.tokens.get(token)?.name ?? "an unknown process"
  }

  /** A path, with the name of a token for the token. */
  show(path: string): string {
    const [, before, token] = /^(.*\.lock\.(?:claim-|shared\/)?)([\w-]+)$/.exec(path) ?? []
    return token === undefined || this.ownerOf(token) === undefined ? path : `${before}${this.nameOf(token)}`
  }

  /** Which process has created the file at a path, and has not written it yet. */
  creatorOf(path: string): SimulatedProcess | undefined {
    const creator = this.creators.get(path)
    return creator !== undefined && this.seen(path)._tag === "Foreign" ? creator : undefined
  }

  /** Another file is at the path, by no process's hand. */
  placed(path: string): void {
    this.creators.delete(path)
    this.zeroed.delete(path)
  }

  /** A process has died before it had written a file completely. */
  unwritten(path: string, process: SimulatedProcess): void {
    this.creators.set(path, process)
  }

  /** Whether at the lock, or at one of the readers' files, is a record that its process could not remove, and whose owner others see alive. */
  isLeftByLiveProcess(readers: ReadonlyArray<string>): boolean {
    return [this.options.lockPath, ...readers].some((path) => {
      const seen = this.seen(path)
      const owner = seen._tag === "Record" ? this.ownerOf(seen.token) : undefined
      return owner !== undefined && owner.alive && owner.saidItLeftTheLock
    })
  }

  /** Whether a process may act on outdated knowledge for a while: it paused for longer than a lease allows, or its lock was removed. */
  private strays(process: SimulatedProcess): boolean {
    return process.strayedUntil > this.options.kernel.now
  }

  mayStray(process: SimulatedProcess, until: number): void {
    const { kernel, lease } = this.options
    process.strayedUntil = Math.max(process.strayedUntil, Math.max(until, process.lastPauseEnd) + lease * 1e6)
    process.strayedAt = kernel.steps
    if (until > kernel.now) {
      kernel.after(until - kernel.now, undefined, () => {
        process.strayedAt = kernel.steps
      })
    }
  }

  /** A pause takes nothing from the time in which it may find out. */
  pauses(process: SimulatedProcess, until: number): void {
    if (this.strays(process)) {
      process.strayedUntil = Math.max(process.strayedUntil, until + this.options.lease * 1e6)
    }
  }

  /**
   * Whether a fiber has an excuse for what it does to a path: what it knows of it is from before its process strayed. Where faults
   * are injected the calls of one fiber are made by others, and only the time can tell.
   */
  private excused({ fiber, process, who }: Parked<SimulatedProcess>, path: string): boolean {
    if (this.breaking.has(who)) return true
    const read = process.reads.get(`${fiber} ${path}`)
    return read === undefined ? this.strays(process) : read <= process.strayedAt
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

  /** A reader says by which token it shares the lock. */
  enter(process: SimulatedProcess, who: string, reader?: string): Section {
    const { kernel, lockPath, note } = this.options
    const shared = reader !== undefined
    const path = shared ? pathOfReader(lockPath, reader) : lockPath
    const seen = this.seen(path)
    const ours = seen._tag === "Record" && process.tokens.has(seen.token) && (!shared || seen.token === reader)
    const section: Section = { process, who, shared, token: ours ? seen.token : undefined, lost: false, inside: true }
    note(() => `${who} ENTERS${shared ? " as a reader" : ""}`)
    if (!ours) {
      if (!this.strays(process)) {
        this.fail(
          "no record",
          `${who} is inside, and at ${shared ? this.show(path) : "the lock"} is ${this.describe(path)}`
        )
      }
      this.inside.add(section)
      this.lose(section)
    } else if (process.tokens.get(seen.token)?.live !== true) {
      this.fail("no record", `${who} is inside, and the token of its record counts as a dead process's`)
    }
    for (const other of this.inside) {
      if (other !== section && !other.lost && !section.lost && !(other.shared && shared)) {
        this.fail("two inside", `${who} came in while ${other.who} was inside`)
      }
    }
    this.inside.add(section)
    this.lastInside = kernel.now
    this.checkOrder(process, who)
    return section
  }

  /** First come, first served, within a process: a caller without a step under way since before this call is in the queue before it. */
  private checkOrder(process: SimulatedProcess, who: string): void {
    const call = process.calls.get(who)
    if (call === undefined) {
      return
    }
    for (const other of process.calls.values()) {
      const waits = other !== call && other.steps > 0 && other.lastStep < call.calledAt &&
        ![...this.inside].some((section) => section.who === other.who) &&
        !this.options.kernel.parked.some((parked) => parked.who === other.who)
      if (waits) {
        this.fail("out of order", `${who} came in before ${other.who}, which waits for longer in the same process`)
      }
    }
  }

  leave(section: Section): void {
    if (section.inside && section.process.alive) {
      this.options.note(() => `${section.who} LEAVES`)
      this.end(section)
      section.process.calls.delete(section.who)
    }
  }

  private end(section: Section): void {
    section.inside = false
    this.inside.delete(section)
    this.lastInside = this.options.kernel.now
  }

  died(process: SimulatedProcess): void {
    for (const section of this.inside) {
      if (section.process === process) this.end(section)
    }
  }

  /** A holder has lost its lock by no fault of the library. From then on it has to be told before long. */
  lose(section: Section): void {
    if (section.lost) {
      return
    }
    section.lost = true
    this.losses++
    const { kernel, lease, note, promptly } = this.options
    this.mayStray(section.process, kernel.now)
    note(() => `${section.who} has lost its lock`)
    const allowed = lease * 1e6 * 0.6 + 1e8
    const check = (since: number): void => {
      kernel.after(allowed, undefined, () => {
        if (section.inside && section.process.lastPauseEnd > since) {
          check(kernel.now)
        } else if (section.inside) {
          this.fail("not told", `${section.who} is still inside, ${allowed / 1e6} ms after it lost its lock`)
        }
      })
    }
    if (promptly) {
      check(kernel.now)
    }
  }

  loseToken(token: string): void {
    for (const section of this.inside) {
      if (section.token === token) this.lose(section)
    }
  }

  // ---------------------------------------------------------------------------------------------
  // steps
  // ---------------------------------------------------------------------------------------------

  /** Is told of a step, and its number, before it is made; to call what it answers with when the step has been made. */
  before(entry: Parked<SimulatedProcess>, number: number): () => void {
    const { fiber, process, step } = entry
    if (step.method === "readFile" && step.syscall === "open") {
      process.reads.set(`${fiber} ${step.path}`, number)
    }
    if (step.path === readersOf(this.options.lockPath)) {
      // It is removed only if it is empty: what is in it is removed before, one file after the other.
      if (step.syscall === "rmdir") this.emptying.delete(process)
      if (step.syscall === "scandir" && step.method === "remove") this.emptying.add(process)
      return () => {}
    }
    const changed = changedBy(step)
    if (changed === undefined) {
      return () => {}
    }
    if (step.syscall === "unlink" || step.syscall === "rmdir") {
      this.beforeUnlink(entry)
    } else if (step.syscall === "rename") {
      this.beforeRename(entry, changed)
    } else if (step.syscall === "link") {
      this.beforeLink(entry, changed)
    }
    const before = this.options.read(changed)
    return () => this.after(entry, changed, before)
  }

  private after(
    { process, step: { syscall } }: Parked<SimulatedProcess>,
    path: string,
    before: string | undefined
  ): void {
    const now = this.options.read(path)
    if (now === before) {
      return
    }
    this.changedAt.set(path, this.options.kernel.now)
    this.zeroed.delete(path)
    if (syscall === "link" && before !== undefined) {
      this.fail("replaced", `${process.name} has replaced by a link what was at ${this.show(path)}`)
    }
    if (syscall === "open") {
      this.creators.set(path, process)
    } else if (syscall !== "write" || this.seen(path)._tag === "Record") {
      this.creators.delete(path)
    }
  }

  /** A process did what breaks the rules. With an excuse it is the victim's bad luck. */
  private blame(by: Parked<SimulatedProcess>, path: string, what: string, victim: string | undefined): void {
    if (!this.excused(by, path)) {
      this.fail("not its own", `${by.who} ${what}`)
    } else if (victim !== undefined) {
      this.loseToken(victim)
      const owner = this.ownerOf(victim)
      if (owner !== undefined) this.mayStray(owner, this.options.kernel.now)
    }
  }

  private beforeUnlink(entry: Parked<SimulatedProcess>): void {
    const { process: by, step: { path } } = entry
    const reader = readerOf(this.options.lockPath, path)
    if (reader !== undefined) {
      return this.beforeUnlinkOfReader(entry, reader)
    }
    if (levelOf(this.options.lockPath, path) === undefined) {
      return this.beforeUnlinkOfRequest(entry)
    }
    const seen = this.seen(path)
    switch (seen._tag) {
      case "Absent":
        return
      case "Zeros":
      case "Foreign": {
        const creator = this.creatorOf(path)
        if (creator === by) {
          return
        }
        if (creator === undefined) {
          // Its own was removed by hand between its read and this.
          return this.excused(entry, path)
            ? undefined
            : this.fail("foreign", `${by.name} removes a foreign file at ${path}`)
        }
        this.blame(entry, path, `removes at ${path} a file that ${creator.name} is writing`, undefined)
        return this.mayStray(creator, this.options.kernel.now)
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

  /**
   * The file of a reader goes by its owner's hand, or when its owner is dead. When that was silent for a lease, it goes by the hand of a process
   * that has the claim. A process that has the lock file removes the directory with all that has come into it since it was found empty.
   */
  private beforeUnlinkOfReader(entry: Parked<SimulatedProcess>, token: string): void {
    const { process: by, step: { path } } = entry
    const { lease, lockPath } = this.options
    const seen = this.seen(path)
    const owner = this.ownerOf(token)
    if (seen._tag === "Absent") {
      return
    }
    if (seen._tag === "Zeros" && this.zeroed.has(path)) {
      return
    }
    if (owner === undefined || seen._tag !== "Record" || seen.token !== token) {
      return this.fail("foreign", `${by.name} removes ${this.show(path)}, which is no reader's file`)
    }
    if (!owner.alive) {
      return
    }
    const reader = this.holderBy(token)
    const name = this.nameOf(token)
    if (owner === by) {
      return reader === undefined
        ? undefined
        : this.blame(entry, path, `removes the file by which ${reader.who} is inside`, token)
    }
    if (this.permitted.has(token)) {
      this.mayStray(owner, this.options.kernel.now)
      return this.loseToken(token)
    }
    if (this.emptying.has(by)) {
      return reader === undefined && this.isOwn(by, lockPath)
        ? undefined
        : this.blame(entry, path, `removes the directory of readers with the file ${name} in it`, token)
    }
    if (this.isKnown(by, owner, token)) {
      return this.blame(entry, path, `removes the file ${name} of a live reader`, token)
    }
    const silence = this.silence(path)
    if (silence < lease * 1e6 * 0.9) {
      return this.blame(entry, path, `removes the reader's file ${name} after ${Math.round(silence / 1e6)} ms`, token)
    }
    if (!this.isOwn(by, pathOfLevel(lockPath, 1))) {
      return this.blame(entry, path, `removes the file ${name} of a silent reader without the claim`, token)
    }
    if (reader !== undefined && !this.strays(owner)) {
      return this.fail(
        "taken over",
        `${by.name} takes the lock from the reader ${reader.who}, which lives and is inside and did not pause`
      )
    }
    this.loseToken(token)
  }

  /** Whether the record at a path is a process's own. */
  private isOwn(process: SimulatedProcess, path: string): boolean {
    const seen = this.seen(path)
    return seen._tag === "Record" && process.tokens.has(seen.token)
  }

  /** A request file goes by its owner's hand, or when its owner is dead or silent for a lease. */
  private beforeUnlinkOfRequest(entry: Parked<SimulatedProcess>): void {
    const { process: by, step: { path } } = entry
    const token = path.slice(this.options.lockPath.length + 1).replace(/^claim-/, "")
    const owner = this.ownerOf(token)
    if (this.seen(path)._tag === "Absent" || owner === by) {
      return
    }
    if (owner === undefined) {
      return this.fail("foreign", `${by.name} removes ${path}, which is no request file`)
    }
    if (!owner.alive) {
      return
    }
    const silence = this.silence(path)
    if (this.isKnown(by, owner, token) && this.seen(path)._tag === "Record") {
      return this.fail("not its own", `${entry.who} removes the request file ${this.show(path)} of a live process`)
    }
    if (silence < this.options.lease * 1e6 * 0.9) {
      this.fail(
        "not its own",
        `${entry.who} removes the request file ${this.show(path)} after ${Math.round(silence / 1e6)} ms`
      )
    }
  }

  /**
   * What appears at a lock or a claim has a token that counts as alive. It is the process's own record, or at the lock that of a request: its
   * process waits.
   */
  private checkSource(entry: Parked<SimulatedProcess>, from: string, to: string): void {
    const source = this.seen(from)
    if (source._tag === "Absent") {
      return
    }
    const isHandOver = to === this.options.lockPath && entry.step.syscall === "link"
    const owner = isHandOver && source._tag === "Record" ? this.ownerOf(source.token) : entry.process
    const token = source._tag === "Record" ? owner?.tokens.get(source.token) : undefined
    if (token === undefined) {
      this.blame(entry, to, `puts at ${to} from ${this.show(from)} the ${this.describe(from)}`, undefined)
    } else if (!token.live && !this.excused(entry, to)) {
      this.fail("retired", `${entry.who} puts at ${to} the record ${token.name}, which counts as a dead process's`)
    }
  }

  private beforeLink(entry: Parked<SimulatedProcess>, to: string): void {
    if (levelOf(this.options.lockPath, to) === undefined) {
      return this.fail("not its own", `${entry.who} makes a link at ${to}`)
    }
    if (this.seen(to)._tag === "Absent") this.checkSource(entry, entry.step.path, to)
  }

  private beforeRename(entry: Parked<SimulatedProcess>, to: string): void {
    const { process: by, step: { path: from } } = entry
    const { lockPath } = this.options
    const reader = readerOf(lockPath, to)
    if (reader !== undefined) {
      return this.beforeSharing(entry, to, reader)
    }
    const level = levelOf(lockPath, from)
    if (level === undefined || to !== pathOfLevel(lockPath, level - 1)) {
      return this.fail("not its own", `${entry.who} renames ${this.show(from)} to ${this.show(to)}`)
    }
    if (this.seen(from)._tag === "Absent") {
      return
    }
    this.checkSource(entry, from, to)
    const target = this.seen(to)
    switch (target._tag) {
      case "Absent":
        return
      case "Zeros":
        return this.zeroed.has(to)
          ? undefined
          : this.fail("foreign", `${by.name} replaces NULs at ${to} that are not of an earlier boot`)
      case "Foreign": {
        const creator = this.creatorOf(to)
        if (creator === undefined) {
          // What was there was removed by hand between its read and this.
          return this.excused(entry, to)
            ? undefined
            : this.fail("foreign", `${by.name} replaces a foreign file at ${to}`)
        }
        this.blame(entry, to, `replaces at ${to} a file that ${creator.name} is writing`, undefined)
        return this.mayStray(creator, this.options.kernel.now)
      }
      case "Record":
        return this.beforeReplacing(entry, to, target.token)
    }
  }

  /** A reader puts its file, which was a request file before, into the directory. */
  private beforeSharing(entry: Parked<SimulatedProcess>, to: string, token: string): void {
    const { who, step: { path: from } } = entry
    if (from !== `${this.options.lockPath}.claim-${token}`) {
      return this.fail("not its own", `${who} renames ${this.show(from)} to ${this.show(to)}`)
    }
    if (this.seen(from)._tag !== "Absent") {
      this.checkSource(entry, from, to)
      if (this.seen(to)._tag !== "Absent") this.fail("replaced", `${who} replaces the reader's file ${this.show(to)}`)
    }
  }

  private beforeReplacing(entry: Parked<SimulatedProcess>, path: string, token: string): void {
    const by = entry.process
    const owner = this.ownerOf(token)
    if (owner === undefined || !owner.alive) {
      return
    }
    const holder = this.holderBy(token)
    if (this.permitted.has(token)) {
      this.mayStray(owner, this.options.kernel.now)
      return this.loseToken(token)
    }
    if (owner === by) {
      return holder === undefined
        ? undefined
        : this.blame(entry, path, `replaces the lock that ${holder.who} is inside of`, token)
    }
    const name = this.nameOf(token)
    if (this.isKnown(by, owner, token)) {
      return this.blame(entry, path, `replaces at ${path} the record ${name} of a live process`, token)
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
        "taken over",
        `${by.name} takes the lock from ${holder.who}, which lives and is inside and did not pause`
      )
    }
    this.loseToken(token)
  }

  /** Whether one process can tell whether the owner of a token lives. */
  private isKnown(by: SimulatedProcess, owner: SimulatedProcess, token: string): boolean {
    const liveness: Liveness = this.options.runSync(by.identity.isAlive({ ...owner.identity.info, token }))
    return liveness !== "unknown"
  }
}
