/**
 * Bugs in the lock-file protocol, its heartbeats, its clean-up and its paths.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Immediate from "../../src/internal/immediate.js"
import type * as Backend from "../../src/internal/lockFile/backend.js"
import type * as Cleanup from "../../src/internal/lockFile/cleanup.js"
import type { Disk } from "../../src/internal/lockFile/disk.js"
import type * as Heartbeat from "../../src/internal/lockFile/heartbeat.js"
import type * as Paths from "../../src/internal/lockFile/paths.js"
import type * as Protocol from "../../src/internal/lockFile/protocol.js"
import type * as Record from "../../src/internal/lockFile/record.js"
import type * as Round from "../../src/internal/lockFile/round.js"
import type * as Staleness from "../../src/internal/lockFile/staleness.js"
import { type Mutant, mutant } from "./Mutant.js"

const make = ["make"] as const

const record = { module: "internal/lockFile/record", noticedBy: ["internal/lockFile/protocol"] }
const staleness = {
  module: "internal/lockFile/staleness",
  replaces: make,
  noticedBy: ["internal/lockFile/staleness"]
}
const protocol = { module: "internal/lockFile/protocol", replaces: make, noticedBy: ["internal/lockFile/protocol"] }
const heartbeat = { module: "internal/lockFile/heartbeat", replaces: make, noticedBy: ["internal/lockFile/heartbeat"] }
const cleanup = { module: "internal/lockFile/cleanup", replaces: make, noticedBy: ["internal/lockFile/cleanup"] }
const paths = { module: "internal/lockFile/paths", noticedBy: ["internal/lockFile/paths"] }

/** A link that takes the name from what has it. */
const linkOver = (disk: Disk, matches: (to: string) => boolean): Disk => ({
  ...disk,
  link: (from, to) =>
    Immediate.matchEffect(disk.link(from, to), {
      onSuccess: Exit.succeed,
      onFailure: (error) => matches(to) ? disk.rename(from, to) : Exit.fail(error)
    })
})

/** Another answer to whether an owner is stale. */
const withCheck = <Options extends { readonly staleness: Staleness.Check }>(
  options: Options,
  check: (original: Staleness.Check["check"]) => Staleness.Check["check"]
): Options => ({ ...options, staleness: { ...options.staleness, check: check(options.staleness.check) } })

const isRequest = (path: string): boolean => /\.[0-9a-f]{32}-[0-9a-z]+$/.test(path)
const isClaim = (path: string): boolean => /\.claim\d?$/.test(path)

