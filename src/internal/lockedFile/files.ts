import type { PlatformError } from "@effect/platform/Error"
import * as Effect from "effect/Effect"
import type { LockLostError } from "../../LockError.js"
import * as Immediate from "../immediate.js"
import type { HeldLock } from "../lock/heldLock.js"
import { contentsOf, prefixOf } from "../lockFile/paths.js"

/** What a file keeps when its content is replaced. */
export interface Attributes {
  readonly mode: number
  readonly uid: number | undefined
  readonly gid: number | undefined
}

/** What is done with whole files. On a local disk a call without an fsync is made when it is called, and answers with an `Exit`. */
export interface Files {
  /** Fails with `NotFound` if there is no file. */
  readonly read: (path: string) => Effect.Effect<Uint8Array, PlatformError>
  /** Those of a regular file; `undefined` if there is none. Fails if something else is there. */
  readonly attributes: (path: string) => Effect.Effect<Attributes | undefined, PlatformError>
  /** Creates a file that is not there, with these attributes or those of a new file. A failure may leave a part of it. */
  readonly create: (
    path: string,
    content: Uint8Array,
    attributes: Attributes | undefined,
    fsync: boolean
  ) => Effect.Effect<void, PlatformError>
  readonly rename: (from: string, to: string) => Effect.Effect<void, PlatformError>
  readonly remove: (path: string) => Effect.Effect<void, PlatformError>
  readonly list: (directory: string) => Effect.Effect<ReadonlyArray<string>, PlatformError>
  /** What was renamed in a directory stays so, if the file system can be told so. */
  readonly syncDirectory: (directory: string) => Effect.Effect<void>
}

/** How many files are remembered beside which this process has looked for the leftovers of killed writers. */
const maxCleared = 4096

/** The writes of one service. */
export class Writer {
  private readonly cleared = new Set<string>()

  constructor(readonly files: Files) {}

  /**
   * Replaces the content of the file that a lock guards, in one step. A crash leaves the old content or the new one. To be run
   * uninterruptibly.
   */
  replace(held: HeldLock, content: Uint8Array, fsync: boolean): Effect.Effect<void, PlatformError | LockLostError> {
    const { files } = this
    const { key: { lockPath, path } } = held
    const prefix = contentsOf(prefixOf(lockPath))
    // Each acquisition has its own: a writer that has lost the lock must not come to write into that of another one.
    const temporary = `${prefix}${held.grant.holder.token}`
    const directory = path.slice(0, Math.max(1, path.lastIndexOf(lockPath.includes("/") ? "/" : "\\")))
    const written = Immediate.flatMap(files.attributes(path), (attributes) =>
      Immediate.flatMap(
        this.cleared.has(path) && !held.grant.recovered ? Effect.void : this.clear(held, directory, prefix),
        () =>
          Immediate.matchCauseEffect(
            Immediate.andThen(
              Immediate.andThen(files.create(temporary, content, attributes, fsync), () => held.verify),
              () => files.rename(temporary, path)
            ),
            {
              onSuccess: () => Effect.void,
              onFailure: (cause) => Effect.zipRight(Effect.ignore(files.remove(temporary)), Effect.failCause(cause))
            }
          )
      ))
    return fsync ? Immediate.andThen(written, () => files.syncDirectory(directory)) : written
  }

  /** What writers have left beside the file is of those that were killed, if we still have the lock after we have found it. */
  private clear(held: HeldLock, directory: string, prefix: string): Effect.Effect<void> {
    const { path } = held.key
    if (this.cleared.size >= maxCleared) this.cleared.clear()
    this.cleared.add(path)
    const beginning = prefix.slice(directory === "/" ? 1 : directory.length + 1)
    return Effect.flatMap(this.files.list(directory), (names) => {
      const left = names.filter((name) => name.startsWith(beginning))
      return left.length === 0 ? Effect.void : Effect.zipRight(
        Effect.suspend(() => held.verify),
        Effect.forEach(left, (name) => this.files.remove(`${directory}/${name}`), { discard: true })
      )
    }).pipe(
      Effect.catchAll((error) =>
        Effect.logDebug(`Could not clear what killed writers have left in ${directory}`, error)
      )
    )
  }
}
