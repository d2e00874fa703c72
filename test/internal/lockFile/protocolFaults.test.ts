import * as PlatformError from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { LockAcquisitionError, LockDirectoryError } from "../../../src/LockError.js"
import * as MemoryFileSystem from "../../../src/MemoryFileSystem.js"
import { distanceOf } from "../../utils/killPoints.js"
import { makeRecord } from "../../utils/records.js"
import { claimPath, directory, lockPath, path, play, type Process, type Scene } from "../../utils/Scene.js"

const { Fail } = MemoryFileSystem.Fault

const distance = distanceOf(2)

/** Longer than a lease: by then the clean-up has removed all that it can. */
const cleanedUp = Effect.sleep("2 minutes")

const isRequest = (path: string): boolean => /\.lock\.[^/]+-\w+$/.test(path)

const reasonOf = (error: LockAcquisitionError | LockDirectoryError) =>
  error._tag === "LockDirectoryError" ? error._tag : error.reason

/** Tries to get the lock once, and says what came of it. */
const tryOnce = ({ locks, run }: Process) =>
  run(locks.withLockIfAvailable(Effect.void, path)).pipe(
    Effect.map(Option.match({ onNone: () => "taken", onSome: () => "acquired" })),
    Effect.catchAll((error) => Effect.succeed(error._tag === "LockLostError" ? error._tag : reasonOf(error)))
  )

// ---------------------------------------------------------------------------------------------
// death
// ---------------------------------------------------------------------------------------------

const deaths: ReadonlyArray<readonly [string, (scene: Scene) => Effect.Effect<unknown, unknown, Scope.Scope>]> = [
  ["an acquisition", () => Effect.void],
  ["an acquisition that makes the directory", ({ fs }) => fs.remove(directory, { recursive: true })],
  ["a takeover", ({ abandon }) => abandon],
  [
    "a takeover of a claim",
    ({ abandon, deadRecord, fs }) =>
      Effect.zipRight(abandon, Effect.flatMap(deadRecord, (record) => fs.writeFileString(claimPath, record)))
  ],
  [
    "a clean-up",
    ({ deadRecord, fs }) =>
      Effect.forEach(
        ["claim", "claim2"],
        (name) => Effect.flatMap(deadRecord, (record) => fs.writeFileString(`${directory}/other.lock.${name}`, record))
      )
  ]
]

describe("A process that is killed", () => {
  it.effect.each(deaths)(
    "before any system call of %s leaves a lock that is had at once, and then nothing",
    ([, put]) =>
      Effect.gen(function*() {
        const failures: Array<string> = []
        let died = true
        let kills = 0
        for (let index = 0; died; index += distance) {
          yield* play((scene) =>
            Effect.gen(function*() {
              yield* put(scene)
              const [dying, next] = yield* Effect.all([scene.join(), scene.join()])
              yield* dying.killBefore(index)
              const fiber = yield* Effect.forkDaemon(dying.run(dying.locks.withLock(Effect.void, path)))
              yield* Effect.sleep("1 second")
              died = yield* dying.isDead
              assert.isTrue(died || fiber.unsafePoll() !== null)
              kills += Number(died)
              const { path: at, syscall } = dying.steps[index] ?? { path: "", syscall: "the end" }
              const result = yield* tryOnce(next)
              if (result !== "acquired") {
                failures.push(`before ${syscall} ${at}: ${result}`)
              }
              yield* cleanedUp
              for (const name of yield* scene.names) {
                failures.push(`before ${syscall} ${at}: ${name} is left`)
                yield* scene.fs.remove(`${directory}/${name}`)
              }
            })
          )
        }
        assert.deepStrictEqual(failures, [])
        assert.isAbove(kills, 10 / distance)
      })
  )
})

// ---------------------------------------------------------------------------------------------
// answers that are lost
// ---------------------------------------------------------------------------------------------

/** The operations that a fault strikes once. */
interface Strike {
  readonly method: string
  /** The first path of the operation. */
  readonly path: (path: string) => boolean
  /** Of those, from 1. Default the first. */
  readonly nth?: number
  readonly fault: MemoryFileSystem.Fault
}

