import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import type { Channel } from "../handover/channel.js"
import * as Immediate from "../immediate.js"
import * as Reserve from "../process/reserve.js"
import type { Disk, DiskError, Entry } from "./disk.js"
import type { OwnRecord } from "./ownRecord.js"
import { readerOf, readersOf } from "./paths.js"
import { type Place, promptly, type Protocol } from "./protocol.js"
import * as Record from "./record.js"
import type { Check, Staleness } from "./staleness.js"

/** A process that shares the lock, or did until it died. */
export interface Reader {
  readonly holder: LockHolder
  readonly staleness: Staleness
}

/** The file of a reader. A power failure may have left nothing in it: then it does not say whose it is, and stale is all that it can be. */
interface ReaderFile {
  readonly path: string
  readonly seen: Record.Seen
  readonly holder: LockHolder | undefined
  readonly staleness: Staleness
}

/**
 * The directory of readers may be removed between making it and putting a file into it, each time by one that has left. The file may have
 * been cleaned up before it was put there, if we stood still.
 */
const maxRounds = 64
const maxFiles = 3

/** The names of ours in the directory: no other file is a reader's. */
const isToken = (name: string): boolean => /^[\w-]{8,96}$/.test(name)

/** The file of a reader, as a lock file of its own. */
export const placeOf = ({ prefix }: Place, token: string): Place => {
  const path = readerOf(prefix, token)
  return { lockPath: path, prefix: path }
}

/**
 * Those that share a lock: each has a file in a directory beside the lock file. A reader puts its file there first and looks at the lock
 * file then; a writer has the lock file first and looks for readers then: one of both sees the other. See `docs/protocol.md`, R1 to R4 and E1 and E2.
 */
