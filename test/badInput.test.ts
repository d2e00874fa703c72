import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { LockAcquisitionError, LockDirectoryError } from "../src/LockError.js"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import { failureOf } from "./utils/failures.js"
import { onEveryFileSystem, type TestDirectory } from "./utils/fileSystems.js"
import { makeRecord } from "./utils/records.js"
import * as SimulatedProcess from "./utils/SimulatedProcess.js"
import * as Simulation from "./utils/Simulation.js"

/** What was raised long before anybody ran out of time. */
const atOnce = (player: SimulatedProcess.SimulatedProcess, path: string) =>
  Effect.gen(function*() {
    const error = yield* failureOf(player.locks.withLock(Effect.void, path, { timeout: "1 hour" }))
    const optional = yield* failureOf(player.locks.withLockIfAvailable(Effect.void, path))
    assert.strictEqual(optional._tag, error._tag, "what cannot work is no lock that is merely taken")
    const several = yield* failureOf(Effect.scoped(player.locks.acquireAll([path], { timeout: "infinity" })))
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
  prepare: (ground: TestDirectory) => Effect.Effect<string, unknown>
) =>
  onEveryFileSystem(`refuses ${what} at once`, (ground) =>
    Effect.gen(function*() {
      const path = yield* prepare(ground)
      const before = yield* listing(ground)
      const error = yield* atOnce(yield* ground.join(), path)
      assert.strictEqual(reasonOf(error), reason)
      assert.strictEqual(error.path, path)
      assert.deepStrictEqual(yield* listing(ground), before)
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
      const player = yield* SimulatedProcess.start(yield* machine.spawn(), yield* FileSystem.FileSystem)
      for (const path of ["/proc/nope/x", "/proc/self/nope/deeper/x", "/dev/null/x"]) {
        const error = yield* atOnce(player, path)
        assert.strictEqual(error._tag, "LockDirectoryError", path)
      }
    }).pipe(Effect.provide(NodeFileSystem.layer)))
})

describe("A path that looks impossible and is not", () => {
  onEveryFileSystem(
    "locks the longest name whose lock file still has one, and takes it over when its holder dies",
    (ground) =>
      Effect.gen(function*() {
        const path = `${ground.directory}/${"n".repeat(250)}`
        const first = yield* ground.join()
        yield* Effect.orDie(first.locks.acquire(path))
        yield* ground.machine.kill(first.identity)
        const second = yield* ground.join()
        assert.deepStrictEqual(
          yield* second.locks.withLock(listing(ground), path),
          [`${"n".repeat(250)}.lock`]
        )
        assert.deepStrictEqual(yield* listing(ground), [])
      })
  )

  onEveryFileSystem("makes what a dangling link to a directory leads to", (ground) =>
    Effect.gen(function*() {
      const { directory, fs } = ground
      yield* fs.symlink(`${directory}/there/deep`, `${directory}/link`)
      const player = yield* ground.join()
      yield* player.locks.withLock(
        Effect.gen(function*() {
          assert.isTrue(yield* fs.exists(`${directory}/there/deep/file.lock`))
        }),
        `${directory}/link/file`
      )
      assert.deepStrictEqual(yield* fs.readDirectory(`${directory}/there/deep`), [])
    }))

  onEveryFileSystem("locks names that other programs stumble over", (ground) =>
    Effect.gen(function*() {
      const player = yield* ground.join()
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
        yield* player.locks.withLock(
          Effect.gen(function*() {
            assert.deepStrictEqual(yield* listing(ground), [`${name}.lock`])
          }),
          `${ground.directory}/${name}`
        )
        assert.deepStrictEqual(yield* listing(ground), [])
      }
    }))
})

