/**
 * Plays a scene in which one operation on the file system goes wrong, and says what about the end of it is not as it must be.
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type * as FileLock from "../../src/FileLock.js"
import { patience } from "../../src/internal/patience.js"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import type { ProcessIdentity } from "../../src/ProcessIdentity.js"
import * as ProcessIdentityModule from "../../src/ProcessIdentity.js"
import * as Bystanders from "./Bystanders.js"
import * as Occupancy from "./Occupancy.js"
import * as Player from "./Player.js"

/** A directory and the processes that meet there. */
export interface Stage {
  readonly directory: string
  /** One more process's view of the disk. */
  readonly view: Effect.Effect<FileSystem.FileSystem>
  /** The disk, for whoever looks at the end of it. */
  readonly watcher: FileSystem.FileSystem
  readonly machine: ProcessIdentityModule.Machine
  /** After so long, what is done in the background is done: something that is given back late, or a broken claim. */
  readonly rest: Duration.DurationInput
  /** Time passes only when nothing else happens, so it can be measured. */
  readonly simulated: boolean
}

export interface Scene {
  readonly name: string
  /** What is there before: the remains of others. */
  readonly before?: ((stage: Stage, lockPath: string) => Effect.Effect<void, PlatformError, Scope.Scope>) | undefined
  /** How long the first process holds the lock. Default 20 milliseconds. */
  readonly hold?: Duration.DurationInput | undefined
  readonly settings?: FileLock.Settings | undefined
  /** The other processes are on another machine, and can judge the first by its lease only. */
  readonly elsewhere?: boolean | undefined
  /** The whole file system of the first process stands still from the first to the second of these. */
  readonly standstill?: readonly [Duration.DurationInput, Duration.DurationInput] | undefined
}

/** What goes wrong at one operation. */
export interface Trouble {
  readonly name: string
  readonly fault: MemoryFileSystem.Fault
  /** So long everything else that comes after it fails the same way. Default: nothing else does. */
  readonly lasts?: Duration.DurationInput | undefined
  /** The caller is interrupted soon after. */
  readonly interrupted?: boolean | undefined
  /** The process dies so long after. */
  readonly dies?: Duration.DurationInput | undefined
  /** The deadline of the caller. Default 1 minute. */
  readonly timeout?: Duration.DurationInput | undefined
  /** Which operations it can befall. Default all. */
  readonly befalls?: ((method: string) => boolean) | undefined
}

export interface Outcome {
  /** The methods of the first process's operations, in their order. */
  readonly operations: ReadonlyArray<string>
  /** What must not be: nothing, if all is well. */
  readonly complaints: ReadonlyArray<string>
}

const now = Clock.currentTimeNanos

const since = (start: bigint) => Effect.map(now, (end) => Duration.nanos(end - start))

/** A caller has at most to wait for a step that was under way, and for the release of what it obtained. */
const allowance = Duration.times(patience, 2.5)

const name = "tasks.json"

/**
 * Plays a scene with trouble at one operation, or without any: the first process takes the lock, has its trouble, and is waited
 * for; meanwhile a second one wants the lock and must get it; then a third finds it free and nothing left behind.
 */
