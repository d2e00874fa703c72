import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/TestClock"
import type { LockAcquisitionError, LockDirectoryError } from "../../../src/LockError.js"
import * as MemoryFileSystem from "../../../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../../../src/ProcessIdentity.js"
import { failureOf } from "../../utils/failures.js"
import { onEveryFileSystem, type TestDirectory } from "../../utils/fileSystems.js"
import * as SimulatedProcess from "../../utils/SimulatedProcess.js"
import * as Simulation from "../../utils/Simulation.js"

/** The error of a process that fails long before its deadline. */
const atOnce = (simulated: SimulatedProcess.SimulatedProcess, path: string) =>
  Effect.gen(function*() {
    const error = yield* failureOf(simulated.locks.withLock(Effect.void, path, { timeout: "1 hour" }))
    const optional = yield* failureOf(simulated.locks.withLockIfAvailable(Effect.void, path))
    assert.strictEqual(optional._tag, error._tag, "an impossible lock is not reported as a lock that is taken")
    const several = yield* failureOf(Effect.scoped(simulated.locks.acquireAll([path], { timeout: "infinity" })))
    assert.strictEqual(several._tag, error._tag)
    return error
  })

const reasonOf = (error: LockAcquisitionError | LockDirectoryError | { readonly _tag: "LockLostError" }) =>
  error._tag === "LockAcquisitionError" ? error.reason : error._tag

/** In a fiber of its own: one that holds the lock would be told that it waits for itself. */
const asAnother = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.flatMap(Effect.fork(self), Fiber.join)

const listing = ({ directory, fs }: TestDirectory) => fs.readDirectory(directory, { recursive: true })

const refusesAtOnce = (
  what: string,
  reason: ReturnType<typeof reasonOf>,
  prepare: (test: TestDirectory) => Effect.Effect<string, unknown>
) =>
  onEveryFileSystem(`refuses ${what} at once`, (test) =>
    Effect.gen(function*() {
      const path = yield* prepare(test)
      const before = yield* listing(test)
      const error = yield* atOnce(yield* test.join(), path)
      assert.strictEqual(reasonOf(error), reason)
      assert.strictEqual(error.path, path)
      assert.deepStrictEqual(yield* listing(test), before)
    }))

describe("A path that cannot be locked", () => {
  refusesAtOnce("an empty path", "InvalidPath", () => Effect.succeed(""))

  refusesAtOnce("a path with a NUL", "InvalidPath", ({ directory }) => Effect.succeed(`${directory}/a\0b`))

  refusesAtOnce(
    "a name that leaves no room for that of its lock file",
    "InvalidPath",
    ({ directory }) => Effect.succeed(`${directory}/${"n".repeat(251)}`)
  )

  refusesAtOnce(
    "a name that is short in characters and too long in bytes",
    "InvalidPath",
    ({ directory }) => Effect.succeed(`${directory}/${"é".repeat(126)}`)
  )

  refusesAtOnce(
    "a path that is too long",
    "InvalidPath",
    ({ directory }) => Effect.succeed(`${directory}/${"long/".repeat(1000)}end`)
  )

  refusesAtOnce(
    "a directory that is a file",
    "LockDirectoryError",
    ({ directory, fs }) => Effect.as(fs.writeFileString(`${directory}/file`, "content"), `${directory}/file/below`)
  )

  refusesAtOnce(
    "a directory far below a file",
    "LockDirectoryError",
    ({ directory, fs }) => Effect.as(fs.writeFileString(`${directory}/file`, "content"), `${directory}/file/a/b/c`)
  )

  refusesAtOnce(
    "a directory that is a link to a place below a file",
    "LockDirectoryError",
    ({ directory, fs }) =>
      fs.writeFileString(`${directory}/file`, "content").pipe(
        Effect.zipRight(fs.symlink(`${directory}/file/nowhere`, `${directory}/link`)),
        Effect.as(`${directory}/link/below`)
      )
  )

  refusesAtOnce(
    "a loop of symbolic links",
    "InvalidPath",
    ({ directory, fs }) =>
      fs.symlink("round", `${directory}/about`).pipe(
        Effect.zipRight(fs.symlink("about", `${directory}/round`)),
        Effect.as(`${directory}/round`)
      )
  )

  refusesAtOnce(
    "a directory in a loop of symbolic links",
    "InvalidPath",
    ({ directory, fs }) => Effect.as(fs.symlink("itself", `${directory}/itself`), `${directory}/itself/below`)
  )

  it.scopedLive("refuses a place where nothing can be made, as below /proc, at once", () =>
    Effect.gen(function*() {
      const machine = yield* ProcessIdentity.makeMachine()
      const simulated = yield* SimulatedProcess.start(yield* machine.spawn(), yield* FileSystem.FileSystem)
      for (const path of ["/proc/nope/x", "/proc/self/nope/deeper/x", "/dev/null/x"]) {
        const error = yield* atOnce(simulated, path)
        assert.strictEqual(error._tag, "LockDirectoryError", path)
      }
    }).pipe(Effect.provide(NodeFileSystem.layer)))
})

