import { assert, describe, it, vi } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as NodeFS from "node:fs"
import * as NodeOS from "node:os"
import * as NodePath from "node:path"
import * as internal from "../../../src/internal/lock/fileLock.js"
import { WaitQueues } from "../../../src/internal/lock/waitQueue.js"
import * as NodeDisk from "../../../src/internal/lockFile/nodeDisk.js"
import { makeEngine } from "../../../src/internal/nodeFileLock.js"
import * as Settings from "../../../src/internal/settings.js"
import * as ProcessIdentity from "../../../src/ProcessIdentity.js"

const temporaryDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => NodeFS.realpathSync(NodeFS.mkdtempSync(NodePath.join(NodeOS.tmpdir(), "effect-filelock-")))),
  (directory) => Effect.sync(() => NodeFS.rmSync(directory, { recursive: true, force: true }))
)

const local = 0x01021994

/** The calls of `node:fs`, counted, on a file system of a given type. */
const counted = (options: {
  /** What statfs(2) says of a directory. */
  readonly type?: (directory: string) => number
  /** Runs at each synchronous call. */
  readonly onSync?: () => void
  /** Runs before each call on a thread. */
  readonly onThread?: (method: string, path: string) => Promise<void> | undefined
} = {}) => {
  const synchronous: Array<string> = []
  const onThreads: Array<string> = []
  const type = options.type ?? (() => local)
  const promises = new Proxy(NodeFS.promises, {
    get: (target, name) => {
      const method: unknown = Reflect.get(target, name)
      if (typeof method !== "function" || typeof name !== "string") {
        return method
      }
      return async (...args: ReadonlyArray<unknown>): Promise<unknown> => {
        const path = String(args[0])
        onThreads.push(name)
        await options.onThread?.(name, path)
        const result: unknown = await Reflect.apply(method, target, args)
        return name === "statfs" ? { type: type(path) } : result
      }
    }
  })
  const count = (method: unknown, name: string): unknown =>
    typeof method === "function"
      ? (...args: ReadonlyArray<unknown>): unknown => {
        synchronous.push(name)
        options.onSync?.()
        return Reflect.apply(method, NodeFS, args)
      }
      : method
  const calls: NodeDisk.Calls = new Proxy<NodeDisk.Calls>(NodeFS, {
    get: (target, name) => {
      if (name === "promises") {
        return promises
      }
      return name === "realpathSync"
        ? { native: count(NodeFS.realpathSync.native, "realpathSync") }
        : count(Reflect.get(target, name), String(name))
    }
  })
  return { calls, synchronous, onThreads, disk: NodeDisk.make(calls) }
}

/** As `NodeFileLock` makes its service. */
const makeLocks = (disk: NodeDisk.NodeDisk) =>
  Effect.gen(function*() {
    const identity = yield* Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => machine.spawn())
    const settings = yield* Settings.decodeOrDie({})
    const engine = makeEngine(disk, identity, Duration.seconds(30))
    yield* Effect.addFinalizer(() => engine.close)
    return internal.make(engine, settings, new WaitQueues())
  })

const quiet = Effect.provide(Logger.remove(Logger.defaultLogger))

// ---------------------------------------------------------------------------------------------
// where the calls are made
// ---------------------------------------------------------------------------------------------

