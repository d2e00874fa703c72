/**
 * Processes on machines in memory that can be stopped: each right before a system call of it, or altogether, as by SIGSTOP.
 */
import type { PlatformError } from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import { assert } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Settings } from "../../src/FileLock.js"
import type * as FileLock from "../../src/FileLock.js"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../../src/ProcessIdentity.js"
import * as Occupancy from "./Occupancy.js"
import * as Player from "./Player.js"
import * as Simulation from "./Simulation.js"

export const path = "/data/tasks.json"
export const lockPath = `${path}.lock`
export const claimPath = `${lockPath}.reap`
export const claimOnClaimPath = `${claimPath}.reap`

/** A place where a process stops, once. */
export interface Stop {
  /** The process has come there. */
  readonly reached: Effect.Effect<void>
  readonly isReached: Effect.Effect<boolean>
  readonly goOn: Effect.Effect<void>
}

export interface Actor extends Player.Player {
  /** Stops the process the next time that it is about to make a system call on a path, for an operation if that is given. */
  readonly stopAt: (syscall: string, path: string, method?: string) => Effect.Effect<Stop>
  /** Stops the process with all its timers until it is told to go on. */
  readonly suspend: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** Takes the process off the machine, as SIGKILL does. What it was about to do is never done. */
  readonly kill: Effect.Effect<void>
  /** Runs what the process does. */
  readonly run: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Takes the lock, is in the critical section for a while, and releases the lock. */
  readonly enter: (
    who: string,
    options?: FileLock.LockOptions & { readonly stay?: Duration.DurationInput }
  ) => Effect.Effect<void, unknown>
}

export interface Stage {
  /** The disk, for whoever looks at it from outside. */
  readonly fs: FileSystem
  readonly disk: MemoryFileSystem.Disk
  readonly machine: ProcessIdentity.Machine
  readonly join: (options?: {
    readonly machine?: ProcessIdentity.Machine | undefined
    /** Of another copy of the library in the same process. */
    readonly identity?: ProcessIdentity.ProcessIdentity | undefined
    readonly settings?: Settings | undefined
    readonly faults?: MemoryFileSystem.FaultPlan | undefined
  }) => Effect.Effect<Actor, PlatformError, Scope.Scope>
  readonly occupancy: Occupancy.Occupancy
  /** Sets the wall clock of all machines; the monotonic clock knows nothing of it. */
  readonly setWallClock: (millis: number) => Effect.Effect<void>
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

const makeStage = (options: MemoryFileSystem.DiskOptions): Effect.Effect<Stage, PlatformError> =>
  Effect.gen(function*() {
    const disk = yield* MemoryFileSystem.makeDisk(options)
    const fs = yield* disk.view({ step: () => Effect.void })
    yield* fs.makeDirectory("/data")
    const machine = yield* ProcessIdentity.makeMachine()
    const occupancy = yield* Occupancy.make
    const base = yield* Effect.clock
    let offset = 0

    const join: Stage["join"] = (options = {}) =>
      Effect.gen(function*() {
        const home = options.machine ?? machine
        const identity = options.identity ?? (yield* home.spawn())
        let gate: Deferred.Deferred<void> | undefined
        const stops = new Set<
          { readonly at: (step: MemoryFileSystem.Step) => boolean; readonly stop: Effect.Effect<void> }
        >()
        const running = Effect.suspend(() => gate === undefined ? Effect.void : Deferred.await(gate))
        const step = (step: MemoryFileSystem.Step) =>
          Effect.suspend(() => {
            for (const found of stops) {
              if (found.at(step)) {
                stops.delete(found)
                return found.stop
              }
            }
            return Effect.yieldNow()
          }).pipe(Effect.zipRight(running))
        const view = yield* disk.view({ step })
        const seen = options.faults === undefined ? view : yield* MemoryFileSystem.withFaults(view, options.faults)
        const clock = makeClock(base, () => offset, running)
        const player = yield* Effect.withClock(Player.start(identity, seen, options.settings), clock)
        const suspend = Effect.flatMap(Deferred.make<void>(), (closed) =>
          Effect.sync(() => {
            gate = closed
          }))
        const actor: Actor = {
          ...player,
          stopAt: (syscall, at, method) =>
            Effect.gen(function*() {
              const reached = yield* Deferred.make<void>()
              const go = yield* Deferred.make<void>()
              stops.add({
                at: (step) => step.syscall === syscall && step.path === at && step.method === (method ?? step.method),
                stop: Effect.zipRight(Deferred.succeed(reached, undefined), Deferred.await(go))
              })
              return {
                reached: Deferred.await(reached),
                isReached: Deferred.isDone(reached),
                goOn: Effect.asVoid(Deferred.succeed(go, undefined))
              }
            }),
          suspend,
          resume: Effect.suspend(() => {
            const closed = gate
            gate = undefined
            return closed === undefined ? Effect.void : Effect.asVoid(Deferred.succeed(closed, undefined))
          }),
          kill: Effect.zipRight(home.kill(identity), suspend),
          run: (self) => Effect.withClock(self, clock),
          enter: (who, { stay = "1 second", ...options } = {}) =>
            actor.run(player.locks.withLock(occupancy.inside(who, Effect.sleep(stay)), path, options))
        }
        return actor
      })

    return {
      fs,
      disk,
      machine,
      join,
      occupancy,
      setWallClock: (millis) =>
        Effect.sync(() => {
          offset = millis - base.unsafeCurrentTimeMillis()
        })
    }
  })

/** Plays a scene in simulated time; in the end nobody may have met anybody inside, and nothing may be left. */
export const play = (
  scene: (stage: Stage) => Effect.Effect<void, unknown, Scope.Scope>,
  options: MemoryFileSystem.DiskOptions & { readonly leaves?: ReadonlyArray<string> } = {}
): Effect.Effect<void, unknown> =>
  Effect.gen(function*() {
    const stage = yield* makeStage(options)
    yield* scene(stage)
    assert.deepStrictEqual(stage.occupancy.overlaps, [])
    assert.deepStrictEqual(yield* stage.fs.readDirectory("/data"), [...options.leaves ?? []])
  }).pipe(Effect.scoped, Simulation.run)
