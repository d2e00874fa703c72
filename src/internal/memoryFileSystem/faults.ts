import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import type * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Sink from "effect/Sink"
import * as Stream from "effect/Stream"
import type { Fault, FaultPlan } from "../../MemoryFileSystem.js"
import * as Runtime from "../runtime.js"
import { forever } from "./call.js"
import { nodeError, systemError } from "./errno.js"

/** What Node calls the operation in an error, and the system call it would have failed in: at its start and at its end. */
const sites: Record<string, readonly [method: string, before: string, after?: string]> = {
  access: ["access", "access"],
  chmod: ["chmod", "chmod"],
  chown: ["chown", "chown"],
  copy: ["copy", "lstat", "copyfile"],
  copyFile: ["copyFile", "copyfile"],
  exists: ["access", "access"],
  link: ["link", "link"],
  makeDirectory: ["makeDirectory", "mkdir"],
  makeTempDirectory: ["makeTempDirectory", "mkdtemp"],
  makeTempDirectoryScoped: ["makeTempDirectoryScoped", "mkdtemp"],
  "makeTempDirectoryScoped.release": ["makeTempDirectoryScoped", "rmdir"],
  makeTempFile: ["makeTempFile", "mkdtemp", "open"],
  makeTempFileScoped: ["makeTempFileScoped", "mkdtemp", "open"],
  "makeTempFileScoped.release": ["makeTempFileScoped", "rmdir"],
  open: ["open", "open"],
  readDirectory: ["readDirectory", "scandir"],
  readFile: ["readFile", "open", "read"],
  readFileString: ["readFile", "open", "read"],
  readLink: ["readLink", "readlink"],
  realPath: ["realPath", "lstat"],
  remove: ["remove", "lstat", "unlink"],
  rename: ["rename", "rename"],
  sink: ["open", "open", "write"],
  stat: ["stat", "stat"],
  stream: ["open", "open", "read"],
  symlink: ["symlink", "symlink"],
  truncate: ["truncate", "open", "ftruncate"],
  utimes: ["utime", "utime"],
  watch: ["stat", "stat"],
  writeFile: ["writeFile", "open", "write"],
  writeFileString: ["writeFile", "open", "write"],
  "File.close": ["open", "close"],
  "File.read": ["read", "read"],
  "File.readAlloc": ["readAlloc", "read"],
  "File.stat": ["stat", "fstat"],
  "File.sync": ["sync", "fsync"],
  "File.truncate": ["truncate", "ftruncate"],
  "File.write": ["write", "write"],
  "File.writeAll": ["writeAll", "write"]
}

const onDescriptor = new Set(["close", "fstat", "fsync", "ftruncate", "read", "write"])

const failure = (method: string, path: string | number, errno: string, moment: "before" | "after"): PlatformError => {
  const [name, before, after = before] = sites[method] ?? [method, method]
  const syscall = moment === "before" ? before : after
  const origin = onDescriptor.has(syscall) || typeof path === "number" ? { syscall } : { syscall, path }
  return systemError(name, path, nodeError(errno, origin))
}

interface Site {
  readonly method: string
  readonly path: string
  /** What an error names where that is not the path. */
  readonly fd?: number
}

/** Does the first part of a write, of which a crash lets no more than so many bytes through. */
type Partial = (written: number) => Effect.Effect<unknown, PlatformError>

/**
 * A process that meets its plan: what it has under way, and whether it still lives.
 */
class Faults {
  private index = 0
  private dead = false
  private readonly underWay = new Set<Fiber.RuntimeFiber<unknown, unknown>>()

  constructor(private readonly plan: FaultPlan) {}

  /** Lets nothing through any more once the process is dead. */
  readonly alive: Effect.Effect<void> = Effect.suspend(() => this.dead ? forever : Effect.void)

