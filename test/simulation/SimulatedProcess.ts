/**
 * A simulated process: who it is, its clocks, and its view of the disk. The library runs in it as it is.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Cause from "effect/Cause"
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
import * as Random from "effect/Random"
import { type Machine, ProcessIdentity } from "../../src/ProcessIdentity.js"
import type { Kernel, Parked, Runner, Step } from "./Kernel.js"

/** The caller that a step belongs to, for the trace. */
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

  /** For how many nanoseconds it has not been suspended. */
  running(now: number): number {
    return now - this.frozen
  }

  /** Nanoseconds. */
  monotonic(now: number): number {
    return this.running(now) * this.speed
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

interface Token {
  /** What the trace calls it. */
  readonly name: string
  live: boolean
}

export class SimulatedProcess implements Runner {
  alive = true
  started = false
  /** Its calls are synchronous: it uses `NodeFileLock`. */
  synchronous = false
  /** Its program is over. */
  ended = false
  /** Whether it may list the directory of the lock: what may not, does not clean up. */
  mayList = true
  stalledUntil = 0
  /** Until when it may act on what it knew before: it paused for longer than a lease allows, or its lock was removed by hand. */
  strayedUntil = 0
  /** The step after which that was so; what it has read since is no excuse. */
  strayedAt = -1
  /** When it last came back from any pause. */
  lastPauseEnd = 0
  /** Its log says that a step goes on in the background. */
  saidItGoesOn = false
  /** Its log says that a lock file could not be removed. */
  saidItLeftTheLock = false
  /** The step of each fiber's last read of a path, by fiber and path. */
  readonly reads = new Map<string, number>()
  /** The tokens it has issued. */
  readonly tokens = new Map<string, Token>()
  readonly calls = new Map<string, Call>()
  /** Who it is, as the library is told. */
  readonly traced: ProcessIdentity
  /** Runs before it looks into the process table for the process that is told by its `instance`. */
  beforeLook: ((instance: string) => Effect.Effect<void>) | undefined

  constructor(
    readonly name: string,
    readonly host: Host,
    readonly identity: ProcessIdentity,
    /** Threads of one process die together. */
    readonly group: string
  ) {
    this.traced = {
      ...identity,
      issueToken: Effect.map(identity.issueToken, (token) => {
        this.tokens.set(token, { name: `${name}#${this.tokens.size}`, live: true })
        return token
      }),
      retireToken: (token) =>
        Effect.suspend(() => {
          const known = this.tokens.get(token)
          if (known !== undefined) known.live = false
          return identity.retireToken(token)
        }),
      isAlive: (record) => {
        const look = identity.isAlive(record)
        return Effect.suspend(() =>
          this.beforeLook === undefined ? look : Effect.zipRight(this.beforeLook(record.instance), look)
        )
      }
    }
  }

  get suspended(): number {
    return this.host.frozen
  }
}

/** Waits before a step until the simulation lets it go. */
export const park = (
  kernel: Kernel<SimulatedProcess>,
  process: SimulatedProcess,
  step: Step
): Effect.Effect<void> =>
  Effect.withFiberRuntime((fiber) =>
    Effect.async<void>((resume) => {
      const entry = kernel.park(process, fiber.getFiberRef(who), fiber.id().id, step, () => resume(Effect.void))
      return Effect.sync(() => kernel.unpark(entry))
    })
  )

/** The step that a synchronous call is, in the fiber that makes it. */
export const currentStep = (process: SimulatedProcess, step: Step): Parked<SimulatedProcess> => {
  const fiber = Fiber.getCurrentFiber()
  return {
    id: -1,
    process,
    who: fiber._tag === "Some" ? fiber.value.getFiberRef(who) : process.name,
    fiber: fiber._tag === "Some" ? fiber.value.id().id : -1,
    step,
    heldUntil: 0,
    resume: () => {}
  }
}

/** A process can be preempted before it reads the clock, too; `pause` says whether it is asked about it this time. */
class ProcessClock implements Clock.Clock {
  readonly [Clock.ClockTypeId]: Clock.ClockTypeId = Clock.ClockTypeId
  constructor(
    private readonly kernel: Kernel<SimulatedProcess>,
    private readonly process: SimulatedProcess,
    private readonly pause: () => boolean
  ) {}

  unsafeCurrentTimeMillis(): number {
    return this.process.host.wall(this.kernel.now)
  }

  unsafeCurrentTimeNanos(): bigint {
    return BigInt(Math.floor(this.process.host.monotonic(this.kernel.now)))
  }

  private read<A>(now: () => A): Effect.Effect<A> {
    const step = { method: "clock", syscall: "clock", path: "" }
    return Effect.suspend(() =>
      this.pause() ? Effect.map(park(this.kernel, this.process, step), now) : Effect.sync(now)
    )
  }

  readonly currentTimeMillis = this.read(() => this.unsafeCurrentTimeMillis())

  readonly currentTimeNanos = this.read(() => this.unsafeCurrentTimeNanos())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    return Effect.async<void>((resume) => {
      if (!Duration.isFinite(duration)) {
        return
      }
      const delay = Number(Duration.unsafeToNanos(duration)) / this.process.host.speed
      return Effect.sync(this.kernel.after(delay, this.process, () => resume(Effect.void)))
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
 * Lets the handles of a file system behave as Node's under interruption. `onTo` is told where a `link` or a `rename` leads, which the
 * steps of the disk do not say.
 */
export const asOnNode = (
  fs: FileSystem.FileSystem,
  onTo: (from: string, to: string) => void
): FileSystem.FileSystem => ({
  ...fs,
  open: (path, options) => Effect.map(fs.open(path, options), detached),
  link: (from, to) =>
    Effect.suspend(() => {
      onTo(from, to)
      return fs.link(from, to)
    }),
  rename: (from, to) =>
    Effect.suspend(() => {
      onTo(from, to)
      return fs.rename(from, to)
    })
})

/** What the library says in its log; a fiber that dies unobserved says so there as well. */
export type Listener = (level: string, message: () => string, died: boolean) => void

const listening = (listener: Listener) =>
  Logger.replace(
    Logger.defaultLogger,
    Logger.make(({ cause, logLevel, message }) => {
      const format = () => {
        const failure = Cause.isEmpty(cause) ? "" : ` ${Cause.pretty(cause).split("\n", 1)[0]}`
        return `${[message].flat().map(String).join(" ")}${failure}`
      }
      listener(logLevel.label, format, Cause.isDie(cause))
    })
  )

/** Runs an effect as a process would, and starts it at once. */
export const start = <A, E>(
  effect: Effect.Effect<A, E, FileSystem.FileSystem | Path.Path>,
  options: {
    readonly kernel: Kernel<SimulatedProcess>
    readonly process: SimulatedProcess
    readonly fs: FileSystem.FileSystem
    readonly seed: string
    readonly pauseAtClock: () => boolean
    readonly onLog: Listener
  }
): Fiber.RuntimeFiber<A, E> => {
  const { fs, kernel, process } = options
  const services = Context.add(
    DefaultServices.liveServices,
    Clock.Clock,
    new ProcessClock(kernel, process, options.pauseAtClock)
  ).pipe(Context.add(Random.Random, Random.make(options.seed)))
  return Effect.runFork(
    effect.pipe(
      Effect.provide(Layer.mergeAll(Layer.succeed(FileSystem.FileSystem, fs), Path.layer, listening(options.onLog))),
      Effect.provideService(ProcessIdentity, process.traced),
      Logger.withMinimumLogLevel(LogLevel.Debug),
      Effect.withTracerEnabled(false),
      Effect.locally(DefaultServices.currentServices, services),
      Effect.locally(who, process.name)
    ),
    { scheduler: kernel.schedulerOf(process) }
  )
}
