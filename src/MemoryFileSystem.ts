/**
 * A whole file system in memory behind the `FileSystem` service of `@effect/platform`, for tests of any Effect program.
 *
 * It answers as the service for Node does on Linux, operation by operation and error by error: inodes, hard and symbolic
 * links, permissions, handles that outlive a removal, and operations of several system calls that others can come in
 * between. Its times come from Effect's `Clock`, so a `TestClock` drives them. Faults (errors, delays, crashes) can be put
 * over it, and over any other file system.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { call, operation } from "./internal/memoryFileSystem/call.js"
import * as faults from "./internal/memoryFileSystem/faults.js"
import * as fileSystem from "./internal/memoryFileSystem/fileSystem.js"
import * as PathCalls from "./internal/memoryFileSystem/pathCalls.js"
import { Process } from "./internal/memoryFileSystem/process.js"
import { Volume } from "./internal/memoryFileSystem/volume.js"

/**
 * One system call that a process is about to make: the operation of the service it belongs to (`"writeFile"`,
 * `"File.read"`), the call (`"open"`, `"rename"`), and the path it is about.
 *
 * @since 0.1.0
 * @category models
 */
export interface Step {
  readonly method: string
  readonly syscall: string
  readonly path: string
}

/**
 * What kind of file other than a regular one to put on a disk.
 *
 * A FIFO never has anyone at its other end: opening it for reading or for writing does not return. A socket and a block
 * device cannot be opened (`ENXIO`), and a character device is as empty and as patient as `/dev/null`.
 *
 * @since 0.1.0
 * @category models
 */
export type NodeType = "FIFO" | "Socket" | "CharacterDevice" | "BlockDevice"

/**
 * Who looks at the disk.
 *
 * @since 0.1.0
 * @category options
 */
export interface ViewOptions {
  /** The user; 0 may do anything. Default 1000. */
  readonly uid?: number | undefined
  /** The group of what is created. Default 1000. */
  readonly gid?: number | undefined
  /** Further groups the user is in. Default none. */
  readonly groups?: ReadonlyArray<number> | undefined
  /** The permission bits that new files do not get. Default `0o022`. */
  readonly umask?: number | undefined
  /** Where relative paths begin. Default `/`. */
  readonly cwd?: string | undefined
  /** Where temporary files go unless told otherwise. Default `/tmp`. */
  readonly temporaryDirectory?: string | undefined
  /** How many handles can be open at a time; one more fails with `EMFILE`. Default no limit. */
  readonly maxOpenFiles?: number | undefined
  /**
   * Runs before each system call, where a simulation decides who goes next. A call is indivisible; an operation of several
   * (`writeFile` opens, writes and closes) runs it before each. Default `Effect.yieldNow()`.
   */
  readonly step?: ((step: Step) => Effect.Effect<void>) | undefined
}

/**
 * What a disk can take. All of it can be changed while it is in use.
 *
 * @since 0.1.0
 * @category options
 */
export interface DiskSettings {
  /** Bytes of content, all files together; a write beyond them is cut short, and fails with `ENOSPC` when none fit. Default no limit. */
  readonly capacity?: number | undefined
  /** Files and directories, the root and `/tmp` among them; one more fails with `ENOSPC`. Default no limit. */
  readonly inodes?: number | undefined
  /** Whether every change fails with `EROFS`. Default `false`. */
  readonly readOnly?: boolean | undefined
  /** Whether a freed inode number is the next to be given out, as on ext4. Default `true`. */
  readonly reuseInodes?: boolean | undefined
}

/**
 * How a disk begins: with `/`, which belongs to the owner, and `/tmp`, where everybody may write.
 *
 * @since 0.1.0
 * @category options
 */
export interface DiskOptions extends DiskSettings {
  /** Whose `/` is. Default the default user, 1000:1000. */
  readonly owner?: { readonly uid: number; readonly gid: number } | undefined
}

/**
 * A disk that several processes can look at.
 *
 * @since 0.1.0
 * @category models
 */
