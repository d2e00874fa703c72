import * as PlatformError from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as FileSystemDisk from "../../../src/internal/lockFile/fileSystemDisk.js"
import * as Paths from "../../../src/internal/lockFile/paths.js"
import * as MemoryFileSystem from "../../../src/MemoryFileSystem.js"
import { onEveryFileSystem } from "../../utils/fileSystems.js"
import { makeRecord } from "../../utils/records.js"
import { directory, play, type Process } from "../../utils/Scene.js"

const byteLength = (text: string): number => new TextEncoder().encode(text).length

const token = `${"0123456789abcdef".repeat(2)}-zzzzzz`

describe("The names beside a lock file", () => {
  it("begin with its own, as long as that is short", () => {
    for (const lockPath of ["/a/b.lock", "b.lock", `/a/${"n".repeat(91)}.lock`, `/${"d".repeat(200)}/b.lock`]) {
      assert.strictEqual(Paths.prefixOf(lockPath), lockPath)
    }
  })

  it("begin with its hash where it is longer, the same for every process", () => {
    // Other versions of this package must say the same.
    assert.strictEqual(Paths.prefixOf(`/a/${"n".repeat(92)}.lock`), "/a/.lock-1oxqazv07lu")
    assert.strictEqual(Paths.prefixOf(`/a/${"\u20ac".repeat(31)}.lock`), "/a/.lock-195foyqmrd7")
    const names = Array.from({ length: 10_000 }, (_, index) => `/${"n".repeat(200)}${index.toString(36)}.lock`)
    assert.strictEqual(new Set(names.map(Paths.prefixOf)).size, names.length)
    assert.strictEqual(Paths.prefixOf(`C:\\a\\${"n".repeat(92)}.lock`), "C:\\a\\.lock-1oxqazv07lu")
  })

  it("fit 143 bytes, whatever the name of the lock", () => {
    for (const letter of ["n", "\u20ac", "\u{1f512}"]) {
      for (let length = 1; length <= 250; length++) {
        const prefix = Paths.prefixOf(`${letter.repeat(length)}.lock`)
        for (const name of [Paths.requestOf(prefix, token), Paths.claimOf(prefix, 7)]) {
          assert.isAtMost(byteLength(name), 143, name)
        }
      }
    }
  })

  it("say what they are", () => {
    for (const lockPath of ["/a/b.lock", "/a/b.lock.lock", "/a/b\nc.lock", `/a/${"n".repeat(200)}.lock`]) {
      const prefix = Paths.prefixOf(lockPath)
      assert.deepStrictEqual(Paths.parseLeftover(Paths.requestOf(prefix, token)), { prefix, token })
      for (let level = 1; level <= 9; level++) {
        assert.deepStrictEqual(Paths.parseLeftover(Paths.claimOf(prefix, level)), { prefix, level })
      }
    }
    for (const name of ["/a/b.lock", "/a/b", "/a/b.lock.", "/a/b.lockclaim", "/a/claim", "/a/b.lock.claim/c"]) {
      assert.isUndefined(Paths.parseLeftover(name), name)
    }
  })
})

// ---------------------------------------------------------------------------------------------
// limits
// ---------------------------------------------------------------------------------------------

/** A file system with a lower limit for names, as eCryptfs has. */
const withNameLimit = (limit: number) => (fs: FileSystem): FileSystem =>
  new Proxy(fs, {
    get: (target, name) => {
      const method: unknown = Reflect.get(target, name)
      if (typeof method !== "function") {
        return method
      }
      return (...args: ReadonlyArray<unknown>): unknown => {
        const count = name === "link" || name === "rename" ? 2 : 1
        const tooLong = args.slice(0, count).find((path) =>
          typeof path === "string" && path.split("/").some((part) => byteLength(part) > limit)
        )
        return tooLong === undefined ? Reflect.apply(method, target, args) : Effect.fail(
          new PlatformError.SystemError({
            reason: "Unknown",
            module: "FileSystem",
            method: String(name),
            syscall: "open",
            pathOrDescriptor: String(tooLong),
            cause: Object.assign(new Error("ENAMETOOLONG: name too long"), { code: "ENAMETOOLONG", syscall: "open" })
          })
        )
      }
    }
  })

