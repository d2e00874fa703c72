/**
 * Whole files under their lock: reads in shared mode, writes and updates in exclusive mode.
 *
 * A write puts the new content into a file beside the old one, waits until that is on the disk, and renames it: a crash leaves the old
 * content or the new one, and a program that reads without the lock sees one of the two. Mode and owner of the file stay; a symbolic link is
 * written through. A write that fails or is interrupted changes nothing. The next write removes what a killed writer has left.
 *
 * The files are those of the locks: with `NodeFileLock.layer` the files of the machine, with `FileLock.layer` those of its `FileSystem`. For
 * locks of an engine without files, provide a `FileSystem` to the program.
 *
 * @since 0.1.0
 */
import { BadArgument, type PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import * as FileLock from "./FileLock.js"
import * as Immediate from "./internal/immediate.js"
import * as CriticalSection from "./internal/lock/criticalSection.js"
import * as internal from "./internal/lock/fileLock.js"
import { type Files, Writer } from "./internal/lockedFile/files.js"
import * as FileSystemFiles from "./internal/lockedFile/fileSystemFiles.js"
import * as Json from "./internal/lockedFile/json.js"
import { type Change, Updates } from "./internal/lockedFile/updates.js"
import { printable, quote } from "./internal/text.js"
import type { LockAcquisitionError, LockDirectoryError, LockLostError } from "./LockError.js"

/**
 * Options of a read.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReadOptions extends Omit<FileLock.LockOptions, "mode"> {}

/**
 * Options of a write or an update.
 *
 * @since 0.1.0
 * @category models
 */
export interface WriteOptions extends Omit<FileLock.LockOptions, "mode"> {
  /**
   * Whether to wait until the content is on the disk. Default `true`. With `false` a crash of the machine may take the last second's writes
   * back, or on some file systems leave an empty file; a crash of the program does neither.
   */
  readonly fsync?: boolean | undefined
}

/**
 * What each operation may fail with, beside its own errors. `PlatformError` with reason `NotFound`: there is no file to read.
 *
 * @since 0.1.0
 * @category errors
 */
export type Failure = LockAcquisitionError | LockDirectoryError | LockLostError | PlatformError

/**
 * Why the content of a file, or a value for it, was refused: no UTF-8, no JSON, or not what the schema takes.
 *
 * @since 0.1.0
 * @category errors
 */
export class LockedFileError extends Schema.TaggedError<LockedFileError>("effect-filelock/LockedFileError")(
  "LockedFileError",
  {
    path: Schema.String,
    reason: Schema.Literal("InvalidUtf8", "InvalidJson", "InvalidValue"),
    /** Where in the file, `line 3, column 5`, or in the value, `["tasks"][0]["title"]`. */
    place: Schema.optional(Schema.String),
    /** What is wrong there. */
    description: Schema.String,
    cause: Schema.optional(Schema.Defect)
  }
) {
  override get message(): string {
    const where = this.place === undefined ? "" : ` at ${printable(this.place)}`
    const what =
      { InvalidUtf8: "no UTF-8", InvalidJson: "no JSON", InvalidValue: "not what its schema takes" }[this.reason]
    return `The content of ${quote(this.path)} is ${what}${where}: ${
      printable(this.description)
    }. The file was left as it is`
  }
}

// ---------------------------------------------------------------------------------------------
// the files of the locks
// ---------------------------------------------------------------------------------------------

interface Guarded {
  readonly withHeld: internal.WithHeld
  readonly files: Files
  readonly updates: Updates
}

type Locks = Context.Tag.Service<FileLock.FileLock>

const known = new WeakMap<Locks, WeakMap<object, Guarded>>()

const badArgument = (description: string) =>
  new BadArgument({ module: "FileSystem", method: "LockedFile", description })

/** That of a service, and of its files. */
const guardedBy = (locks: Locks, source: object, files: () => Files, withHeld: internal.WithHeld): Guarded => {
  const bySource = known.get(locks) ?? new WeakMap<object, Guarded>()
  known.set(locks, bySource)
  let guarded = bySource.get(source)
  if (guarded === undefined) {
    const made = files()
    guarded = { withHeld, files: made, updates: new Updates(new Writer(made), withHeld) }
    bySource.set(source, guarded)
  }
  return guarded
}

const guarded: Effect.Effect<Guarded, BadArgument, FileLock.FileLock> = Effect.flatMap(
  FileLock.FileLock,
  (locks): Effect.Effect<Guarded, BadArgument> => {
    const internals = internal.internalsOf(locks)
    if (internals === undefined) {
      return badArgument("FileLock is no service of effect-filelock")
    }
    const { files, withHeld } = internals
    return files !== undefined
      ? Effect.succeed(guardedBy(locks, files, files, withHeld))
      : Effect.flatMap(
        Effect.serviceOption(FileSystem.FileSystem),
        Option.match({
          onNone: () => badArgument("the engine of FileLock has no files: provide a FileSystem beside it"),
          onSome: (fs) => Effect.succeed(guardedBy(locks, fs, () => FileSystemFiles.make(fs), withHeld))
        })
      )
  }
)

const updateWith = <E, R>(
  path: string,
  change: Change<E, R>,
  options: WriteOptions | undefined
): Effect.Effect<void, E | Failure, R | FileLock.FileLock> =>
  Effect.flatMap(guarded, ({ updates }) =>
    Effect.withFiberRuntime((fiber) => {
      const { fsync = true, ...lock } = options ?? {}
      return updates.update(path, change, { fsync, lock }, !CriticalSection.isInside(fiber))
    }))

// ---------------------------------------------------------------------------------------------
// bytes
// ---------------------------------------------------------------------------------------------

/**
 * Reads a file in shared mode. Fails with `NotFound` if there is none.
 *
 * @since 0.1.0
 * @category bytes
 */
export const read = (
  path: string,
  options?: ReadOptions
): Effect.Effect<Uint8Array, Failure, FileLock.FileLock> =>
  Effect.flatMap(
    guarded,
    ({ files, withHeld }) => withHeld((held) => files.read(held.key.path), path, { ...options, mode: "shared" })
  )

/**
 * Replaces the content of a file, in exclusive mode. The file, and its directory, are made where they are missing.
 *
 * @since 0.1.0
 * @category bytes
 */
export const write = (
  path: string,
  content: Uint8Array,
  options?: WriteOptions
): Effect.Effect<void, Failure, FileLock.FileLock> => updateWith(path, () => Exit.succeed(content), options)

/**
 * Replaces the content of a file by what a function makes of it, in exclusive mode, and answers with the new content. The function is given
 * `None` where there is no file. If it fails, or the effect that it answers with, the file stays as it was. It may be called more than once
 * where it answers with an effect; only the last of these is run.
 *
 * Fibers of one process that update a file at the same time, outside of all critical sections, write once for all of them.
 *
 * @since 0.1.0
 * @category bytes
 */
export const update = <E = never, R = never>(
  path: string,
  f: (current: Option.Option<Uint8Array>) => Uint8Array | Effect.Effect<Uint8Array, E, R>,
  options?: WriteOptions
): Effect.Effect<Uint8Array, E | Failure, R | FileLock.FileLock> =>
  updateAs(path, options, Exit.succeed, f, Exit.succeed)

const toEffect = <A, E, R>(value: A | Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.isEffect(value) ? value : Exit.succeed(value)

/** An update of what a content stands for. What is known at once is an `Exit`. */
const updateAs = <A, E, R, E2, R2>(
  path: string,
  options: WriteOptions | undefined,
  decode: (content: Uint8Array) => Effect.Effect<A, E2, R2>,
  f: (current: Option.Option<A>) => A | Effect.Effect<A, E, R>,
  encode: (value: A) => Effect.Effect<Uint8Array, E2, R2>
): Effect.Effect<A, E | E2 | Failure, R | R2 | FileLock.FileLock> =>
  Effect.suspend(() => {
    let updated: { readonly value: A } | undefined
    const decodeCurrent = Option.match({
      onNone: (): Effect.Effect<Option.Option<A>, E2, R2> => Exit.succeed(Option.none()),
      onSome: (content: Uint8Array) => Immediate.map(decode(content), Option.some)
    })
    const change: Change<E | E2, R | R2> = (current) =>
      Immediate.flatMap(decodeCurrent(current), (before) =>
        Immediate.flatMap(toEffect(f(before)), (value) =>
          Immediate.map(encode(value), (content) => {
            updated = { value }
            return content
          })))
    return Effect.flatMap(updateWith(path, change, options), () =>
      updated === undefined ? Effect.dieMessage("an update without a result") : Effect.succeed(updated.value))
  })

// ---------------------------------------------------------------------------------------------
// text
// ---------------------------------------------------------------------------------------------

/** What is no UTF-8 would not come back as it was. */
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const decodeText = (path: string, content: Uint8Array): Exit.Exit<string, LockedFileError> => {
  try {
    return Exit.succeed(decoder.decode(content))
  } catch (cause) {
    return Exit.fail(new LockedFileError({ path, reason: "InvalidUtf8", description: "some bytes are none", cause }))
  }
}

const encodeText = (content: string): Uint8Array => new TextEncoder().encode(content)

/**
 * Reads a file of UTF-8 in shared mode. Fails with `NotFound` if there is none, and with `LockedFileError` if it is no UTF-8.
 *
 * @since 0.1.0
 * @category text
 */
export const readString = (
  path: string,
  options?: ReadOptions
): Effect.Effect<string, Failure | LockedFileError, FileLock.FileLock> =>
  Effect.flatMap(read(path, options), (content) => decodeText(path, content))

/**
 * Replaces the content of a file by a text, in exclusive mode. The file, and its directory, are made where they are missing.
 *
 * @example
 * ```ts
 * import { LockedFile, NodeFileLock } from "effect-filelock"
 * import { Effect } from "effect"
 *
 * const program = LockedFile.writeString("data/greeting.txt", "Hello\n").pipe(Effect.provide(NodeFileLock.layer))
 * ```
 *
 * @since 0.1.0
 * @category text
 */
export const writeString = (
  path: string,
  content: string,
  options?: WriteOptions
): Effect.Effect<void, Failure, FileLock.FileLock> => Effect.suspend(() => write(path, encodeText(content), options))

/**
 * Replaces the text of a file by what a function makes of it, in exclusive mode, and answers with the new text. See `update`.
 *
 * @example
 * ```ts
 * import { LockedFile } from "effect-filelock"
 * import { Option } from "effect"
 *
 * const count = LockedFile.updateString(
 *   "data/counter",
 *   (current) => String(Number(Option.getOrElse(current, () => "0")) + 1)
 * )
 * ```
 *
 * @since 0.1.0
 * @category text
 */
export const updateString = <E = never, R = never>(
  path: string,
  f: (current: Option.Option<string>) => string | Effect.Effect<string, E, R>,
  options?: WriteOptions
): Effect.Effect<string, E | Failure | LockedFileError, R | FileLock.FileLock> =>
  updateAs(path, options, (content) => decodeText(path, content), f, (text) => Exit.succeed(encodeText(text)))

// ---------------------------------------------------------------------------------------------
// JSON
// ---------------------------------------------------------------------------------------------

/**
 * Files of JSON, whose values a schema describes.
 *
 * @since 0.1.0
 * @category JSON
 */
export interface JsonFile<A, R> {
  /** Reads the value in shared mode. */
  readonly read: (
    path: string,
    options?: ReadOptions
  ) => Effect.Effect<A, Failure | LockedFileError, R | FileLock.FileLock>
  /** Replaces the value, in exclusive mode. */
  readonly write: (
    path: string,
    value: A,
    options?: WriteOptions
  ) => Effect.Effect<void, Failure | LockedFileError, R | FileLock.FileLock>
  /** Replaces the value by what a function makes of it, in exclusive mode, and answers with the new value. `None`: there is no file. */
  readonly update: <E = never, R2 = never>(
    path: string,
    f: (current: Option.Option<A>) => A | Effect.Effect<A, E, R2>,
    options?: WriteOptions
  ) => Effect.Effect<A, E | Failure | LockedFileError, R | R2 | FileLock.FileLock>
}

/**
 * Files of JSON. A content that is no JSON, or that the schema does not take, is a `LockedFileError`, which says where; so is a value that
 * the schema does not encode. Files are written with an indentation of two spaces.
 *
 * @example
 * ```ts
 * import { LockedFile } from "effect-filelock"
 * import { Effect, Option, Schema } from "effect"
 *
 * const Tasks = LockedFile.json(Schema.Array(Schema.Struct({ title: Schema.String, done: Schema.Boolean })))
 *
 * const add = (title: string) =>
 *   Tasks.update("tasks.json", (tasks) => [...Option.getOrElse(tasks, () => []), { title, done: false }])
 *
 * const open = Effect.map(Tasks.read("tasks.json"), (tasks) => tasks.filter(({ done }) => !done))
 * ```
 *
 * @since 0.1.0
 * @category JSON
 */
export const json = <A, I, R>(schema: Schema.Schema<A, I, R>): JsonFile<A, R> => {
  const decodeValue = ParseResult.decodeUnknown(schema)
  const encodeValue = ParseResult.encode(schema)

  const refuse = (
    path: string,
    { description, place }: Json.Problem,
    cause: unknown,
    reason: LockedFileError["reason"]
  ) => Exit.fail(new LockedFileError({ path, reason, place, description, cause }))

  const invalid = (path: string) => (issue: ParseResult.ParseIssue) =>
    refuse(path, Json.problemOf(issue), new ParseResult.ParseError({ issue }), "InvalidValue")

  const decode = (path: string) => (content: Uint8Array): Effect.Effect<A, LockedFileError, R> =>
    Immediate.flatMap(
      decodeText(path, content),
      (text): Effect.Effect<A, LockedFileError, R> =>
        Either.match(Json.parse(text), {
          onLeft: (problem) => refuse(path, problem, problem.cause, "InvalidJson"),
          onRight: (value) =>
            Immediate.matchEffect(Json.ended(decodeValue(value)), { onSuccess: Exit.succeed, onFailure: invalid(path) })
        })
    )

  const encode = (path: string) => (value: A): Effect.Effect<Uint8Array, LockedFileError, R> =>
    Immediate.matchEffect(Json.ended(encodeValue(value)), {
      onSuccess: (encoded) => Exit.succeed(encodeText(`${JSON.stringify(encoded, null, 2)}\n`)),
      onFailure: invalid(path)
    })

  return {
    read: (path, options) => Effect.flatMap(read(path, options), decode(path)),
    write: (path, value, options) =>
      Effect.flatMap(Effect.suspend(() => encode(path)(value)), (content) => write(path, content, options)),
    update: (path, f, options) => updateAs(path, options, decode(path), f, encode(path))
  }
}