describe("A call on a local disk", () => {
  it.scopedLive("is made when it is called, and has ended then", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const { disk, onThreads } = counted()
      yield* disk.classify(directory)
      const from = onThreads.length
      const path = `${directory}/file`
      const created = disk.create(path, "text")
      assert.isTrue(Exit.isExit(created) && Exit.isSuccess(created))
      assert.strictEqual(NodeFS.readFileSync(path, "utf8"), "text")
      const again = disk.create(path, "text")
      assert.isTrue(Exit.isExit(again) && Exit.isFailure(again))
      for (
        const call of [
          disk.read(path),
          disk.peek(path),
          disk.readLink(path),
          disk.realPath(directory),
          disk.rewrite(path, "text", 0, "TEXT"),
          disk.link(path, `${path}2`),
          disk.rename(`${path}2`, `${path}3`),
          disk.unlink(`${path}3`),
          disk.makeDirectory(`${path}4`)
        ]
      ) {
        assert.isTrue(Exit.isExit(call) && Exit.isSuccess(call))
      }
      assert.deepStrictEqual(NodeFS.readdirSync(directory), ["file", "file4"])
      assert.deepStrictEqual(onThreads.slice(from), [])
    }))

  it.scopedLive("that fails leaves no descriptor open, and neither does one that succeeds", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const open = new Set<number>()
      let most = 0
      const disk = NodeDisk.make({
        ...NodeFS,
        openSync: (...args) => {
          const file = NodeFS.openSync(...args)
          open.add(file)
          most = Math.max(most, open.size)
          return file
        },
        closeSync: (file) => {
          open.delete(file)
          NodeFS.closeSync(file)
        },
        writeSync: () => {
          throw Object.assign(new Error("EIO: i/o error, write"), { code: "EIO", syscall: "write" })
        }
      })
      yield* disk.classify(directory)
      NodeFS.writeFileSync(`${directory}/file`, "text")
      NodeFS.mkdirSync(`${directory}/directory`)
      for (
        const call of [
          () => disk.create(`${directory}/new`, "text"),
          () => disk.rewrite(`${directory}/file`, "text", 0, "TEXT"),
          () => disk.rewrite(`${directory}/file`, "other", 0, "TEXT"),
          () => disk.read(`${directory}/file`),
          () => disk.peek(`${directory}/file`),
          () => disk.peek(`${directory}/directory`)
        ]
      ) {
        yield* Effect.exit(call())
      }
      assert.strictEqual(most, 1)
      assert.strictEqual(open.size, 0)
    }))

  it.scopedLive("writes all of a record, or says that there is no space", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      let short = true
      const writeSync = (file: number, text: string): number => short ? 3 : NodeFS.writeSync(file, text)
      const disk = NodeDisk.make(Object.assign({ ...NodeFS }, { writeSync }))
      yield* disk.classify(directory)
      const error = yield* Effect.flip(disk.create(`${directory}/file`, "a whole record"))
      assert.strictEqual(error.code, "ENOSPC")
      short = false
      yield* disk.create(`${directory}/other`, "a whole record")
    }))
})

describe("A call in a directory that is not known to be local", () => {
  it.scopedLive("is made on a thread, and only when it is run", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const { disk, synchronous } = counted()
      assert.isUndefined(disk.isLocal(directory))
      const create = disk.create(`${directory}/file`, "text")
      assert.isFalse(Exit.isExit(create))
      assert.deepStrictEqual(NodeFS.readdirSync(directory), [])
      yield* create
      assert.deepStrictEqual(NodeFS.readdirSync(directory), ["file"])
      assert.deepStrictEqual(synchronous, [])
    }))

  it.scopedLive("that is not there is classified once it is", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const { disk } = counted()
      yield* disk.classify(`${directory}/new`)
      assert.isUndefined(disk.isLocal(`${directory}/new`))
      NodeFS.mkdirSync(`${directory}/new`)
      NodeFS.symlinkSync("new", `${directory}/alias`)
      yield* disk.classify(`${directory}/alias`)
      assert.isTrue(disk.isLocal(`${directory}/new`))
      assert.isTrue(disk.isLocal(`${directory}/alias`))
    }))

  it.scopedLive("is asked about once by many first locks in it", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const { disk, onThreads } = counted()
      const locks = yield* makeLocks(disk)
      yield* Effect.replicateEffect(locks.withLock(Effect.void, `${directory}/file`), 100, {
        concurrency: "unbounded",
        discard: true
      })
      assert.deepStrictEqual(onThreads.filter((name) => name !== "readdir"), ["realpath", "statfs"])
    }).pipe(quiet))

  it.scopedLive("is not taken for local because a link in it leads to one that is", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const remote = `${directory}/remote`
      NodeFS.mkdirSync(remote)
      NodeFS.writeFileSync(`${directory}/file`, "")
      NodeFS.symlinkSync(`${directory}/file`, `${remote}/link`)
      const { disk } = counted({ type: (path) => path === remote ? 0x6969 : local })
      const locks = yield* makeLocks(disk)
      yield* Effect.replicateEffect(locks.withLock(Effect.void, `${remote}/link`), 3)
      assert.isTrue(disk.isLocal(directory))
      assert.isFalse(disk.isLocal(remote))
    }).pipe(quiet))

  it.scopedLive("that is named through a link which leads to a dead server by now blocks nobody for longer than the timeout", () =>
    Effect.gen(function*() {
      const base = yield* temporaryDirectory
      const dead = `${base}/dead`
      NodeFS.mkdirSync(dead)
      NodeFS.mkdirSync(`${base}/alive`)
      NodeFS.symlinkSync("alive", `${base}/now`)
      const hangs = new Promise<void>(() => {})
      const { disk } = counted({ onThread: (_, path) => path.startsWith(dead) ? hangs : undefined })
      const locks = yield* makeLocks(disk)
      yield* Effect.replicateEffect(locks.withLock(Effect.void, `${base}/now/file`), 2)
      assert.isTrue(disk.isLocal(`${base}/now`))
      NodeFS.unlinkSync(`${base}/now`)
      NodeFS.symlinkSync("dead", `${base}/now`)
      const error = yield* locks.withLock(Effect.void, `${base}/now/file`, { timeout: 300 }).pipe(
        Effect.flip,
        Effect.timeout("10 seconds")
      )
      assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Timeout" })
    }).pipe(quiet))

  it.scopedLive("has one name for its locks, however they are spelled", () =>
    Effect.gen(function*() {
      const { disk } = counted()
      yield* disk.classify("/")
      const identity = yield* Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => machine.spawn())
      const engine = makeEngine(disk, identity, Duration.seconds(30))
      for (const path of ["/x", "//x", "/./x"]) {
        const known = engine.immediate?.(path) ?? Option.none()
        assert.strictEqual((yield* engine.canonical(path)).lockPath, "/x.lock")
        assert.strictEqual(Option.getOrUndefined(known)?.lockPath ?? "/x.lock", "/x.lock")
      }
      yield* engine.close
    }))

  it.scopedLive("becomes synchronous with the second lock in it", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const { disk, onThreads, synchronous } = counted()
      const locks = yield* makeLocks(disk)
      yield* locks.withLock(Effect.void, `${directory}/a`)
      assert.isTrue(disk.isLocal(directory))
      const until = onThreads.filter((name) => name !== "readdir").length
      const before = synchronous.length
      yield* locks.withLock(Effect.void, `${directory}/b`)
      assert.isAbove(synchronous.length, before)
      assert.strictEqual(onThreads.filter((name) => name !== "readdir").length, until)
    }).pipe(quiet))
})