/** Locks a name, and says at once what came of it. */
const lockOnce = ({ locks, run }: Process, name: string) =>
  Effect.gen(function*() {
    const before = yield* Clock.currentTimeNanos
    const result = yield* run(locks.withLock(Effect.void, `${directory}/${name}`)).pipe(
      Effect.as("acquired"),
      Effect.catchAll((error) => Effect.succeed(error._tag === "LockAcquisitionError" ? error.reason : error._tag))
    )
    assert.strictEqual(yield* Clock.currentTimeNanos, before, "at once")
    return result
  })

describe("A long name", () => {
  for (const [limit, longest] of [[143, 138], [255, 250]] as const) {
    it.effect.each(["n", "\u00e9"])(
      `that fits a limit of ${limit} bytes is locked, and taken over from a dead holder (%s)`,
      (letter) =>
        play((scene) =>
          Effect.gen(function*() {
            const wrap = withNameLimit(limit)
            const process = yield* scene.join({ wrap })
            for (const bytes of [80, 90, 92, 96, 98, 120, longest - 2, longest]) {
              const name = letter.repeat(bytes / byteLength(letter))
              assert.strictEqual(yield* lockOnce(process, name), "acquired", `${bytes} bytes`)
              yield* scene.fs.writeFileString(`${directory}/${name}.lock`, yield* scene.deadRecord)
              assert.strictEqual(yield* lockOnce(process, name), "acquired", `${bytes} bytes, abandoned`)
              // The taker has died, too.
              yield* scene.fs.writeFileString(`${directory}/${name}.lock`, yield* scene.deadRecord)
              const prefix = Paths.prefixOf(`${directory}/${name}.lock`)
              yield* scene.fs.writeFileString(Paths.claimOf(prefix, 1), yield* scene.deadRecord)
              assert.strictEqual(yield* lockOnce(process, name), "acquired", `${bytes} bytes, with a claim`)
            }
            yield* Effect.sleep("1 minute")
          })
        )
    )

    it.effect(`that does not fit a limit of ${limit} bytes is refused at once, without a word in the log`, () =>
      play((scene) =>
        Effect.gen(function*() {
          const messages: Array<string> = []
          const logger = Logger.make(({ message }) => void messages.push(String(message)))
          const process = yield* scene.join({ wrap: withNameLimit(limit) })
          yield* Effect.forEach([longest + 1, limit, limit + 1, 300], (bytes) =>
            Effect.map(lockOnce(process, "n".repeat(bytes)), (result) => {
              assert.strictEqual(result, "InvalidPath", `${bytes} bytes`)
            })).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
          assert.deepStrictEqual(messages, [])
          assert.deepStrictEqual(yield* scene.names, [])
        })
      ))
  }

  onEveryFileSystem(
    "of 250 bytes is locked, and taken over from a dead holder",
    ({ directory, fs, join, machine }) =>
      Effect.gen(function*() {
        const { locks } = yield* join()
        for (const name of ["n".repeat(250), "\u00e9".repeat(125)]) {
          const { info } = yield* Effect.tap(machine.spawn(), machine.kill)
          yield* fs.writeFileString(`${directory}/${name}.lock`, makeRecord(info))
          yield* locks.withLock(Effect.void, `${directory}/${name}`, { timeout: 0 })
        }
        assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
      })
  )
})

// ---------------------------------------------------------------------------------------------
// one key for all spellings
// ---------------------------------------------------------------------------------------------

const withPaths = <A, E>(use: (fs: FileSystem, paths: Paths.Paths) => Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const fs = yield* MemoryFileSystem.make
    const syntax = yield* Path.Path
    return yield* use(fs, Paths.make(FileSystemDisk.make(fs), syntax))
  }).pipe(Effect.provide(Path.layer))

