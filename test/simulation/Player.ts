/**
 * A simulated process: who it is, its clocks, and its view of the disk. The library runs in it as it is.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import type * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import { type Machine, ProcessIdentity } from "../../src/ProcessIdentity.js"
import type { Kernel, Runner } from "./Kernel.js"

/** Who of a process a step belongs to, for the trace. */
export const who: FiberRef.FiberRef<string> = globalValue(
  "effect-filelock/test/simulation/who",
  () => FiberRef.unsafeMake("")
)

/** A machine with clocks of its own. */
export class Host {
  /** How long it was suspended: its monotonic clock stood still. */
  frozen = 0
  constructor(
    readonly name: string,
    readonly machine: Machine,
    readonly speed: number,
    public wallOffset: number
  ) {}

  /** Nanoseconds. */
  monotonic(now: number): number {
    return (now - this.frozen) * this.speed
  }

  /** Milliseconds; a suspended machine finds the right time when it wakes up. */
  wall(now: number): number {
    return Math.floor(1_700_000_000_000 + this.wallOffset + now * this.speed / 1e6)
  }
}

/** One acquisition, from the call to its end. */
export interface Call {
  readonly who: string
  readonly calledAt: number
  steps: number
  lastStep: number
}

export class Player implements Runner {
  alive = true
  started = false
  /** Its program is over. */
  ended = false
  stalledUntil = 0
  /** Until when it may find that it was robbed: it paused for longer than a lease survives, or somebody has meddled. */
  strayedUntil = 0
  /** The step after which that was so; whoever has looked since has no excuse. */
  strayedAt = -1
  /** When it last came back from any pause. */
  lastPauseEnd = 0
  /** It has told in its log that it gives something back in the background. */
  saidItGoesOn = false
  /** The step of each fiber's last look at a path, by fiber and path. */
  readonly looks = new Map<string, number>()
  /** Tokens that count as alive, with the names the trace gives them. */
  readonly tokens = new Map<string, { readonly name: string; live: boolean }>()
  readonly calls = new Map<string, Call>()
  /** Who it is, with an eye on its tokens. */
  readonly traced: ProcessIdentity
  /** Runs before it looks into the process table for the process that is told by its `instance`. */
  beforeLook: (instance: string) => Effect.Effect<void> = () => Effect.void

  constructor(
    readonly name: string,
    readonly host: Host,
    readonly identity: ProcessIdentity,
    /** Threads of one process die together. */
    readonly group: string
  ) {
    this.traced = {
      ...identity,
      issueToken: Effect.tap(identity.issueToken, (token) =>
        Effect.sync(() => {
          this.tokens.set(token, { name: `${name}#${this.tokens.size}`, live: true })
        })),
      retireToken: (token) =>
        Effect.zipRight(
          Effect.sync(() => {
            const known = this.tokens.get(token)
            if (known !== undefined) known.live = false
          }),
          identity.retireToken(token)
        ),
      isAlive: (claim) =>
        Effect.zipRight(Effect.suspend(() => this.beforeLook(claim.instance)), identity.isAlive(claim))
    }
  }

  get suspended(): number {
    return this.host.frozen
  }
}

const parkAs = (kernel: Kernel<Player>, player: Player, step: MemoryFileSystem.Step): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) =>
    Effect.async<void>((resume) => {
      const entry = kernel.park(player, fiber.getFiberRef(who), fiber.id().id, step, () => resume(Effect.void))
      return Effect.sync(() => kernel.unpark(entry))
    })
  )

/** Waits before a step until the simulation lets it go. */
export const park = parkAs

/** A process can be preempted before it reads the clock, too; `pause` says whether it is asked about it this time. */
class PlayerClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  constructor(
    private readonly kernel: Kernel<Player>,
    private readonly player: Player,
    private readonly pause: () => boolean
  ) {}

  unsafeCurrentTimeMillis(): number {
    return this.player.host.wall(this.kernel.now)
  }

  unsafeCurrentTimeNanos(): bigint {
    return BigInt(Math.floor(this.player.host.monotonic(this.kernel.now)))
  }

  private read<A>(now: () => A): Effect.Effect<A> {
    const step = { method: "clock", syscall: "clock", path: "" }
    return Effect.suspend(() =>
      this.pause() ? Effect.map(parkAs(this.kernel, this.player, step), now) : Effect.sync(now)
    )
  }

  readonly currentTimeMillis = this.read(() => this.unsafeCurrentTimeMillis())

  readonly currentTimeNanos = this.read(() => this.unsafeCurrentTimeNanos())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      if (!Duration.isFinite(duration)) {
        return
      }
      const delay = Number(Duration.unsafeToNanos(duration)) / this.player.host.speed
      return Effect.sync(this.kernel.after(delay, this.player, () => resume(Effect.void)))
    })
  }
}

