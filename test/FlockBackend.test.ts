import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import NodeFs from "node:fs"
import { syncBuiltinESMExports } from "node:module"
import { vi } from "vitest"
import * as FileLock from "../src/FileLock.js"
import * as FlockBackend from "../src/FlockBackend.js"
import * as Content from "../src/internal/flock/content.js"
import * as internal from "../src/internal/flock/nodeBackend.js"
import * as Kernel from "../src/internal/flock/nodeKernel.js"
import { BackendError, LockBackend } from "../src/LockBackend.js"
import type { LockHolder } from "../src/LockHolder.js"
import * as NodeFileLock from "../src/NodeFileLock.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import * as TemporaryDirectory from "./torture/TemporaryDirectory.js"
import { encode, makeHolder } from "./utils/records.js"

type Locks = Context.Tag.Service<FileLock.FileLock>

const kernel = Effect.orDie(Kernel.load)

/** An engine of its own: its files are other ones than those of all others, and so exclude them. Some calls of the kernel may answer otherwise. */
const makeLocks = (
  change: (kernel: Kernel.Kernel) => Partial<Kernel.Kernel> = () => ({}),
  changeIdentity: (identity: ProcessIdentity.ProcessIdentity) => Partial<ProcessIdentity.ProcessIdentity> = () => ({})
): Effect.Effect<Locks, never, Scope.Scope> =>
  Effect.gen(function*() {
    const real = yield* kernel
    const identity = yield* ProcessIdentity.ProcessIdentity
    const engine = internal.make({
      kernel: { ...real, ...change(real) },
      identity: { ...identity, ...changeIdentity(identity) },
      lease: Duration.seconds(30)
    })
    yield* Effect.addFinalizer(() => engine.close)
    return yield* FileLock.make().pipe(Effect.provideService(LockBackend, engine))
  })

const lockFiles = Effect.map(Layer.build(Layer.fresh(NodeFileLock.layer)), Context.get(FileLock.FileLock))

const makePath = Effect.map(TemporaryDirectory.make("flock"), (directory) => `${directory}/tasks.json`)

const filesBeside = (path: string) => Fs.readdirSync(path.slice(0, path.lastIndexOf("/")))

const inode = (path: string) => Fs.statSync(path).ino

/** A process of this machine that is dead. */
const makeDead = Effect.map(ProcessIdentity.ProcessIdentity, ({ info }): LockHolder => {
  const instance = "0".repeat(32)
  return makeHolder({ ...info, startTime: "1", instance, token: `${instance}-1` })
})

const flockRecord = (holder: LockHolder) =>
  Content.encode(holder, holder.token, DateTime.toEpochMillis(holder.acquiredAt), holder.label)

/** Another program that has a file open. It goes with the scope. */
const open = (path: string) =>
  Effect.acquireRelease(
    Effect.sync(() => Fs.openSync(path, "r+")),
    (descriptor) => Effect.sync(() => Fs.closeSync(descriptor))
  )

/** Another program that opens the file of a lock while that is being removed, and so has no name but the one that it has aside. */
const makeLate = (path: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      let descriptor = -1
      let isClosed = false
      return {
        get descriptor() {
          return descriptor
        },
        hasCome: () => descriptor !== -1,
        open: () => {
          descriptor = Fs.openSync(`${path.slice(0, path.lastIndexOf("/"))}/${filesBeside(path)[0]}`, "r+")
        },
        close: () => {
          if (descriptor !== -1 && !isClosed) Fs.closeSync(descriptor)
          isClosed = true
        }
      }
    }),
    ({ close }) => Effect.sync(close)
  )

const calls = ["linkSync", "unlinkSync", "writeSync"] as const

type Call = (typeof calls)[number]