/** A plan of faults, each of which strikes once. */
const once = (...strikes: ReadonlyArray<Strike>): MemoryFileSystem.FaultPlan & { readonly struck: () => number } => {
  const counts = strikes.map(() => 0)
  let struck = 0
  return {
    struck: () => struck,
    fault: ({ method, path }) => {
      for (const [index, strike] of strikes.entries()) {
        if (strike.method === method && strike.path(path)) {
          const count = (counts[index] ?? 0) + 1
          counts[index] = count
          if (count === (strike.nth ?? 1)) {
            struck += 1
            return strike.fault
          }
        }
      }
      return undefined
    }
  }
}

const is = (expected: string) => (path: string) => path === expected

describe("An answer that is lost", () => {
  it.effect.each(["EIO", "EEXIST", "ETIMEDOUT", "ESTALE"])(
    "of the link that publishes a record: %s is settled by reading, and the lock is held",
    (errno) =>
      play((scene) =>
        Effect.gen(function*() {
          const faults = once({ method: "link", path: isRequest, fault: Fail({ errno, moment: "after" }) })
          const process = yield* scene.join({ faults })
          const other = yield* scene.join()
          yield* process.run(process.locks.withLock(
            Effect.gen(function*() {
              assert.deepStrictEqual(yield* scene.names, ["tasks.json.lock"])
              assert.strictEqual(yield* tryOnce(other), "taken")
            }),
            path,
            { timeout: 0 }
          ))
          assert.strictEqual(faults.struck(), 1)
        })
      )
  )

  it.effect.each(["EIO", "EEXIST"])(
    "of the link that publishes a claim: %s is settled by reading, and the lock is taken over",
    (errno) =>
      play((scene) =>
        Effect.gen(function*() {
          yield* scene.abandon
          const faults = once({ method: "link", path: isRequest, nth: 2, fault: Fail({ errno, moment: "after" }) })
          const process = yield* scene.join({ faults })
          yield* process.enter("the only one", { timeout: 0 })
          assert.strictEqual(faults.struck(), 1)
        })
      )
  )

  it.effect("of the rename of a claim is settled by reading, and the lock is taken over", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        const faults = once({ method: "rename", path: is(claimPath), fault: Fail({ errno: "EIO", moment: "after" }) })
        const process = yield* scene.join({ faults })
        yield* process.enter("the only one", { timeout: 0 })
        assert.strictEqual(faults.struck(), 1)
      })
    ))

  it.effect("of the creation of a request file leaves nothing, and the next attempt is made", () =>
    play((scene) =>
      Effect.gen(function*() {
        const faults = once({
          method: "writeFileString",
          path: isRequest,
          fault: Fail({ errno: "EIO", moment: "after" })
        })
        const process = yield* scene.join({ faults })
        assert.strictEqual(yield* tryOnce(process), "SystemError")
        assert.deepStrictEqual(yield* scene.names, [])
        assert.strictEqual(yield* tryOnce(process), "acquired")
      })
    ))

  it.effect("of the removal of a request file leaves no file", () =>
    play((scene) =>
      Effect.gen(function*() {
        const faults = once({ method: "remove", path: isRequest, fault: Fail({ errno: "EIO", moment: "after" }) })
        const process = yield* scene.join({ faults })
        yield* process.enter("the only one", { timeout: 0 })
        assert.strictEqual(faults.struck(), 1)
      })
    ))

  it.effect.each(["EIO", "EEXIST"])(
    "of a link, %s, leaves nothing of the process where the lock cannot be read either",
    (errno) =>
      play((scene) =>
        Effect.gen(function*() {
          const faults = once(
            { method: "link", path: isRequest, fault: Fail({ errno, moment: "after" }) },
            { method: "readLink", path: is(lockPath), fault: Fail({ errno: "EIO" }) }
          )
          const [process, other] = yield* Effect.all([scene.join({ faults }), scene.join()])
          assert.strictEqual(yield* tryOnce(process), "SystemError")
          assert.strictEqual(faults.struck(), 2)
          assert.deepStrictEqual(yield* scene.names, [])
          assert.strictEqual(yield* tryOnce(other), "acquired")
        })
      )
  )

  it.effect("of the rename of a claim leaves nothing of the process where the lock cannot be read either", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        let renamed = false
        const [process, other] = yield* Effect.all([
          scene.join({
            faults: {
              fault: ({ method, path }) => {
                if (method === "rename" && path === claimPath) {
                  renamed = true
                  return Fail({ errno: "EIO", moment: "after" })
                }
                if (renamed && method === "readLink" && path === lockPath) {
                  renamed = false
                  return Fail({ errno: "EIO" })
                }
                return undefined
              }
            }
          }),
          scene.join()
        ])
        assert.strictEqual(yield* tryOnce(process), "SystemError")
        assert.deepStrictEqual(yield* scene.names, [])
        assert.strictEqual(yield* tryOnce(other), "acquired")
      })
    ))

  it.effect("is not waited for where the lock can never be read: another user's private file is left as it is", () =>
    play((scene) =>
      Effect.gen(function*() {
        const root = yield* scene.disk.view({ uid: 0 })
        yield* root.writeFileString(lockPath, "private", { mode: 0o600 })
        const process = yield* scene.join()
        assert.strictEqual(yield* tryOnce(process), "PermissionDenied")
        assert.deepStrictEqual(yield* scene.names, ["tasks.json.lock"])
        yield* root.remove(lockPath)
        assert.strictEqual(yield* tryOnce(process), "acquired")
      })
    ))
})