  /**
   * In a fiber of its own, because a crash stops what other fibers of the process are in the middle of, however
   * uninterruptible they declare it: death does not ask.
   */
  private through<A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    // A daemon, because an interruption reaches the children of a fiber at once, even where the fiber itself may not be cut off.
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.forkDaemon(Effect.interruptible(self)), (fiber) => {
        this.underWay.add(fiber)
        return Effect.exit(restore(Fiber.join(fiber))).pipe(
          Effect.tap((exit) => Exit.isInterrupted(exit) && !this.dead ? Fiber.interrupt(fiber) : Effect.void),
          Effect.tap(() => Effect.sync(() => this.underWay.delete(fiber))),
          Effect.flatMap((exit) => this.dead ? restore(forever) : exit)
        )
      })
    )
  }

  private readonly crash: Effect.Effect<never> = Effect.suspend(() => {
    if (this.dead) return forever
    this.dead = true
    for (const fiber of this.underWay) Runtime.interrupt(fiber)
    return Effect.zipRight(this.plan.onCrash ?? Effect.void, forever)
  })

  /** What the plan says about the next operation. */
  private next(site: Site): Fault | undefined {
    return this.plan.fault({ index: this.index++, method: site.method, path: site.path })
  }

  private strike(
    fault: Fault | undefined,
    site: Site,
    moment: "before" | "after"
  ): Effect.Effect<void, PlatformError> {
    // Only a write has a middle; for the rest it is the beginning.
    const crashes = fault?._tag === "Crash" && fault.moment === "during" && moment === "before"
    if (fault === undefined || (fault.moment !== moment && !crashes)) return Effect.void
    switch (fault._tag) {
      case "Fail":
        return Effect.fail(failure(site.method, site.fd ?? site.path, fault.errno, moment))
      case "Delay":
        return Effect.sleep(fault.duration)
      case "Hang":
        return forever
      case "Crash":
        return this.crash
    }
  }

  operation<A, R>(
    site: Site,
    self: Effect.Effect<A, PlatformError, R>,
    partial?: Partial
  ): Effect.Effect<A, PlatformError, R> {
    return Effect.suspend(() => {
      if (this.dead) return forever
      const fault = this.next(site)
      if (partial !== undefined && fault?._tag === "Crash" && fault.moment === "during") {
        return Effect.zipRight(Effect.exit(this.through(partial(fault.written ?? 0))), this.crash)
      }
      return this.strike(fault, site, "before").pipe(
        Effect.zipRight(this.through(self)),
        Effect.zipLeft(this.strike(fault, site, "after")),
        Effect.zipLeft(this.alive)
      )
    })
  }

  stream<A>(site: Site, self: Stream.Stream<A, PlatformError>): Stream.Stream<A, PlatformError> {
    return Stream.unwrap(Effect.suspend(() => {
      if (this.dead) return forever
      const fault = this.next(site)
      return Effect.as(
        this.strike(fault, site, "before"),
        self.pipe(
          Stream.mapChunksEffect((chunk) => Effect.as(this.alive, chunk)),
          Stream.concat(Stream.execute(Effect.zipRight(this.alive, this.strike(fault, site, "after"))))
        )
      )
    }))
  }

  sink(site: Site, self: Sink.Sink<void, Uint8Array, never, PlatformError>) {
    return Sink.unwrap(Effect.suspend(() => {
      if (this.dead) return forever
      const fault = this.next(site)
      return Effect.as(
        this.strike(fault, site, "before"),
        self.pipe(
          Sink.mapInputChunksEffect((chunk: Chunk.Chunk<Uint8Array>) => Effect.as(this.alive, chunk)),
          Sink.mapEffect(() => Effect.zipRight(this.alive, this.strike(fault, site, "after")))
        )
      )
    }))
  }

  /** A resource whose release is an operation, too: to a dead process not even its finalizers happen. */
  scoped<A>(
    site: Site,
    release: (value: A) => Site,
    self: Effect.Effect<A, PlatformError, Scope.Scope>
  ): Effect.Effect<A, PlatformError, Scope.Scope> {
    return Effect.uninterruptible(Effect.gen(this, function*() {
      const scope = yield* Scope.make()
      const exit = yield* Effect.exit(this.operation(site, Scope.extend(self, scope)))
      if (Exit.isFailure(exit)) {
        yield* Scope.close(scope, exit)
        return yield* exit
      }
      yield* Effect.addFinalizer((end) => Effect.orDie(this.operation(release(exit.value), Scope.close(scope, end))))
      return exit.value
    }))
  }
}

const encoder = new TextEncoder()

class FaultyFile implements FileSystem.File {
  readonly [FileSystem.FileTypeId]: FileSystem.FileTypeId = FileSystem.FileTypeId
  readonly fd: FileSystem.File.Descriptor
  constructor(private readonly faults: Faults, private readonly path: string, private readonly file: FileSystem.File) {
    this.fd = file.fd
  }

  private site(method: string): Site {
    return { method: `File.${method}`, path: this.path, fd: this.fd }
  }

  private begin(bytes: Uint8Array): Partial {
    return (written) => written > 0 ? this.file.writeAll(bytes.subarray(0, written)) : Effect.void
  }

  get stat(): Effect.Effect<FileSystem.File.Info, PlatformError> {
    return this.faults.operation(this.site("stat"), this.file.stat)
  }

  get sync(): Effect.Effect<void, PlatformError> {
    return this.faults.operation(this.site("sync"), this.file.sync)
  }

  seek(offset: FileSystem.SizeInput, from: FileSystem.SeekMode): Effect.Effect<void> {
    return Effect.zipRight(this.faults.alive, this.file.seek(offset, from))
  }

  read(buffer: Uint8Array): Effect.Effect<FileSystem.Size, PlatformError> {
    return this.faults.operation(this.site("read"), this.file.read(buffer))
  }

