import { assert, describe } from "@effect/vitest"
import * as Array from "effect/Array"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { LockAcquisitionError, LockDirectoryError, LockLostError } from "../src/LockError.js"
import { failureOf } from "./utils/failures.js"
import type { Ground } from "./utils/grounds.js"
import { inMemoryOnly, onEveryFileSystem } from "./utils/grounds.js"
import { forge, makeHolder, makeRecord } from "./utils/records.js"

const reasonOf = (error: LockAcquisitionError | LockDirectoryError | LockLostError) =>
  error._tag === "LockDirectoryError" ? error._tag : error.reason

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)

/** Wants the lock for a while, and says in a word what came of it. */
const want = (ground: Ground, timeout: "0 millis" | "1900 millis" | "3 seconds" | "40 seconds") =>
  Effect.gen(function*() {
    const player = yield* ground.join()
    const result = yield* Effect.either(player.locks.withLock(Effect.void, `${ground.directory}/file`, { timeout }))
    return Either.match(result, { onLeft: reasonOf, onRight: () => "got it" })
  })

/** Whatever is at the place of a lock and is none is reported when the time is over, and is left as it was. */
const isForeign = (
  what: string,
  put: (ground: Ground, lockPath: string) => Effect.Effect<unknown, unknown, Scope.Scope>,
  where: typeof onEveryFileSystem = onEveryFileSystem
) =>
  where(`leaves ${what} alone and says so`, (ground) =>
    Effect.gen(function*() {
      const { directory, fs } = ground
      const lockPath = `${directory}/file.lock`
      yield* put(ground, lockPath)
      const snapshot = Effect.gen(function*() {
        const names = yield* fs.readDirectory(directory, { recursive: true })
        const link = yield* Effect.option(fs.readLink(lockPath))
        const info = yield* Effect.option(fs.stat(lockPath))
        const isFile = Option.exists(info, ({ type }) => type === "File")
        const content = isFile ? Buffer.from(yield* fs.readFile(lockPath)).toString("base64") : ""
        return { names, link, content, type: Option.map(info, ({ ino, mtime, type }) => [type, ino, mtime]) }
      })
      const before = yield* snapshot
      const player = yield* ground.join()
      const error = yield* failureOf(
        player.locks.withLock(Effect.void, `${directory}/file`, { timeout: "100 millis" })
      )
      assert.strictEqual(reasonOf(error), "Foreign")
      assert.include(error.message, lockPath)
      assert.include(error.message, "left alone")
      const once = yield* failureOf(player.locks.withLockIfAvailable(Effect.void, `${directory}/file`))
      assert.strictEqual(reasonOf(once), "Foreign")
      const status = yield* player.locks.inspect(`${directory}/file`)
      assert.deepStrictEqual(Option.map(status, ({ state }) => state), Option.some("foreign"))
      assert.isFalse(yield* player.locks.breakLock(`${directory}/file`, makeHolder()))
      assert.deepStrictEqual(yield* snapshot, before)
    }))