const networks = [
  ["NFS", 0x6969],
  ["SMB", 0x517b],
  ["SMB2", 0xfe534d42],
  ["CIFS", 0xff534d42],
  ["FUSE", 0x65735546],
  ["9p", 0x01021997],
  ["AFS", 0x5346414f],
  ["Ceph", 0x00c36400],
  ["Lustre", 0x0bd00bd0],
  ["something new", 0x12345678]
] as const

const locals = [["ext4", 0xef53], ["xfs", 0x58465342], ["btrfs", 0x9123683e], ["tmpfs", 0x01021994], [
  "overlay",
  0x794c7630
], ["zfs", 0x2fc12fc1]] as const

describe.runIf(process.platform === "linux")("The type of a file system", () => {
  it.scopedLive.each(networks)("%s: no call is ever synchronous", ([, type]) =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      // Types are signed where statfs(2) says so.
      const { disk, onThreads, synchronous } = counted({ type: () => type | 0 })
      const locks = yield* makeLocks(disk)
      for (let round = 0; round < 3; round++) {
        yield* locks.withLock(Effect.void, `${directory}/file`)
        yield* locks.inspect(`${directory}/file`)
      }
      assert.isFalse(disk.isLocal(directory))
      assert.deepStrictEqual(synchronous, [])
      assert.isAbove(onThreads.length, 10)
    }).pipe(quiet))

  it.scopedLive.each(locals)("%s: calls are synchronous", ([, type]) =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const { disk } = counted({ type: () => type | 0 })
      yield* disk.classify(directory)
      assert.isTrue(disk.isLocal(directory))
    }))
})

// ---------------------------------------------------------------------------------------------
// slow disks
// ---------------------------------------------------------------------------------------------

/** A disk whose synchronous calls take so long, on a clock that the test moves. */
const withClock = Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  let now = 1_000_000
  let takes = 0.01
  yield* Effect.acquireRelease(
    Effect.sync(() => vi.spyOn(performance, "now").mockImplementation(() => now)),
    (spy) => Effect.sync(() => spy.mockRestore())
  )
  const { disk, synchronous } = counted({ onSync: () => (now += takes) })
  yield* disk.classify(directory)
  /** Makes calls, each of which takes so long, and says how many were synchronous. */
  const make = (times: number, millis: number) =>
    Effect.gen(function*() {
      takes = millis
      const before = synchronous.length
      for (let index = 0; index < times; index++) {
        yield* disk.readLink(`${directory}/none`)
      }
      return synchronous.length - before
    })
  return { directory, disk, make, pass: (millis: number) => void (now += millis) }
})

