import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { LockAcquisitionError, LockDirectoryError, LockLostError, LostReason } from "../src/LockError.js"
import { expectSound, failureOf } from "./utils/failures.js"
import { inMemoryOnly, onEveryFileSystem, type TestDirectory } from "./utils/fileSystems.js"
import { forge, makeHolder, makeRecord } from "./utils/records.js"

const reasonOf = (error: LockAcquisitionError | LockDirectoryError | LockLostError) =>
  error._tag === "LockDirectoryError" ? error._tag : error.reason

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)

/** Tries to get the lock for a while, and says what came of it. */
const tryFor = (test: TestDirectory, timeout: Duration.DurationInput) =>
  Effect.gen(function*() {
    const { locks } = yield* test.join()
    const result = yield* Effect.either(locks.withLock(Effect.void, `${test.directory}/file`, { timeout }))
    return Either.match(result, { onLeft: reasonOf, onRight: () => "acquired" })
  })

const tryOnce = (test: TestDirectory) => tryFor(test, 0)

/** What is at the path of a lock and is none is reported when the time is over, and is left as it was. */
const isForeign = (
  what: string,
  put: (test: TestDirectory, lockPath: string) => Effect.Effect<unknown, unknown, Scope.Scope>,
  where: typeof onEveryFileSystem = onEveryFileSystem
) =>
  where(`leaves ${what} alone and says so`, (test) =>
    Effect.gen(function*() {
      const { directory, fs, simulated } = test
      const lockPath = `${directory}/file.lock`
      yield* put(test, lockPath)
      const snapshot = Effect.gen(function*() {
        const names = yield* fs.readDirectory(directory, { recursive: true })
        const link = yield* Effect.option(fs.readLink(lockPath))
        const info = yield* Effect.option(fs.stat(lockPath))
        const isFile = Option.exists(info, ({ type }) => type === "File")
        const content = isFile ? Buffer.from(yield* fs.readFile(lockPath)).toString("base64") : ""
        return { names, link, content, type: Option.map(info, ({ ino, mtime, type }) => [type, ino, mtime]) }
      })
      const before = yield* snapshot
      const process = yield* test.join()
      const error = yield* failureOf(
        process.locks.withLock(Effect.void, `${directory}/file`, { timeout: simulated ? "1 second" : 0 })
      )
      assert.strictEqual(reasonOf(error), "Foreign")
      assert.include(error.message, lockPath)
      assert.include(error.message, "left alone")
      const once = yield* failureOf(process.locks.withLockIfAvailable(Effect.void, `${directory}/file`))
      assert.strictEqual(reasonOf(once), "Foreign")
      const status = yield* process.locks.inspect(`${directory}/file`)
      assert.deepStrictEqual(Option.map(status, ({ state }) => state), Option.some("foreign"))
      assert.isFalse(yield* process.locks.breakLock(`${directory}/file`, makeHolder()))
      assert.deepStrictEqual(yield* snapshot, before)
    }))

const holds = (what: string, content: string | Uint8Array, where = onEveryFileSystem) =>
  isForeign(
    what,
    ({ fs }, lockPath) => fs.writeFile(lockPath, typeof content === "string" ? bytesOf(content) : content),
    where
  )

describe("Something at the path of a lock that is no file", () => {
  isForeign("an empty directory", ({ fs }, lockPath) => fs.makeDirectory(lockPath))

  isForeign(
    "a directory with files",
    ({ fs }, lockPath) =>
      Effect.zipRight(fs.makeDirectory(lockPath), fs.writeFileString(`${lockPath}/precious`, "content"))
  )

  isForeign("a FIFO", ({ makeNode }, lockPath) => makeNode(lockPath, "FIFO"))

  isForeign("a socket", ({ makeNode }, lockPath) => makeNode(lockPath, "Socket"))

  isForeign("a character device", ({ makeNode }, lockPath) => makeNode(lockPath, "CharacterDevice"), inMemoryOnly)

  isForeign("a block device", ({ makeNode }, lockPath) => makeNode(lockPath, "BlockDevice"), inMemoryOnly)

  isForeign("a link to a record", ({ directory, fs }, lockPath) =>
    Effect.zipRight(
      fs.writeFileString(`${directory}/record`, makeRecord()),
      fs.symlink(`${directory}/record`, lockPath)
    ))

  isForeign("a link to nothing", ({ directory, fs }, lockPath) => fs.symlink(`${directory}/nothing`, lockPath))

  isForeign(
    "a link to a directory",
    ({ directory, fs }, lockPath) =>
      Effect.zipRight(fs.makeDirectory(`${directory}/sub`), fs.symlink(`${directory}/sub`, lockPath))
  )

  isForeign("a link to itself", ({ fs }, lockPath) => fs.symlink("file.lock", lockPath))
})