describe("The canonical path", () => {
  it.effect("is one for all spellings of a file, asked for again and again", () =>
    withPaths((fs, paths) =>
      Effect.gen(function*() {
        yield* fs.makeDirectory("/a/b/c", { recursive: true })
        yield* fs.symlink("/a/b", "/linked")
        yield* fs.symlink("b/c/file", "/a/link-to-file")
        yield* fs.symlink("link-to-file", "/a/link-to-link")
        const spellings = [
          "/a/b/c/file",
          "//a/./b//c/file",
          "/a/b/c/file/",
          "/a/b/../b/c/file",
          "/linked/c/file",
          "/linked/../b/c/file",
          "/linked/c/../../b/c/file",
          "/a/link-to-file",
          "/a/link-to-link"
        ]
        for (const spelling of spellings) {
          const canonical = paths.canonical(spelling)
          for (let round = 0; round < 2; round++) {
            assert.deepStrictEqual(
              yield* canonical,
              { path: "/a/b/c/file", lockPath: "/a/b/c/file.lock" },
              spelling
            )
          }
        }
      })
    ))

  it.effect("leads out of the target of a link by .., not back", () =>
    withPaths((fs, paths) =>
      Effect.gen(function*() {
        yield* fs.makeDirectory("/deep/er/est", { recursive: true })
        yield* fs.symlink("/deep/er/est", "/link")
        assert.deepInclude(yield* paths.canonical("/link/../file"), { path: "/deep/er/file" })
      })
    ))

  it.effect("is told of directories that are not there yet, and follows a link to one", () =>
    withPaths((fs, paths) =>
      Effect.gen(function*() {
        assert.deepInclude(yield* paths.canonical("/new/er/file"), { path: "/new/er/file" })
        yield* fs.symlink("/later", "/link")
        assert.deepInclude(yield* paths.canonical("/link/file"), { path: "/later/file" })
      })
    ))

  it.effect("of a directory that was its own is not asked for twice, and is right when it was replaced", () =>
    withPaths((fs, paths) =>
      Effect.gen(function*() {
        yield* fs.makeDirectory("/a/b", { recursive: true })
        assert.deepInclude(yield* paths.canonical("/a/b/file"), { path: "/a/b/file" })
        yield* fs.symlink("/a/b", "/a/link")
        assert.deepInclude(yield* paths.canonical("/a/link/file"), { path: "/a/b/file" })
        yield* fs.remove("/a/link")
        yield* fs.makeDirectory("/a/c")
        yield* fs.symlink("/a/c", "/a/link")
        assert.deepInclude(yield* paths.canonical("/a/link/file"), { path: "/a/c/file" })
      })
    ))

  it.effect("is none of a loop of links", () =>
    withPaths((fs, paths) =>
      Effect.gen(function*() {
        yield* fs.symlink("/tmp/b", "/tmp/a")
        yield* fs.symlink("/tmp/a", "/tmp/b")
        for (const path of ["/tmp/a", "/tmp/a/file"]) {
          assert.deepInclude(yield* Effect.flip(paths.canonical(path)), { _tag: "BackendError", reason: "InvalidPath" })
        }
      })
    ))

  it("is none of what no system takes", () => {
    for (const path of ["", "a\0b", "x".repeat(5000)]) {
      const make = withPaths((_, paths) => Effect.sync(() => paths.check(path)))
      assert.isDefined(Effect.runSync(make), path.slice(0, 5))
    }
    assert.isUndefined(Effect.runSync(withPaths((_, paths) => Effect.sync(() => paths.check("/a/b")))))
    assert.isTrue(
      Option.isNone(Effect.runSync(withPaths((_, paths) => Effect.sync(() => paths.key(`/${"n".repeat(251)}`)))))
    )
  })
})

describe("The directory of a lock", () => {
  const keyOf = (path: string) => ({ path, lockPath: `${path}.lock` })

  it.effect("is made with all that is missing on the way to it", () =>
    withPaths((fs, paths) =>
      Effect.gen(function*() {
        const make = paths.makeDirectory(keyOf("/a/b/c/file"))
        yield* make
        assert.strictEqual((yield* fs.stat("/a/b/c")).type, "Directory")
        yield* paths.makeDirectory(keyOf("/a/b/c/file"))
      })
    ))

  it.effect("that cannot be made is told at once", () =>
    withPaths((fs, paths) =>
      Effect.gen(function*() {
        yield* fs.writeFileString("/tmp/file", "")
        assert.deepInclude(yield* Effect.flip(paths.makeDirectory(keyOf("/tmp/file/below/a"))), {
          _tag: "LockDirectoryError",
          directory: "/tmp/file/below"
        })
      })
    ))

  it.effect("that refuses although its parent is there is asked for once more, and not for ever", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      const syntax = yield* Path.Path
      let calls = 0
      // As below /proc.
      const disk = FileSystemDisk.make(
        yield* MemoryFileSystem.withFaults(fs, {
          fault: ({ method, path }) => {
            if (method !== "makeDirectory") {
              return undefined
            }
            calls += 1
            return path === "/tmp/a" ? MemoryFileSystem.Fault.Fail({ errno: "ENOENT" }) : undefined
          }
        })
      )
      const error = yield* Effect.flip(Paths.make(disk, syntax).makeDirectory(keyOf("/tmp/a/b/file")))
      assert.strictEqual(error._tag, "LockDirectoryError")
      assert.isAtMost(calls, 8)
    }).pipe(Effect.provide(Path.layer)))
})
