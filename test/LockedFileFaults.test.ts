/**
 * Whole files under their lock, when processes are killed and disks refuse: the file is the old one or the new one, and nothing is left.
 */
import type { PlatformError } from "@effect/platform/Error"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as FileLock from "../src/FileLock.js"
import * as LockedFile from "../src/LockedFile.js"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import { distanceOf } from "./utils/killPoints.js"
import { directory, lockPath, path, play, type Process, type Scene } from "./utils/Scene.js"

/** Longer than a lease: by then the clean-up has removed all that it can. */
const cleanedUp = Effect.sleep("2 minutes")

/** More than a page, so that a part of it is a part. */
const contentOf = (value: number): string => `${value}\n`.repeat(1_000)

const valueOf = (content: string): number => {
  const value = Number.parseInt(content, 10)
  assert.strictEqual(content, contentOf(value), "the content is whole")
  return value
}

const increment = (current: Option.Option<string>): string =>
  contentOf(Option.match(current, { onNone: () => 0, onSome: valueOf }) + 1)

/** Makes the file hold the next number. */
const update = ({ locks, run }: Process, options?: LockedFile.WriteOptions) =>
  run(LockedFile.updateString(path, increment, options)).pipe(
    Effect.map(valueOf),
    Effect.provideService(FileLock.FileLock, locks)
  )

const read = ({ locks, run }: Process) =>
  run(LockedFile.readString(path, { timeout: 0 })).pipe(
    Effect.map(valueOf),
    Effect.provideService(FileLock.FileLock, locks)
  )

/** The number in the file, seen without a lock. */
const seen = ({ fs }: Scene) => Effect.map(fs.readFileString(path), valueOf)

const distance = distanceOf(5)

const names = [path.slice(directory.length + 1)]

const writes: ReadonlyArray<
  readonly [string, (scene: Scene) => Effect.Effect<unknown, PlatformError>]
> = [
  ["an update", () => Effect.void],
  [
    "an update that finds what another killed writer has left",
    ({ abandon, fs }) => Effect.zipRight(abandon, fs.writeFileString(`${lockPath}.write-0123456789abcdef-0`, "0\n0"))
  ]
]

const isTemporary = new RegExp(`^${lockPath}\\.write-`)

describe("A process that is killed", () => {
  it.effect.each(writes)(
    "before any system call of %s leaves the old file or the new one, which the next one updates at once, and nothing else",
    ([, put]) =>
      Effect.gen(function*() {
        const failures: Array<string> = []
        const outcomes = new Set<number>()
        let died = true
        let kills = 0
        for (let index = 0; died; index += distance) {
          yield* play((scene) =>
            Effect.gen(function*() {
              yield* scene.fs.writeFileString(path, contentOf(1))
              yield* put(scene)
              const [dying, next] = yield* Effect.all([scene.join(), scene.join()])
              yield* dying.killBefore(index)
              const fiber = yield* Effect.forkDaemon(update(dying))
              yield* Effect.sleep("1 second")
              died = yield* dying.isDead
              assert.isTrue(died || fiber.unsafePoll() !== null)
              kills += Number(died)
              const { path: at, syscall } = dying.steps[index] ?? { path: "", syscall: "the end" }
              const before = yield* seen(scene)
              outcomes.add(before)
              const after = yield* Effect.either(update(next, { timeout: 0 }))
              if (after._tag === "Left") failures.push(`before ${syscall} ${at}: ${after.left.message}`)
              else assert.strictEqual(after.right, before + 1)
              assert.strictEqual(yield* read(next), before + 1)
              yield* cleanedUp
              for (const name of yield* scene.names) {
                if (names.includes(name)) continue
                failures.push(`before ${syscall} ${at}: ${name} is left`)
                yield* scene.fs.remove(`${directory}/${name}`, { recursive: true })
              }
            }), { leaves: names })
        }
        assert.deepStrictEqual(failures, [])
        assert.deepStrictEqual([...outcomes].sort(), [1, 2])
        assert.isAbove(kills, 15 / distance)
      })
  )

  it.effect("before any system call of a read keeps no writer out, and leaves nothing", () =>
    Effect.gen(function*() {
      let died = true
      let kills = 0
      for (let index = 0; died; index += distance) {
        yield* play((scene) =>
          Effect.gen(function*() {
            yield* scene.fs.writeFileString(path, contentOf(1))
            const [dying, next] = yield* Effect.all([scene.join(), scene.join()])
            yield* dying.killBefore(index)
            const fiber = yield* Effect.forkDaemon(read(dying))
            yield* Effect.sleep("1 second")
            died = yield* dying.isDead
            assert.isTrue(died || fiber.unsafePoll() !== null)
            kills += Number(died)
            assert.strictEqual(yield* update(next, { timeout: 0 }), 2)
            yield* cleanedUp
          }), { leaves: names })
      }
      assert.isAbove(kills, 10 / distance)
    }))
})

