/**
 * Simulated processes that meet at one lock on a disk in memory. Each can be stopped before any of its system calls, stopped altogether, as
 * by SIGSTOP, or killed.
 */
import type { PlatformError } from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type * as FileLock from "../../src/FileLock.js"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../../src/ProcessIdentity.js"
import * as Occupancy from "./Occupancy.js"
import { makeRecord } from "./records.js"
import * as SimulatedProcess from "./SimulatedProcess.js"
import * as Simulation from "./Simulation.js"

export const directory = "/data"
export const path = `${directory}/tasks.json`
export const lockPath = `${path}.lock`
export const claimPath = `${lockPath}.claim`
export const claimOnClaimPath = `${lockPath}.claim2`

/** A system call, as a stop names it: a link by the path that it makes. */
export interface Step extends MemoryFileSystem.Step {
  /** The how-manieth system call of this process, from 0. */
  readonly index: number
}

/** A system call before which a process stops, once. */
export interface Stop {
  /** The process has come there. */
  readonly reached: Effect.Effect<void>
  readonly isReached: Effect.Effect<boolean>
  readonly goOn: Effect.Effect<void>
}

export interface Process extends SimulatedProcess.SimulatedProcess {
  /** The system calls of the process so far, in order. */
  readonly steps: ReadonlyArray<Step>
  /** Stops the process the next time that it is about to make a system call on a path, for an operation if that is given. */
  readonly stopAt: (syscall: string, path: string | RegExp, method?: string) => Effect.Effect<Stop>
  /** Kills the process when it is about to make the system call with this index, counted from now. */
  readonly killBefore: (index: number) => Effect.Effect<void>
  readonly isDead: Effect.Effect<boolean>
  /** Stops the process with all its timers until it is told to go on. */
  readonly suspend: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** Takes the process off the machine, as SIGKILL does. What it was about to do is never done. */
  readonly kill: Effect.Effect<void>
  /** Runs what the process does. */
  readonly run: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Takes the lock, is in the critical section for a while, and releases the lock. */
  readonly enter: (
    name: string,
    options?: FileLock.LockOptions & { readonly stay?: Duration.DurationInput }
  ) => Effect.Effect<void, unknown>
}

export interface Scene {
  /** The disk, seen from outside. */
  readonly fs: FileSystem
  readonly disk: MemoryFileSystem.Disk
  readonly machine: ProcessIdentity.Machine
  readonly join: (options?: {
    /** Another machine: processes of two machines cannot check each other. */
    readonly machine?: ProcessIdentity.Machine | undefined
    /** For another copy of the library in the same process. */
    readonly identity?: ProcessIdentity.ProcessIdentity | undefined
    readonly settings?: FileLock.Settings | undefined
    readonly faults?: MemoryFileSystem.FaultPlan | undefined
    /** Runs before each system call. */
    readonly onStep?: ((step: Step) => Effect.Effect<void>) | undefined
    /** What the process sees instead of the disk. */
    readonly wrap?: ((fs: FileSystem) => FileSystem) | undefined
  }) => Effect.Effect<Process, PlatformError, Scope.Scope>
  readonly occupancy: Occupancy.Occupancy
  /** Sets the wall clock of all machines; the monotonic clock does not change. */
  readonly setWallClock: (millis: number) => Effect.Effect<void>
  /** The record of a process that is dead. */
  readonly deadRecord: Effect.Effect<string>
  /** Leaves the lock file of a process that was killed while it held the lock. */
  readonly abandon: Effect.Effect<string, PlatformError>
  /** The names in the directory. */
  readonly names: Effect.Effect<ReadonlyArray<string>, PlatformError>
}

/** A clock whose time of day can be set, and whose sleepers wake only while their process runs. */
const makeClock = (base: Clock.Clock, offset: () => number, running: Effect.Effect<void>): Clock.Clock => ({
  [Clock.ClockTypeId]: Clock.ClockTypeId,
  unsafeCurrentTimeMillis: () => base.unsafeCurrentTimeMillis() + offset(),
  unsafeCurrentTimeNanos: () => base.unsafeCurrentTimeNanos(),
  currentTimeMillis: Effect.map(base.currentTimeMillis, (now) => now + offset()),
  currentTimeNanos: base.currentTimeNanos,
  sleep: (duration) => Effect.zipRight(base.sleep(duration), running)
})

interface Pending {
  readonly at: (step: Step) => boolean
  readonly stop: Effect.Effect<void>
}