describe("A file of others at the path of a lock", () => {
  holds("nothing, as flock(1) and Python's filelock leave it", "")
  holds("a word", "locked")
  holds("a pid, as other tools leave it", "4242\n")
  holds("a line break", "\n")
  holds("binary content", Uint8Array.from({ length: 1000 }, (_, index) => (index * 7919) % 256))
  holds("a NUL and then something", "\0x")
  holds("bytes that are no UTF-8", Uint8Array.of(0xff, 0xfe, 0x80))
  holds("five megabytes", new Uint8Array(5_000_000).fill(120))
  holds("five megabytes of NULs", new Uint8Array(5_000_000))
  holds("a record that was appended to", makeRecord() + "and more")
  holds("two records", makeRecord() + makeRecord())
  holds("a record after a byte order mark", "\ufeff" + makeRecord())
  holds("a record that begins like one and goes on otherwise", makeRecord().slice(0, 40) + "\u0001 something else")

  for (
    const json of [
      "null",
      "true",
      "0",
      `"text"`,
      "[]",
      "{}",
      `[${makeRecord().trim()}]`,
      `{"pid":4242}`,
      `{"v":1}`,
      `{"v":1,"token":"token-of-another"}`,
      `{"__proto__":${makeRecord().trim()}}`,
      `{"constructor":{"prototype":${makeRecord().trim()}}}`
    ]
  ) {
    holds(`JSON of another shape, ${json.slice(0, 40)},`, json, inMemoryOnly)
  }

  const huge = "x".repeat(3000)
  const forgeries: ReadonlyArray<readonly [string, { readonly [field: string]: unknown }]> = [
    ["of another version", { v: 2 }],
    ["with a version in words", { v: "1" }],
    ["without a version", { v: undefined }],
    ["of pid 0", { pid: 0 }],
    ["of pid -1", { pid: -1 }],
    ["of a pid beyond all", { pid: 1e99 }],
    ["of half a pid", { pid: 4242.5 }],
    ["of a pid in words", { pid: "4242" }],
    ["without a pid", { pid: undefined }],
    ["of no pid", { pid: null }],
    ["with a token that leads elsewhere", { token: "../../../etc/passwd" }],
    ["with an empty token", { token: "" }],
    ["with a token of several lines", { token: "token-of\n-another" }],
    ["with a huge token", { token: huge }],
    ["with a huge host name", { hostname: huge }],
    ["with a huge label", { label: huge }],
    ["with a label that is none", { label: { toString: "x" } }],
    ["with a huge boot id", { bootId: huge }],
    ["from no time", { acquiredAt: "yesterday" }],
    ["from a time that is a number", { acquiredAt: 0 }],
    ["with a beat that is none", { beat: "1" }],
    ["with a beat that is a number", { beat: 1 }]
  ]
  for (const [what, changes] of forgeries) {
    holds(`a record ${what}`, forge(changes), inMemoryOnly)
  }
})

describe("What was never written completely", () => {
  const record = makeRecord({ label: "nightly \"compaction\" \u001b[31m\\" })
  for (const length of [0, 1, 40, record.length - 2]) {
    holds(`the first ${length} characters of a record`, record.slice(0, length), inMemoryOnly)
  }
  holds("a record that ends in NULs", record.slice(0, 60) + "\0".repeat(400))
})