// ---------------------------------------------------------------------------------------------
// operations that fail
// ---------------------------------------------------------------------------------------------

const { Fail } = MemoryFileSystem.Fault

/** A failure of the operation with this index, counted from when it is armed. */
const failing = (index: number, errno: string, moment: "before" | "after") => {
  let count = -Infinity
  let struck: string | undefined
  return {
    arm: () => {
      count = 0
    },
    disarm: () => {
      count = Infinity
    },
    struck: () => struck,
    plan: {
      fault: ({ method, path }: MemoryFileSystem.Operation) => {
        if (count++ !== index) return undefined
        struck = `${method} ${path}`
        return Fail({ errno, moment })
      }
    }
  }
}

const nameOf = (error: LockedFile.Failure | LockedFile.LockedFileError): string =>
  "reason" in error ? `${error._tag} ${error.reason}` : error._tag

/** What an update may be told; the last one where it cannot be told that the lock is still held. */
const typed = [
  "SystemError Unknown",
  "LockAcquisitionError StorageFull",
  "LockAcquisitionError SystemError",
  "LockDirectoryError",
  "LockLostError BackendUnavailable"
]

describe("What a killed writer has left", () => {
  it.effect("is removed with its lock, whoever takes that over", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [writer, dying, other] = yield* Effect.all([scene.join(), scene.join(), scene.join()])
        yield* update(writer)
        const stop = yield* dying.stopAt("rename", isTemporary)
        yield* Effect.forkDaemon(update(dying))
        yield* stop.reached
        yield* dying.kill
        yield* other.run(other.locks.withLock(Effect.void, path, { timeout: 0 }))
        yield* Effect.sleep("1 seconds")
        assert.deepStrictEqual(yield* scene.names, ["tasks.json"])
        yield* update(writer)
        assert.deepStrictEqual(yield* scene.names, ["tasks.json"])
      }), { leaves: ["tasks.json"] }))
})

describe("An update of which an operation fails", () => {
  it.effect.each([["ENOSPC", "before"], ["EIO", "before"], ["EIO", "after"]] as const)(
    "once, by %s %s it is done, is made or told as failed, and leaves the old file or the new one and nothing else",
    ([errno, moment]) =>
      Effect.gen(function*() {
        const told = new Map<string, number>()
        let goesOn = true
        const each = errno === "ENOSPC" ? 1 : distance
        for (let index = 0; goesOn; index += each) {
          yield* play((scene) =>
            Effect.gen(function*() {
              yield* scene.fs.writeFileString(path, contentOf(1))
              const faults = failing(index, errno, moment)
              const [process, other] = yield* Effect.all([scene.join({ faults: faults.plan }), scene.join()])
              faults.arm()
              const outcome = yield* Effect.either(update(process, { timeout: 0 }))
              faults.disarm()
              const struck = faults.struck()
              goesOn = struck !== undefined
              const isRenamed = moment === "after" && struck?.startsWith("rename") === true
              const after = yield* seen(scene)
              if (outcome._tag === "Right") assert.strictEqual(after, 2, struck)
              else {
                assert.include(typed, nameOf(outcome.left), struck)
                if (!isRenamed) assert.strictEqual(after, 1, struck)
                told.set(String(struck), after)
              }
              assert.deepStrictEqual(yield* scene.names, names, struck)
              assert.strictEqual(yield* update(process, { timeout: 0 }), after + 1, struck)
              assert.strictEqual(yield* update(other, { timeout: 0 }), after + 2, struck)
            }), { leaves: names })
        }
        // Those of the file itself are told.
        const kinds = [...told.keys()].map((operation) => operation.split(" ")[0])
        if (each === 1) {
          assert.includeMembers(kinds, ["stat", "readFile", "open", "File.writeAll", "File.sync", "rename"])
        }
      })
  )
})

