import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"

const codeOf = (error: PlatformError): unknown =>
  error.cause instanceof Error && "code" in error.cause ? error.cause.code : undefined

const failureOf = <A>(self: Effect.Effect<A, PlatformError>) => Effect.map(Effect.flip(self), codeOf)

/** Lets one system call through at a time, and says which one is next. */
const makeStepper = Effect.gen(function*() {
  let gate: { readonly step: MemoryFileSystem.Step; readonly go: Deferred.Deferred<void> } | undefined
  const arrived = yield* Effect.makeSemaphore(0)
  return {
    step: (step: MemoryFileSystem.Step) =>
      Effect.gen(function*() {
        const go = yield* Deferred.make<void>()
        gate = { step, go }
        yield* arrived.release(1)
        yield* Deferred.await(go)
      }),
    /** Waits until a call is about to be made, without letting it through. */
    next: Effect.map(arrived.take(1), () => gate?.step.syscall),
    go: Effect.suspend(() => gate === undefined ? Effect.void : Deferred.succeed(gate.go, void 0))
  }
})

describe("MemoryFileSystem", () => {
  it.effect("reads back what was written, and lists it", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      yield* fs.makeDirectory("/a/b", { recursive: true })
      yield* fs.writeFileString("/a/b/c", "héllo")
      yield* fs.writeFileString("/a/b/c", " world", { flag: "a" })
      assert.strictEqual(yield* fs.readFileString("/a/b/c"), "héllo world")
      assert.deepStrictEqual(yield* fs.readDirectory("/", { recursive: true }), ["a", "tmp", "a/b", "a/b/c"])
    }))

  it.effect("gives the errors of Node with all their fields", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      const error = yield* Effect.flip(fs.rename("/from", "/to"))
      assert.strictEqual(error._tag, "SystemError")
      if (error._tag !== "SystemError") return
      assert.deepStrictEqual(
        [error.reason, error.module, error.method, error.syscall, error.pathOrDescriptor],
        ["NotFound", "FileSystem", "rename", "rename", "/from"]
      )
      assert.strictEqual(error.description, "ENOENT: no such file or directory, rename '/from' -> '/to'")
      assert.instanceOf(error.cause, Error)
      assert.deepEqual({ ...Object(error.cause) }, {
        code: "ENOENT",
        errno: -2,
        syscall: "rename",
        path: "/from",
        dest: "/to"
      })
    }))

  it.effect("takes its times from the clock", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      yield* TestClock.setTime(1_000)
      yield* fs.writeFileString("/a", "1")
      yield* TestClock.setTime(5_000)
      yield* fs.writeFileString("/a", "2")
      const info = yield* fs.stat("/a")
      assert.deepStrictEqual(Option.map(info.birthtime, Number), Option.some(1_000))
      assert.deepStrictEqual(Option.map(info.mtime, Number), Option.some(5_000))
    }))

  it.effect("shows a file that is created and still empty to a reader in between", () =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk()
      const stepper = yield* makeStepper
      const writer = yield* disk.view({ step: stepper.step })
      const reader = yield* disk.view()
      const fiber = yield* Effect.fork(writer.writeFileString("/a", "content", { flag: "wx" }))
      assert.strictEqual(yield* stepper.next, "open")
      assert.isFalse(yield* reader.exists("/a"))
      yield* stepper.go
      assert.strictEqual(yield* stepper.next, "write")
      assert.strictEqual(yield* reader.readFileString("/a"), "")
      yield* stepper.go
      assert.strictEqual(yield* stepper.next, "close")
      assert.strictEqual(yield* reader.readFileString("/a"), "content")
      yield* stepper.go
      yield* Fiber.join(fiber)
    }))

  it.effect("leaves an empty file where a write was interrupted", () =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk()
      const reader = yield* disk.view()
      const opened = yield* Deferred.make<void>()
      const writer = yield* disk.view({
        maxOpenFiles: 1,
        step: ({ syscall }) =>
          syscall === "write" ? Effect.zipRight(Deferred.succeed(opened, void 0), Effect.never) : Effect.void
      })
      const fiber = yield* Effect.fork(writer.writeFileString("/a", "content"))
      yield* Deferred.await(opened)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* reader.readFileString("/a"), "")
      // The handle was closed, or this would be one too many.
      assert.strictEqual(yield* writer.readFileString("/a"), "")
    }))

  it.scoped("keeps a handle on its file when the name goes to another", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      yield* fs.writeFileString("/a", "old")
      const file = yield* fs.open("/a", { flag: "r+" })
      const before = yield* file.stat
      yield* fs.remove("/a")
      yield* fs.writeFileString("/a", "new")
      yield* file.writeAll(new TextEncoder().encode("OLD!"))
      const after = yield* file.stat
      assert.strictEqual(yield* fs.readFileString("/a"), "new")
      assert.deepStrictEqual(after.ino, before.ino)
      assert.deepStrictEqual([after.nlink, after.size], [Option.some(0), FileSystem.Size(4)])
      assert.notDeepEqual((yield* fs.stat("/a")).ino, before.ino)
    }))

  it.effect("gives a freed inode number to the next file, unless told not to", () =>
    Effect.gen(function*() {
      for (const reuseInodes of [true, false]) {
        const fs = yield* MemoryFileSystem.makeWith({ reuseInodes })
        yield* fs.writeFileString("/a", "")
        const { ino } = yield* fs.stat("/a")
        yield* fs.remove("/a")
        yield* fs.writeFileString("/b", "")
        assert.strictEqual(Option.getOrThrow((yield* fs.stat("/b")).ino) === Option.getOrThrow(ino), reuseInodes)
      }
    }))

  it.effect("lets each user do what the permissions allow", () =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk()
      const owner = yield* disk.view()
      const other = yield* disk.view({ uid: 1001, gid: 1001 })
      const member = yield* disk.view({ uid: 1002, gid: 1002, groups: [1000] })
      const root = yield* disk.view({ uid: 0, gid: 0 })
      yield* owner.writeFileString("/secret", "s", { mode: 0o640 })
      assert.strictEqual(yield* failureOf(other.readFile("/secret")), "EACCES")
      assert.strictEqual(yield* member.readFileString("/secret"), "s")
      assert.strictEqual(yield* failureOf(member.writeFileString("/secret", "")), "EACCES")
      assert.strictEqual(yield* failureOf(other.chmod("/secret", 0o666)), "EPERM")
      yield* root.chown("/secret", 1001, 1001)
      assert.strictEqual(yield* other.readFileString("/secret"), "s")
      yield* other.writeFileString("/tmp/mine", "")
      assert.strictEqual(yield* failureOf(owner.rename("/tmp/mine", "/tmp/yours")), "EPERM")
    }))

  it.effect("runs out of bytes after writing those that fit, and has them back after a removal", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.makeWith({ capacity: 10 })
      yield* fs.writeFileString("/a", "1234567")
      assert.strictEqual(yield* failureOf(fs.writeFileString("/b", "1234567")), "ENOSPC")
      assert.strictEqual(yield* fs.readFileString("/b"), "123")
      yield* fs.remove("/a")
      yield* fs.writeFileString("/b", "1234567890")
    }))

  it.effect("runs out of inodes, of open files, and of the right to write", () =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk({ inodes: 3 })
      const fs = yield* disk.view({ maxOpenFiles: 1 })
      yield* fs.writeFileString("/a", "")
      assert.strictEqual(yield* failureOf(fs.makeDirectory("/b")), "ENOSPC")
      assert.strictEqual(
        yield* Effect.scoped(Effect.zipRight(fs.open("/a"), failureOf(fs.readFile("/a")))),
        "EMFILE"
      )
      yield* disk.configure({ readOnly: true })
      assert.strictEqual(yield* failureOf(fs.writeFileString("/a", "x")), "EROFS")
      assert.strictEqual(yield* failureOf(fs.remove("/a")), "EROFS")
      assert.strictEqual(yield* fs.readFileString("/a"), "")
    }))

  it.effect("never returns from a FIFO, and knows the other kinds of file", () =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk()
      const fs = yield* disk.view()
      yield* disk.makeNode("/fifo", "FIFO")
      yield* disk.makeNode("/socket", "Socket")
      yield* disk.makeNode("/null", "CharacterDevice")
      const fiber = yield* Effect.fork(Effect.timeoutOption(fs.readFileString("/fifo"), "1 day"))
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual(yield* Fiber.join(fiber), Option.none())
      assert.strictEqual((yield* fs.stat("/fifo")).type, "FIFO")
      assert.strictEqual(yield* failureOf(fs.readFile("/socket")), "ENXIO")
      yield* fs.writeFileString("/null", "gone")
      assert.strictEqual(yield* fs.readFileString("/null"), "")
    }))

  it.effect("follows forty links and not one more", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      yield* fs.writeFileString("/0", "end")
      for (let i = 1; i <= 41; i++) yield* fs.symlink(`${i - 1}`, `/${i}`)
      assert.strictEqual(yield* fs.readFileString("/40"), "end")
      assert.strictEqual(yield* failureOf(fs.readFile("/41")), "ELOOP")
    }))

  it.effect("streams into and out of files", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      const content = new Uint8Array(200_000).map((_, index) => index % 251)
      yield* Stream.run(Stream.make(content.subarray(0, 70_000), content.subarray(70_000)), fs.sink("/a"))
      const chunks = yield* Stream.runCollect(fs.stream("/a", { offset: 5, chunkSize: 64 * 1024 }))
      assert.strictEqual(Chunk.reduce(chunks, 0, (sum, bytes) => sum + bytes.length), content.length - 5)
      assert.deepStrictEqual(Chunk.unsafeHead(chunks).subarray(0, 3), content.subarray(5, 8))
    }))

  it.effect("removes what was temporary with its scope", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      yield* Effect.scoped(Effect.gen(function*() {
        const file = yield* fs.makeTempFileScoped({ prefix: "p-", suffix: ".txt" })
        const directory = yield* fs.makeTempDirectoryScoped()
        assert.match(file, /^\/tmp\/p-\w{6}\/[0-9a-f]{12}\.txt$/)
        assert.strictEqual((yield* fs.stat(directory)).mode, 0o040700)
        yield* fs.writeFileString(`${directory}/x`, "")
      }))
      assert.deepStrictEqual(yield* fs.readDirectory("/tmp"), [])
    }))
})