describe("A file of NULs", () => {
  const zeros = (length: number) => new Uint8Array(length)

  isForeign("one that was written since the boot", ({ fs }, lockPath) => fs.writeFile(lockPath, zeros(400)))

  inMemoryOnly(
    "is taken over at once when it was written before the boot, as a power failure leaves it",
    (test) =>
      Effect.gen(function*() {
        const { directory, fs, machine } = test
        yield* Effect.sleep("1 second")
        for (const length of [1, 400, 4096]) {
          yield* fs.writeFile(`${directory}/file.lock`, zeros(length))
          yield* Effect.sleep("1 second")
          assert.strictEqual(yield* tryOnce(test), "Foreign")
          yield* machine.reboot
          yield* Effect.sleep("1 second")
          assert.strictEqual(yield* tryOnce(test), "acquired")
          assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
        }
      })
  )

  inMemoryOnly(
    "is foreign, whenever it was written, when it is larger than any record",
    (test) =>
      Effect.gen(function*() {
        const { directory, fs, machine } = test
        yield* fs.writeFile(`${directory}/file.lock`, zeros(4097))
        yield* Effect.sleep("1 second")
        yield* machine.reboot
        yield* Effect.sleep("1 second")
        assert.strictEqual(yield* tryOnce(test), "Foreign")
        assert.strictEqual((yield* fs.readFile(`${directory}/file.lock`)).length, 4097)
      })
  )

  inMemoryOnly(
    "is told as abandoned once the machine was booted, and as foreign before",
    (test) =>
      Effect.gen(function*() {
        const { directory, fs, join, machine } = test
        const stateOf = Effect.flatMap(join(), ({ locks }) => locks.inspect(`${directory}/file`)).pipe(
          Effect.map(Option.map(({ state }) => state))
        )
        yield* fs.writeFile(`${directory}/file.lock`, zeros(400))
        assert.deepStrictEqual(yield* stateOf, Option.some("foreign"))
        yield* Effect.sleep("1 second")
        yield* machine.reboot
        assert.deepStrictEqual(yield* stateOf, Option.some("abandoned"))
      })
  )
})

describe("The record of a process that is gone", () => {
  onEveryFileSystem(
    "is taken over at once when it is of a process of this machine that is dead",
    (test) =>
      Effect.gen(function*() {
        const { directory, fs } = test
        const { identity } = yield* test.join()
        yield* test.machine.kill(identity)
        for (const tail of ["", "\n"]) {
          yield* fs.writeFileString(`${directory}/file.lock`, makeRecord(identity.info).trim() + tail)
          assert.strictEqual(yield* tryOnce(test), "acquired")
          assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
        }
      })
  )

  onEveryFileSystem("is taken over at once when it says that it is ours and is not", (test) =>
    Effect.gen(function*() {
      const { directory, fs } = test
      const process = yield* test.join()
      yield* fs.writeFileString(`${directory}/file.lock`, makeRecord(process.identity.info))
      assert.isTrue(Option.isSome(yield* process.locks.withLockIfAvailable(Effect.void, `${directory}/file`)))
      assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
    }))

  onEveryFileSystem("is waited for when it says that it is of a process that lives", (test) =>
    Effect.gen(function*() {
      const { directory, fs } = test
      const { identity } = yield* test.join()
      yield* fs.writeFileString(`${directory}/file.lock`, makeRecord(identity.info))
      assert.strictEqual(yield* tryOnce(test), "Timeout")
      yield* test.machine.kill(identity)
      assert.strictEqual(yield* tryOnce(test), "acquired")
    }))

  inMemoryOnly(
    "is taken over after a lease of silence when its machine cannot be asked",
    (test) =>
      Effect.gen(function*() {
        const { directory, fs } = test
        yield* fs.writeFileString(`${directory}/file.lock`, makeRecord())
        assert.strictEqual(yield* tryFor(test, "3 seconds"), "Timeout")
        assert.strictEqual(yield* tryFor(test, "40 seconds"), "acquired")
        assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
      })
  )

  for (
    const [what, content] of [
      [
        "the names of prototypes",
        makeRecord().replace("{", `{"__proto__":{"pid":1},"constructor":"x","hasOwnProperty":1,`)
      ],
      ["a field twice", makeRecord().replace("{", `{"pid":1,`)],
      [
        "a time at the end of all days",
        makeRecord({}).replace("2026-01-02T03:04:05.678Z", "+275760-09-13T00:00:00.000Z")
      ],
      ["a time before all others", makeRecord({}).replace("2026-01-02T03:04:05.678Z", "-271821-04-20T00:00:00.000Z")]
    ] as const
  ) {
    onEveryFileSystem(`is a record all the same with ${what}`, (test) =>
      Effect.gen(function*() {
        yield* test.fs.writeFileString(`${test.directory}/file.lock`, content)
        const process = yield* test.join()
        const error = yield* failureOf(
          process.locks.withLock(Effect.void, `${test.directory}/file`, { timeout: 0 })
        )
        assert.strictEqual(reasonOf(error), "Timeout")
        assert.include(error.message, "pid 4242 on elsewhere")
      }))
  }

  onEveryFileSystem("cannot write to the terminal of its reader", (test) =>
    Effect.gen(function*() {
      const escapes = "\u001b]0;owned\u0007\u001b[2J\r\n\u009b31m\u202egnp.exe\u0000"
      yield* test.fs.writeFileString(`${test.directory}/file.lock`, makeRecord({ hostname: escapes, label: escapes }))
      const process = yield* test.join()
      const error = yield* failureOf(
        process.locks.withLock(Effect.void, `${test.directory}/file`, { timeout: 0 })
      )
      assert.strictEqual(reasonOf(error), "Timeout")
      assert.include(error.message, "owned")
    }))
})