// ---------------------------------------------------------------------------------------------
// locks that are lost
// ---------------------------------------------------------------------------------------------

const breakLock = (_: Scene, { locks, run }: Process) =>
  run(
    Effect.flatMap(locks.inspect(path), (status) =>
      Effect.forEach(Option.getOrThrow(status).holders, (holder) => locks.breakLock(path, holder)))
  )

describe("A lock that is lost while the new file is written", () => {
  const losses: ReadonlyArray<readonly [string, (scene: Scene, other: Process) => Effect.Effect<unknown, unknown>]> = [
    ["since the lock file was removed", ({ fs }) => fs.remove(lockPath)],
    ["since it was broken", breakLock],
    [
      "since it was broken, and another process has it",
      (scene, other) => Effect.zipRight(breakLock(scene, other), update(other, { timeout: 0 }))
    ]
  ]
  for (const syscall of ["open", "write", "fsync"]) {
    it.effect.each(losses)(
      `at ${syscall}, %s, is told, and the file is not replaced`,
      ([, lose]) =>
        play((scene) =>
          Effect.gen(function*() {
            yield* scene.fs.writeFileString(path, contentOf(1))
            const [process, other] = yield* Effect.all([scene.join(), scene.join()])
            const stop = yield* process.stopAt(syscall, isTemporary)
            const updating = yield* Effect.fork(Effect.flip(update(process)))
            yield* stop.reached
            yield* lose(scene, other)
            const before = yield* seen(scene)
            yield* stop.goOn
            assert.strictEqual((yield* Fiber.join(updating))._tag, "LockLostError")
            assert.strictEqual(yield* seen(scene), before)
            assert.deepStrictEqual(yield* scene.names, names)
            assert.strictEqual(yield* update(other, { timeout: 0 }), before + 1)
          }), { leaves: names })
    )
  }

  it.effect("by a process that stood still for longer than a lease is told, and keeps the file of the next one", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.fs.writeFileString(path, contentOf(1))
        const elsewhere = yield* ProcessIdentity.makeMachine()
        const [process, other] = yield* Effect.all([scene.join(), scene.join({ machine: elsewhere })])
        const stop = yield* process.stopAt("fsync", isTemporary)
        const updating = yield* Effect.fork(Effect.flip(update(process)))
        yield* stop.reached
        yield* process.suspend
        yield* stop.goOn
        assert.strictEqual(yield* update(other, { timeout: "2 minutes" }), 2)
        yield* process.resume
        assert.strictEqual((yield* Fiber.join(updating))._tag, "LockLostError")
        assert.strictEqual(yield* seen(scene), 2)
        yield* cleanedUp
        assert.deepStrictEqual(yield* scene.names, names)
      }), { leaves: names }))

  it.effect("while a writer looks for what killed ones have left does not make it remove the file of the next one", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.fs.writeFileString(path, contentOf(1))
        const [late, other] = yield* Effect.all([scene.join(), scene.join()])
        // Afterwards they have cleaned up the directory.
        yield* Effect.all([late.enter("late", { stay: 0 }), other.enter("other", { stay: 0 })])
        const looking = yield* late.stopAt("scandir", directory)
        const updating = yield* Effect.fork(Effect.flip(update(late)))
        yield* looking.reached
        yield* breakLock(scene, other)
        const writing = yield* other.stopAt("fsync", isTemporary)
        const next = yield* Effect.fork(update(other))
        yield* writing.reached
        yield* looking.goOn
        assert.strictEqual((yield* Fiber.join(updating))._tag, "LockLostError")
        yield* writing.goOn
        assert.strictEqual(yield* Fiber.join(next), 2)
        assert.strictEqual(yield* seen(scene), 2)
      }), { leaves: names }))
})