/** What a function of `node:fs` answers instead; `count` calls have been made. */
const answerInstead = (name: Call, answer: (call: () => number | undefined, count: number) => number | undefined) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const real: (...args: ReadonlyArray<never>) => unknown = NodeFs[name]
      const spy = vi.spyOn(NodeFs, name)
      spy.mockImplementation((...args: ReadonlyArray<unknown>) =>
        answer(() => Reflect.apply(real, NodeFs, args), spy.mock.calls.length)
      )
      syncBuiltinESMExports()
      return spy
    }),
    (spy) =>
      Effect.sync(() => {
        spy.mockRestore()
        syncBuiltinESMExports()
      })
  )

const fail = (name: Call, code: string): never => {
  throw Object.assign(new Error(`${code}: ${name}`), { code, syscall: name.slice(0, -"Sync".length) })
}

/** One of the next calls fails, with or without its effect. */
const failAt = (name: Call, count: number, hasEffect: boolean) =>
  answerInstead(name, (call, made) => {
    const answer = made === count && !hasEffect ? undefined : call()
    return made === count ? fail(name, "EIO") : answer
  })

/** The files that this process has open. */
const descriptors = () =>
  Fs.readdirSync("/proc/self/fd").flatMap((descriptor) => {
    try {
      return [Fs.readlinkSync(`/proc/self/fd/${descriptor}`)]
    } catch {
      // That of the directory itself.
      return []
    }
  })

/** Waits until it is so. */
const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => condition() ? Effect.void : Effect.zipRight(Effect.sleep("5 millis"), until(condition)))

const refusal = (locks: Locks, path: string, options: FileLock.LockOptions = {}) =>
  Effect.flip(Effect.asVoid(Effect.scoped(locks.acquire(path, { timeout: 0, ...options }))))

const test = (behaviour: string, self: (path: string) => Effect.Effect<void, unknown, Scope.Scope>) =>
  it.scopedLive(behaviour, () => Effect.flatMap(makePath, self))

