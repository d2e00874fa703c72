/**
 * Each message that `docs/errors.md` shows is one that the package makes.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as Fs from "node:fs"
import * as FileLock from "../../src/FileLock.js"
import * as LockBackend from "../../src/LockBackend.js"
import * as LockedFile from "../../src/LockedFile.js"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import * as PostgresBackend from "../../src/PostgresBackend.js"
import * as ProcessIdentity from "../../src/ProcessIdentity.js"

const guide = Fs.readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8")

/** In the guide, for that of any acquisition. */
const token = "9b2e61d0c8f44a7eb05d3a6c1f7e2d48-1"

/** What goes wrong with a file system. It may begin later. */
interface Trouble {
  method?: RegExp
  errno?: string
}

/** Two processes of a machine, and their disk. */
const makeScene = (options: MemoryFileSystem.DiskOptions = {}, lease?: FileLock.Settings["lease"]) =>
  Effect.gen(function*() {
    const disk = yield* MemoryFileSystem.makeDisk(options)
    const machine = yield* ProcessIdentity.makeMachine({ hostname: "build-7" })
    const trouble: Trouble = {}
    const start = (pid: number, view?: MemoryFileSystem.ViewOptions) =>
      Effect.gen(function*() {
        const identity = yield* machine.spawn({ pid })
        const fs = yield* MemoryFileSystem.withFaults(yield* disk.view(view), {
          fault: ({ method }) =>
            trouble.method?.test(method) !== true
              ? undefined
              : trouble.errno === undefined
              ? MemoryFileSystem.Fault.Hang()
              : MemoryFileSystem.Fault.Fail({ errno: trouble.errno })
        })
        const services = yield* FileLock.layerWith({ lease }).pipe(
          Layer.provideMerge(Layer.mergeAll(
            Layer.succeed(FileSystem.FileSystem, fs),
            Layer.succeed(ProcessIdentity.ProcessIdentity, identity),
            Path.layer
          )),
          Layer.build
        )
        return <A, E>(self: Effect.Effect<A, E, FileLock.FileLock | FileSystem.FileSystem | Scope.Scope>) =>
          Effect.provide(self, services)
      })
    return { fs: yield* disk.view(), start, trouble, other: yield* start(4242), own: yield* start(4300) }
  })

const path = "/srv/app/tasks.json"

/** Waits for an effect while time goes by. */
const afterwards = <A, E, R>(self: Effect.Effect<A, E, R>, time: `${number} seconds`) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.fork(self)
    yield* TestClock.adjust(time)
    return yield* Fiber.join(fiber)
  })

/** The guide shows this message, in a block of its own. */
const isShown = <A, E extends { readonly _tag: string; readonly message: string }, R>(
  tag: E["_tag"],
  failing: Effect.Effect<A, E, R>
) =>
  Effect.map(Effect.flip(failing), (error) => {
    assert.strictEqual(error._tag, tag)
    const message = error.message.replace(/[0-9a-f]{32}-\d+/g, token)
    assert.include(guide, `\n\`\`\`\n${message}\n\`\`\`\n`)
  })