describe("A directory that one may not write", () => {
  const withUsers = (
    test: (
      owner: SimulatedProcess.SimulatedProcess,
      stranger: SimulatedProcess.SimulatedProcess,
      machine: ProcessIdentity.Machine
    ) => Effect.Effect<void, unknown>
  ) =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk()
      const machine = yield* ProcessIdentity.makeMachine()
      const owner = yield* SimulatedProcess.start(yield* machine.spawn(), yield* disk.view())
      const stranger = yield* SimulatedProcess.start(yield* machine.spawn(), yield* disk.view({ uid: 1001, gid: 1001 }))
      yield* test(owner, stranger, machine)
    }).pipe(Effect.scoped, Simulation.run)

  it.effect("is told from one that one may", () =>
    withUsers((owner, stranger) =>
      Effect.gen(function*() {
        yield* owner.fs.makeDirectory("/mine", { mode: 0o755 })
        for (const path of ["/mine/file", "/mine/below/file"]) {
          const error = yield* atOnce(stranger, path)
          assert.strictEqual(error._tag, "LockDirectoryError")
          yield* owner.locks.withLock(Effect.void, path)
        }
      })
    ))

  it.effect("is told even where one may not look into it", () =>
    withUsers((owner, stranger) =>
      Effect.gen(function*() {
        yield* owner.fs.makeDirectory("/secret", { mode: 0o700 })
        for (const path of ["/secret/file", "/secret/below/file"]) {
          assert.strictEqual((yield* atOnce(stranger, path))._tag, "LockDirectoryError")
        }
        const inspected = yield* failureOf(stranger.locks.inspect("/secret/file"))
        assert.strictEqual(inspected.reason, "PermissionDenied")
      })
    ))

  it.effect("does not hinder a lock of another user in a directory of everybody's", () =>
    withUsers((owner, stranger) =>
      Effect.gen(function*() {
        const error = yield* owner.locks.withLock(
          asAnother(failureOf(stranger.locks.withLock(Effect.void, "/tmp/file", { timeout: "1 second" }))),
          "/tmp/file"
        )
        assert.strictEqual(reasonOf(error), "Timeout")
        yield* stranger.locks.withLock(Effect.void, "/tmp/file")
        assert.deepStrictEqual(yield* owner.fs.readDirectory("/tmp"), [])
      })
    ))

  it.effect("keeps the lock of a dead user where nobody else may replace it, and says so when the time is over", () =>
    withUsers((owner, stranger, machine) =>
      Effect.gen(function*() {
        yield* Effect.scoped(Effect.gen(function*() {
          yield* owner.locks.acquire("/tmp/file")
          yield* machine.kill(owner.identity)
          // The directory is sticky: only its owner may take a file away.
          const error = yield* failureOf(stranger.locks.withLock(Effect.void, "/tmp/file", { timeout: "5 seconds" }))
          assert.strictEqual(reasonOf(error), "PermissionDenied")
          assert.include(error.message, "another user")
          assert.deepStrictEqual(yield* owner.fs.readDirectory("/tmp"), ["file.lock"])
        }))
      })
    ))
})