describe("A lock of flock(2)", () => {
  test("names its holder in the file, and is gone with its release", (path) =>
    Effect.gen(function*() {
      const locks = yield* makeLocks()
      yield* Effect.scoped(Effect.gen(function*() {
        const handle = yield* locks.acquire(path, { label: "nightly" })
        const text = Fs.readFileSync(`${path}.lock`, "utf8")
        const record = JSON.parse(text)
        assert.strictEqual(text.length, 2_048)
        assert.deepInclude(record, { engine: "flock", pid: process.pid, token: handle.holder.token, label: "nightly" })
        assert.deepStrictEqual(filesBeside(path), ["tasks.json.lock"])
        yield* handle.verify
      }))
      assert.deepStrictEqual(filesBeside(path), [])
    }))

  test("is the layer's, which needs nothing else", (path) =>
    FileLock.withLock(Effect.sync(() => assert.include(Fs.readFileSync(`${path}.lock`, "utf8"), "flock")), path).pipe(
      Effect.provide(FileLock.layerBackend().pipe(Layer.provide(FlockBackend.layer)))
    ))

  test("has a record of the same length whatever its label is", (path) =>
    Effect.gen(function*() {
      const locks = yield* makeLocks()
      for (const label of ["\0".repeat(200), "é".repeat(200), "x"]) {
        yield* locks.withLock(
          Effect.sync(() => {
            const text = Fs.readFileSync(`${path}.lock`)
            assert.strictEqual(text.length, 2_048)
            assert.strictEqual(JSON.parse(String(text)).label, label)
          }),
          path,
          { label }
        )
      }
    }))

  test("is in a directory that is made when it is missing", (path) =>
    Effect.gen(function*() {
      const locks = yield* makeLocks()
      yield* locks.withLock(Effect.void, `${path}/deep/er`)
      assert.deepStrictEqual(Fs.readdirSync(`${path}/deep`), [])
    }))

  test("has one holder, and the others are told which one", (path) =>
    Effect.gen(function*() {
      const [first, second] = [yield* makeLocks(), yield* makeLocks()]
      yield* Effect.scoped(Effect.gen(function*() {
        yield* first.acquire(path)
        const error = yield* refusal(second, path)
        assert.deepInclude(error, { reason: "Timeout" })
        assert.include(error.message, `by pid ${process.pid}`)
        assert.include((yield* refusal(second, path, { mode: "shared" })).message, `by pid ${process.pid}`)
      }))
      yield* second.withLock(Effect.void, path, { timeout: 0 })
    }))

  test("is granted to one that waits as soon as it is free", (path) =>
    Effect.gen(function*() {
      const [first, second] = [yield* makeLocks(), yield* makeLocks()]
      const waiting = yield* first.withLock(
        Effect.tap(Effect.fork(second.withLock(Effect.succeed("in turn"), path)), () => Effect.sleep("20 millis")),
        path
      )
      assert.strictEqual(yield* Fiber.join(waiting), "in turn")
      assert.deepStrictEqual(filesBeside(path), [])
    }))

  test("is waited for until the deadline, also by a schedule whose step does not end", (path) =>
    Effect.gen(function*() {
      const schedule = Schedule.mapEffect(Schedule.spaced("10 millis"), () => Effect.never)
      const first = yield* makeLocks()
      for (const second of [yield* makeLocks(), yield* lockFiles]) {
        yield* first.withLock(
          Effect.gen(function*() {
            const error = yield* refusal(second, path, { schedule, timeout: "100 millis" })
            assert.isTrue(error._tag === "LockAcquisitionError" && error.waited < 1_000)
            const waiting = yield* Effect.fork(second.withLock(Effect.void, path, { schedule }))
            yield* Effect.sleep("50 millis")
            yield* Fiber.interrupt(waiting)
          }),
          path
        )
      }
    }))

  test("is shared, and excludes one that wants it for itself", (path) =>
    Effect.gen(function*() {
      const [first, second, writer] = [yield* makeLocks(), yield* makeLocks(), yield* makeLocks()]
      yield* Effect.scoped(Effect.gen(function*() {
        yield* first.acquire(path, { mode: "shared" })
        yield* Effect.scoped(Effect.gen(function*() {
          const handle = yield* second.acquire(path, { mode: "shared", timeout: 0 })
          assert.strictEqual(handle.mode, "shared")
          assert.isTrue(Option.isNone(yield* writer.acquireIfAvailable(path)))
          assert.include(
            (yield* refusal(writer, path, { timeout: 50 })).message,
            `with flock(2), by process ${process.pid}`
          )
        }))
        yield* refusal(writer, path)
        assert.strictEqual(Fs.readFileSync(`${path}.lock`, "utf8"), Content.marker)
      }))
      assert.deepStrictEqual(filesBeside(path), [])
      yield* writer.withLock(Effect.void, path, { timeout: 0 })
    }))

  test("is found to be lost when its file was removed or replaced, and leaves the other one alone", (path) =>
    Effect.gen(function*() {
      const locks = yield* makeLocks()
      const removed = yield* Effect.flip(locks.withLock(
        Effect.gen(function*() {
          Fs.unlinkSync(`${path}.lock`)
        }),
        path
      ))
      assert.deepInclude(removed, { reason: "Removed" })
      const noticed = yield* Effect.flip(locks.withLock(
        Effect.suspend(() => {
          Fs.unlinkSync(`${path}.lock`)
          return Effect.never
        }),
        path
      ))
      assert.deepInclude(noticed, { reason: "Removed" })
      const replaced = yield* Effect.flip(Effect.scoped(Effect.flatMap(locks.acquire(path), (handle) => {
        Fs.unlinkSync(`${path}.lock`)
        Fs.writeFileSync(`${path}.lock`, "another's\n")
        return handle.verify
      })))
      assert.deepInclude(replaced, { reason: "Replaced" })
      assert.strictEqual(Fs.readFileSync(`${path}.lock`, "utf8"), "another's\n")
    }))
})

