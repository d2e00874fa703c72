import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Array from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Order from "effect/Order"
import type * as Scope from "effect/Scope"
import { isLeftover } from "./names.js"
import type { Places } from "./place.js"

/** A process that uses more directories than this looks after some of them again. */
const maxDirectories = 4096

export interface Sweep {
  /** Whether this process has not looked after the directory of a lock before; asked once. */
  readonly isDue: (lockPath: string) => boolean
  /** Looks after the directory of a lock. To be run uninterruptibly. */
  readonly run: (lockPath: string) => Effect.Effect<void>
}

/** The claims on claims first. */
const innermostFirst = Order.reverse(Order.mapInput(Order.number, (name: string) => name.length))

/**
 * Removes what dead processes left beside their locks: somebody who was killed while it took a lock over, or waited for one, may
 * have been the last who cared for it.
 */
export const make = (options: {
  readonly fs: FileSystem.FileSystem
  readonly paths: Path.Path
  readonly places: Places
  readonly scope: Scope.Scope
}): Sweep => {
  const { fs, paths, places, scope } = options
  const known = new Set<string>()
  /** Directories that are to be looked at again. */
  const pending = new Set<string>()

  const run: Sweep["run"] = (lockPath) => {
    const directory = paths.dirname(lockPath)
    return fs.readDirectory(directory).pipe(
      Effect.flatMap((names) =>
        Effect.forEach(
          Array.sort(names.filter(isLeftover), innermostFirst),
          (name) => places.clear(paths.join(directory, name))
        )
      ),
      Effect.flatMap((results) => {
        const lookAgain = Array.getSomes(results)
        if (!Array.isNonEmptyArray(lookAgain) || pending.has(directory)) {
          return Effect.void
        }
        pending.add(directory)
        return Effect.sleep(Array.min(lookAgain, Duration.Order)).pipe(
          Effect.interruptible,
          Effect.zipRight(Effect.suspend(() => {
            pending.delete(directory)
            return run(lockPath)
          })),
          Effect.forkIn(scope)
        )
      }),
      Effect.catchAll((cause) => Effect.logDebug(`Could not look after what is left in ${directory}`, cause))
    )
  }

  return {
    run,
    isDue: (lockPath) => {
      const directory = paths.dirname(lockPath)
      if (known.has(directory)) {
        return false
      }
      if (known.size >= maxDirectories) {
        known.clear()
      }
      known.add(directory)
      return true
    }
  }
}