describe("A path that looks impossible and is not", () => {
  onEveryFileSystem(
    "locks the longest name whose lock file still has one, and takes it over when its holder dies",
    (test) =>
      Effect.gen(function*() {
        const path = `${test.directory}/${"n".repeat(250)}`
        const first = yield* test.join()
        yield* Effect.orDie(first.locks.acquire(path))
        yield* test.machine.kill(first.identity)
        const second = yield* test.join()
        assert.deepStrictEqual(
          yield* second.locks.withLock(listing(test), path),
          [`${"n".repeat(250)}.lock`]
        )
        assert.deepStrictEqual(yield* listing(test), [])
      })
  )

  onEveryFileSystem("makes what a dangling link to a directory leads to", (test) =>
    Effect.gen(function*() {
      const { directory, fs } = test
      yield* fs.symlink(`${directory}/there/deep`, `${directory}/link`)
      const simulated = yield* test.join()
      yield* simulated.locks.withLock(
        Effect.gen(function*() {
          assert.isTrue(yield* fs.exists(`${directory}/there/deep/file.lock`))
        }),
        `${directory}/link/file`
      )
      assert.deepStrictEqual(yield* fs.readDirectory(`${directory}/there/deep`), [])
    }))

  onEveryFileSystem("locks names that other programs stumble over", (test) =>
    Effect.gen(function*() {
      const simulated = yield* test.join()
      for (
        const name of [
          "-rf",
          " ",
          "a b",
          "*",
          "\n",
          "\u001b[31m",
          "日本語",
          "file.lock",
          "file.lock.reap",
          "...",
          "%00"
        ]
      ) {
        yield* simulated.locks.withLock(
          Effect.gen(function*() {
            assert.deepStrictEqual(yield* listing(test), [`${name}.lock`])
          }),
          `${test.directory}/${name}`
        )
        assert.deepStrictEqual(yield* listing(test), [])
      }
    }))
})

describe("A directory that a process may not write", () => {
  const withUsers = (
    test: (
      owner: SimulatedProcess.SimulatedProcess,
      other: SimulatedProcess.SimulatedProcess,
      machine: ProcessIdentity.Machine
    ) => Effect.Effect<void, unknown>
  ) =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk()
      const machine = yield* ProcessIdentity.makeMachine()
      const owner = yield* SimulatedProcess.start(yield* machine.spawn(), yield* disk.view())
      const other = yield* SimulatedProcess.start(yield* machine.spawn(), yield* disk.view({ uid: 1001, gid: 1001 }))
      yield* test(owner, other, machine)
    }).pipe(Effect.scoped, Simulation.run)

  it.effect("is told from one that it may write", () =>
    withUsers((owner, other) =>
      Effect.gen(function*() {
        yield* owner.fs.makeDirectory("/mine", { mode: 0o755 })
        for (const path of ["/mine/file", "/mine/below/file"]) {
          const error = yield* atOnce(other, path)
          assert.strictEqual(error._tag, "LockDirectoryError")
          yield* owner.locks.withLock(Effect.void, path)
        }
      })
    ))

  it.effect("is told even where it may not be read", () =>
    withUsers((owner, other) =>
      Effect.gen(function*() {
        yield* owner.fs.makeDirectory("/secret", { mode: 0o700 })
        for (const path of ["/secret/file", "/secret/below/file"]) {
          assert.strictEqual((yield* atOnce(other, path))._tag, "LockDirectoryError")
        }
        const inspected = yield* failureOf(other.locks.inspect("/secret/file"))
        assert.strictEqual(inspected.reason, "PermissionDenied")
      })
    ))

  it.effect("does not hinder a lock of another user in a directory that all users may write", () =>
    withUsers((owner, other) =>
      Effect.gen(function*() {
        const error = yield* owner.locks.withLock(
          asAnother(failureOf(other.locks.withLock(Effect.void, "/tmp/file", { timeout: "1 second" }))),
          "/tmp/file"
        )
        assert.strictEqual(reasonOf(error), "Timeout")
        yield* other.locks.withLock(Effect.void, "/tmp/file")
        assert.deepStrictEqual(yield* owner.fs.readDirectory("/tmp"), [])
      })
    ))

  it.effect("keeps the lock of a dead user where no other user may replace it, and says so at the deadline", () =>
    withUsers((owner, other, machine) =>
      Effect.gen(function*() {
        yield* Effect.scoped(Effect.gen(function*() {
          yield* owner.locks.acquire("/tmp/file")
          yield* machine.kill(owner.identity)
          // The directory is sticky: only its owner may take a file away.
          const error = yield* failureOf(other.locks.withLock(Effect.void, "/tmp/file", { timeout: "5 seconds" }))
          assert.strictEqual(reasonOf(error), "PermissionDenied")
          assert.include(error.message, "another user")
          assert.deepStrictEqual(yield* owner.fs.readDirectory("/tmp"), ["file.lock"])
        }))
      })
    ))
})