  readAlloc(size: FileSystem.SizeInput): Effect.Effect<Option.Option<Uint8Array>, PlatformError> {
    return this.faults.operation(this.site("readAlloc"), this.file.readAlloc(size))
  }

  truncate(length?: FileSystem.SizeInput): Effect.Effect<void, PlatformError> {
    return this.faults.operation(this.site("truncate"), this.file.truncate(length))
  }

  write(bytes: Uint8Array): Effect.Effect<FileSystem.Size, PlatformError> {
    return this.faults.operation(this.site("write"), this.file.write(bytes), this.begin(bytes))
  }

  writeAll(bytes: Uint8Array): Effect.Effect<void, PlatformError> {
    return this.faults.operation(this.site("writeAll"), this.file.writeAll(bytes), this.begin(bytes))
  }
}

/**
 * The derived operations are wrapped as they are, and not derived once more from wrapped ones: what a caller calls once is
 * one operation of the plan.
 *
 * @internal
 */
export const withFaults = (
  fileSystem: FileSystem.FileSystem,
  plan: FaultPlan
): Effect.Effect<FileSystem.FileSystem> =>
  Effect.sync(() => {
    const faults = new Faults(plan)

    const at = <Args extends ReadonlyArray<unknown>, A>(
      method: string,
      run: (path: string, ...args: Args) => Effect.Effect<A, PlatformError>
    ) =>
    (path: string, ...args: Args) => faults.operation({ method, path }, run(path, ...args))

    return FileSystem.FileSystem.of({
      access: at("access", fileSystem.access),
      chmod: at("chmod", fileSystem.chmod),
      chown: at("chown", fileSystem.chown),
      copy: at("copy", fileSystem.copy),
      copyFile: at("copyFile", fileSystem.copyFile),
      exists: (path) =>
        Effect.catchIf(
          faults.operation({ method: "exists", path }, fileSystem.exists(path)),
          (error) => error._tag === "SystemError" && error.reason === "NotFound",
          () => Effect.succeed(false)
        ),
      link: at("link", fileSystem.link),
      makeDirectory: at("makeDirectory", fileSystem.makeDirectory),
      makeTempDirectory: (options) =>
        faults.operation(
          { method: "makeTempDirectory", path: options?.directory ?? "" },
          fileSystem.makeTempDirectory(options)
        ),
      makeTempDirectoryScoped: (options) =>
        faults.scoped(
          { method: "makeTempDirectoryScoped", path: options?.directory ?? "" },
          (path) => ({ method: "makeTempDirectoryScoped.release", path }),
          fileSystem.makeTempDirectoryScoped(options)
        ),
      makeTempFile: (options) =>
        faults.operation({ method: "makeTempFile", path: options?.directory ?? "" }, fileSystem.makeTempFile(options)),
      makeTempFileScoped: (options) =>
        faults.scoped(
          { method: "makeTempFileScoped", path: options?.directory ?? "" },
          (path) => ({ method: "makeTempFileScoped.release", path }),
          fileSystem.makeTempFileScoped(options)
        ),
      open: (path, options) =>
        Effect.map(
          faults.scoped(
            { method: "open", path },
            ({ fd }) => ({ method: "File.close", path, fd }),
            fileSystem.open(path, options)
          ),
          (file) => new FaultyFile(faults, path, file)
        ),
      readDirectory: at("readDirectory", fileSystem.readDirectory),
      readFile: at("readFile", fileSystem.readFile),
      readFileString: at("readFileString", fileSystem.readFileString),
      readLink: at("readLink", fileSystem.readLink),
      realPath: at("realPath", fileSystem.realPath),
      remove: at("remove", fileSystem.remove),
      rename: at("rename", fileSystem.rename),
      sink: (path, options) => faults.sink({ method: "sink", path }, fileSystem.sink(path, options)),
      stat: at("stat", fileSystem.stat),
      stream: (path, options) => faults.stream({ method: "stream", path }, fileSystem.stream(path, options)),
      symlink: at("symlink", fileSystem.symlink),
      truncate: at("truncate", fileSystem.truncate),
      utimes: at("utimes", fileSystem.utimes),
      watch: (path, options) => faults.stream({ method: "watch", path }, fileSystem.watch(path, options)),
      writeFile: (path, data, options) =>
        faults.operation(
          { method: "writeFile", path },
          fileSystem.writeFile(path, data, options),
          (written) => fileSystem.writeFile(path, data.subarray(0, written), options)
        ),
      writeFileString: (path, data, options) =>
        faults.operation(
          { method: "writeFileString", path },
          fileSystem.writeFileString(path, data, options),
          (written) => fileSystem.writeFile(path, encoder.encode(data).subarray(0, written), options)
        )
    })
  })