describe("LockAcquisitionError", () => {
  it.scoped("Timeout", () =>
    Effect.gen(function*() {
      const { other, own } = yield* makeScene()
      yield* other(FileLock.acquire(path, { label: "nightly compaction" }))
      yield* TestClock.adjust("21 seconds")
      const acquiring = own(FileLock.acquire(path, { timeout: "10 seconds" }))
      yield* isShown("LockAcquisitionError", afterwards(acquiring, "10 seconds"))
      yield* isShown("LockAcquisitionError", own(FileLock.acquire(path, { timeout: 0 })))
    }))

  it.scoped("Timeout, of a disk that does not answer", () =>
    Effect.gen(function*() {
      const { own, trouble } = yield* makeScene()
      trouble.method = /link/
      const acquiring = own(FileLock.acquire(path, { timeout: "10 seconds" }))
      yield* isShown("LockAcquisitionError", afterwards(acquiring, "11 seconds"))
    }))

  it.scoped("Foreign", () =>
    Effect.gen(function*() {
      const { fs, own } = yield* makeScene()
      yield* fs.makeDirectory("/srv/app", { recursive: true })
      yield* fs.writeFileString(`${path}.lock`, "")
      const schedule = Schedule.spaced("1 second")
      const acquiring = own(FileLock.acquire(path, { timeout: "10 seconds", schedule }))
      yield* isShown("LockAcquisitionError", afterwards(acquiring, "10 seconds"))
    }))

  it.scoped("InvalidPath", () =>
    Effect.gen(function*() {
      const { own } = yield* makeScene()
      yield* isShown("LockAcquisitionError", own(FileLock.acquire("")))
    }))

  it.scoped("PermissionDenied", () =>
    Effect.gen(function*() {
      const { fs, start } = yield* makeScene()
      yield* fs.makeDirectory("/srv/app", { recursive: true })
      yield* fs.chmod("/srv/app", 0o777)
      yield* fs.writeFileString(`${path}.lock`, "", { mode: 0o600 })
      const ofAnotherUser = yield* start(4301, { uid: 1001, gid: 1001 })
      yield* isShown("LockAcquisitionError", ofAnotherUser(FileLock.acquire(path, { timeout: 0 })))
    }))

  it.scoped("StorageFull", () =>
    Effect.gen(function*() {
      const { own } = yield* makeScene({ capacity: 100 })
      yield* isShown("LockAcquisitionError", own(FileLock.acquire(path)))
    }))

  it.scoped("Deadlock", () =>
    Effect.gen(function*() {
      const { own } = yield* makeScene()
      yield* isShown("LockAcquisitionError", own(Effect.zipRight(FileLock.acquire(path), FileLock.acquire(path))))
    }))

  it.scopedLive("BackendUnavailable", () =>
    isShown(
      "LockAcquisitionError",
      FileLock.acquire("reports/nightly", { timeout: 0 }).pipe(
        Effect.provide(
          FileLock.layerBackend().pipe(
            Layer.provide(Layer.scoped(
              LockBackend.LockBackend,
              PostgresBackend.make({ url: Redacted.make("postgres://127.0.0.1:1/app") })
            ))
          )
        )
      )
    ))

  it.scoped("SystemError", () =>
    Effect.gen(function*() {
      const { own, trouble } = yield* makeScene()
      Object.assign(trouble, { method: /link/, errno: "EIO" })
      yield* isShown("LockAcquisitionError", own(FileLock.acquire(path, { timeout: 0 })))
    }))
})

describe("LockDirectoryError", () => {
  it.scoped("of a file system that cannot be written", () =>
    Effect.gen(function*() {
      const { own } = yield* makeScene({ readOnly: true })
      yield* isShown("LockDirectoryError", own(FileLock.acquire(path)))
    }))
})

describe("LockLostError", () => {
  it.scoped("Removed", () =>
    Effect.gen(function*() {
      const { fs, own } = yield* makeScene()
      const lock = yield* own(FileLock.acquire(path))
      yield* fs.remove(`${path}.lock`)
      yield* isShown("LockLostError", lock.verify)
    }))

  it.scoped("Replaced", () =>
    Effect.gen(function*() {
      const { fs, other, own } = yield* makeScene()
      const lock = yield* own(FileLock.acquire(path))
      yield* fs.remove(`${path}.lock`)
      yield* other(FileLock.acquire(path, { label: "nightly compaction" }))
      yield* TestClock.adjust("3 seconds")
      yield* isShown("LockLostError", lock.verify)
    }))

  it.scopedLive("BackendUnavailable and LeaseExpired", () =>
    Effect.gen(function*() {
      const { fs, own } = yield* makeScene({}, "500 millis")
      const held = yield* Deferred.make<FileLock.LockHandle>()
      const holding = yield* FileLock.acquire(path).pipe(
        Effect.tap((lock) => Deferred.succeed(held, lock)),
        Effect.flatMap(({ lost }) => lost),
        Effect.scoped,
        own,
        Effect.fork
      )
      const lock = yield* Deferred.await(held)
      yield* fs.chmod(`${path}.lock`, 0o000)
      yield* isShown("LockLostError", lock.verify)
      yield* isShown("LockLostError", Fiber.join(holding))
    }))
})

describe("LockedFile", () => {
  const Tasks = LockedFile.json(Schema.Array(Schema.Struct({ title: Schema.String, done: Schema.Boolean })))

  it.scoped.each(["[", "[{ \"title\": \"sweep\" }]", "\xff"])(
    "LockedFileError of %j",
    (content) =>
      Effect.gen(function*() {
        const { fs, own } = yield* makeScene()
        yield* fs.makeDirectory("/srv/app", { recursive: true })
        yield* fs.writeFile(path, Buffer.from(content, "latin1"))
        yield* isShown("LockedFileError", own(Tasks.read(path)))
      })
  )

  it.scoped("PlatformError of a file that is not there", () =>
    Effect.gen(function*() {
      const { own } = yield* makeScene()
      yield* isShown("SystemError", own(Tasks.read(path)))
    }))
})