// ---------------------------------------------------------------------------------------------
// full disks
// ---------------------------------------------------------------------------------------------

/** A write that fails in its middle: the file is there, and has a part of its content. */
const partialWrites =
  (errno: string, at: (path: string) => boolean, written: number) => (fs: FileSystem): FileSystem => {
    let struck = false
    return {
      ...fs,
      writeFileString: (path, data, options) => {
        if (struck || !at(path)) {
          return fs.writeFileString(path, data, options)
        }
        struck = true
        const error = new PlatformError.SystemError({
          reason: "Unknown",
          module: "FileSystem",
          method: "writeFile",
          syscall: "write",
          pathOrDescriptor: path,
          cause: Object.assign(new Error(`${errno}: write`), { code: errno, syscall: "write" })
        })
        return Effect.zipRight(fs.writeFileString(path, data.slice(0, written), options), Effect.fail(error))
      }
    }
  }

const shortages = [["ENOSPC", "StorageFull"], ["EDQUOT", "StorageFull"], ["EFBIG", "StorageFull"], [
  "EIO",
  "SystemError"
]] as const

describe("A disk that refuses", () => {
  it.effect.each(shortages)(
    "to create a file, by %s, is told as %s and leaves nothing",
    ([errno, reason]) =>
      play((scene) =>
        Effect.gen(function*() {
          const faults = once({ method: "writeFileString", path: isRequest, fault: Fail({ errno }) })
          const process = yield* scene.join({ faults })
          assert.strictEqual(yield* tryOnce(process), reason)
          assert.deepStrictEqual(yield* scene.names, [])
          assert.strictEqual(yield* tryOnce(process), "acquired")
        })
      )
  )

  it.effect.each(shortages)(
    "to write, by %s, is told as %s and leaves nothing",
    ([errno, reason]) =>
      play((scene) =>
        Effect.gen(function*() {
          for (const written of [0, 10]) {
            const process = yield* scene.join({ wrap: partialWrites(errno, isRequest, written) })
            assert.strictEqual(yield* tryOnce(process), reason)
            assert.deepStrictEqual(yield* scene.names, [])
            assert.strictEqual(yield* tryOnce(process), "acquired")
          }
        })
      )
  )

  it.effect.each(shortages)(
    "to link, by %s, is told as %s and leaves nothing",
    ([errno, reason]) =>
      play((scene) =>
        Effect.gen(function*() {
          const faults = once({ method: "link", path: isRequest, fault: Fail({ errno }) })
          const process = yield* scene.join({ faults })
          assert.strictEqual(yield* tryOnce(process), reason)
          assert.deepStrictEqual(yield* scene.names, [])
          assert.strictEqual(yield* tryOnce(process), "acquired")
        })
      )
  )

  const inTakeover: ReadonlyArray<readonly [string, number, (errno: string) => Strike]> = [
    ["create", 0, (errno) => ({ method: "writeFileString", path: isRequest, nth: 2, fault: Fail({ errno }) })],
    ["link", 0, (errno) => ({ method: "link", path: isRequest, nth: 2, fault: Fail({ errno }) })],
    ["rename", 0, (errno) => ({ method: "rename", path: is(claimPath), fault: Fail({ errno }) })]
  ]
  for (const [what, , strike] of inTakeover) {
    it.effect.each(shortages)(`to ${what} in a takeover, by %s, is told as %s and leaves nothing of the process`, ([
      errno,
      reason
    ]) =>
      play((scene) =>
        Effect.gen(function*() {
          const dead = yield* scene.abandon
          const faults = once(strike(errno))
          const process = yield* scene.join({ faults })
          assert.strictEqual(yield* tryOnce(process), reason)
          assert.strictEqual(faults.struck(), 1)
          assert.deepStrictEqual(yield* scene.names, ["tasks.json.lock"])
          assert.strictEqual(yield* scene.fs.readFileString(lockPath), dead)
          assert.strictEqual(yield* tryOnce(process), "acquired")
        })
      ))
  }

  it.effect("to remove the lock file is asked again for a while, and does not keep the caller", () =>
    play((scene) =>
      Effect.gen(function*() {
        const process = yield* scene.join({
          faults: {
            fault: ({ method, path }) => method === "remove" && path === lockPath ? Fail({ errno: "EIO" }) : undefined
          }
        })
        const messages: Array<string> = []
        const logger = Logger.make(({ message }) => void messages.push(String(message)))
        yield* process.enter("the only one", { stay: 0 }).pipe(
          Effect.provide(Logger.replace(Logger.defaultLogger, logger)),
          Effect.timeout("1 second")
        )
        assert.deepStrictEqual(messages.filter((message) => message.includes(`Could not remove ${lockPath}`)).length, 1)
        yield* scene.fs.remove(lockPath)
      })
    ))
})