export const play = (
  stage: Stage,
  scene: Scene,
  trouble?: Trouble,
  at = Number.NaN
): Effect.Effect<Outcome, never, Scope.Scope> =>
  Effect.gen(function*() {
    const complaints = new Set<string>()
    const complain = (...those: ReadonlyArray<string>) => those.forEach((complaint) => complaints.add(complaint))
    const operations: Array<string> = []
    const path = `${stage.directory}/${name}`
    const bystanders = yield* Bystanders.make(stage.watcher, stage.directory, name)
    if (scene.before !== undefined) {
      yield* scene.before(stage, `${path}.lock`)
    }
    const occupancy = yield* Occupancy.make
    const start = yield* now

    const identity = yield* stage.machine.spawn()
    let dead = false
    /** From now on nothing goes wrong any more. */
    let calm = false
    let struckAt: bigint | undefined
    const die = Effect.suspend(() => {
      dead = true
      return Effect.zipRight(stage.machine.kill(identity), occupancy.died("first", "first again"))
    })
    const clock = yield* Effect.clock
    const faulty = yield* MemoryFileSystem.withFaults(yield* stage.view, {
      fault: ({ index, method }) => {
        if (!calm) {
          operations.push(method)
        }
        if (dead) {
          return MemoryFileSystem.Fault.Crash()
        }
        if (trouble === undefined || calm) {
          return undefined
        }
        if (index === at) {
          struckAt = clock.unsafeCurrentTimeNanos()
          return trouble.fault
        }
        const ongoing = struckAt !== undefined && trouble.lasts !== undefined &&
          clock.unsafeCurrentTimeNanos() - struckAt < Duration.unsafeToNanos(trouble.lasts)
        return ongoing ? trouble.fault : undefined
      },
      onCrash: die
    })
    const first = yield* Player.start(identity, yield* standingStill(faulty, scene, start), scene.settings)
    const otherMachine = scene.elsewhere === true ? yield* ProcessIdentityModule.makeMachine() : stage.machine
    const enter = (
      who: string,
      process: Player.Player,
      hold: Duration.DurationInput,
      timeout: Duration.DurationInput
    ) =>
      process.locks.withLock(
        // Whoever dies on the way in, in a call that others need not wait for, does not come in.
        Effect.suspend(() => dead && process === first ? Effect.void : occupancy.inside(who, Effect.sleep(hold))),
        path,
        {
          timeout,
          schedule: Schedule.spaced(who === "second" ? "250 millis" : "1 second")
        }
      )
    const another = (identity: ProcessIdentity) =>
      Effect.flatMap(stage.view, (fs) => Player.start(identity, fs, scene.settings))

    const hold = Duration.decode(scene.hold ?? "20 millis")
    const firstFiber = yield* Effect.forkDaemon(enter("first", first, hold, trouble?.timeout ?? "1 minute"))
    // Once it has its trouble, or none any more, somebody else wants the lock.
    while (struckAt === undefined && firstFiber.unsafePoll() === null) {
      yield* Effect.sleep("10 millis")
    }
    const second = yield* another(yield* otherMachine.spawn())
    const secondFiber = yield* Effect.forkDaemon(enter("second", second, "20 millis", "10 minutes"))

    if (trouble?.interrupted === true) {
      yield* Effect.sleep("10 millis")
      const interruptedAt = yield* now
      yield* Effect.timeoutOption(Effect.disconnect(Fiber.interrupt(firstFiber)), "10 minutes")
      if (stage.simulated && Duration.greaterThan(yield* since(interruptedAt), allowance)) {
        complain("the interrupted caller did not come back")
      }
    }
    if (trouble?.dies !== undefined) {
      yield* Effect.sleep(trouble.dies)
      yield* die
    }

    const secondExit = yield* Fiber.await(secondFiber)
    if (Exit.isFailure(secondExit)) {
      complain(`the second process did not get the lock: ${Cause.pretty(secondExit.cause)}`)
    }
    if (!dead) {
      const firstExit = yield* Effect.timeoutOption(Effect.disconnect(Fiber.await(firstFiber)), "10 minutes")
      if (firstExit._tag === "None") {
        complain("the first process never came back")
      } else if (
        Exit.isFailure(firstExit.value) && Cause.failureOption(firstExit.value.cause)._tag === "None" &&
        trouble?.interrupted !== true
      ) {
        complain(`the first process failed with what is no failure: ${Cause.pretty(firstExit.value.cause)}`)
      }
    }
    yield* Effect.sleep(stage.rest)
    complain(...(yield* bystanders.newcomers).map((name) => `${name} is left behind`))
    calm = true
    if (trouble !== undefined && struckAt === undefined) {
      complain("nothing went wrong, although something should have")
    }
    if (!dead) {
      const again = yield* Effect.exit(enter("first again", first, 0, "1 minute"))
      if (Exit.isFailure(again)) {
        complain(`the first process does not get the lock again: ${Cause.pretty(again.cause)}`)
      }
    }
    const third = yield* another(yield* otherMachine.spawn())
    const free = yield* Effect.exit(third.locks.withLockIfAvailable(Effect.void, path))
    if (Exit.isFailure(free) || free.value._tag === "None") {
      complain("the lock is not free in the end")
    }
    complain(...(yield* bystanders.complaints), ...occupancy.overlaps)
    return { operations, complaints: [...complaints] }
  }).pipe(Effect.orDie)

/** A file system that answers nothing for a while, as one on a server that is away. */
const standingStill = (fs: FileSystem.FileSystem, scene: Scene, start: bigint) => {
  const { standstill } = scene
  if (standstill === undefined) {
    return Effect.succeed(fs)
  }
  const [from, to] = standstill
  return Effect.flatMap(Effect.clock, (clock) =>
    MemoryFileSystem.withFaults(fs, {
      fault: () => {
        const passed = Duration.nanos(clock.unsafeCurrentTimeNanos() - start)
        return Duration.greaterThanOrEqualTo(passed, from) && Duration.lessThan(passed, to)
          ? MemoryFileSystem.Fault.Delay({ duration: Duration.subtract(Duration.decode(to), passed) })
          : undefined
      }
    }))
}