describe("What is at the lock", () => {
  test("is an empty file that flock(1) has made: it is locked as it is, and removed in the end", (path) =>
    Effect.gen(function*() {
      const locks = yield* makeLocks()
      Fs.writeFileSync(`${path}.lock`, "")
      const before = inode(`${path}.lock`)
      yield* locks.withLock(Effect.sync(() => assert.strictEqual(inode(`${path}.lock`), before)), path, { timeout: 0 })
      assert.deepStrictEqual(filesBeside(path), [])
    }))

  test("is another program's data: it stays, and is not even locked", (path) =>
    Effect.gen(function*() {
      let locked = false
      const locks = yield* makeLocks(({ tryLock }) => ({
        tryLock: (descriptor, mode) => {
          locked = true
          return tryLock(descriptor, mode)
        }
      }))
      for (const text of ["version = 4\n", `{"v":1}\n`, "x".repeat(5_000)]) {
        Fs.writeFileSync(`${path}.lock`, text)
        assert.deepInclude(yield* refusal(locks, path), { reason: "Foreign" })
        assert.deepInclude(yield* refusal(locks, path, { mode: "shared" }), { reason: "Foreign" })
        assert.strictEqual(Fs.readFileSync(`${path}.lock`, "utf8"), text)
      }
      Fs.unlinkSync(`${path}.lock`)
      Fs.mkdirSync(`${path}.lock`)
      assert.include((yield* refusal(locks, path)).message, "a directory")
      Fs.rmdirSync(`${path}.lock`)
      Fs.symlinkSync(path, `${path}.lock`)
      assert.include((yield* refusal(locks, path)).message, "a symbolic link")
      assert.isFalse(locked)
    }))

  test("is written by another program while it is being locked: it stays", (path) =>
    Effect.gen(function*() {
      const locks = yield* makeLocks(({ tryLock }) => ({
        tryLock: (descriptor, mode) => {
          Fs.writeFileSync(`${path}.lock`, "data\n")
          return tryLock(descriptor, mode)
        }
      }))
      Fs.writeFileSync(`${path}.lock`, "")
      assert.deepInclude(yield* refusal(locks, path), { reason: "Foreign" })
      assert.strictEqual(Fs.readFileSync(`${path}.lock`, "utf8"), "data\n")
    }))

  test("is a file that is replaced while it is being locked: the new one is locked", (path) =>
    Effect.gen(function*() {
      let replaced = false
      const locks = yield* makeLocks(({ tryLock }) => ({
        tryLock: (descriptor, mode) => {
          if (!replaced) {
            replaced = true
            Fs.unlinkSync(`${path}.lock`)
            Fs.writeFileSync(`${path}.lock`, "")
          }
          return tryLock(descriptor, mode)
        }
      }))
      Fs.writeFileSync(`${path}.lock`, "")
      yield* locks.withLock(
        Effect.sync(() => assert.include(Fs.readFileSync(`${path}.lock`, "utf8"), "token")),
        path,
        { timeout: 0 }
      )
    }))

  test("is what a holder has left that was killed: the lock is recovered, in the same file", (path) =>
    Effect.gen(function*() {
      const locks = yield* makeLocks()
      Fs.writeFileSync(`${path}.lock`, flockRecord(yield* makeDead))
      const before = inode(`${path}.lock`)
      yield* locks.withLock(Effect.sync(() => assert.strictEqual(inode(`${path}.lock`), before)), path, { timeout: 0 })
      assert.deepStrictEqual(filesBeside(path), [])
    }))
})

describe("A call that fails", () => {
  test("leaves no descriptor and no lock", (path) =>
    Effect.gen(function*() {
      const locks = yield* makeLocks()
      const lock = (path: string) => Effect.exit(locks.withLock(Effect.void, path, { timeout: 0 }))
      const paths: Array<string> = []
      for (const name of calls) {
        for (const count of [1, 2]) {
          for (const hasEffect of [false, true]) {
            paths.push(`${path}.${name}.${count}.${hasEffect}`)
            yield* Effect.scoped(Effect.zipRight(failAt(name, count, hasEffect), lock(paths.at(-1) ?? path)))
          }
        }
      }
      // The files of the last releases are kept open for one or two seconds.
      yield* until(() => !descriptors().some((file) => file.startsWith(path)))
      for (const path of paths) assert.isTrue(Exit.isSuccess(yield* lock(path)), path)
    }))
})

