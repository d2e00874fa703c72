import type { PlatformError } from "@effect/platform/Error"
import * as Effect from "effect/Effect"
import * as Runtime from "../runtime.js"
import type { NodeError } from "./errno.js"
import { badArgument, Blocked, Errno, invalidPath, nodeError, systemError } from "./errno.js"
import { wellFormed } from "./path.js"
import type { Process } from "./process.js"

/**
 * A system call that failed inside an operation of several, before anybody wrapped it for the caller.
 *
 * @internal
 */
export type Call<A> = Effect.Effect<A, NodeError>

/** @internal */
export interface Site {
  readonly method: string
  readonly syscall: string
  readonly path: string
  readonly dest?: string | undefined
  /** Node leaves the path out of the errors of calls on descriptors. */
  readonly descriptor?: boolean | undefined
}

/**
 * The moment before a system call, where others may come in between.
 *
 * @internal
 */
export const announce = (process: Process, { method, path, syscall }: Site): Effect.Effect<void> =>
  process.options.step({ method, syscall, path })

/**
 * The system call as a whole, indivisible; where a real one would sleep for good, so does `blocked`.
 *
 * @internal
 */
export const perform = <A>(
  process: Process,
  site: Site,
  run: () => A,
  blocked: Effect.Effect<never> = forever
): Call<A> =>
  Effect.withFiberRuntime((fiber): Call<A> => {
    process.volume.now = Runtime.wallClock(fiber)
    try {
      return Effect.succeed(run())
    } catch (error) {
      if (error instanceof Errno) {
        return Effect.fail(nodeError(error.code, {
          syscall: site.syscall,
          path: site.descriptor === true ? undefined : site.path,
          dest: site.dest
        }))
      }
      return error instanceof Blocked ? blocked : Effect.die(error)
    }
  })

/** @internal */
export const call = <A>(process: Process, site: Site, run: () => A): Call<A> =>
  Effect.zipRight(announce(process, site), perform(process, site, run))

/**
 * Never answers, and unlike `Effect.never` keeps no timer: an abandoned process must not hold up the real one.
 *
 * @internal
 */
export const forever: Effect.Effect<never> = Effect.async<never>(() => {})

/** @internal */
export const wrap = <A>(
  self: Effect.Effect<A, NodeError>,
  method: string,
  pathOrDescriptor: string | number
): Effect.Effect<A, PlatformError> => Effect.mapError(self, (error) => systemError(method, pathOrDescriptor, error))

/**
 * An operation of the service: checks its paths as Node does before anything happens, and wraps what fails inside.
 *
 * @internal
 */
export const operation = <A>(
  method: string,
  paths: ReadonlyArray<string>,
  body: (...paths: ReadonlyArray<string>) => Effect.Effect<A, NodeError>
): Effect.Effect<A, PlatformError> =>
  Effect.suspend(() => {
    for (const path of paths) {
      if (path.includes("\0")) return Effect.fail(badArgument(method, invalidPath(path)))
    }
    return wrap(body(...paths.map(wellFormed)), method, paths[0] ?? "")
  })