/** On Node a system call that was begun happens, whether its caller is interrupted meanwhile or not. */
const happens = <A, E>(call: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.flatMap(Effect.forkDaemon(Effect.uninterruptible(call)), Fiber.join)

const detached = (file: FileSystem.File): FileSystem.File => ({
  [FileSystem.FileTypeId]: FileSystem.FileTypeId,
  fd: file.fd,
  stat: happens(file.stat),
  sync: happens(file.sync),
  seek: (offset, from) => file.seek(offset, from),
  read: (buffer) => happens(file.read(buffer)),
  readAlloc: (size) => happens(file.readAlloc(size)),
  truncate: (length) => happens(file.truncate(length)),
  write: (buffer) => happens(file.write(buffer)),
  writeAll: (buffer) => happens(file.writeAll(buffer))
})

/**
 * Lets the handles of a file system behave as Node's under interruption, and its watches as a system's: an event comes some
 * milliseconds late, as `lateness` says, or never.
 */
export const asOnNode = (fs: FileSystem.FileSystem, lateness: () => number | undefined): FileSystem.FileSystem => ({
  ...fs,
  open: (path, options) => Effect.map(fs.open(path, options), detached),
  watch: (path, options) =>
    fs.watch(path, options).pipe(
      Stream.mapEffect((event) => {
        const late = lateness()
        return late === undefined ? Effect.succeedNone : Effect.delay(Effect.succeedSome(event), Duration.millis(late))
      }),
      Stream.filterMap((event) => event)
    )
})

/** What the library says in its log; a fiber that dies unobserved says so there as well. */
export type Listener = (level: string, message: () => string, died: boolean) => void

/** On Node the watch of a path that has just gone throws, and whoever is interrupted at that moment ends with it. */
const isWatchOfNothing = (cause: Cause.Cause<unknown>): boolean =>
  Chunk.every(Cause.defects(cause), (defect) => Predicate.hasProperty(defect, "syscall") && defect.syscall === "watch")

const listening = (listener: Listener) =>
  Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ cause, logLevel, message }) => {
      const format = () => {
        const failure = Cause.isEmpty(cause) ? "" : ` ${Cause.pretty(cause).split("\n", 1)[0]}`
        return `${[message].flat().map(String).join(" ")}${failure}`
      }
      listener(logLevel.label, format, Cause.isDie(cause) && !isWatchOfNothing(cause))
    })
  )

/** Runs an effect as a process would, and starts it at once. */
export const start = <A, E>(
  effect: Effect.Effect<A, E, FileSystem.FileSystem | Path.Path>,
  options: {
    readonly kernel: Kernel<Player>
    readonly player: Player
    readonly fs: FileSystem.FileSystem
    readonly seed: string
    readonly pauseAtClock: () => boolean
    readonly onLog: Listener
  }
): Fiber.RuntimeFiber<A, E> => {
  const { fs, kernel, player } = options
  const services = Context.add(
    DefaultServices.liveServices,
    Clock.Clock,
    new PlayerClock(kernel, player, options.pauseAtClock)
  ).pipe(Context.add(Random.Random, Random.make(options.seed)))
  return Effect.runFork(
    effect.pipe(
      Effect.provide(Layer.mergeAll(Layer.succeed(FileSystem.FileSystem, fs), Path.layer, listening(options.onLog))),
      Effect.provideService(ProcessIdentity, player.traced),
      Logger.withMinimumLogLevel(LogLevel.Debug),
      Effect.withTracerEnabled(false),
      Effect.locally(DefaultServices.currentServices, services),
      Effect.locally(who, player.name)
    ),
    { scheduler: kernel }
  )
}