export interface Readers {
  /** R1 and R2: shares the lock if no lock file is there. To be run uninterruptibly. */
  readonly enter: (place: Place, label: string | undefined) => Effect.Effect<OwnRecord | undefined, DiskError>
  /** R1: puts the file of a reader there, while we have the lock file. To be run uninterruptibly. */
  readonly publish: (place: Place, label: string | undefined) => Effect.Effect<OwnRecord, DiskError>
  /** R4: removes the file of a reader, and tells the holder of the lock file; `false` if it was gone. To be run uninterruptibly. */
  readonly leave: (place: Place, own: OwnRecord) => Effect.Effect<boolean>
  /** Those that are there, dead or alive. */
  readonly list: (place: Place) => Effect.Effect<ReadonlyArray<Reader>, DiskError>
  /** E1: removes the files of dead readers, and the directory. Answers with the readers that are left. */
  readonly clear: (place: Place, isLate: () => boolean) => Effect.Effect<ReadonlyArray<Reader>, DiskError>
  /** Removes the directory if it is empty, while we have the lock file, where readers that leave cannot. */
  readonly tidy: (place: Place) => Effect.Effect<void>
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
  readonly channel: Channel
  /** Whether messages come from this process to a holder. */
  readonly canReach: (holder: LockHolder) => boolean
}): Readers => {
  const { canReach, channel, disk, identity, protocol, staleness } = options

  const ignoring = (self: Effect.Effect<void, DiskError>, codes: ReadonlyArray<string>) =>
    Immediate.matchEffect(self, {
      onSuccess: () => Exit.void,
      onFailure: (error): Effect.Effect<void, DiskError> => codes.includes(error.code) ? Exit.void : Exit.fail(error)
    })

  const unlink = (path: string) => ignoring(disk.unlink(path), ["ENOENT"])

  /** The record is complete before it has its name. Under the first name, the clean-up finds it. */
  const publish: Readers["publish"] = (place, label) => publishAgain(place, label, 1)

  const publishAgain = (
    place: Place,
    label: string | undefined,
    file: number
  ): Effect.Effect<OwnRecord, DiskError> =>
    Immediate.flatMap(protocol.prepare(place, 1, label), (own) =>
      Immediate.matchEffect(rename(place, own, 1), {
        onSuccess: () => Exit.succeed(own),
        onFailure: (error) =>
          // The answer may have been lost on its way.
          Immediate.andThen(
            Immediate.andThen(Effect.ignore(unlink(own.requestPath)), () => leave(place, own)),
            () => error.code === "ENOENT" && file < maxFiles ? publishAgain(place, label, file + 1) : Exit.fail(error)
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
          if (error.code === "ENOENT" || error.code === "ENOTDIR") {
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
    return Immediate.flatMap(removed, (removed) =>
      Immediate.andThen(
        protocol.retire(own),
        () => Immediate.andThen(removeDirectory(place), () => Immediate.as(tellHolder(place, own), removed))
      ))
  }

  /** A writer that has the lock file may wait for us. */
  const tellHolder = (place: Place, { token }: OwnRecord): Effect.Effect<void> => {
    const { lockPath } = place
    const seen = Immediate.flatMap(
      disk.exists(lockPath),
      (isLocked) => isLocked ? protocol.read(lockPath) : Exit.succeed(undefined)
    )
    return Immediate.matchEffect(seen, {
      onFailure: () => Exit.void,
      onSuccess: (seen) => {
        const holder = seen === undefined ? undefined : Record.holderOf(seen)
        if (holder !== undefined && canReach(holder)) {
          channel.send(holder.instance, { _tag: "left", token, owner: holder.token })
        }
        return Exit.void
      }
    })
  }

  /** The last one that leaves removes the directory. Where that takes more than one step, nobody may come in meanwhile. */
  const removeDirectory = (place: Place): Effect.Effect<void> =>
    disk.removesInOneStep
      ? tryToRemove(place)
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

  const filesIn = (place: Place): Effect.Effect<ReadonlyArray<ReaderFile>, DiskError> =>
    Immediate.matchEffect(disk.list(readersOf(place.prefix)), {
      onFailure: (error): Effect.Effect<ReadonlyArray<ReaderFile>, DiskError> =>
        error.code === "ENOENT" || error.code === "ENOTDIR" ? Exit.succeed([]) : Exit.fail(error),
      onSuccess: (names) => readFrom(place, names.filter(isToken), 0, [])
    })

  /** One after the other, without an end of the stack where calls are made at once. */
  const readFrom = (
    place: Place,
    tokens: ReadonlyArray<string>,
    first: number,
    found: Array<ReaderFile>
  ): Effect.Effect<ReadonlyArray<ReaderFile>, DiskError> => {
    for (let index = first; index < tokens.length; index++) {
      const read = Immediate.begin(readOne(place, tokens[index] ?? ""))
      if (!Immediate.isExit(read)) {
        return Effect.flatMap(read, (file) => {
          if (file !== undefined) found.push(file)
          return readFrom(place, tokens, index + 1, found)
        })
      }
      if (Exit.isFailure(read)) {
        return Exit.failCause(read.cause)
      }
      if (read.value !== undefined) found.push(read.value)
    }
    return Exit.succeed(found)
  }

  const readOne = (place: Place, token: string): Effect.Effect<ReaderFile | undefined, DiskError> => {
    const path = readerOf(place.prefix, token)
    return Immediate.flatMap(disk.read(path), (entry) => check(path, token, entry))
  }

  /** What is no record, or another's, is no reader's: that was complete before it had its name. */
  const check = (path: string, token: string, entry: Entry): Effect.Effect<ReaderFile | undefined> => {
    const seen = Record.toSeen(entry)
    const holder = Record.holderOf(seen)
    if (holder?.token === token) {
      return Immediate.map(staleness.check(path, seen), (staleness) => ({ path, seen, holder, staleness }))
    }
    const isUnwritten = entry._tag === "File" && Record.isUnwritten(entry.text, token)
    return isUnwritten
      ? Immediate.map(
        // NULs are what a power failure left.
        Immediate.flatMap(
          staleness.check(path, seen),
          (check) => check._tag === "Stale" ? Exit.succeed(check) : staleness.checkUnknown(path, entry.text)
        ),
        (staleness) => staleness._tag === "Stale" ? { path, seen, holder: undefined, staleness } : undefined
      )
      : Exit.succeed(undefined)
  }

  const readersOfFiles = (files: ReadonlyArray<ReaderFile>): ReadonlyArray<Reader> =>
    files.flatMap(({ holder, staleness }) => holder === undefined ? [] : [{ holder, staleness }])

  const list: Readers["list"] = (place) => Immediate.map(filesIn(place), readersOfFiles)

  const nobody: Effect.Effect<ReadonlyArray<Reader>> = Exit.succeed([])

  /** Nearly always there is no directory. To ask for one costs less than to be told that there is none to remove. */
  const clear: Readers["clear"] = (place, isLate) =>
    Immediate.flatMap(
      disk.exists(readersOf(place.prefix)),
      (isShared) => isShared ? clearDirectory(place, isLate) : nobody
    )

  /** A link to a directory is no directory that could be removed. */
  const clearDirectory = (place: Place, isLate: () => boolean): Effect.Effect<ReadonlyArray<Reader>, DiskError> =>
    Immediate.matchEffect(disk.removeDirectory(readersOf(place.prefix)), {
      onSuccess: () => nobody,
      onFailure: ({ code }) =>
        code === "ENOENT" ? nobody : Immediate.flatMap(
          evictStale(place),
          // What is there now came after we had the lock file, or is no reader's.
          (left) =>
            left.length > 0 || isLate() ? Exit.succeed(left) : Immediate.andThen(tryToRemove(place), () => nobody)
        )
    })

  const tryToRemove = (place: Place): Effect.Effect<void> =>
    Immediate.matchEffect(disk.removeDirectory(readersOf(place.prefix)), {
      onSuccess: () => Exit.void,
      onFailure: () => Exit.void
    })

  const tidy: Readers["tidy"] = (place) => disk.removesInOneStep ? Exit.void : tryToRemove(place)

  /** Answers with the readers that are left. */
  const evictStale = (place: Place): Effect.Effect<ReadonlyArray<Reader>, DiskError> =>
    Immediate.flatMap(filesIn(place), (files) => {
      const [left, stale] = Array.partition(files, ({ staleness }) => staleness._tag === "Stale")
      return stale.length === 0 ? Exit.succeed(readersOfFiles(left)) : Effect.flatMap(
        Effect.filter(stale, (file) => Effect.map(evictOne(place, file), (evicted) => !evicted)),
        (stayed) => Effect.succeed([...readersOfFiles(left), ...readersOfFiles(stayed)])
      )
    })

  /**
   * The name of a dead process's file is no other's. One that was silent only may be heard of just now: its heartbeat is late, and is made
   * under the claim.
   */
  const evictOne = (place: Place, { holder, path, seen }: ReaderFile): Effect.Effect<boolean, DiskError> => {
    const remove = Effect.as(Effect.suspend(() => unlink(path)), true)
    const removeSilent = Effect.map(
      protocol.whileClaimed(
        place,
        (isLate) =>
          Effect.flatMap(
            Effect.suspend(() => protocol.read(path)),
            (now) => (seen._tag === "Record" && !Record.isSame(seen, now)) || isLate() ? Effect.succeed(false) : remove
          )
      ),
      Option.getOrElse(() => false)
    )
    return Effect.tap(
      holder === undefined
        ? removeSilent
        : Effect.flatMap(identity.isAlive(holder), (liveness) => liveness === "dead" ? remove : removeSilent),
      () => Effect.sync(() => staleness.forget(path))
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
    // The name of a lock that has a hashed prefix is not known here.
    const place = { lockPath: prefix, prefix }
    const mayRemove = disk.removesInOneStep || prefix.endsWith(".lock")
    return Effect.zipRight(
      Effect.suspend(() => evictStale(place)),
      Effect.suspend(() => mayRemove ? removeDirectory(place) : Exit.void)
    )
  }

  return { enter, publish, leave, list, clear, tidy, evict, evictDead }
}
