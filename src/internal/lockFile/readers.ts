import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import * as Immediate from "../immediate.js"
import * as Reserve from "../process/reserve.js"
import type { DiskError } from "./disk.js"
import { type Disk } from "./disk.js"
import type { OwnRecord } from "./ownRecord.js"
import { claimRequestOf, readerOf, readersOf } from "./paths.js"
import { type Place, promptly, type Protocol } from "./protocol.js"
import * as Record from "./record.js"
import type { Check, Staleness } from "./staleness.js"

/** A process that shares the lock, or did until it died. */
export interface Reader {
  readonly holder: LockHolder
  readonly staleness: Staleness
}

/** The directory of readers may be removed between making it and putting a file into it, each time by one that has left. */
const maxRounds = 64

/** The names of ours in the directory: no other file is a reader's. */
const isToken = (name: string): boolean => /^[0-9a-f]{32}-[0-9a-z]+$/.test(name)

/** The file of a reader, as a lock file of its own. */
export const placeOf = ({ prefix }: Place, token: string): Place => {
  const path = readerOf(prefix, token)
  return { lockPath: path, prefix: path }
}

/**
 * Those that share a lock: each has a file in a directory beside the lock file. A reader puts its file there first and looks at the lock
 * file then; a writer has the lock file first and looks for readers then: one of both sees the other. See `docs/protocol.md`, R1 to R4.
 */
export interface Readers {
  /** R1 and R2: shares the lock if no lock file is there. To be run uninterruptibly. */
  readonly enter: (place: Place, label: string | undefined) => Effect.Effect<OwnRecord | undefined, DiskError>
  /** R1: puts the file of a reader there, while we have the lock file. To be run uninterruptibly. */
  readonly publish: (place: Place, label: string | undefined) => Effect.Effect<OwnRecord, DiskError>
  /** R4: removes the file of a reader; `false` if it was gone. To be run uninterruptibly. */
  readonly leave: (place: Place, own: OwnRecord) => Effect.Effect<boolean>
  /** Those that are there, dead or alive. */
  readonly list: (place: Place) => Effect.Effect<ReadonlyArray<Reader>, DiskError>
  /** W1: removes the files of dead readers, and the directory. Answers with the readers that are left. */
  readonly clear: (place: Place) => Effect.Effect<ReadonlyArray<Reader>, DiskError>
  /** Removes the files of dead readers beside a lock, and the directory if none are left. */
  readonly evictDead: (prefix: string) => Effect.Effect<void, DiskError>
  /** Removes the file of one reader, dead or alive; `false` if it was gone. */
  readonly evict: (place: Place, token: string) => Effect.Effect<boolean, DiskError>
}