describe("A disk that has no room, or takes no more", () => {
  const withLimits = (
    options: MemoryFileSystem.DiskSettings & MemoryFileSystem.ViewOptions,
    test: (
      simulated: SimulatedProcess.SimulatedProcess,
      disk: MemoryFileSystem.Disk,
      fs: FileSystem.FileSystem
    ) => Effect.Effect<void, unknown>
  ) =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk()
      const fs = yield* disk.view()
      yield* fs.makeDirectory("/data")
      yield* disk.configure(options)
      const machine = yield* ProcessIdentity.makeMachine()
      yield* test(yield* SimulatedProcess.start(yield* machine.spawn(), yield* disk.view(options)), disk, fs)
    }).pipe(Effect.scoped, Simulation.run)

  const full = { "not a byte": { capacity: 0 }, "half a record": { capacity: 100 }, "no more files": { inodes: 3 } }
  for (const [room, options] of Object.entries(full)) {
    it.effect(`says at once that storage is full (room for ${room}), and works again when it is not`, () =>
      withLimits(options, (simulated, disk, fs) =>
        Effect.gen(function*() {
          const error = yield* failureOf(simulated.locks.withLock(Effect.void, "/data/file", { timeout: "1 hour" }))
          assert.strictEqual(reasonOf(error), "StorageFull")
          assert.isBelow(error._tag === "LockAcquisitionError" ? error.waited : Infinity, 1000)
          const later = yield* failureOf(simulated.locks.withLock(Effect.void, "/data/file", { timeout: "5 seconds" }))
          assert.strictEqual(reasonOf(later), "StorageFull")
          yield* disk.configure({ capacity: 1_000_000, inodes: 100 })
          yield* simulated.locks.withLock(Effect.void, "/data/file")
          yield* Effect.sleep("10 seconds")
          assert.deepStrictEqual(yield* fs.readDirectory("/data"), [])
        })))
  }

  it.effect("says at once that the file system is read-only, and works again when it is not", () =>
    withLimits({ readOnly: true }, (simulated, disk, fs) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* atOnce(simulated, "/data/file"))._tag, "LockDirectoryError")
        yield* disk.configure({ readOnly: false })
        yield* simulated.locks.withLock(Effect.void, "/data/file")
        assert.deepStrictEqual(yield* fs.readDirectory("/data"), [])
      })))

  it.effect("waits while too many files are open, and says so at the deadline", () =>
    withLimits({ maxOpenFiles: 1 }, (simulated, _, fs) =>
      Effect.gen(function*() {
        yield* fs.writeFileString("/data/open", "")
        const error = yield* Effect.scoped(Effect.zipRight(
          simulated.fs.open("/data/open"),
          failureOf(simulated.locks.withLock(Effect.void, "/data/file", { timeout: "1 second" }))
        ))
        assert.strictEqual(reasonOf(error), "SystemError")
        assert.include(error.message, "EMFILE")
        yield* simulated.locks.withLock(Effect.void, "/data/file")
        assert.deepStrictEqual(yield* fs.readDirectory("/data"), ["open"])
      })))
})

describe("A wait for another process", () => {
  /** Waits while another process holds the lock for so many seconds; how often it read the lock file. */
  const readsWhile = (seconds: number, pass: Effect.Effect<void>) =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk()
      const machine = yield* ProcessIdentity.makeMachine()
      let reads = 0
      const fs = yield* disk.view()
      const watched = yield* disk.view({
        step: ({ path, syscall }) =>
          Effect.sync(() => {
            if (syscall === "open" && path === "/tmp/file.lock") reads += 1
          })
      })
      const holder = yield* SimulatedProcess.start(yield* machine.spawn(), fs)
      const waiter = yield* SimulatedProcess.start(yield* machine.spawn(), watched)
      const entered = yield* Deferred.make<void>()
      const body = Effect.zipRight(Deferred.succeed(entered, undefined), Effect.sleep(Duration.seconds(seconds)))
      const holding = yield* Effect.fork(holder.locks.withLock(body, "/tmp/file"))
      yield* Deferred.await(entered)
      const waiting = yield* Effect.fork(
        Effect.timed(waiter.locks.withLock(Effect.void, "/tmp/file", { timeout: "2 minutes" }))
      )
      yield* pass
      yield* Fiber.join(holding)
      const [waited] = yield* Fiber.join(waiting)
      assert.isAtLeast(Duration.toSeconds(waited), seconds)
      assert.isAtMost(Duration.toSeconds(waited), seconds + 0.1)
      assert.deepStrictEqual(yield* fs.readDirectory("/tmp"), [])
      return reads
    }).pipe(Effect.scoped)

  it.effect("of a minute ends with the release, and looks at the lock a few times meanwhile", () =>
    Effect.gen(function*() {
      assert.isAtMost(yield* readsWhile(60, Effect.void), 200)
    }).pipe(Simulation.run))

  // Each wake-up costs `TestClock` some milliseconds of real time.
  it.effect("goes by the clock of Effect's tests, and by no other", () =>
    Effect.gen(function*() {
      assert.isAtMost(yield* readsWhile(60, TestClock.adjust("61 seconds")), 200)
    }))
})