export interface Disk {
  /** The file system as one more process sees it, with a user, a umask and open handles of its own. */
  readonly view: (options?: ViewOptions) => Effect.Effect<FileSystem.FileSystem>
  /** Puts a FIFO, a socket or a device somewhere, which the service itself cannot. It is `0o666` and root's unless told otherwise. */
  readonly makeNode: (
    path: string,
    type: NodeType,
    options?: {
      readonly mode?: number | undefined
      readonly uid?: number | undefined
      readonly gid?: number | undefined
    }
  ) => Effect.Effect<void, PlatformError>
  /** Changes what the disk can take, from now on. */
  readonly configure: (settings: DiskSettings) => Effect.Effect<void>
}

const makeProcess = (volume: Volume, options: ViewOptions): Process =>
  new Process(volume, {
    uid: options.uid ?? 1000,
    gid: options.gid ?? 1000,
    groups: options.groups ?? [],
    umask: options.umask ?? 0o022,
    cwd: options.cwd ?? "/",
    temporaryDirectory: options.temporaryDirectory ?? "/tmp",
    maxOpenFiles: options.maxOpenFiles ?? Number.POSITIVE_INFINITY,
    step: options.step ?? (() => Effect.yieldNow())
  })

/**
 * A fresh disk, empty but for `/` and `/tmp`. Look at it through `view`.
 *
 * @example
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as MemoryFileSystem from "effect-filelock/MemoryFileSystem"
 *
 * const program = Effect.gen(function*() {
 *   const disk = yield* MemoryFileSystem.makeDisk({ capacity: 1024 })
 *   const alice = yield* disk.view({ uid: 1000 })
 *   const bob = yield* disk.view({ uid: 1001 })
 *   yield* alice.writeFileString("/tmp/diary", "dear", { mode: 0o600 })
 *   return yield* Effect.flip(bob.readFileString("/tmp/diary")) // PermissionDenied
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeDisk = (options: DiskOptions = {}): Effect.Effect<Disk> =>
  Effect.map(Clock.currentTimeMillis, (now) => {
    const settings = {
      capacity: options.capacity ?? Number.POSITIVE_INFINITY,
      inodes: options.inodes ?? Number.POSITIVE_INFINITY,
      readOnly: options.readOnly ?? false,
      reuseInodes: options.reuseInodes ?? true
    }
    const volume = new Volume(settings, now, options.owner ?? { uid: 1000, gid: 1000 })
    volume.createDirectory(volume.root, "tmp", 0o1777, { uid: 0, gid: 0 })
    return {
      view: (view) => Effect.sync(() => fileSystem.make(makeProcess(volume, view ?? {}))),
      makeNode: (path, type, node) => {
        const maker = makeProcess(volume, { uid: 0, gid: 0, umask: 0 })
        const site = { method: "makeNode", syscall: "mknod" }
        return operation("makeNode", [path], (at) =>
          call(maker, { ...site, path: at }, () => {
            PathCalls.mknod(maker, at, type, node?.mode ?? 0o666)
            PathCalls.chown(maker, at, node?.uid ?? 0, node?.gid ?? 0)
          }))
      },
      configure: (changes) =>
        Effect.sync(() => {
          settings.capacity = changes.capacity ?? settings.capacity
          settings.inodes = changes.inodes ?? settings.inodes
          settings.readOnly = changes.readOnly ?? settings.readOnly
          settings.reuseInodes = changes.reuseInodes ?? settings.reuseInodes
        })
    }
  })

/**
 * A fresh file system, with a disk of its own, for the user given, who owns its root.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeWith = (options: ViewOptions & DiskOptions): Effect.Effect<FileSystem.FileSystem> =>
  Effect.flatMap(
    makeDisk({ ...options, owner: options.owner ?? { uid: options.uid ?? 1000, gid: options.gid ?? 1000 } }),
    (disk) => disk.view(options)
  )

/**
 * A fresh file system, empty but for `/` and `/tmp`, for an ordinary user: permissions count.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make: Effect.Effect<FileSystem.FileSystem> = makeWith({})

/**
 * A fresh file system for each time the layer is built.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<FileSystem.FileSystem> = Layer.effect(FileSystem.FileSystem, make)

/**
 * A fresh file system with options, for each time the layer is built.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerWith = (options: ViewOptions & DiskOptions): Layer.Layer<FileSystem.FileSystem> =>
  Layer.effect(FileSystem.FileSystem, makeWith(options))

/**
 * One call of the service, as a plan sees it. What a user calls once is one operation, whatever it is made of; `seek` is
 * none, because nothing happens in it.
 *
 * @since 0.1.0
 * @category faults
 */
