import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { LostReason } from "../src/LockError.js"
import { expectSound, failureOf } from "./utils/failures.js"
import { inMemoryOnly, onEveryFileSystem } from "./utils/grounds.js"
import { makeHolder, makeRecord } from "./utils/records.js"

interface Tampering {
  readonly what: string
  readonly tamper: (fs: FileSystem.FileSystem, lockPath: string) => Effect.Effect<unknown, PlatformError>
  /** What asking for the lock now says. */
  readonly verdict: LostReason
  /** What the holder is told in the end. */
  readonly loss: LostReason
  /** Whether what is there in the end is ours to remove. */
  readonly ours: boolean
  readonly where?: typeof onEveryFileSystem
}

const replaceBy = (put: Tampering["tamper"]): Tampering["tamper"] => (fs, lockPath) =>
  Effect.zipRight(fs.remove(lockPath), put(fs, lockPath))

const replaced = (what: string, put: Tampering["tamper"]): Tampering => ({
  what: `replaced by ${what}`,
  tamper: replaceBy(put),
  verdict: "Replaced",
  loss: "Replaced",
  ours: false
})

const tamperings: ReadonlyArray<Tampering> = [
  { what: "removed", tamper: (fs, path) => fs.remove(path), verdict: "Removed", loss: "Removed", ours: false },
  {
    what: "moved away",
    tamper: (fs, path) => fs.rename(path, `${path}.bak`),
    verdict: "Removed",
    loss: "Removed",
    ours: false
  },
  replaced("another holder's record", (fs, path) => fs.writeFileString(path, makeRecord())),
  replaced("a file of others", (fs, path) => fs.writeFileString(path, "not a lock")),
  replaced("an empty file", (fs, path) => fs.writeFileString(path, "")),
  replaced("a directory", (fs, path) => fs.makeDirectory(path)),
  replaced("a link to nothing", (fs, path) => fs.symlink("nothing", path)),
  {
    what: "overwritten in place",
    tamper: (fs, path) => fs.writeFileString(path, makeRecord()),
    verdict: "Replaced",
    loss: "Replaced",
    ours: false
  },
  {
    what: "emptied",
    tamper: (fs, path) => fs.truncate(path),
    verdict: "Replaced",
    loss: "Replaced",
    ours: false
  },
  {
    what: "made unreadable",
    tamper: (fs, path) => fs.chmod(path, 0o000),
    verdict: "BackendUnavailable",
    loss: "LeaseExpired",
    ours: true,
    // On real files the tests may be root's, who may read everything.
    where: inMemoryOnly
  }
]

/** Short, so that the holder learns soon what happened. */
const settings = { lease: "600 millis" } as const

for (const { loss, ours, tamper, verdict, what, where = onEveryFileSystem } of tamperings) {
  describe(`A lock whose file is ${what} while it is held`, () => {
    where("is known to be lost when it is asked for", ({ directory, fs, join }) =>
      Effect.gen(function*() {
        const player = yield* join()
        yield* Effect.scoped(Effect.gen(function*() {
          const lock = yield* player.locks.acquire(`${directory}/file`)
          yield* lock.verify
          yield* tamper(fs, lock.lockPath)
          const error = yield* failureOf(lock.verify)
          assert.strictEqual(error.reason, verdict)
          assert.strictEqual(yield* lock.isHeld, verdict === "BackendUnavailable")
        }))
      }))

    where(
      "tells its holder by itself, and stops what runs under it",
      ({ directory, fs, join }) =>
        Effect.gen(function*() {
          const player = yield* join(settings)
          const path = `${directory}/file`
          const inside = yield* Deferred.make<void>()
          const stopped = yield* Deferred.make<void>()
          const body = Effect.never.pipe(
            Effect.onInterrupt(() => Deferred.succeed(stopped, void 0)),
            Effect.zipLeft(Deferred.succeed(inside, void 0), { concurrent: true })
          )
          const fiber = yield* Effect.fork(player.locks.withLock(body, path))
          yield* Deferred.await(inside)
          yield* tamper(fs, `${path}.lock`)
          const error = yield* failureOf(Fiber.join(fiber))
          assert.isTrue(yield* Deferred.isDone(stopped))
          assert.strictEqual(error._tag === "LockLostError" ? error.reason : error._tag, loss)
        })
    )

    where("is left as it is found when it is released", ({ directory, fs, join }) =>
      Effect.gen(function*() {
        const player = yield* join()
        const lockPath = `${directory}/file.lock`
        const state = Effect.gen(function*() {
          const link = yield* Effect.option(fs.readLink(lockPath))
          const content = yield* Effect.option(fs.readFileString(lockPath))
          return { names: (yield* fs.readDirectory(directory)).sort(), link, content }
        })
        const before = yield* player.locks.withLock(Effect.zipRight(tamper(fs, lockPath), state), `${directory}/file`)
        assert.deepStrictEqual(yield* state, ours ? { ...before, names: [] } : before)
      }))
  })
}

describe("A lock that was lost", () => {
  onEveryFileSystem("says who has it now", ({ directory, fs, join }) =>
    Effect.gen(function*() {
      const player = yield* join()
      yield* Effect.scoped(Effect.gen(function*() {
        const lock = yield* player.locks.acquire(`${directory}/file`)
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
        const player = yield* join()
        const body = Effect.zipRight(fs.remove(`${directory}/file.lock`), Effect.fail("its own failure"))
        assert.strictEqual(yield* Effect.flip(player.locks.withLock(body, `${directory}/file`)), "its own failure")
      })
  )

  onEveryFileSystem("can be had again by the same process", ({ directory, fs, join }) =>
    Effect.gen(function*() {
      const player = yield* join()
      yield* Effect.exit(player.locks.withLock(fs.remove(`${directory}/file.lock`), `${directory}/file`))
      yield* player.locks.withLock(Effect.void, `${directory}/file`)
      assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
    }))
})