export const make = (options: {
  readonly disk: Disk
  readonly identity: ProcessIdentity
  readonly protocol: Protocol
  readonly staleness: Check
}): Readers => {
  const { disk, identity, protocol, staleness } = options

  const ignoring = (self: Effect.Effect<void, DiskError>, codes: ReadonlyArray<string>) =>
    Immediate.matchEffect(self, {
      onSuccess: () => Exit.void,
      onFailure: (error): Effect.Effect<void, DiskError> => codes.includes(error.code) ? Exit.void : Exit.fail(error)
    })

  const unlink = (path: string) => ignoring(disk.unlink(path), ["ENOENT"])

  /** The record is complete before it has its name. Under the first name, the clean-up finds it. */
  const publish: Readers["publish"] = (place, label) =>
    Immediate.flatMap(protocol.prepare(place, 1, label), (own) =>
      Immediate.matchEffect(rename(place, own, 1), {
        onSuccess: () => Exit.succeed(own),
        onFailure: (error) =>
          // The answer may have been lost on its way.
          Immediate.andThen(
            Immediate.andThen(Effect.ignore(unlink(own.requestPath)), () => leave(place, own)),
            () => Exit.fail(error)
          )
      }))

  const rename = (place: Place, own: OwnRecord, round: number): Effect.Effect<void, DiskError> =>
    Immediate.andThen(
      ignoring(disk.makeDirectory(readersOf(place.prefix)), ["EEXIST"]),
      () =>
        Immediate.matchEffect(disk.rename(own.requestPath, readerOf(place.prefix, own.token)), {
          onSuccess: () => Exit.void,
          onFailure: (error) =>
            error.code === "ENOENT" && round < maxRounds ? rename(place, own, round + 1) : Exit.fail(error)
        })
    )

  const enter: Readers["enter"] = (place, label) =>
    Immediate.flatMap(
      disk.exists(place.lockPath),
      (isLocked) =>
        isLocked
          ? Exit.succeed(undefined)
          : Immediate.flatMap(publish(place, label), (own) =>
            Immediate.matchEffect(mayShare(place, own), {
              onSuccess: (may) => may ? Exit.succeed(own) : Immediate.as(leave(place, own), undefined),
              onFailure: (error) => Immediate.andThen(leave(place, own), () => Exit.fail(error))
            }))
    )

  /** R2. A writer that has removed the directory with our file in it has released the lock file since. */
  const mayShare = (place: Place, own: OwnRecord): Effect.Effect<boolean, DiskError> =>
    Immediate.flatMap(
      disk.exists(place.lockPath),
      (isLocked) =>
        isLocked || protocol.isLate(own) ? Exit.succeed(false) : disk.exists(readerOf(place.prefix, own.token))
    )

  const leave: Readers["leave"] = (place, own) => {
    const path = readerOf(place.prefix, own.token)
    let tried = false
    const once: Effect.Effect<boolean, DiskError> = Immediate.suspend(() =>
      Immediate.matchEffect(disk.unlink(path), {
        onSuccess: () => Exit.succeed(true),
        onFailure: (error): Effect.Effect<boolean, DiskError> => {
          if (error.code === "ENOENT") {
            return Exit.succeed(tried)
          }
          tried = true
          return Exit.fail(error)
        }
      })
    )
    const removed = Immediate.matchEffect(once, {
      onSuccess: (removed): Effect.Effect<boolean> => Exit.succeed(removed),
      onFailure: () =>
        Effect.catchAll(
          Effect.retry(Reserve.spend(identity.reserve, once), promptly),
          ({ cause }) =>
            Effect.as(
              Effect.logWarning(
                `Could not remove ${path}: writers wait for it until process ${identity.info.pid} ends or the file is removed by hand`,
                cause
              ),
              true
            )
        )
    })
    return Immediate.flatMap(
      removed,
      (removed) => Immediate.andThen(protocol.retire(own), () => Immediate.as(removeDirectory(place), removed))
    )
  }

  /** The last one that leaves removes the directory. Where that takes more than one step, nobody may come in meanwhile. */
  const removeDirectory = (place: Place): Effect.Effect<void> =>
    disk.removesInOneStep
      ? Immediate.matchEffect(disk.removeDirectory(readersOf(place.prefix)), {
        onSuccess: () => Exit.void,
        onFailure: () => Exit.void
      })
      : Effect.ignore(Effect.flatMap(disk.list(readersOf(place.prefix)), (names) =>
        names.length > 0 ? Effect.void : Effect.flatMap(
          Effect.suspend(() => protocol.publish(place, 0, undefined)),
          (entered) =>
            entered._tag === "Published"
              ? Effect.ensuring(
                disk.removeDirectory(readersOf(place.prefix)),
                Effect.suspend(() => protocol.remove(place, 0, entered.own))
              )
              : Effect.void
        )))

  const list: Readers["list"] = (place) =>
    Immediate.matchEffect(disk.list(readersOf(place.prefix)), {
      onFailure: (error): Effect.Effect<ReadonlyArray<Reader>, DiskError> =>
        error.code === "ENOENT" || error.code === "ENOTDIR" ? Exit.succeed([]) : Exit.fail(error),
      onSuccess: (names) => listFrom(place, names.filter(isToken), 0, [])
    })

  /** One after the other. */
  const listFrom = (
    place: Place,
    names: ReadonlyArray<string>,
    index: number,
    found: Array<Reader>
  ): Effect.Effect<ReadonlyArray<Reader>, DiskError> => {
    const token = names[index]
    if (token === undefined) {
      return Exit.succeed(found)
    }
    const path = readerOf(place.prefix, token)
    return Immediate.flatMap(protocol.read(path), (seen) => {
      // What is no record, or another's, is no reader's: it was complete before it had its name.
      if (seen._tag !== "Record" || !Record.hasToken(seen, token)) {
        return listFrom(place, names, index + 1, found)
      }
      return Immediate.flatMap(staleness.check(path, seen), (staleness) => {
        found.push({ holder: seen.holder, staleness })
        return listFrom(place, names, index + 1, found)
      })
    })
  }

  /** Nearly always there is no directory. To ask for one costs less than to be told that there is none to remove. */
  const clear: Readers["clear"] = (place) =>
    Immediate.flatMap(disk.exists(readersOf(place.prefix)), (isShared) => isShared ? clearDirectory(place) : nobody)

  const nobody: Effect.Effect<ReadonlyArray<Reader>> = Exit.succeed([])

  const clearDirectory = (place: Place): Effect.Effect<ReadonlyArray<Reader>, DiskError> =>
    Immediate.matchEffect(disk.removeDirectory(readersOf(place.prefix)), {
      onSuccess: () => nobody,
      onFailure: (error) => error.code === "ENOENT" || error.code === "ENOTDIR" ? nobody : evictStale(place)
    })

  const evictStale = (place: Place): Effect.Effect<ReadonlyArray<Reader>, DiskError> =>
    Immediate.flatMap(list(place), (readers) => {
      const [left, dead] = Array.partition(readers, ({ staleness }) => staleness._tag === "Stale")
      return dead.length === 0 ? Exit.succeed(left) : Effect.flatMap(
        Effect.forEach(dead, (reader) => evictOne(place, reader), { discard: true }),
        () => Effect.suspend(() => clearDirectory(place))
      )
    })

  /**
   * The file is taken away before it is removed: one that has a new beat by then, of a reader that was silent only, goes back. A beat that
   * comes later finds that its file is gone.
   */
  const evictOne = (place: Place, { holder: { token } }: Reader): Effect.Effect<void, DiskError> => {
    const path = readerOf(place.prefix, token)
    const away = claimRequestOf(place.prefix, token)
    return ignoring(
      Effect.gen(function*() {
        const before = yield* protocol.read(path)
        const { _tag } = yield* staleness.check(path, before)
        if (_tag !== "Stale") return
        yield* disk.rename(path, away)
        if (Record.isSame(before, yield* protocol.read(away))) yield* disk.unlink(away)
        else yield* disk.rename(away, path)
        staleness.forget(path)
      }),
      ["ENOENT"]
    )
  }

  const evict: Readers["evict"] = (place, token) =>
    isToken(token)
      ? Effect.matchEffect(Effect.suspend(() => disk.unlink(readerOf(place.prefix, token))), {
        onSuccess: () => Effect.as(removeDirectory(place), true),
        onFailure: (error) =>
          error.code === "ENOENT" || error.code === "ENOTDIR"
            ? Effect.succeed(false)
            : Effect.fail(error)
      })
      : Exit.succeed(false)

  const evictDead: Readers["evictDead"] = (prefix) => {
    const place = { lockPath: prefix, prefix }
    return Effect.zipRight(Effect.suspend(() => evictStale(place)), Effect.suspend(() => removeDirectory(place)))
  }

  return { enter, publish, leave, list, clear, evict, evictDead }
}