describe("Where there are no hard links", () => {
  test("a file that could not be written is not left: it would be another program's", (path) =>
    Effect.gen(function*() {
      const locks = yield* makeLocks()
      yield* answerInstead("linkSync", () => fail("linkSync", "EPERM"))
      yield* locks.withLock(Effect.void, path, { timeout: 0 })
      assert.deepStrictEqual(filesBeside(path), [])
      // The second one is that of the file at the lock.
      yield* Effect.scoped(Effect.zipRight(failAt("writeSync", 2, false), refusal(locks, path)))
      assert.deepStrictEqual(filesBeside(path), [])
      yield* locks.withLock(Effect.void, path, { timeout: 0 })
    }))
})

describe("The release", () => {
  test("leaves a file that another program has open, with the reason, and removes it later", (path) =>
    Effect.gen(function*() {
      const locks = yield* makeLocks()
      yield* Effect.scoped(Effect.gen(function*() {
        yield* locks.withLock(open(`${path}.lock`), path)
        assert.strictEqual(Fs.readFileSync(`${path}.lock`, "utf8"), Content.marker)
      }))
      yield* until(() => filesBeside(path).length === 0)
    }))

  test("gives the file its name back where a program was about to open it", (path) =>
    Effect.gen(function*() {
      let opened = false
      const locks = yield* makeLocks((real) => ({
        isLeased: (descriptor) => {
          if (opened) return real.isLeased(descriptor)
          opened = true
          return false
        },
        // The program has it open from then on.
        lease: (descriptor) => !opened && real.lease(descriptor)
      }))
      let before = 0
      yield* locks.withLock(
        Effect.sync(() => {
          before = inode(`${path}.lock`)
        }),
        path
      )
      assert.isTrue(opened)
      assert.strictEqual(inode(`${path}.lock`), before)
      assert.deepStrictEqual(filesBeside(path), ["tasks.json.lock"])
    }))

  it.scopedLive.each(["exclusive", "shared"] as const)(
    "of a lock for %s use keeps a program out that opens the file so late that it does not show, until it has the lock for it",
    (mode) =>
      Effect.gen(function*() {
        const path = yield* makePath
        const late = yield* makeLate(path)
        const real = yield* kernel
        const locks = yield* makeLocks(({ lease }) => ({
          isLeased: (descriptor) => {
            if (late.hasCome()) return false
            // After the look, but before it is unlinked.
            real.endLease(descriptor)
            late.open()
            return true
          },
          lease
        }))
        const others = yield* makeLocks()
        yield* locks.withLock(Effect.void, path, { mode })
        assert.deepStrictEqual(filesBeside(path), [])
        assert.isFalse(real.tryLock(late.descriptor, "shared"))
        yield* until(() => real.tryLock(late.descriptor, "exclusive"))
        // It is inside by a file that has no name.
        yield* refusal(others, path)
        late.close()
        yield* others.withLock(Effect.void, path, { timeout: "10 seconds" })
        assert.deepStrictEqual(filesBeside(path), [])
      })
  )

  test("lets a program in that was about to open the file, where the next one has the name already", (path) =>
    Effect.gen(function*() {
      const real = yield* kernel
      const late = yield* makeLate(path)
      const locks = yield* makeLocks(({ isLeased }) => ({
        isLeased: (descriptor) => {
          if (late.hasCome()) return isLeased(descriptor)
          real.endLease(descriptor)
          late.open()
          Fs.writeFileSync(`${path}.lock`, "")
          return false
        }
      }))
      const next = yield* makeLocks()
      yield* locks.withLock(Effect.void, path)
      yield* until(() => real.tryLock(late.descriptor, "exclusive"))
      yield* refusal(next, path)
      late.close()
      yield* next.withLock(Effect.void, path, { timeout: "10 seconds" })
    }))
})