describe("A real process of another user", () => {
  const fixture = fileURLToPath(new URL("fixtures/lockAsUser.ts", import.meta.url))
  const nobody = 65534

  /** What the user is told who wants to lock each of several paths; `null` for a lock that it had. */
  const wantAsNobody = (...paths: ReadonlyArray<string>) =>
    Effect.async<ReadonlyArray<unknown>, unknown>((resume) => {
      execFile(process.execPath, ["--import", "tsx", fixture, String(nobody), ...paths], (error, stdout) =>
        resume(error === null ? Effect.succeed(JSON.parse(stdout)) : Effect.fail(error)))
    })

  it.scopedLive("is told at once where it may not write, and locks where it may", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* Effect.flatMap(fs.makeTempDirectoryScoped(), fs.realPath)
      const [closed, secret, open] = [`${directory}/closed`, `${directory}/secret`, `${directory}/open`]
      yield* fs.makeDirectory(closed)
      yield* fs.makeDirectory(secret)
      yield* fs.makeDirectory(open)
      yield* fs.chmod(directory, 0o755)
      // Whoever runs the tests is nobody's owner, or meets what an owner meets.
      yield* fs.chmod(closed, 0o555)
      yield* fs.chmod(secret, 0o000)
      yield* fs.chmod(open, 0o777)
      const outcomes = yield* wantAsNobody(`${closed}/file`, `${closed}/below/file`, `${secret}/file`, `${open}/file`)
      const decode = Schema.decodeUnknown(Schema.NullOr(LockDirectoryError))
      const [first, second, third, fourth] = yield* Effect.forEach(outcomes, (outcome) => decode(outcome))
      for (const error of [first, second, third]) {
        assert.isNotNull(error)
        assert.include(error?.message, "EACCES")
      }
      assert.isNull(fourth)
      yield* fs.chmod(secret, 0o700)
      for (const each of [closed, secret, open]) {
        assert.deepStrictEqual(yield* fs.readDirectory(each), [])
      }
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.scopedLive("is told that a lock which it may not read may be of another user", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* Effect.flatMap(fs.makeTempDirectoryScoped(), fs.realPath)
      yield* fs.chmod(directory, 0o777)
      yield* fs.writeFileString(`${directory}/file.lock`, makeRecord())
      yield* fs.chmod(`${directory}/file.lock`, 0o000)
      const [outcome] = yield* wantAsNobody(`${directory}/file`)
      const error = yield* Schema.decodeUnknown(LockAcquisitionError)(outcome)
      assert.strictEqual(error.reason, "PermissionDenied")
      assert.include(error.message, `${directory}/file.lock`)
      assert.include(error.message, "another user")
      assert.deepStrictEqual(yield* fs.readDirectory(directory), ["file.lock"])
    }).pipe(Effect.provide(NodeFileSystem.layer)))
})

describe("A disk that has no room, or takes no more", () => {
  const trouble = (
    options: MemoryFileSystem.DiskSettings & MemoryFileSystem.ViewOptions,
    test: (
      player: SimulatedProcess.SimulatedProcess,
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
      trouble(options, (player, disk, fs) =>
        Effect.gen(function*() {
          const error = yield* failureOf(player.locks.withLock(Effect.void, "/data/file", { timeout: "1 hour" }))
          assert.strictEqual(reasonOf(error), "StorageFull")
          assert.isBelow(error._tag === "LockAcquisitionError" ? error.waited : Infinity, 1000)
          const later = yield* failureOf(player.locks.withLock(Effect.void, "/data/file", { timeout: "5 seconds" }))
          assert.strictEqual(reasonOf(later), "StorageFull")
          yield* disk.configure({ capacity: 1_000_000, inodes: 100 })
          yield* player.locks.withLock(Effect.void, "/data/file")
          yield* Effect.sleep("10 seconds")
          assert.deepStrictEqual(yield* fs.readDirectory("/data"), [])
        })))
  }

  it.effect("says at once that the file system is read-only, and works again when it is not", () =>
    trouble({ readOnly: true }, (player, disk, fs) =>
      Effect.gen(function*() {
        assert.strictEqual((yield* atOnce(player, "/data/file"))._tag, "LockDirectoryError")
        yield* disk.configure({ readOnly: false })
        yield* player.locks.withLock(Effect.void, "/data/file")
        assert.deepStrictEqual(yield* fs.readDirectory("/data"), [])
      })))

  it.effect("waits while too many files are open, and says so when the time is over", () =>
    trouble({ maxOpenFiles: 1 }, (player, _, fs) =>
      Effect.gen(function*() {
        yield* fs.writeFileString("/data/open", "")
        const error = yield* Effect.scoped(Effect.zipRight(
          player.fs.open("/data/open"),
          failureOf(player.locks.withLock(Effect.void, "/data/file", { timeout: "1 second" }))
        ))
        assert.strictEqual(reasonOf(error), "SystemError")
        assert.include(error.message, "EMFILE")
        yield* player.locks.withLock(Effect.void, "/data/file")
        assert.deepStrictEqual(yield* fs.readDirectory("/data"), ["open"])
      })))
})