export const lockFileMutants: ReadonlyArray<Mutant> = [
  // ---------------------------------------------------------------------------------------------
  // records
  // ---------------------------------------------------------------------------------------------
  mutant<typeof Record>()({
    ...record,
    name: "replaces-anything",
    bug: "replaces whatever is at the path of a record that it found stale",
    replaces: ["isSame"],
    important: true,
    change: () => ({ isSame: () => true })
  }),
  mutant<typeof Record>()({
    ...record,
    name: "beats-do-not-count",
    bug: "takes over a silent holder that was heard of again after the check",
    replaces: ["isSame"],
    change: ({ isSame }) => ({
      isSame: (before, now) =>
        before._tag === "Record" && now._tag === "Record"
          ? before.holder.token === now.holder.token
          : isSame(before, now)
    })
  }),
  mutant<typeof Record>()({
    ...record,
    name: "any-record-is-ours",
    bug: "takes the record of a successor for its own",
    replaces: ["hasToken"],
    important: true,
    change: () => ({ hasToken: (seen) => seen._tag === "Record" })
  }),
  mutant<typeof Record>()({
    ...record,
    name: "empty-is-stale",
    noticedBy: ["integration/foreign", "internal/lockFile/record"],
    bug: "takes an empty file, which another tool may have locked, for what a power failure left",
    replaces: ["toSeen"],
    important: true,
    change: ({ toSeen }) => ({
      toSeen: (entry) =>
        entry._tag === "File" && entry.text === ""
          ? { _tag: "Zeros", identity: String(entry.inode), modifiedAt: -Infinity }
          : toSeen(entry)
    })
  }),
  mutant<typeof Record>()({
    ...record,
    name: "zeros-are-foreign",
    noticedBy: ["internal/lockFile/record"],
    bug: "never recovers a lock file of which a power failure left only NULs",
    replaces: ["toSeen"],
    change: ({ toSeen }) => ({
      toSeen: (entry) => {
        const seen = toSeen(entry)
        return seen._tag === "Zeros" ? { _tag: "Foreign", what: "a file of NULs" } : seen
      }
    })
  }),
  mutant<typeof Record>()({
    ...record,
    name: "unwritten-requests-stay",
    bug: "leaves the request file of a process that died between creating and writing it",
    noticedBy: ["internal/lockFile/cleanup"],
    replaces: ["isUnwritten"],
    change: () => ({ isUnwritten: () => false })
  }),
  mutant<typeof Record>()({
    ...record,
    name: "beats-write-nothing-new",
    bug: "writes the same beat again at each heartbeat",
    noticedBy: ["internal/lockFile/heartbeat"],
    replaces: ["formatBeat", "withBeat"],
    change: ({ formatBeat, withBeat }) => ({
      formatBeat: () => formatBeat(0),
      withBeat: (text) => withBeat(text, 0)
    })
  }),

  // ---------------------------------------------------------------------------------------------
  // staleness
  // ---------------------------------------------------------------------------------------------
  mutant<typeof Staleness>()({
    ...staleness,
    name: "the-dead-live",
    bug: "never finds a record stale",
    change: ({ make }) => ({
      make: (identity, lease) => ({ ...make(identity, lease), check: () => Effect.succeed({ _tag: "Live" }) })
    })
  }),
  mutant<typeof Staleness>()({
    ...staleness,
    name: "no-lease",
    bug: "takes over an owner that cannot be checked without waiting for a lease of silence",
    important: true,
    change: ({ make }) => ({
      make: (identity, lease) => {
        const checks = make(identity, lease)
        return {
          ...checks,
          check: (path, seen) =>
            Effect.map(checks.check(path, seen), (found) => found._tag === "Unverifiable" ? { _tag: "Stale" } : found)
        }
      }
    })
  }),
  mutant<typeof Staleness>()({
    ...staleness,
    name: "silence-without-end",
    bug: "never takes over an owner that cannot be checked",
    change: ({ make }) => ({ make: (identity) => make(identity, Infinity) })
  }),
  mutant<typeof Staleness>()({
    ...staleness,
    name: "silence-outlasts-beats",
    bug: "counts the silence of an owner from the first look on, although it was heard of since",
    change: ({ make }) => ({
      make: (identity, lease) => {
        const checks = make(identity, lease)
        return {
          ...checks,
          check: (path, seen) => checks.check(path, seen._tag === "Record" ? { ...seen, text: path } : seen)
        }
      }
    })
  }),

  // ---------------------------------------------------------------------------------------------
  // the protocol
  // ---------------------------------------------------------------------------------------------
  mutant<typeof Protocol>()({
    ...protocol,
    name: "publishes-over-others",
    bug: "puts its record in the place of another one",
    important: true,
    change: ({ make }) => ({ make: (options) => make({ ...options, disk: linkOver(options.disk, () => true) }) })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "claims-are-shared",
    bug: "takes a claim from the process that has it",
    important: true,
    noticedBy: ["internal/lockFile/protocol", "simulation/simulation"],
    change: ({ make }) => ({ make: (options) => make({ ...options, disk: linkOver(options.disk, isClaim) }) })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "dead-claims-stay",
    bug: "never takes over the claim of a dead process",
    change: ({ make }) => ({
      make: (options) =>
        make(
          withCheck(options, (check) => (path, seen) =>
            isClaim(path) ? Effect.succeed({ _tag: "Live" }) : check(path, seen))
        )
    })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "late-steps",
    bug: "goes on with a takeover or a removal after it stood still for so long that another process may have acted",
    important: true,
    change: ({ make }) => ({ make: (options) => make({ ...options, lease: Infinity }) })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "unlinks-on-behalf",
    bug:
      "unlinks the record of another process, on whose behalf it has acquired, although that may have been taken over",
    noticedBy: ["internal/lockFile/onBehalf"],
    change: ({ make }) => ({
      make: (options) => make({ ...options, identity: { ...options.identity, self: undefined } })
    })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "tokens-are-not-registered",
    bug: "publishes a token that does not count as alive",
    noticedBy: ["internal/lockFile/protocol", "LockFileBackend", "FileLock"],
    change: ({ make }) => ({
      make: (options) =>
        make({
          ...options,
          identity: {
            ...options.identity,
            issueToken: Effect.tap(options.identity.issueToken, options.identity.retireToken)
          }
        })
    })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "tokens-stay-registered",
    noticedBy: ["internal/lockFile/protocolFaults"],
    bug: "lets the token of a record that it could not remove count as alive",
    change: ({ make }) => ({
      make: (options) => make({ ...options, identity: { ...options.identity, retireToken: () => Effect.void } })
    })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "request-files-stay",
    bug: "leaves its request files",
    change: ({ make }) => ({
      make: (options) =>
        make({
          ...options,
          disk: { ...options.disk, unlink: (path) => isRequest(path) ? Exit.void : options.disk.unlink(path) }
        })
    })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "removes-unread",
    bug: "removes what is at the path of its record without a look",
    important: true,
    change: ({ make, pathOf }) => ({
      make: (options) => ({
        ...make(options),
        remove: (place, level, own) =>
          Effect.ignore(options.disk.unlink(pathOf(place, level))).pipe(
            Effect.zipRight(options.identity.retireToken(own.token)),
            Effect.as(true)
          )
      })
    })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "removals-always-succeed",
    bug: "does not say that its record was gone when it was to be removed",
    change: ({ make }) => ({
      make: (options) => {
        const steps = make(options)
        return { ...steps, remove: (place, level, own) => Effect.as(steps.remove(place, level, own), true) }
      }
    })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "late-beats-without-claim",
    bug: "makes a late heartbeat while another process may be taking the lock over",
    noticedBy: ["internal/lockFile/heartbeat", "internal/lockFile/protocol"],
    change: ({ make }) => ({
      make: (options) => ({
        ...make(options),
        whileClaimed: <A, E>(_: Protocol.Place, use: (isLate: () => boolean) => Effect.Effect<A, E>) =>
          Effect.asSome(use(() => false))
      })
    })
  }),

  // ---------------------------------------------------------------------------------------------
  // heartbeats
  // ---------------------------------------------------------------------------------------------
  mutant<typeof Heartbeat>()({
    ...heartbeat,
    name: "no-heartbeats",
    bug: "makes no heartbeats",
    change: ({ make }) => ({ make: (options) => ({ ...make(options), add: () => {} }) })
  }),
  mutant<typeof Heartbeat>()({
    ...heartbeat,
    name: "heartbeats-too-seldom",
    bug: "makes heartbeats for a lease that is four times as long",
    change: ({ make }) => ({ make: (options) => make({ ...options, lease: options.lease * 4 }) })
  }),
  mutant<typeof Heartbeat>()({
    ...heartbeat,
    name: "heartbeats-go-on",
    bug: "goes on with the heartbeats of a lock that was released",
    change: ({ make }) => ({ make: (options) => ({ ...make(options), remove: () => Exit.void }) })
  }),
  mutant<typeof Heartbeat>()({
    ...heartbeat,
    name: "beats-out-of-place",
    bug: "takes a heartbeat for made although the path names another file by now",
    change: ({ make }) => ({
      make: (options) =>
        make({
          ...options,
          disk: {
            ...options.disk,
            rewrite: (...args) =>
              Immediate.map(options.disk.rewrite(...args), (result) => ({ ...result, inPlace: true }))
          }
        })
    })
  }),
  mutant<typeof Heartbeat>()({
    ...heartbeat,
    name: "verify-believes",
    bug: "does not look at the lock file when it is to verify a lock",
    change: ({ make }) => ({ make: (options) => ({ ...make(options), verify: () => Effect.void }) })
  }),
  mutant<typeof Round>()({
    ...heartbeat,
    module: "internal/lockFile/round",
    replaces: ["Member"],
    name: "losses-are-not-told",
    bug: "does not say that a heartbeat found the lock lost",
    noticedBy: ["LockFileBackend", "internal/lockFile/heartbeat", "FileLock"],
    change: ({ Member }) => ({
      Member: class extends Member {
        constructor(...[place, own, fiber, , guard]: ConstructorParameters<typeof Member>) {
          super(place, own, fiber, () => {}, guard)
        }
      }
    })
  }),

  // ---------------------------------------------------------------------------------------------
  // clean-up
  // ---------------------------------------------------------------------------------------------
  mutant<typeof Cleanup>()({
    ...cleanup,
    name: "no-clean-up",
    bug: "never cleans up",
    change: ({ make }) => ({ make: (options) => ({ ...make(options), start: () => {} }) })
  }),
  mutant<typeof Cleanup>()({
    ...cleanup,
    name: "cleans-up-after-the-living",
    bug: "removes the claims and request files of live processes",
    change: ({ make }) => ({
      make: (options) =>
        make(withCheck(options, (check) => (path, seen) => Effect.as(check(path, seen), { _tag: "Stale" } as const)))
    })
  }),
  mutant<typeof Cleanup>()({
    ...cleanup,
    name: "no-clean-up-after-takeovers",
    bug: "does not clean up after a takeover in a directory that it knows",
    change: ({ make }) => ({
      make: (options) => {
        const { close, start } = make(options)
        return { close, start: (fiber, lockPath) => start(fiber, lockPath, false) }
      }
    })
  }),

  // ---------------------------------------------------------------------------------------------
  // paths
  // ---------------------------------------------------------------------------------------------
  mutant<typeof Paths>()({
    ...paths,
    name: "links-are-other-files",
    bug: "takes a symbolic link and what it leads to for two locks",
    replaces: make,
    change: ({ make }) => ({
      make: (disk, syntax) => make({ ...disk, readLink: () => Effect.succeed(undefined) }, syntax)
    })
  }),
  mutant<typeof Paths>()({
    ...paths,
    name: "long-names-stay-long",
    bug: "gives the files beside a lock names that are too long for the disk",
    replaces: ["prefixOf"],
    noticedBy: ["internal/lockFile/paths", "internal/lockFile/protocol", "internal/lockFile/cleanup"],
    change: () => ({ prefixOf: (lockPath) => lockPath })
  }),
  mutant<typeof Paths>()({
    ...paths,
    name: "no-directories",
    bug: "does not make the directory of a lock",
    replaces: make,
    noticedBy: ["internal/lockFile/paths", "FileLock"],
    change: ({ make }) => ({
      make: (disk, syntax) => ({ ...make(disk, syntax), makeDirectory: () => Effect.void })
    })
  }),

  // ---------------------------------------------------------------------------------------------
  // the engine
  // ---------------------------------------------------------------------------------------------
  mutant<typeof Backend>()({
    module: "internal/lockFile/backend",
    replaces: make,
    noticedBy: ["LockFileBackend", "FileLock"],
    name: "breaks-any-lock",
    bug: "breaks the lock of another holder than the one that was named",
    change: ({ make }) => ({
      make: (options) => {
        const engine = make(options)
        return {
          ...engine,
          breakLock: (key, holder) =>
            Effect.flatMap(engine.inspect(key), (status) =>
              engine.breakLock(
                key,
                Option.getOrElse(Option.flatMapNullable(status, ({ holders }) => holders[0]), () => holder)
              ))
        }
      }
    })
  })
]