describe("The engines of flock(2) and of lock files", () => {
  test("exclude each other, and say which engine the other one is", (path) =>
    Effect.gen(function*() {
      const [flock, files] = [yield* makeLocks(), yield* lockFiles]
      yield* Effect.scoped(Effect.gen(function*() {
        yield* flock.acquire(path)
        assert.include((yield* refusal(files, path)).message, `by pid ${process.pid}`)
        assert.include((yield* refusal(files, path, { mode: "shared" })).message, `by pid ${process.pid}`)
      }))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* files.acquire(path)
        assert.include((yield* refusal(flock, path)).message, `by pid ${process.pid}`)
        assert.include((yield* refusal(flock, path, { mode: "shared" })).message, `by pid ${process.pid}`)
      }))
      assert.deepStrictEqual(filesBeside(path), [])
    }))

  test("exclude each other where the lock is shared", (path) =>
    Effect.gen(function*() {
      const [flock, files] = [yield* makeLocks(), yield* lockFiles]
      yield* Effect.scoped(Effect.gen(function*() {
        yield* files.acquire(path, { mode: "shared" })
        assert.include((yield* refusal(flock, path)).message, `by pid ${process.pid}`)
        assert.deepStrictEqual(filesBeside(path), ["tasks.json.lock.shared"])
        yield* flock.withLock(Effect.void, path, { mode: "shared", timeout: 0 })
      }))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* flock.acquire(path, { mode: "shared" })
        assert.include((yield* refusal(files, path)).message, "flock(2)")
        assert.include((yield* refusal(files, path, { mode: "shared" })).message, "flock(2)")
      }))
      assert.deepStrictEqual(filesBeside(path), [])
    }))

  test("wait for each other", (path) =>
    Effect.gen(function*() {
      const [flock, files] = [yield* makeLocks(), yield* lockFiles]
      for (const [first, second] of [[flock, files], [files, flock]] as const) {
        const waiting = yield* first.withLock(
          Effect.tap(Effect.fork(second.withLock(Effect.succeed("in turn"), path)), () => Effect.sleep("20 millis")),
          path
        )
        assert.strictEqual(yield* Fiber.join(waiting), "in turn")
      }
      assert.deepStrictEqual(filesBeside(path), [])
    }))

  test("respect what the other one has left: a dead process's lock file is recovered in place, a dead lock of flock(2) stays", (path) =>
    Effect.gen(function*() {
      const [flock, files] = [yield* makeLocks(), yield* lockFiles]
      const dead = yield* makeDead
      Fs.writeFileSync(`${path}.lock`, encode(dead))
      const before = inode(`${path}.lock`)
      yield* flock.withLock(Effect.sync(() => assert.strictEqual(inode(`${path}.lock`), before)), path, { timeout: 0 })
      assert.deepStrictEqual(filesBeside(path), [])
      for (const text of [flockRecord(dead), Content.marker]) {
        Fs.writeFileSync(`${path}.lock`, text)
        const error = yield* refusal(files, path)
        assert.deepInclude(error, { reason: "Foreign" })
        assert.include(error.message, "a file that is locked with flock(2)")
        assert.strictEqual(Fs.readFileSync(`${path}.lock`, "utf8"), text)
      }
    }))

  test("do not both take over a dead process's lock file: only one has the claim", (path) =>
    Effect.gen(function*() {
      const [flock, dead] = [yield* makeLocks(), yield* makeDead]
      const { info, issueToken } = yield* ProcessIdentity.ProcessIdentity
      const live = encode(makeHolder({ ...info, token: yield* issueToken }))
      Fs.writeFileSync(`${path}.lock`, encode(dead))
      Fs.writeFileSync(`${path}.lock.claim`, live)
      assert.deepInclude(yield* refusal(flock, path), { reason: "Timeout" })
      assert.strictEqual(Fs.readFileSync(`${path}.lock`, "utf8"), encode(dead))
      Fs.unlinkSync(`${path}.lock.claim`)
      yield* flock.withLock(Effect.void, path, { timeout: 0 })
      assert.deepStrictEqual(filesBeside(path), [])
    }))

  test("do not both take over a dead process's lock file: the one that comes late finds the other one's record", (path) =>
    Effect.gen(function*() {
      const dead = yield* makeDead
      const { info, issueToken } = yield* ProcessIdentity.ProcessIdentity
      const live = encode(makeHolder({ ...info, token: yield* issueToken }))
      const lockPath = `${path}.lock`
      for (const isSameFile of [false, true]) {
        Fs.writeFileSync(lockPath, encode(dead))
        const flock = yield* makeLocks(undefined, ({ isAlive }) => ({
          isAlive: (holder) => {
            // The other one ends its takeover between the look and the claim.
            if (holder.token === dead.token) {
              if (!isSameFile) Fs.renameSync(lockPath, `${lockPath}.old`)
              Fs.writeFileSync(lockPath, live)
            }
            return isAlive(holder)
          }
        }))
        assert.deepInclude(yield* refusal(flock, path), { reason: "Timeout" })
        assert.strictEqual(Fs.readFileSync(lockPath, "utf8"), live)
      }
    }))

  test("are told by a person's look, and only what is abandoned is broken", (path) =>
    Effect.gen(function*() {
      const [flock, files] = [yield* makeLocks(), yield* lockFiles]
      const dead = yield* makeDead
      const inspect = (locks: Locks) => Effect.map(locks.inspect(path), Option.getOrUndefined)
      assert.isUndefined(yield* inspect(flock))
      yield* Effect.scoped(Effect.gen(function*() {
        const { holder } = yield* flock.acquire(path)
        for (const locks of [flock, files]) {
          assert.deepInclude(yield* inspect(locks), { state: "held", mode: "exclusive" })
          assert.strictEqual((yield* inspect(locks))?.holders[0]?.token, holder.token)
        }
        assert.isFalse(yield* flock.breakLock(path, dead))
        assert.include((yield* Effect.flip(flock.breakLock(path, holder))).message, "only the end of process")
      }))
      yield* Effect.scoped(Effect.gen(function*() {
        yield* flock.acquire(path, { mode: "shared" })
        assert.deepInclude(yield* inspect(flock), { state: "held", mode: "shared" })
      }))
      yield* files.withLock(
        Effect.flatMap(inspect(flock), (status) => Effect.sync(() => assert.deepInclude(status, { state: "held" }))),
        path
      )
      for (const text of [flockRecord(dead), encode(dead)]) {
        Fs.writeFileSync(`${path}.lock`, text)
        assert.deepInclude(yield* inspect(flock), { state: "abandoned" })
        assert.deepInclude(yield* inspect(files), { state: "abandoned" })
        assert.isTrue(yield* flock.breakLock(path, dead))
        assert.deepStrictEqual(filesBeside(path), [])
      }
      Fs.writeFileSync(`${path}.lock`, Content.marker)
      assert.isUndefined(yield* inspect(flock))
      assert.deepInclude(yield* inspect(files), { state: "foreign" })
    }))
})

describe("Without flock(2)", () => {
  test("an acquisition says what to install", (path) =>
    Effect.gen(function*() {
      const engine = internal.unavailable(
        new BackendError({ reason: "BackendUnavailable", cause: new Error("install koffi") })
      )
      const locks = yield* FileLock.make().pipe(Effect.provideService(LockBackend, engine))
      const error = yield* refusal(locks, path)
      assert.deepInclude(error, { reason: "BackendUnavailable" })
      assert.include(error.message, "install koffi")
    }))
})
