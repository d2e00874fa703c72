import * as Array from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import { cleanupTimeout } from "../lock/waitQueue.js"
import * as Runtime from "../runtime.js"
import type { Disk, DiskError } from "./disk.js"
import { isOfReaders, type Leftover, parseLeftover, prefixOfReaders, type Syntax } from "./paths.js"
import type { Protocol } from "./protocol.js"
import type { Readers } from "./readers.js"
import * as Record from "./record.js"
import type { Check } from "./staleness.js"

/** A process that uses more directories than this cleans some of them up again. */
const maxDirectories = 4096

/** How many files are looked at before other fibers have a turn. */
const batch = 8

export interface Cleanup {
  /** Cleans up the directory of a lock in the background: after a takeover, and when this process uses the directory for the first time. */
  readonly start: (fiber: Runtime.RuntimeFiber, lockPath: string, afterTakeover: boolean) => void
  /** Waits briefly for what has been started, and ends what waits for the silence of another process. */
  readonly close: Effect.Effect<void>
}

interface File {
  readonly path: string
  readonly leftover: Leftover
}

/** The claims on claims first. */
const highestFirst = Order.reverse(Order.mapInput(Order.number, ({ leftover }: File) => leftover.level ?? 0))

/**
 * The stale-file clean-up: removes the claims, request files and readers' files that dead processes left. A process that was killed while it took a lock
 * over may have been the last one that wanted it.
 */
export const make = (options: {
  readonly disk: Disk
  readonly syntax: Syntax
  readonly protocol: Protocol
  readonly readers: Readers
  readonly staleness: Check
}): Cleanup => {
  const { disk, protocol, readers, staleness, syntax } = options
  const known = new Set<string>()
  const running = new Map<string, Fiber.RuntimeFiber<void>>()
  /** Directories that are to be looked at again at once. */
  const pending = new Set<string>()
  /** Directories that are to be looked at again once a lease may have run out. */
  const sleeping = new Set<string>()
  let closed = false

  /** Clears one file; answers with when to look again, in milliseconds, where it cannot be told yet whether its owner lives. */
  const clear = (path: string, leftover: Leftover): Effect.Effect<number | undefined, DiskError> =>
    Effect.gen(function*() {
      const { isOfClaim, level, prefix, token } = leftover
      if (leftover.isContent === true) {
        // Who writes it has the lock as long as it is there. The name of a lock that has a hashed prefix is not known here.
        const isOver = prefix.endsWith(".lock") && token !== undefined &&
          !Record.hasToken(yield* protocol.read(prefix), token)
        if (isOver) yield* disk.unlink(path)
        return undefined
      }
      const entry = yield* disk.read(path)
      const seen = Record.toSeen(entry)
      // A process that was killed between linking its request file and unlinking it: the engine of flock(2) found it dead, and wrote into the lock file.
      if (seen._tag === "Flock" && token !== undefined && isOfClaim !== true && !Record.hasToken(seen, token)) {
        yield* disk.unlink(path)
        return undefined
      }
      // A process that was killed between creating and writing its request file has left no record in it.
      const unwritten = entry._tag === "File" && token !== undefined && Record.isUnwritten(entry.text, token)
        ? entry.text
        : undefined
      if (
        unwritten === undefined &&
        (seen._tag === "Absent" || seen._tag === "Foreign" || (token !== undefined && !Record.hasToken(seen, token)))
      ) {
        return undefined
      }
      const check = unwritten === undefined
        ? yield* staleness.check(path, seen)
        : yield* staleness.checkUnknown(path, unwritten)
      if (check._tag === "Unverifiable") {
        return check.readAgainIn
      }
      if (check._tag === "Live") {
        return undefined
      }
      if (level === undefined) {
        // Nobody links a request file of a dead process, and one that was only silent starts over without its file.
        yield* disk.unlink(path)
        return undefined
      }
      // For the names beside a lock its prefix is enough.
      const place = { lockPath: prefix, prefix }
      const taken = yield* protocol.takeOver(place, level, seen, undefined)
      if (taken._tag === "Published") {
        yield* protocol.remove(place, level, taken.own)
      }
      return taken._tag === "Busy" ? taken.readAgainIn : undefined
    }).pipe(Effect.uninterruptible)

  const cleanUp = (directory: string): Effect.Effect<void> =>
    Effect.gen(function*() {
      const names = yield* disk.list(directory)
      const files = Array.filterMap(names, (name) => {
        const path = syntax.join(directory, name)
        return Option.map(Option.fromNullable(parseLeftover(path)), (leftover): File => ({ path, leftover }))
      })
      for (const name of names.filter(isOfReaders)) {
        yield* Effect.uninterruptible(Effect.ignore(readers.evictDead(prefixOfReaders(syntax.join(directory, name)))))
      }
      let again = Infinity
      let looked = 0
      for (const { leftover, path } of Array.sort(files, highestFirst)) {
        const readAgainIn = yield* Effect.orElseSucceed(clear(path, leftover), () => undefined)
        again = Math.min(again, readAgainIn ?? Infinity)
        looked += 1
        if (looked % batch === 0) yield* Effect.yieldNow()
      }
      return again
    }).pipe(
      Effect.catchAll((error) => Effect.as(Effect.logDebug(`Could not clean up ${directory}`, error.cause), Infinity)),
      Effect.flatMap((again) => {
        if (pending.delete(directory)) {
          return cleanUp(directory)
        }
        return again === Infinity || closed ? Effect.void : Effect.suspend(() => {
          sleeping.add(directory)
          return Effect.sleep(Duration.millis(Math.max(1, Math.ceil(again)))).pipe(
            Effect.ensuring(Effect.sync(() => sleeping.delete(directory))),
            Effect.zipRight(Effect.suspend(() => cleanUp(directory)))
          )
        })
      })
    )

  return {
    start: (fiber, lockPath, afterTakeover) => {
      const directory = syntax.dirname(lockPath)
      closed = false
      if (known.has(directory) && !afterTakeover) {
        return
      }
      if (known.size >= maxDirectories) {
        known.clear()
      }
      known.add(directory)
      if (running.has(directory)) {
        pending.add(directory)
        return
      }
      const cleaning = Runtime.start(fiber, Effect.zipRight(Effect.yieldNow(), cleanUp(directory)))
      running.set(directory, cleaning)
      cleaning.addObserver(() => running.delete(directory))
    },
    close: Effect.suspend(() => {
      closed = true
      const [asleep, active] = Array.partition(running, ([directory]) => !sleeping.has(directory))
      const fiberOf = ([, fiber]: readonly [string, Fiber.RuntimeFiber<void>]) => fiber
      return Fiber.awaitAll(Array.map(active, fiberOf)).pipe(
        Effect.interruptible,
        Effect.timeout(Duration.millis(cleanupTimeout)),
        Effect.ignore,
        Effect.zipRight(Fiber.interruptAll(Array.map(asleep, fiberOf)))
      )
    })
  }
}