// ---------------------------------------------------------------------------------------------
// file systems without links
// ---------------------------------------------------------------------------------------------

const withoutLinks = (errno: string): MemoryFileSystem.FaultPlan => ({
  fault: ({ method }) => method === "link" ? Fail({ errno }) : undefined
})

describe("A file system without hard links", () => {
  const faults = withoutLinks("EPERM")

  it.effect.each(["ENOTSUP", "ENOSYS", "EOPNOTSUPP", "EACCES", "EXDEV", "EMLINK"])(
    "has locks, also when it says %s",
    (errno) =>
      play((scene) =>
        Effect.gen(function*() {
          yield* scene.abandon
          const process = yield* scene.join({ faults: withoutLinks(errno) })
          yield* process.enter("the only one", { timeout: 0 })
        })
      )
  )

  it.effect("has locks, and says once what is different", () =>
    play((scene) =>
      Effect.gen(function*() {
        const messages: Array<string> = []
        const logger = Logger.make(({ message }) => void messages.push(String(message)))
        const [first, second] = yield* Effect.all([scene.join({ faults }), scene.join({ faults })])
        yield* Effect.gen(function*() {
          yield* Effect.all([
            first.enter("first"),
            first.enter("first again"),
            second.enter("second")
          ], { concurrency: "unbounded" })
          yield* first.enter("once more")
        }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
        assert.strictEqual(messages.filter((message) => message.includes("no hard links")).length, 2, "once a process")
        assert.strictEqual(scene.occupancy.entries, 4)
      })
    ))

  it.effect("has locks that are taken over from dead processes, also in the midst of a takeover", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        yield* scene.fs.writeFileString(claimPath, yield* scene.deadRecord)
        const process = yield* scene.join({ faults })
        yield* process.enter("the only one", { timeout: 0 })
      })
    ))

  it.effect("keeps nothing of a write that failed, at a lock or at a claim", () =>
    play((scene) =>
      Effect.gen(function*() {
        for (const at of [lockPath, claimPath]) {
          if (at === claimPath) {
            yield* scene.abandon
          }
          const before = yield* scene.names
          for (const written of [0, 10]) {
            const process = yield* scene.join({ faults, wrap: partialWrites("ENOSPC", is(at), written) })
            assert.strictEqual(yield* tryOnce(process), "StorageFull")
            assert.deepStrictEqual(yield* scene.names, before)
          }
        }
        assert.strictEqual(yield* tryOnce(yield* scene.join({ faults })), "acquired")
      })
    ))

  it.effect("holds the lock when the answer of the creation is lost", () =>
    play((scene) =>
      Effect.gen(function*() {
        const lost = once({
          method: "writeFileString",
          path: is(lockPath),
          fault: Fail({ errno: "EIO", moment: "after" })
        })
        const process = yield* scene.join({
          faults: { fault: (operation) => faults.fault(operation) ?? lost.fault(operation) }
        })
        yield* process.enter("the only one", { timeout: 0 })
        assert.strictEqual(lost.struck(), 1)
      })
    ))

  it.effect("has a file that is not written yet for foreign, to all others", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [slow, other] = yield* Effect.all([scene.join({ faults }), scene.join({ faults })])
        const writing = yield* slow.stopAt("write", lockPath)
        const held = yield* Effect.fork(slow.enter("slow"))
        yield* writing.reached
        assert.strictEqual(yield* tryOnce(other), "Foreign")
        const next = yield* Effect.fork(other.enter("other"))
        yield* Effect.sleep("50 seconds")
        assert.strictEqual(yield* scene.fs.readFileString(lockPath), "")
        yield* writing.goOn
        yield* Fiber.joinAll([held, next])
      })
    ))
})

