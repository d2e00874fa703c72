/**
 * What a process does under the lock: check that it is alone, and raise a counter in a way that loses an update if it is not.
 */
import type * as PlatformError from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type * as Arena from "./Arena.js"
import * as EventLog from "./EventLog.js"
import * as Presence from "./Presence.js"

/** How a section excludes others. */
export type Mode = "exclusive" | "shared"

/** Runs sections of one process. */
export interface CriticalSection {
  readonly log: EventLog.Writer
  /** Records that the process is inside while `body` runs, and which other processes are. */
  readonly inside: <A, E, R>(section: number, mode: Mode, body: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Raises the counter by one; `work` milliseconds pass between reading and writing it. */
  readonly raise: (section: number, work: number) => Effect.Effect<void, PlatformError.PlatformError>
  /** Checks that the counter does not change for `work` milliseconds. */
  readonly observe: (section: number, work: number) => Effect.Effect<void, PlatformError.PlatformError>
}

/** `incarnation` tells this process from all others of the run. */
export const make = (
  arena: Arena.Arena,
  incarnation: number
): Effect.Effect<CriticalSection, never, FileSystem.FileSystem> =>
  Effect.map(FileSystem.FileSystem, (fs) => {
    const log = EventLog.open(arena.log, incarnation)
    const presence = Presence.make(arena.marks, incarnation)
    const readCounter = Effect.map(fs.readFileString(arena.counter), Number)
    return {
      log,

      inside: (section, mode, body) =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            for (const other of presence.enter(section, mode)) {
              log.write(other.alive ? "foundAlive" : "foundDead", section, other.incarnation)
            }
            log.write(mode === "exclusive" ? "enterExclusive" : "enterShared", section)
          }),
          () => body,
          () =>
            Effect.sync(() => {
              log.write("leave", section)
              presence.leave(section, mode)
            })
        ),

      raise: (section, work) =>
        Effect.gen(function*() {
          const next = (yield* readCounter) + 1
          log.write("intent", section, next)
          const prepared = `${arena.scratch}/${incarnation}-${section}`
          yield* fs.writeFileString(prepared, String(next))
          yield* Effect.sleep(work)
          // On a thread of the pool: a killed process may still finish it, and no other process may enter before that.
          yield* fs.rename(prepared, arena.counter)
          log.write("acknowledged", section, next)
        }),

      observe: (section, work) =>
        Effect.gen(function*() {
          const before = yield* readCounter
          yield* Effect.sleep(work)
          if ((yield* readCounter) !== before) log.write("foundAlive", section)
        })
    }
  })
