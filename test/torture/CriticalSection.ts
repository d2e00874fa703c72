/**
 * What a process does under the lock: check that it is alone, and raise a counter in a way that loses an update if it is not.
 */
import type * as PlatformError from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import type { LazyArg } from "effect/Function"
import type * as Arena from "./Arena.js"
import * as Content from "./Content.js"
import * as EventLog from "./EventLog.js"
import * as Presence from "./Presence.js"

/** How a section excludes others. */
export type Mode = "exclusive" | "shared"

/** Runs sections of one process. */
export interface CriticalSection {
  readonly log: EventLog.Writer
  /** The content that comes after another one, if that is whole: says that it will be written. */
  readonly next: (section: number, content: string) => string | undefined
  /** Says which number has been read, or that the content was not whole. */
  readonly check: (section: number, content: string) => void
  /** As `inside`, of what is done at once. */
  readonly visit: <A>(section: number, mode: Mode, body: LazyArg<A>) => A
  /** Records that the process is inside while `body` runs, and which other processes are. */
  readonly inside: <A, E, R>(section: number, mode: Mode, body: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  /** Raises the counter by one; `work` milliseconds pass between reading and writing it. */
  readonly raise: (section: number, work: number) => Effect.Effect<void, PlatformError.PlatformError>
  /** Checks that the counter does not change for `work` milliseconds. */
  readonly observe: (section: number, work: number) => Effect.Effect<void, PlatformError.PlatformError>
}

/** How the counter is written. */
export interface Options {
  /** The longest content has so many lines after its first one. */
  readonly maxLines: number
  /** Whether to write over the old content, so that others may see a part of the new one. */
  readonly inPlace: boolean
}

/** `incarnation` tells this process from all others of the run. */
export const make = (
  arena: Arena.Arena,
  incarnation: number,
  { inPlace, maxLines }: Options = { maxLines: 0, inPlace: false }
): Effect.Effect<CriticalSection, never, FileSystem.FileSystem> =>
  Effect.map(FileSystem.FileSystem, (fs) => {
    const log = EventLog.open(arena.log, incarnation)
    const presence = Presence.make(arena.marks, incarnation)
    const enter = (section: number, mode: Mode): void => {
      for (const other of presence.enter(section, mode)) {
        log.write(other.alive ? "foundAlive" : "foundDead", section, other.incarnation)
      }
      log.write(mode === "exclusive" ? "enterExclusive" : "enterShared", section)
    }
    const leave = (section: number, mode: Mode): void => {
      log.write("leave", section)
      presence.leave(section, mode)
    }
    const next: CriticalSection["next"] = (section, content) => {
      const value = Content.valueOf(content)
      if (value === undefined) {
        log.write("torn", section)
        return undefined
      }
      log.write("intent", section, value + 1)
      return Content.make(value + 1, maxLines)
    }
    const check: CriticalSection["check"] = (section, content) => {
      const value = Content.valueOf(content)
      if (value === undefined) log.write("torn", section)
      else log.write("observed", section, value)
    }
    return {
      log,
      next,
      check,

      visit: (section, mode, body) => {
        enter(section, mode)
        try {
          return body()
        } finally {
          leave(section, mode)
        }
      },

      inside: (section, mode, body) =>
        Effect.acquireUseRelease(
          Effect.sync(() => enter(section, mode)),
          () => body,
          () => Effect.sync(() => leave(section, mode))
        ),

      raise: (section, work) =>
        Effect.gen(function*() {
          const content = next(section, yield* fs.readFileString(arena.counter))
          if (content === undefined) return
          const prepared = `${arena.scratch}/${incarnation}-${section}`
          if (!inPlace) yield* fs.writeFileString(prepared, content)
          yield* Effect.sleep(work)
          // On a thread of the pool: a killed process may still finish it, and no other process may enter before that.
          yield* inPlace ? fs.writeFileString(arena.counter, content) : fs.rename(prepared, arena.counter)
          log.write("acknowledged", section, Content.valueOf(content))
        }),

      observe: (section, work) =>
        Effect.gen(function*() {
          const before = yield* fs.readFileString(arena.counter)
          check(section, before)
          yield* Effect.sleep(work)
          if ((yield* fs.readFileString(arena.counter)) !== before) log.write("foundAlive", section)
        })
    }
  })
