import type * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as NodeFS from "node:fs"
import * as NodePath from "node:path"
import * as LockBackend from "../../LockBackend.js"
import type { LockDirectoryError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import * as Errno from "../errno.js"
import * as Channel from "../handover/channel.js"
import * as Immediate from "../immediate.js"
import * as Cleanup from "../lockFile/cleanup.js"
import { type DiskError, toError } from "../lockFile/disk.js"
import * as NodeDisk from "../lockFile/nodeDisk.js"
import * as Paths from "../lockFile/paths.js"
import * as Protocol from "../lockFile/protocol.js"
import * as Readers from "../lockFile/readers.js"
import * as Record from "../lockFile/record.js"
import {
  type Blocked,
  blockedBy,
  blockedByForeign,
  blockedByOwn,
  failed,
  reasonOf,
  refused
} from "../lockFile/refusal.js"
import * as Staleness from "../lockFile/staleness.js"
import { makeEngine } from "../nodeFileLock.js"
import * as OwnHolder from "../ownHolder.js"
import * as Polling from "../polling.js"
import * as Runtime from "../runtime.js"
import * as Content from "./content.js"
import { FlockGrant } from "./grant.js"
import * as Inspection from "./nodeInspection.js"
import type { Kernel } from "./nodeKernel.js"
import * as Look from "./nodeLook.js"
import { OpenFile } from "./nodeOpenFile.js"
import * as Removal from "./nodeRemoval.js"
import { Orphans } from "./orphans.js"
import { Waiter } from "./waiter.js"

/** An attempt waits for no other process, so it looks only so often at a path that changes under its eyes. */
const maxRounds = 16

/** When a file that could not be removed is tried again, in milliseconds after its release. */
const triedAgainAfter = [50, 1_000]

type Failure = LockBackend.BackendError | LockDirectoryError

type Answer = FlockGrant | Blocked

/** One that wants the lock. */
interface Attempt {
  readonly key: LockBackend.LockKey
  readonly request: LockBackend.Request
  /** How it is going to be seen, if it gets the lock. */
  readonly holder: LockHolder
  readonly fiber: Runtime.RuntimeFiber
}

const call = <A>(run: () => A): Effect.Effect<A, DiskError> => {
  try {
    return Exit.succeed(run())
  } catch (error) {
    return Exit.fail(toError(error))
  }
}

/** The name of a file that only we know: the clean-up of the lock files removes it if we die. */
const asideOf = ({ holder, key }: Attempt): string =>
  Paths.claimRequestOf(Protocol.placeOf(key.lockPath).prefix, holder.token)

export const make = (options: {
  readonly kernel: Kernel
  readonly identity: ProcessIdentity
  readonly lease: Duration.Duration
}): Context.Tag.Service<LockBackend.LockBackend> & { readonly close: Effect.Effect<void> } => {
  const { identity, kernel } = options
  const lease = Duration.toMillis(options.lease)
  const { canReach = () => false, channel = Channel.none } = identity
  const disk = NodeDisk.make()
  const paths = Paths.make(disk, NodePath)
  const lockFiles = makeEngine(disk, identity, options.lease)
  const staleness = Staleness.make(identity, lease)
  const protocol = Protocol.make({ disk, identity, staleness, lease })
  const readers = Readers.make({ disk, identity, protocol, staleness, channel, canReach })
  const cleanup = Cleanup.make({ disk, syntax: NodePath, protocol, readers, staleness })
  const orphans = new Orphans(kernel, (key) => acquire(key, inBackground))
  let lastPath = ""

  // ---------------------------------------------------------------------------------------------
  // one attempt
  // ---------------------------------------------------------------------------------------------

  const attemptOnce = (attempt: Attempt, round = 1, directoryMade = false): Effect.Effect<Answer, Failure> => {
    const { key: { lockPath }, request: { mode } } = attempt
    return Immediate.matchEffect(call(() => Look.look(kernel, lockPath, mode)), {
      onFailure: (error) => refuse(attempt, error, round, undefined),
      onSuccess: (found): Effect.Effect<Answer, Failure> => {
        switch (found._tag) {
          case "Locked":
            return judge(attempt, found, round)
          case "Taken":
            return blockedByOwner(attempt, found.seen)
          case "Absent":
            return create(attempt, round, directoryMade)
          case "Foreign":
            return Exit.succeed(blockedByForeign(found.what))
          case "Changed":
            return again(attempt, round)
        }
      }
    })
  }

  const again = (attempt: Attempt, round: number): Effect.Effect<Answer, Failure> =>
    round < maxRounds
      ? Immediate.suspend(() => attemptOnce(attempt, round + 1))
      : Exit.succeed(blockedBy("held", undefined))

  /** What waiting does not change fails. */
  const refuse = (
    attempt: Attempt,
    error: DiskError,
    round: number,
    explained: Failure | undefined
  ): Effect.Effect<Answer, Failure> => {
    if ((error.code === "EMFILE" || error.code === "ENFILE") && orphans.clear() && round < maxRounds) {
      return again(attempt, round)
    }
    if (Errno.syscallOf(error.cause) === "flock") {
      const cause = Errno.explain(error.cause, "the file system has no flock(2)")
      return new LockBackend.BackendError({ reason: "BackendUnavailable", cause })
    }
    return explained ?? (reasonOf(error) === "SystemError" ? Exit.succeed(failed(error)) : refused(error))
  }

  /** We have the file locked. Whether that is the lock is told by what is in it. */
  const judge = (attempt: Attempt, locked: Look.Locked, round: number): Effect.Effect<Answer, Failure> => {
    const { key: { lockPath } } = attempt
    const { file, isEmpty, seen } = locked
    const leave = (blocked: Blocked): Effect.Effect<Answer> => {
      file.close()
      return Exit.succeed(blocked)
    }
    switch (seen._tag) {
      case "Flock":
        return enter(attempt, locked, round)
      case "Record":
      case "Zeros":
        return Immediate.flatMap(staleness.check(lockPath, seen), (check) =>
          check._tag === "Stale"
            ? convert(attempt, locked, round)
            : leave(
              check._tag === "Unverifiable"
                ? blockedBy("unverifiable", Record.holderOf(seen), check.readAgainIn)
                : seen._tag === "Record"
                ? blockedByLockFile(seen.holder)
                : blockedByForeign("a file of NULs, written since the machine was booted")
            ))
      default:
        return !isEmpty
          ? leave(blockedByForeign(seen._tag === "Foreign" ? seen.what : "gone"))
          // Another program has created it to lock it. So does the engine of lock files where there are no hard links, and writes it then.
          : hasHardLinks(lockPath, asideOf(attempt))
          ? enter(attempt, locked, round)
          : leave(blockedByForeign("an empty file, and the file system has no hard links"))
    }
  }

  const hasHardLinks = (path: string, aside: string): boolean => {
    try {
      NodeFS.linkSync(path, aside)
      NodeFS.unlinkSync(aside)
      return true
    } catch {
      // Where it cannot be told, the file is left alone.
      return false
    }
  }

  const contentOf = ({ holder, request }: Attempt): string =>
    request.mode === "shared"
      ? Content.marker
      : Content.encode(identity.info, holder.token, holder.acquiredAt.epochMillis, holder.label)

  /** It is a file that is locked with flock(2): only those that have it locked write there. */
  const enter = (attempt: Attempt, { file, seen }: Look.Locked, round: number): Effect.Effect<Answer, Failure> => {
    const dead = Record.holderOf(seen)
    const isMarked = seen._tag === "Flock" && dead === undefined
    return Immediate.matchEffect(
      call(() => attempt.request.mode === "shared" && isMarked ? undefined : file.write(contentOf(attempt))),
      {
        onSuccess: () => admit(attempt, file, dead !== undefined),
        onFailure: (error) => {
          file.close()
          return refuse(attempt, error, round, undefined)
        }
      }
    )
  }

  /**
   * A dead process's lock file. Another process may be about to replace it, so that is overwritten under the claim, as T1 and T2 say; in place, since
   * other programs may wait for this file with flock(2).
   */
  const convert = (attempt: Attempt, { file, seen }: Look.Locked, round: number): Effect.Effect<Answer, Failure> => {
    const { lockPath } = attempt.key
    const overwritten = protocol.whileClaimed(
      Protocol.placeOf(lockPath),
      (isLate) =>
        call(() => {
          const isSame = !isLate() && file.isAt(lockPath) && Record.isSame(seen, Look.identify(file).seen)
          if (isSame) file.write(contentOf(attempt))
          return isSame
        })
    )
    return Effect.matchEffect(overwritten, {
      onFailure: (error) => {
        file.close()
        return refuse(attempt, error, round, undefined)
      },
      onSuccess: (done): Effect.Effect<Answer, Failure> => {
        if (Option.isSome(done) && done.value) {
          return admit(attempt, file, true)
        }
        file.close()
        return Option.isSome(done)
          ? again(attempt, round)
          : Exit.succeed(blockedBy("abandoned", Record.holderOf(seen)))
      }
    })
  }

  /** Nothing is there: the file appears with its content, and is locked by then. */
  const create = (attempt: Attempt, round: number, directoryMade: boolean): Effect.Effect<Answer, Failure> => {
    const { key, request: { mode } } = attempt
    const aside = asideOf(attempt)
    const created = call(() => {
      const file = OpenFile.create(aside)
      try {
        try {
          kernel.tryLock(file.descriptor, mode)
          file.write(contentOf(attempt))
          NodeFS.linkSync(aside, key.lockPath)
        } finally {
          NodeFS.unlinkSync(aside)
        }
        return file
      } catch (error) {
        file.close()
        throw error
      }
    })
    return Immediate.matchEffect(created, {
      onSuccess: (file) => admit(attempt, file, false),
      onFailure: (error) =>
        error.code === "EEXIST"
          ? again(attempt, round)
          : error.code === "ENOENT" && !directoryMade
          ? Effect.flatMap(paths.makeDirectory(key), () => attemptOnce(attempt, round, true))
          : Protocol.noLinks.has(error.code) && Errno.syscallOf(error.cause) === "link"
          ? createWithoutLink(attempt, round)
          : refuse(attempt, error, round, Paths.explain(NodePath, key, error))
    })
  }

  /** Until it is written, the file is foreign to the engine of lock files; from then on, too. */
  const createWithoutLink = (attempt: Attempt, round: number): Effect.Effect<Answer, Failure> => {
    const { key } = attempt
    return Immediate.matchEffect(call(() => OpenFile.create(key.lockPath)), {
      onSuccess: (file) => {
        let isLocked = false
        const written = call(() => {
          isLocked = kernel.tryLock(file.descriptor, "exclusive")
          file.write(Content.marker)
        })
        return Immediate.matchEffect(written, {
          onSuccess: () => {
            file.close()
            return again(attempt, round)
          },
          // It would be foreign for ever.
          onFailure: (error) =>
            Immediate.andThen(
              isLocked ? release(attempt, file) : Immediate.sync(() => file.close()),
              () => refuse(attempt, error, round, undefined)
            )
        })
      },
      onFailure: (error) =>
        error.code === "EEXIST"
          ? again(attempt, round)
          : refuse(attempt, error, round, Paths.explain(NodePath, key, error))
    })
  }

  /** We have the lock, unless processes share it by the files of readers: those looked at the lock before it was ours. */
  const admit = (attempt: Attempt, file: OpenFile, recovered: boolean): Effect.Effect<Answer, Failure> => {
    const { key, request } = attempt
    const place = Protocol.placeOf(key.lockPath)
    if (request.mode === "shared") {
      return Exit.succeed(grant(attempt, file, recovered))
    }
    const left = Immediate.flatMap(
      disk.exists(Paths.readersOf(place.prefix)),
      (mayBeShared) => mayBeShared ? readers.clear(place, () => false) : Exit.succeed([])
    )
    return Immediate.matchEffect(left, {
      onFailure: (error) =>
        Immediate.andThen(release(attempt, file), () => refuse(attempt, error, maxRounds, undefined)),
      onSuccess: ([reader]): Effect.Effect<Answer> =>
        reader === undefined
          ? Exit.succeed(grant(attempt, file, recovered))
          : Immediate.as(
            release(attempt, file),
            reader.staleness._tag === "Unverifiable"
              ? blockedBy("unverifiable", reader.holder, reader.staleness.readAgainIn)
              : blockedByLockFile(reader.holder)
          )
    })
  }

  const grant = (attempt: Attempt, file: OpenFile, recovered: boolean): FlockGrant => {
    const { fiber, holder, key, request } = attempt
    if (recovered || key.lockPath !== lastPath) {
      lastPath = key.lockPath
      cleanup.start(fiber, key.lockPath, recovered)
    }
    return new FlockGrant(channel, identity, key, request, holder, recovered, fiber, {
      gone: () => call(() => file.isAt(key.lockPath) ? undefined : Look.goneAt(key.lockPath)),
      release: (isOurs) => isOurs ? release(attempt, file) : Immediate.sync(() => file.close())
    })
  }

  // ---------------------------------------------------------------------------------------------
  // who is in the way
  // ---------------------------------------------------------------------------------------------

  const blockedByLive = (holder: LockHolder, cause?: Error): Blocked =>
    holder.instance === identity.info.instance ? blockedByOwn(holder) : { ...blockedBy("held", holder), cause }

  const blockedByLockFile = (holder: LockHolder): Blocked =>
    blockedByLive(holder, new Error("with a lock file, by NodeFileLock or LockFileBackend"))

  /** The record is that of the last one of ours. Another program may have the file locked since. */
  const blockedByOwner = ({ key, request }: Attempt, seen: Record.Seen): Effect.Effect<Blocked> => {
    const holder = Record.holderOf(seen)
    return Immediate.map(holder === undefined ? Exit.succeed("dead") : identity.isAlive(holder), (liveness) => {
      if (holder !== undefined && liveness !== "dead") {
        return seen._tag === "Record" ? blockedByLockFile(holder) : blockedByLive(holder)
      }
      // One that does not wait would take a cause without a holder for an error.
      return request.waits
        ? { ...blockedBy("held", undefined), cause: byAnother(key.lockPath) }
        : blockedBy("held", undefined)
    })
  }

  const byAnother = (path: string): Error => {
    const pid = kernel.ownersOf(path)?.[0]?.pid ?? 0
    return new Error(`with flock(2), by ${pid > 0 ? `process ${pid}` : "another program"}`)
  }

  // ---------------------------------------------------------------------------------------------
  // the end of a lock
  // ---------------------------------------------------------------------------------------------

  const release = (attempt: Attempt, file: OpenFile): Effect.Effect<void> =>
    Immediate.suspend(() => {
      const { fiber, key, request: { mode } } = attempt
      try {
        const outcome = Removal.remove(kernel, file, key.lockPath, asideOf(attempt))
        if (outcome === "left") {
          if (mode === "exclusive") file.write(Content.marker)
          file.close()
          if (!leftovers.has(key.lockPath)) removeLater(key, fiber)
        } else {
          // One that is about to lock it for shared use must not come in beside the next writer.
          if (mode === "shared") kernel.tryLock(file.descriptor, "exclusive")
          if (outcome === "removed") orphans.add(file, key, fiber)
          else orphans.letIn(file, key, fiber)
        }
        return Exit.void
      } catch (error) {
        file.close()
        return Effect.logWarning(`Could not remove ${key.lockPath}, which is not locked any more`, error)
      }
    })

  /** Those that had to be left, and are tried again. */
  const leftovers = new Set<string>()

  /** A process that looked at the file, and does not want it, may have been the reason. Nothing waits for this. */
  const removeLater = (
    key: LockBackend.LockKey,
    fiber: Runtime.RuntimeFiber,
    [millis, ...later] = triedAgainAfter
  ): void => {
    if (millis === undefined) {
      leftovers.delete(key.lockPath)
      return
    }
    leftovers.add(key.lockPath)
    const removeNow = Immediate.suspend(() =>
      NodeFS.existsSync(key.lockPath) ? tryAcquire(key, inBackground) : Effect.succeedNone
    )
    const sleeper = Runtime.systemSleep(fiber, millis, () =>
      Immediate.start(
        fiber,
        () =>
          Effect.ignore(
            Effect.flatMap(removeNow, Option.match({ onNone: () => Effect.void, onSome: ({ release }) => release }))
          ).pipe(
            Effect.map(() => removeLater(key, fiber, NodeFS.existsSync(key.lockPath) ? later : []))
          ),
        `The removal of ${key.lockPath}`
      ))
    sleeper.rest?.(false)
  }

  // ---------------------------------------------------------------------------------------------
  // requests
  // ---------------------------------------------------------------------------------------------

  const attemptWith = (
    token: string,
    key: LockBackend.LockKey,
    request: LockBackend.Request,
    fiber: Runtime.RuntimeFiber
  ): Effect.Effect<Answer, Failure> => {
    const now = DateTime.unsafeMake(Runtime.wallClock(fiber))
    return attemptOnce({ key, request, holder: OwnHolder.of(identity, token, now, request.label), fiber })
  }

  /** A token that did not become that of a holder is not needed any more. */
  const withToken = (
    use: (token: string) => Effect.Effect<Option.Option<FlockGrant>, Failure>
  ): Effect.Effect<Option.Option<FlockGrant>, Failure> =>
    Immediate.flatMap(identity.issueToken, (token) =>
      Immediate.matchCauseEffect(use(token), {
        onFailure: (cause) => Effect.zipRight(identity.retireToken(token), Effect.failCause(cause)),
        onSuccess: (granted): Effect.Effect<Option.Option<FlockGrant>> =>
          Option.isSome(granted) ? Exit.succeed(granted) : Immediate.as(identity.retireToken(token), granted)
      }))

  const tryAcquire = (key: LockBackend.LockKey, request: LockBackend.Request) =>
    Immediate.withFiber((fiber) =>
      withToken((token) =>
        Immediate.map(attemptWith(token, key, request, fiber), (answer) => {
          if ("release" in answer) {
            return Option.some(answer)
          }
          request.onBlocked(answer)
          return Option.none()
        })
      )
    )

  /** Looks again and again. A holder of ours says when the lock is free, and its death shows; all others say nothing. */
  const acquire = (key: LockBackend.LockKey, request: LockBackend.Request) =>
    Immediate.withFiber((fiber) =>
      withToken((token) => {
        const waiter = new Waiter(channel, token, fiber)
        const polling = Polling.make(request.schedule)
        const again: Effect.Effect<Option.Option<FlockGrant>, Failure> = Effect.flatMap(
          Effect.suspend(() => attemptWith(token, key, request, fiber)),
          (answer) => "release" in answer ? Effect.succeedSome(answer) : wait(answer)
        )
        const wait = (blocked: Blocked): typeof again => {
          const { holder, readAgainIn = Infinity, state } = blocked
          request.onBlocked(blocked)
          if (holder !== undefined && state === "held" && canReach(holder)) waiter.register(holder)
          return Effect.flatMap(Effect.interruptible(polling.next), (millis) =>
            millis === undefined ? Effect.succeedNone : Effect.zipRight(
              Effect.interruptible(waiter.sleep(Math.min(millis, readAgainIn))),
              again
            ))
        }
        return Effect.onExit(again, (exit) =>
          Effect.sync(() => {
            const isHeld = Exit.isSuccess(exit) && Option.isSome(exit.value) && request.mode === "exclusive"
            waiter.end(isHeld)
          }))
      })
    )

  return {
    canonical: lockFiles.canonical,
    ...(lockFiles.immediate === undefined ? {} : { immediate: lockFiles.immediate }),
    tryAcquire,
    acquire,
    ...Inspection.make({ disk, identity, kernel, lockFiles, tryAcquire: (key) => tryAcquire(key, inBackground) }),
    close: Effect.zipRight(cleanup.close, lockFiles.close)
  }
}

/** What the engine wants for itself. */
const inBackground: LockBackend.Request = {
  mode: "exclusive",
  label: undefined,
  schedule: Polling.defaultSchedule(Duration.millis(100)),
  isDefaultSchedule: true,
  handoff: 0,
  waits: false,
  onBlocked: constVoid,
  onLost: constVoid
}

/** The engine where there is no flock(2). */
export const unavailable = (error: LockBackend.BackendError): Context.Tag.Service<LockBackend.LockBackend> => {
  const refuse = () => error
  return { canonical: refuse, tryAcquire: refuse, acquire: refuse, inspect: refuse, breakLock: refuse }
}
