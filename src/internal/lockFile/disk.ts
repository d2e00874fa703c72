import type * as Effect from "effect/Effect"
import { codeOf } from "../errno.js"

/** A system call that failed: its errno, and the error as the file system gave it. */
export class DiskError {
  readonly _tag = "DiskError"
  constructor(readonly code: string, readonly cause: unknown) {}
}

/** A failed call, from whatever was thrown. */
export const toError = (cause: unknown): DiskError => new DiskError(codeOf(cause), cause)

/** What is at a path. Links are not followed, and nothing but a small regular file is opened. */
export type Entry =
  | { readonly _tag: "Absent" }
  | {
    readonly _tag: "File"
    readonly text: string
    readonly inode: number
    /** Milliseconds since 1970. */
    readonly modifiedAt: number
  }
  /** A directory, a link, a larger file. */
  | { readonly _tag: "Other"; readonly what: string }

export const absent: Entry = { _tag: "Absent" }

/**
 * The mode of a directory of readers: that of the directory of the lock, where other users may write there. `undefined` where none may, and the
 * mode of a new directory does.
 */
export const modeForOthers = (mode: number): number | undefined => (mode & 0o022) === 0 ? undefined : mode & 0o7777

/** A larger file is none of ours. */
export const maxBytes = 4096

/**
 * The calls that the lock-file protocol is made of. Each is one step on the disk, except `create`, whose file nobody else looks for, and
 * `rewrite`, which is bound to one inode.
 *
 * A call on a local disk is made when it is called, and answers with an `Exit`; on any other disk it is made when it is run.
 */
export interface Disk {
  /** Whether the calls on a file are made by this very thread, now and later. Not said where they are not, or may not be. */
  readonly isSynchronous?: (path: string) => boolean
  /** Creates a file that is not there with this content. A failure may leave a part of it. */
  readonly create: (path: string, text: string) => Effect.Effect<void, DiskError>
  /** Gives a file a second name; EEXIST if something has that name. */
  readonly link: (from: string, to: string) => Effect.Effect<void, DiskError>
  readonly rename: (from: string, to: string) => Effect.Effect<void, DiskError>
  readonly unlink: (path: string) => Effect.Effect<void, DiskError>
  /** Whether something is at a path. It may follow a link. */
  readonly exists: (path: string) => Effect.Effect<boolean, DiskError>
  readonly read: (path: string) => Effect.Effect<Entry, DiskError>
  /** As `read`, but it may follow a link: enough to recognise a record of our own. */
  readonly peek: (path: string) => Effect.Effect<Entry, DiskError>
  /**
   * Opens a file, and overwrites it from a byte offset on if its content is `expected`. Answers with what it read, and with whether
   * the path still names the file that was written.
   */
  readonly rewrite: (
    path: string,
    expected: string,
    offset: number,
    text: string
  ) => Effect.Effect<{ readonly content: string; readonly inPlace: boolean }, DiskError>
  /** The names in a directory. */
  readonly list: (directory: string) => Effect.Effect<ReadonlyArray<string>, DiskError>
  /** Users that may write beside a lock may write into a directory of its readers. */
  readonly makeDirectory: (path: string) => Effect.Effect<void, DiskError>
  /** Removes a directory that is empty; ENOTEMPTY otherwise. */
  readonly removeDirectory: (path: string) => Effect.Effect<void, DiskError>
  /** Whether that is one step. Otherwise a file that comes into the directory meanwhile goes with it. */
  readonly removesInOneStep: boolean
  /** The canonical name of a directory. */
  readonly realPath: (path: string) => Effect.Effect<string, DiskError>
  /** Where a link leads; `undefined` if there is something else, or nothing. */
  readonly readLink: (path: string) => Effect.Effect<string | undefined, DiskError>
  /** The user that a file belongs to; `undefined` where the system does not say. */
  readonly owner: (path: string) => Effect.Effect<number | undefined, DiskError>
  /** The working directory; fails where it has been removed. */
  readonly workingDirectory: Effect.Effect<string, DiskError>
}
