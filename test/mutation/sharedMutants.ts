/**
 * Bugs in shared mode: readers, and the writers that wait for them.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as SharedGrant from "../../src/internal/lock/sharedGrant.js"
import type { Disk } from "../../src/internal/lockFile/disk.js"
import type * as Readers from "../../src/internal/lockFile/readers.js"
import type * as Staleness from "../../src/internal/lockFile/staleness.js"
import { type Mutant, mutant } from "./Mutant.js"

const readers = {
  module: "internal/lockFile/readers",
  replaces: ["make"] as const,
  noticedBy: ["SharedMode", "simulation/simulation"]
}

type Options = Parameters<typeof Readers.make>[0]

/** Another answer to whether a reader is stale. */
const withCheck = (
  options: Options,
  check: (original: Staleness.Check["check"]) => Staleness.Check["check"]
): Options => ({ ...options, staleness: { ...options.staleness, check: check(options.staleness.check) } })

const isReader = (path: string): boolean => /\.shared\/[\w-]+$/.test(path)

/** A reader that has just put its file there is told that a path is there, or that it is not. */
const afterSharing = (disk: Disk, matches: (path: string) => boolean, answer: boolean): Disk => {
  let hasShared = false
  return {
    ...disk,
    rename: (from, to) => {
      hasShared = isReader(to)
      return disk.rename(from, to)
    },
    exists: (path) => {
      if (!hasShared || !matches(path)) {
        return disk.exists(path)
      }
      hasShared = false
      return Exit.succeed(answer)
    }
  }
}

export const sharedMutants: ReadonlyArray<Mutant> = [
  mutant<typeof Readers>()({
    ...readers,
    name: "readers-do-not-look-again",
    bug: "shares the lock without a look at the lock file after its own file was there",
    noticedBy: ["simulation/simulation"],
    important: true,
    change: ({ make }) => ({
      make: (options) => make({ ...options, disk: afterSharing(options.disk, (path) => path.endsWith(".lock"), false) })
    })
  }),
  mutant<typeof Readers>()({
    ...readers,
    name: "writers-do-not-look-for-readers",
    bug: "has the lock for itself as soon as it has the lock file",
    important: true,
    change: ({ make }) => ({ make: (options) => ({ ...make(options), clear: () => Exit.succeed([]) }) })
  }),
  mutant<typeof Readers>()({
    ...readers,
    name: "live-readers-are-evicted",
    bug: "removes the files of readers that live",
    change: ({ make }) => ({
      make: (options) =>
        make(withCheck(options, (check) => (path, seen) => Effect.as(check(path, seen), { _tag: "Stale" } as const)))
    })
  }),
  mutant<typeof Readers>()({
    ...readers,
    name: "dead-readers-stay",
    bug: "waits for readers that are dead",
    change: ({ make }) => ({
      make: (options) => make(withCheck(options, () => () => Exit.succeed({ _tag: "Live" })))
    })
  }),
  mutant<typeof Readers>()({
    ...readers,
    name: "directories-of-readers-stay",
    bug: "leaves the directory of the readers when the last one has left",
    change: ({ make }) => ({
      make: (options) =>
        make({ ...options, disk: { ...options.disk, removesInOneStep: true, removeDirectory: () => Exit.void } })
    })
  }),
  mutant<typeof SharedGrant>()({
    module: "internal/lock/sharedGrant",
    name: "shares-without-end",
    bug: "lets fibers of its process share the lock for as long as one of them is inside, while writers of others wait",
    noticedBy: ["SharedMode"],
    change: ({ SharedGrant }) => {
      SharedGrant.prototype.admits = function({ label, mode }) {
        return mode === "shared" && label === this.origin.call.label && this.origin.loss === undefined &&
          this.members.size > 0
      }
    }
  })
]