describe("A lock that may not be had", () => {
  /** Asks for the lock for an hour, and fails at once. */
  const refusalOf = ({ locks, run }: Process) =>
    Effect.gen(function*() {
      const before = yield* Clock.currentTimeNanos
      const error = yield* Effect.flip(run(locks.withLock(Effect.void, path, { timeout: "1 hour" })))
      assert.strictEqual(yield* Clock.currentTimeNanos, before, "at once")
      return error
    })

  it.effect("since its owner is dead, and its file another user's in a sticky directory, names that owner at once", () =>
    play((scene) =>
      Effect.gen(function*() {
        const root = yield* scene.disk.view({ uid: 0 })
        const owner = (yield* Effect.tap(scene.machine.spawn(), scene.machine.kill)).info
        yield* root.chown(directory, 0, 0)
        yield* root.chmod(directory, 0o1777)
        yield* root.writeFileString(lockPath, makeRecord(owner))
        const error = yield* refusalOf(yield* scene.join())
        assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "PermissionDenied" })
        assert.strictEqual("holder" in error ? error.holder?.pid : undefined, owner.pid)
        assert.deepStrictEqual(yield* scene.names, ["tasks.json.lock"])
        yield* root.remove(lockPath)
      })
    ))

  it.effect("since it may not be read is refused at once, also when that comes while it is waited for", () =>
    play((scene) =>
      Effect.gen(function*() {
        const root = yield* scene.disk.view({ uid: 0 })
        yield* root.writeFileString(lockPath, makeRecord(), { mode: 0o600 })
        const process = yield* scene.join()
        assert.deepInclude(yield* refusalOf(process), { _tag: "LockAcquisitionError", reason: "PermissionDenied" })
        yield* root.chmod(lockPath, 0o644)
        const waiting = yield* Effect.fork(Effect.flip(process.enter("waiting", { timeout: "1 hour" })))
        yield* Effect.sleep("1 second")
        yield* root.chmod(lockPath, 0o600)
        assert.deepInclude(yield* Effect.timeout(Fiber.join(waiting), "1 second"), { reason: "PermissionDenied" })
        yield* root.remove(lockPath)
      })
    ))

  it.effect("since the disk is full when it is taken over is refused at once", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        const faults = once({ method: "writeFileString", path: isRequest, nth: 2, fault: Fail({ errno: "ENOSPC" }) })
        assert.deepInclude(yield* refusalOf(yield* scene.join({ faults })), { reason: "StorageFull" })
        yield* scene.fs.remove(lockPath)
      })
    ))
})

describe("A lock that cannot be asked for", () => {
  it.effect("fails at once with what is wrong, and the next attempt works", () =>
    play((scene) =>
      Effect.gen(function*() {
        const process = yield* scene.join()
        yield* scene.disk.configure({ readOnly: true })
        const result = yield* Effect.either(process.run(process.locks.withLock(Effect.void, path)))
        assert.deepInclude(Either.isLeft(result) ? result.left : undefined, { _tag: "LockDirectoryError" })
        yield* scene.disk.configure({ readOnly: false })
        assert.isTrue(Exit.isSuccess(yield* Effect.exit(process.enter("afterwards"))))
      })
    ))
})

describe("A lock file that could not be removed", () => {
  it.effect("does not count as alive in its own process, which gets the lock again", () =>
    play((scene) =>
      Effect.gen(function*() {
        let refuses = false
        const { locks, run } = yield* scene.join({
          faults: {
            fault: ({ method }) =>
              refuses && method === "remove" ? MemoryFileSystem.Fault.Fail({ errno: "EACCES" }) : undefined
          }
        })
        yield* run(locks.withLock(Effect.sync(() => void (refuses = true)), path))
        refuses = false
        assert.deepStrictEqual(yield* scene.names, ["tasks.json.lock"])
        yield* run(locks.withLock(Effect.void, path, { timeout: 0 }))
      })
    ))
})