describe("A local directory that is slow", () => {
  it.scopedLive("is left to the threads after several slow calls", () =>
    Effect.gen(function*() {
      const { directory, disk, make } = yield* withClock
      assert.strictEqual(yield* make(10, 1), 10)
      assert.strictEqual(yield* make(2, 500), 2)
      assert.isTrue(disk.isLocal(directory))
      assert.strictEqual(yield* make(10, 500), 1)
      assert.isFalse(disk.isLocal(directory))
    }))

  it.scopedLive("is tried again after a while, and left again after one more slow call", () =>
    Effect.gen(function*() {
      const { directory, disk, make, pass } = yield* withClock
      yield* make(10, 500)
      pass(9_000)
      assert.isFalse(disk.isLocal(directory))
      pass(2_000)
      assert.isTrue(disk.isLocal(directory))
      assert.strictEqual(yield* make(10, 500), 1)
      pass(11_000)
      assert.strictEqual(yield* make(1_000, 1), 1_000)
      assert.strictEqual(yield* make(2, 500), 2)
    }))

  it.scopedLive("is not what has a slow call once in a while, when the process was stopped", () =>
    Effect.gen(function*() {
      const { directory, disk, make } = yield* withClock
      for (let round = 0; round < 20; round++) {
        yield* make(1, 5_000)
        yield* make(100, 0.01)
      }
      assert.isTrue(disk.isLocal(directory))
    }))
})

// ---------------------------------------------------------------------------------------------
// disks that do not answer
// ---------------------------------------------------------------------------------------------

/** A network file system: below `hung` the calls of some methods do not answer until they are let go. */
const hanging = (methods: (method: string) => boolean) =>
  Effect.gen(function*() {
    const directory = yield* temporaryDirectory
    NodeFS.mkdirSync(`${directory}/hung`)
    NodeFS.mkdirSync(`${directory}/other`)
    const gate = yield* Deferred.make<void>()
    const answers = Effect.runPromise(Deferred.await(gate))
    const reached = yield* Deferred.make<void>()
    const { disk, synchronous } = counted({
      type: () => 0x6969,
      onThread: (method, path) => {
        if (!path.includes("/hung") || !methods(method)) {
          return undefined
        }
        Deferred.unsafeDone(reached, Exit.void)
        return answers
      }
    })
    const locks = yield* makeLocks(disk)
    return {
      locks,
      hung: `${directory}/hung/file`,
      other: `${directory}/other/file`,
      synchronous,
      reached: Deferred.await(reached),
      letGo: Deferred.succeed(gate, undefined),
      names: Effect.sync(() => NodeFS.readdirSync(`${directory}/hung`))
    }
  })

const phases = [
  ["when its path is looked up", (method: string) => method === "realpath" || method === "lstat"],
  ["when its file is created", (method: string) => method === "writeFile" || method === "open"]
] as const

describe("A disk that does not answer", () => {
  it.scopedLive.each(phases)(
    "blocks only its own lock, up to the deadline, %s",
    ([, methods]) =>
      Effect.gen(function*() {
        const { hung, letGo, locks, names, other, reached, synchronous } = yield* hanging(methods)
        const waiting = yield* Effect.fork(Effect.flip(locks.withLock(Effect.void, hung, { timeout: "100 millis" })))
        yield* reached
        yield* locks.withLock(Effect.void, other)
        const error = yield* Fiber.join(waiting)
        assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Timeout" })
        assert.match(error.message, /storage did not answer/)
        assert.include(error.message, "hung/file.lock")
        yield* locks.withLock(Effect.void, other)
        assert.deepStrictEqual(synchronous, [])
        // What the calls still obtain is given back.
        yield* letGo
        yield* locks.withLock(Effect.void, hung)
        yield* Effect.repeat(names, { until: (names) => names.length === 0, schedule: Schedule.spaced("5 millis") })
      }).pipe(quiet)
  )

  it.scopedLive.each(phases)("is left by an interruption, %s", ([, methods]) =>
    Effect.gen(function*() {
      const { hung, letGo, locks, names, reached } = yield* hanging(methods)
      const waiting = yield* Effect.fork(locks.withLock(Effect.void, hung, { timeout: "infinity" }))
      yield* reached
      const exit = yield* Fiber.interrupt(waiting)
      assert.isTrue(Exit.isInterrupted(exit))
      yield* letGo
      yield* locks.withLock(Effect.void, hung)
      yield* Effect.repeat(names, { until: (names) => names.length === 0, schedule: Schedule.spaced("5 millis") })
    }).pipe(quiet))

  it.scopedLive("does not keep a release for ever, which goes on when it answers", () =>
    Effect.gen(function*() {
      let hangs = false
      const { hung, letGo, locks, names, reached } = yield* hanging(() => hangs)
      yield* locks.withLock(Effect.sync(() => (hangs = true)), hung)
      yield* reached
      assert.deepStrictEqual(yield* names, ["file.lock"])
      yield* letGo
      yield* Effect.repeat(names, { until: (names) => names.length === 0, schedule: Schedule.spaced("5 millis") })
    }).pipe(quiet))
})