describe("Something at the place of a lock that is no file", () => {
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

describe("A file of others at the place of a lock", () => {
  const holds = (what: string, content: string | Uint8Array) =>
    isForeign(
      what,
      ({ fs }, lockPath) => fs.writeFile(lockPath, typeof content === "string" ? bytesOf(content) : content)
    )

  holds("a word", "locked")
  holds("a pid, as other tools leave it", "4242\n")
  holds("a line break", "\n")
  holds("binary content", Uint8Array.from({ length: 1000 }, (_, index) => (index * 7919) % 256))
  holds("a NUL and then something", "\0x")
  holds("bytes that are no UTF-8", Uint8Array.of(0xff, 0xfe, 0x80))
  holds("five megabytes", new Uint8Array(5_000_000).fill(120))
  holds("five megabytes of NULs", new Uint8Array(5_000_000))
  holds("a record that somebody appended to", makeRecord() + "and more")
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
    holds(`JSON of another shape, ${json.slice(0, 40)},`, json)
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
    holds(`a record ${what}`, forge(changes))
  }
})

describe("A record that somebody died over", () => {
  const record = makeRecord({ label: "nightly \"compaction\" \u001b[31m\\" })
  const bytes = bytesOf(record)

  /** Puts each of several contents at a place of its own, and says which locks can be had by then. */
  const obtainable = (ground: Ground, contents: ReadonlyArray<Uint8Array>, timeout: Duration.DurationInput) =>
    Effect.gen(function*() {
      const player = yield* ground.join()
      return yield* Effect.forEach(contents, (content, index) =>
        Effect.gen(function*() {
          const path = `${ground.directory}/${index}`
          yield* ground.fs.writeFile(`${path}.lock`, content)
          return yield* player.locks.withLock(Effect.void, path, { timeout, schedule: Schedule.spaced("1 second") })
            .pipe(
              Effect.match({ onFailure: reasonOf, onSuccess: () => "got it" })
            )
        }), { concurrency: "unbounded" })
    })

  const cutOff = Array.makeBy(20, (index) => bytes.subarray(0, Math.floor((index * (bytes.length - 2)) / 19)))
  const withNuls = ["\0", "\0".repeat(bytes.length), record.slice(0, 60) + "\0".repeat(400)].map(bytesOf)

  for (
    const [what, contents] of [["wherever it is cut off", cutOff], ["when NULs are left of it", withNuls]] as const
  ) {
    inMemoryOnly(`is not taken over within two seconds, ${what}`, (ground) =>
      Effect.gen(function*() {
        assert.deepStrictEqual(
          [...new Set(yield* obtainable(ground, contents, "1999 millis"))],
          ["Timeout"]
        )
        for (const [index, content] of contents.entries()) {
          assert.deepStrictEqual(yield* ground.fs.readFile(`${ground.directory}/${index}.lock`), content)
        }
      }))

    inMemoryOnly(`is taken over after two seconds, ${what}`, (ground) =>
      Effect.gen(function*() {
        assert.deepStrictEqual([...new Set(yield* obtainable(ground, contents, "2001 millis"))], ["got it"])
        assert.deepStrictEqual(yield* ground.fs.readDirectory(ground.directory), [])
      }))
  }

  onEveryFileSystem("is taken over on every file system", (ground) =>
    Effect.gen(function*() {
      const { directory, fs } = ground
      yield* fs.writeFileString(`${directory}/file.lock`, "")
      assert.strictEqual(yield* want(ground, "0 millis"), "Timeout")
      assert.strictEqual(yield* want(ground, "40 seconds"), "got it")
      assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
    }))
})

describe("A whole record that nobody stands behind", () => {
  onEveryFileSystem(
    "is taken over at once when it is of a process of this machine that is dead",
    (ground) =>
      Effect.gen(function*() {
        const { directory, fs } = ground
        const { identity } = yield* ground.join()
        yield* ground.machine.kill(identity)
        for (const tail of ["", "\n"]) {
          yield* fs.writeFileString(`${directory}/file.lock`, makeRecord(identity.info).trim() + tail)
          assert.strictEqual(yield* want(ground, "0 millis"), "got it")
          assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
        }
      })
  )

  onEveryFileSystem("is taken over at once when it claims to be ours and is not", (ground) =>
    Effect.gen(function*() {
      const { directory, fs } = ground
      const player = yield* ground.join()
      yield* fs.writeFileString(`${directory}/file.lock`, makeRecord(player.identity.info))
      assert.isTrue(Option.isSome(yield* player.locks.withLockIfAvailable(Effect.void, `${directory}/file`)))
      assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
    }))

  onEveryFileSystem("is waited for when it claims to be of a process that lives", (ground) =>
    Effect.gen(function*() {
      const { directory, fs } = ground
      const { identity } = yield* ground.join()
      yield* fs.writeFileString(`${directory}/file.lock`, makeRecord(identity.info))
      assert.strictEqual(yield* want(ground, "0 millis"), "Timeout")
      yield* ground.machine.kill(identity)
      assert.strictEqual(yield* want(ground, "0 millis"), "got it")
    }))

  inMemoryOnly(
    "is taken over after a lease of silence when its machine cannot be asked",
    (ground) =>
      Effect.gen(function*() {
        const { directory, fs } = ground
        yield* fs.writeFileString(`${directory}/file.lock`, makeRecord())
        assert.strictEqual(yield* want(ground, "3 seconds"), "Timeout")
        assert.strictEqual(yield* want(ground, "40 seconds"), "got it")
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
    onEveryFileSystem(`is a record all the same with ${what}`, (ground) =>
      Effect.gen(function*() {
        yield* ground.fs.writeFileString(`${ground.directory}/file.lock`, content)
        const player = yield* ground.join()
        const error = yield* failureOf(
          player.locks.withLock(Effect.void, `${ground.directory}/file`, { timeout: "50 millis" })
        )
        assert.strictEqual(reasonOf(error), "Timeout")
        assert.include(error.message, "pid 4242 on elsewhere")
      }))
  }

  onEveryFileSystem("cannot write to the terminal of whoever reads about it", (ground) =>
    Effect.gen(function*() {
      const evil = "\u001b]0;owned\u0007\u001b[2J\r\n\u009b31m\u202egnp.exe\u0000"
      yield* ground.fs.writeFileString(`${ground.directory}/file.lock`, makeRecord({ hostname: evil, label: evil }))
      const player = yield* ground.join()
      const error = yield* failureOf(
        player.locks.withLock(Effect.void, `${ground.directory}/file`, { timeout: "50 millis" })
      )
      assert.strictEqual(reasonOf(error), "Timeout")
      assert.include(error.message, "owned")
    }))
})