export interface Operation {
  /** The how-manieth of this view, from 0. */
  readonly index: number
  /**
   * The method of the service (`"rename"`), with `"File."` before it for that of a handle. The end of a scope is
   * `"File.close"`, `"makeTempDirectoryScoped.release"` or `"makeTempFileScoped.release"`.
   */
  readonly method: string
  /** The first path of the call; for a handle, the one it was opened at. */
  readonly path: string
}

/**
 * What goes wrong with an operation.
 *
 * - `Fail`: the answer is an error with that number, such as `"EIO"`: before anything happened, or after all of it did.
 * - `Delay`: the answer takes its time.
 * - `Hang`: the answer never comes. Interruptible wherever the caller is.
 * - `Crash`: the process is dead. This operation, those under way and all later ones never return, those of finalizers
 *   included. `"during"` a write so many bytes are `written` (default 0: the file is created or emptied, no more); other
 *   operations have no middle, and end before they begin.
 *
 * @since 0.1.0
 * @category faults
 */
export type Fault = Data.TaggedEnum<{
  Fail: { readonly errno: string; readonly moment: "before" | "after" }
  Delay: { readonly duration: Duration.DurationInput; readonly moment: "before" | "after" }
  Hang: { readonly moment: "before" | "after" }
  Crash: { readonly moment: "before" | "during" | "after"; readonly written?: number | undefined }
}>

const { $is, $match, Crash, Delay, Fail, Hang } = Data.taggedEnum<Fault>()

/**
 * The faults. Their moment is `"before"` unless told otherwise.
 *
 * @since 0.1.0
 * @category faults
 */
export const Fault = {
  Fail: (options: { readonly errno: string; readonly moment?: "before" | "after" | undefined }): Fault =>
    Fail({ errno: options.errno, moment: options.moment ?? "before" }),
  Delay: (
    options: { readonly duration: Duration.DurationInput; readonly moment?: "before" | "after" | undefined }
  ): Fault => Delay({ duration: options.duration, moment: options.moment ?? "before" }),
  Hang: (options?: { readonly moment?: "before" | "after" | undefined }): Fault =>
    Hang({ moment: options?.moment ?? "before" }),
  Crash: (
    options?: { readonly moment?: "before" | "during" | "after" | undefined; readonly written?: number | undefined }
  ): Fault => Crash({ moment: options?.moment ?? "before", written: options?.written }),
  $is,
  $match
}

/**
 * Decides the fate of each operation, and hears of the crash.
 *
 * @since 0.1.0
 * @category faults
 */
export interface FaultPlan {
  /** Asked once for each operation, in their order. */
  readonly fault: (operation: Operation) => Fault | undefined
  /** Runs once, at the moment of a crash. Default nothing. */
  readonly onCrash?: Effect.Effect<void> | undefined
}

/**
 * Any file system, the real one too, with things going wrong by plan.
 *
 * @example
 * ```ts
 * import * as FileSystem from "@effect/platform/FileSystem"
 * import * as Effect from "effect/Effect"
 * import * as MemoryFileSystem from "effect-filelock/MemoryFileSystem"
 *
 * const program = Effect.gen(function*() {
 *   const disk = yield* FileSystem.FileSystem
 *   const fs = yield* MemoryFileSystem.withFaults(disk, {
 *     fault: ({ method }) => method === "rename" ? MemoryFileSystem.Fault.Fail({ errno: "EIO", moment: "after" }) : undefined
 *   })
 *   yield* fs.writeFileString("/tmp/a", "content")
 *   yield* Effect.flip(fs.rename("/tmp/a", "/tmp/b")) // fails, yet it is there
 *   return yield* fs.readFileString("/tmp/b")
 * })
 * ```
 *
 * @since 0.1.0
 * @category faults
 */
export const withFaults: (
  fileSystem: FileSystem.FileSystem,
  plan: FaultPlan
) => Effect.Effect<FileSystem.FileSystem> = faults.withFaults

/**
 * A fresh in-memory file system with things going wrong by plan.
 *
 * @since 0.1.0
 * @category faults
 */
export const layerFaults = (plan: FaultPlan): Layer.Layer<FileSystem.FileSystem> =>
  Layer.effect(FileSystem.FileSystem, Effect.flatMap(make, (fileSystem) => withFaults(fileSystem, plan)))