interface Tampering {
  readonly what: string
  readonly tamper: (fs: FileSystem.FileSystem, lockPath: string) => Effect.Effect<unknown, PlatformError>
  /** What asking for the lock now says. */
  readonly asked: LostReason
  /** What the holder is told in the end. */
  readonly loss: LostReason
  readonly where?: typeof onEveryFileSystem
}

const replaceBy = (put: Tampering["tamper"]): Tampering["tamper"] => (fs, lockPath) =>
  Effect.zipRight(fs.remove(lockPath), put(fs, lockPath))

const replaced = (what: string, put: Tampering["tamper"]): Tampering => ({
  what: `replaced by ${what}`,
  tamper: replaceBy(put),
  asked: "Replaced",
  loss: "Replaced"
})

const tamperings: ReadonlyArray<Tampering> = [
  { what: "removed", tamper: (fs, path) => fs.remove(path), asked: "Removed", loss: "Removed" },
  {
    what: "moved away",
    tamper: (fs, path) => fs.rename(path, `${path}.bak`),
    asked: "Removed",
    loss: "Removed"
  },
  replaced("another holder's record", (fs, path) => fs.writeFileString(path, makeRecord())),
  replaced("a file of others", (fs, path) => fs.writeFileString(path, "not a lock")),
  replaced("an empty file", (fs, path) => fs.writeFileString(path, "")),
  replaced("a directory", (fs, path) => fs.makeDirectory(path)),
  replaced("a link to nothing", (fs, path) => fs.symlink("nothing", path)),
  {
    what: "overwritten in place",
    tamper: (fs, path) => fs.writeFileString(path, makeRecord()),
    asked: "Replaced",
    loss: "Replaced"
  },
  {
    what: "emptied",
    tamper: (fs, path) => fs.truncate(path),
    asked: "Replaced",
    loss: "Replaced"
  },
  {
    what: "made unreadable",
    tamper: (fs, path) => fs.chmod(path, 0o000),
    asked: "BackendUnavailable",
    loss: "LeaseExpired",
    // On real files the tests may be root's, who may read everything.
    where: inMemoryOnly
  }
]

/** Short, so that the holder learns soon what happened. */
const settings = { lease: "600 millis" } as const