export const make = (options: MemoryFileSystem.DiskOptions = {}): Effect.Effect<Scene, PlatformError> =>
  Effect.gen(function*() {
    const disk = yield* MemoryFileSystem.makeDisk(options)
    const fs = yield* disk.view({ step: () => Effect.void })
    yield* fs.makeDirectory(directory)
    const machine = yield* ProcessIdentity.makeMachine()
    const occupancy = yield* Occupancy.make
    const base = yield* Effect.clock
    let offset = 0

    const join: Scene["join"] = (options = {}) =>
      Effect.gen(function*() {
        const home = options.machine ?? machine
        const identity = options.identity ?? (yield* home.spawn())
        let gate: Deferred.Deferred<void> | undefined
        const steps: Array<Step> = []
        const stops = new Set<Pending>()
        /** Where the links lead that are being made. */
        const links = new Map<string, string>()
        const running = Effect.suspend(() => gate === undefined ? Effect.void : Deferred.await(gate))
        const onStep = ({ method, path, syscall }: MemoryFileSystem.Step) =>
          Effect.suspend(() => {
            const made = syscall === "link" ? links.get(path) ?? path : path
            const step: Step = { method, syscall, path: made, index: steps.length }
            steps.push(step)
            for (const found of stops) {
              if (found.at(step)) {
                stops.delete(found)
                return found.stop
              }
            }
            return options.onStep?.(step) ?? Effect.yieldNow()
          }).pipe(Effect.zipRight(running))
        const view = yield* disk.view({ step: onStep })
        const noting: FileSystem = {
          ...view,
          link: (from, to) => Effect.zipRight(Effect.sync(() => links.set(from, to)), view.link(from, to))
        }
        const faulty = options.faults === undefined
          ? noting
          : yield* MemoryFileSystem.withFaults(noting, options.faults)
        const seen = options.wrap === undefined ? faulty : options.wrap(faulty)
        const clock = makeClock(base, () => offset, running)
        let dead = false
        const scope = yield* Scope.make()
        // What a process has in the background ends with the scene. That of a dead process has ended.
        yield* Effect.addFinalizer((exit) => dead ? Effect.void : Scope.close(scope, exit))
        const simulated = yield* SimulatedProcess.start(identity, seen, options.settings).pipe(
          Scope.extend(scope),
          Effect.withClock(clock)
        )
        const suspend = Effect.flatMap(Deferred.make<void>(), (closed) =>
          Effect.sync(() => {
            gate = closed
          }))
        const kill = Effect.suspend(() => {
          dead = true
          return Effect.zipRight(home.kill(identity), suspend)
        })
        const process: Process = {
          ...simulated,
          steps,
          stopAt: (syscall, at, method) =>
            Effect.gen(function*() {
              const reached = yield* Deferred.make<void>()
              const go = yield* Deferred.make<void>()
              stops.add({
                at: (step) =>
                  step.syscall === syscall && step.method === (method ?? step.method) &&
                  (typeof at === "string" ? step.path === at : at.test(step.path)),
                stop: Effect.zipRight(Deferred.succeed(reached, undefined), Deferred.await(go))
              })
              return {
                reached: Deferred.await(reached),
                isReached: Deferred.isDone(reached),
                goOn: Effect.asVoid(Deferred.succeed(go, undefined))
              }
            }),
          killBefore: (index) =>
            Effect.sync(() => {
              const from = steps.length
              stops.add({ at: (step) => step.index === from + index, stop: kill })
            }),
          isDead: Effect.sync(() => dead),
          suspend,
          resume: Effect.suspend(() => {
            const closed = gate
            gate = undefined
            return closed === undefined ? Effect.void : Effect.asVoid(Deferred.succeed(closed, undefined))
          }),
          kill,
          run: (self) => Effect.withClock(self, clock),
          enter: (name, { stay = "1 second", ...options } = {}) =>
            process.run(simulated.locks.withLock(occupancy.inside(name, Effect.sleep(stay)), path, options))
        }
        return process
      })

    const deadRecord = Effect.map(Effect.tap(machine.spawn(), machine.kill), ({ info }) => makeRecord(info))

    return {
      fs,
      disk,
      machine,
      join,
      occupancy,
      setWallClock: (millis) =>
        Effect.sync(() => {
          offset = millis - base.unsafeCurrentTimeMillis()
        }),
      deadRecord,
      abandon: Effect.tap(deadRecord, (record) => fs.writeFileString(lockPath, record)),
      names: fs.readDirectory(directory)
    }
  })

/** Plays a scene in simulated time. At its end no two processes have been in the critical section at a time, and nothing is left. */
export const play = (
  scene: (scene: Scene) => Effect.Effect<void, unknown, Scope.Scope>,
  options: MemoryFileSystem.DiskOptions & { readonly leaves?: ReadonlyArray<string> } = {}
): Effect.Effect<void, unknown> =>
  Effect.gen(function*() {
    const made = yield* make(options)
    yield* scene(made)
    assert.deepStrictEqual(made.occupancy.overlaps, [])
    assert.deepStrictEqual(yield* made.names, [...options.leaves ?? []])
  }).pipe(Effect.scoped, Simulation.run)