for (const { asked, loss, tamper, what, where = onEveryFileSystem } of tamperings) {
  describe(`A lock whose file is ${what} while it is held`, () => {
    where("is known to be lost when it is asked for", ({ directory, fs, join }) =>
      Effect.gen(function*() {
        const process = yield* join()
        yield* Effect.scoped(Effect.gen(function*() {
          const lock = yield* process.locks.acquire(`${directory}/file`)
          yield* lock.verify
          yield* tamper(fs, lock.lockPath)
          const error = yield* failureOf(lock.verify)
          assert.strictEqual(error.reason, asked)
          assert.strictEqual(yield* lock.isHeld, asked === "BackendUnavailable")
        }))
      }))

    where(
      "tells its holder by itself, and stops what runs under it",
      ({ directory, fs, join }) =>
        Effect.gen(function*() {
          const process = yield* join(settings)
          const path = `${directory}/file`
          const inside = yield* Deferred.make<void>()
          const stopped = yield* Deferred.make<void>()
          const body = Effect.never.pipe(
            Effect.onInterrupt(() => Deferred.succeed(stopped, void 0)),
            Effect.zipLeft(Deferred.succeed(inside, void 0), { concurrent: true })
          )
          const fiber = yield* Effect.fork(process.locks.withLock(body, path))
          yield* Deferred.await(inside)
          yield* tamper(fs, `${path}.lock`)
          const error = yield* failureOf(Fiber.join(fiber))
          assert.isTrue(yield* Deferred.isDone(stopped))
          assert.strictEqual(error._tag === "LockLostError" ? error.reason : error._tag, loss)
        })
    )

    where(
      "is left as it is found when it is released, and its holder is told",
      ({ directory, fs, join }) =>
        Effect.gen(function*() {
          const process = yield* join()
          const lockPath = `${directory}/file.lock`
          const state = Effect.gen(function*() {
            const link = yield* Effect.option(fs.readLink(lockPath))
            const content = yield* Effect.option(fs.readFileString(lockPath))
            return { names: (yield* fs.readDirectory(directory)).sort(), link, content: Option.getOrUndefined(content) }
          })
          let before: unknown
          const body = Effect.zipRight(tamper(fs, lockPath), Effect.map(state, (found) => void (before = found)))
          const result = yield* Effect.either(process.locks.withLock(body, `${directory}/file`))
          const told = Either.match(result, {
            onLeft: (error) => error._tag === "LockLostError" ? error.reason : error._tag,
            onRight: () => undefined
          })
          // What cannot be read is not known to be lost; the log says that it was left.
          assert.strictEqual(told, asked === "BackendUnavailable" ? undefined : loss)
          assert.deepEqual(yield* state, before)
        })
    )
  })
}

describe("A lock that was lost", () => {
  onEveryFileSystem("says who has it now", ({ directory, fs, join }) =>
    Effect.gen(function*() {
      const process = yield* join()
      yield* Effect.scoped(Effect.gen(function*() {
        const lock = yield* process.locks.acquire(`${directory}/file`)
        yield* fs.remove(lock.lockPath)
        yield* fs.writeFileString(lock.lockPath, makeRecord({ label: "nightly compaction" }))
        const error = yield* failureOf(lock.verify)
        assert.strictEqual(error.holder?.token, makeHolder().token)
        assert.include(error.message, `pid 4242 on elsewhere ("nightly compaction")`)
        assert.include(error.message, "Check")
        yield* expectSound(yield* Effect.flip(lock.lost))
      }))
    }))

  onEveryFileSystem(
    "does not hide the failure of what ran under it",
    ({ directory, fs, join }) =>
      Effect.gen(function*() {
        const process = yield* join()
        const body = Effect.zipRight(fs.remove(`${directory}/file.lock`), Effect.fail("its own failure"))
        assert.strictEqual(yield* Effect.flip(process.locks.withLock(body, `${directory}/file`)), "its own failure")
      })
  )

  onEveryFileSystem("can be had again by the same process", ({ directory, fs, join }) =>
    Effect.gen(function*() {
      const process = yield* join()
      yield* Effect.exit(process.locks.withLock(fs.remove(`${directory}/file.lock`), `${directory}/file`))
      yield* process.locks.withLock(Effect.void, `${directory}/file`)
      assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
    }))
})
