import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import { Session } from "node:inspector/promises"
import { fileURLToPath } from "node:url"
import { FileLock, type Settings } from "../src/FileLock.js"
import * as FileLockMetrics from "../src/FileLockMetrics.js"
import * as internal from "../src/internal/lock/fileLock.js"
import { WaitQueues } from "../src/internal/lock/waitQueue.js"
import * as NodeDisk from "../src/internal/lockFile/nodeDisk.js"
import { makeEngine } from "../src/internal/nodeFileLock.js"
import { decodeOrDie } from "../src/internal/settings.js"
import * as NodeFileLock from "../src/NodeFileLock.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import * as TemporaryDirectory from "./torture/TemporaryDirectory.js"
import { makeRecord } from "./utils/records.js"
import * as SimulatedProcess from "./utils/SimulatedProcess.js"
import * as Tracer from "./utils/tracer.js"

type Locks = Context.Tag.Service<FileLock>

/** The layer, built anew. */
const build = (settings: Settings = {}): Effect.Effect<Locks, never, Scope.Scope> =>
  Effect.map(Layer.build(Layer.fresh(NodeFileLock.layerWith(settings))), (context) => Context.get(context, FileLock))

describe("An acquisition that begins in the next turn of the event loop", () => {
  /** Does not let the event loop turn. */
  const block = (millis: number): void => {
    for (const until = performance.now() + millis; performance.now() < until;);
  }

  it.scopedLive("and is over by its deadline before that leaves no lock", () =>
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("next-turn")
      const locks = yield* build()
      const { info } = yield* ProcessIdentity.ProcessIdentity
      const instance = "0".repeat(32)
      const dead = makeRecord({ ...info, startTime: "1", instance, token: `${instance}-1` })
      const [busy, path] = [`${directory}/busy`, `${directory}/tasks.json`]
      // Afterwards the directories are known.
      yield* locks.withLock(Effect.void, busy)
      yield* locks.withLock(Effect.void, path)
      Fs.writeFileSync(`${path}.lock`, dead)
      const acquiring = yield* Effect.fork(Effect.gen(function*() {
        yield* Effect.repeatN(locks.withLock(Effect.void, busy), 9)
        yield* Effect.sync(() => {
          block(8)
          setImmediate(() => block(5))
        })
        yield* locks.withLock(Effect.void, path, { timeout: 1 })
      }))
      yield* Fiber.await(acquiring)
      yield* locks.withLock(Effect.void, path, { timeout: "10 seconds" })
      assert.deepStrictEqual(Fs.readdirSync(directory), [])
    }))
})

describe("Layers of NodeFileLock in one process", () => {
  it.scopedLive("share one queue for each lock, whatever their settings", () =>
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("layers")
      const path = `${directory}/tasks.json`
      const layers = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, index) => index),
        (index) =>
          build({
            lease: `${20 + index % 3} seconds`,
            pollInterval: `${1 + index} millis`,
            handoff: index % 2 === 0 ? 0 : "1 second"
          })
      )
      const acquisitions = FileLockMetrics.acquisitions.pipe(Metric.tagged("test", "layers"))
      const order: Array<number> = []
      const files = new Set<string>()
      const gate = yield* Deferred.make<void>()
      const holding = yield* Effect.fork(
        build().pipe(
          Effect.flatMap((locks) => locks.withLock(Deferred.await(gate), path)),
          Effect.scoped
        )
      )
      yield* Effect.repeat(Effect.yieldNow(), { until: () => Fs.existsSync(`${path}.lock`) })
      const numbers = Array.from({ length: 200 }, (_, number) => number)
      const waiting = yield* Effect.forEach(numbers, (number) => {
        const body = Effect.sync(() => {
          order.push(number)
          for (const name of Fs.readdirSync(directory)) files.add(name)
        })
        const locks = layers[number % layers.length]
        return locks === undefined
          ? Effect.dieMessage("there is no such layer")
          : Effect.fork(Effect.tagMetrics(locks.withLock(body, path), "test", "layers"))
      })
      // They are all in the queue by now: a deadline of zero does not wait behind them.
      assert.isTrue(Option.isNone(yield* (yield* build()).withLockIfAvailable(Effect.void, path)))
      assert.deepStrictEqual(order, [])
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.joinAll([holding, ...waiting])
      assert.deepStrictEqual(order, numbers)
      assert.strictEqual((yield* Metric.value(acquisitions)).count, numbers.length)
      assert.deepStrictEqual([...files], ["tasks.json.lock"])
      assert.deepStrictEqual(Fs.readdirSync(directory), [])
    }))

  it.scopedLive("keep their locks when one of them is closed", () =>
    Effect.gen(function*() {
      const path = `${yield* TemporaryDirectory.make("layers")}/tasks.json`
      const closing = yield* Scope.make()
      const [first, second] = [yield* Scope.extend(build(), closing), yield* build()]
      yield* first.withLock(Effect.void, path)
      const handle = yield* second.acquire(path)
      yield* Scope.close(closing, Exit.void)
      yield* handle.verify
      assert.isTrue(yield* handle.isHeld)
      assert.propertyVal(Option.getOrUndefined(yield* second.inspect(path)), "state", "held")
    }))
})

const root = fileURLToPath(new URL("../", import.meta.url))

/** The source files whose functions run meanwhile, and how many functions run in each. */
const filesOf = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.promise(async () => {
      const session = new Session()
      session.connect()
      await session.post("Profiler.enable")
      await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: false })
      return session
    }),
    (session) =>
      Effect.gen(function*() {
        yield* Effect.promise(() => session.post("Profiler.takePreciseCoverage"))
        yield* self
        const { result } = yield* Effect.promise(() => session.post("Profiler.takePreciseCoverage"))
        const files = new Map<string, number>()
        for (const { functions, url } of result) {
          const file = url.replace(/^file:\/\//, "").replace(/\?.*$/, "")
          const calls = functions.reduce(
            (sum, { functionName, ranges }) =>
              sum + (functionName === "" && ranges[0]?.startOffset === 0 ? 0 : ranges[0]?.count ?? 0),
            0
          )
          if (file.startsWith(`${root}src/`) && calls > 0) files.set(file.slice(root.length + 4), calls)
        }
        return files
      }),
    (session) => Effect.sync(() => session.disconnect())
  )

/** How many fibers are started meanwhile: each takes the next id. */
const fibersOf = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const before = FiberId.unsafeMake().id
    yield* self
    return FiberId.unsafeMake().id - before - 1
  })

/** Functions that note their names when they are called. */
const noting = <A extends object>(calls: A, names: Array<string>): A =>
  new Proxy(calls, {
    get: (target, name, receiver) => {
      const value: unknown = Reflect.get(target, name, receiver)
      return typeof value !== "function" ? value : (...args: ReadonlyArray<unknown>): unknown => {
        names.push(String(name))
        return Reflect.apply(value, target, args)
      }
    }
  })

describe("A lock that no other fiber and no other process wants", () => {
  const report = (what: string, names: ReadonlyArray<string>, files: ReadonlyMap<string, number>, fibers: number) =>
    Effect.sync(() => {
      const functions = [...files.values()].reduce((sum, calls) => sum + calls, 0)

      console.log(
        `${what}: ${names.length} calls on the disk (${names.join(" ")}), ${fibers} fibers, ` +
          `${functions} calls in ${files.size} source files`
      )
    })

  it.scopedLive("takes eleven calls on the disk and no fiber over NodeFileLock", () =>
    Effect.gen(function*() {
      const path = `${yield* TemporaryDirectory.make("calls")}/tasks.json`
      const names: Array<string> = []
      const settings = yield* decodeOrDie({})
      const calls: NodeDisk.Calls = {
        ...noting(Fs, names),
        realpathSync: noting({ native: Fs.realpathSync.native }, names)
      }
      const engine = makeEngine(NodeDisk.make(calls), yield* ProcessIdentity.ProcessIdentity, settings.lease)
      yield* Effect.addFinalizer(() => engine.close)
      const locks = internal.make(engine, settings, new WaitQueues())
      const lock = locks.withLock(Effect.void, path)
      // The directory is classified with the first lock in it, and cleaned up.
      yield* lock
      yield* Effect.sleep("50 millis")
      names.length = 0
      const fibers = yield* fibersOf(lock)
      const disk = [...names]
      const files = yield* filesOf(lock)
      yield* report("NodeFileLock", disk, files, fibers)
      assert.strictEqual(fibers, 0)
      assert.isAtMost(disk.length, 11)
      assert.isAtMost(files.size, 27)
    }))

  it.scopedLive("takes eight operations and five fibers over FileSystem", () =>
    Effect.gen(function*() {
      const path = `${yield* TemporaryDirectory.make("calls")}/tasks.json`
      const names: Array<string> = []
      const fs = noting(yield* FileSystem.FileSystem, names)
      const { locks } = yield* SimulatedProcess.start(yield* ProcessIdentity.ProcessIdentity, fs)
      const lock = locks.withLock(Effect.void, path)
      yield* lock
      yield* Effect.repeat(Effect.sleep("1 millis"), { until: () => names.includes("readDirectory") })
      yield* Effect.sleep("50 millis")
      names.length = 0
      const fibers = yield* fibersOf(lock)
      const operations = [...names]
      const files = yield* filesOf(lock)
      yield* report("FileLock over FileSystem", operations, files, fibers)
      assert.isAtMost(fibers, 5)
      assert.isAtMost(operations.length, 8)
      assert.isAtMost(files.size, 29)
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.scopedLive("can be acquired by runSync again and again", () =>
    Effect.gen(function*() {
      const path = `${yield* TemporaryDirectory.make("synchronous")}/tasks.json`
      const locks = yield* build()
      yield* locks.withLock(Effect.void, path)
      for (let count = 0; count < 200; count++) {
        Effect.runSync(locks.withLock(Effect.void, path))
      }
    }))

  it.scopedLive("is not there yet when its span begins", () =>
    Effect.gen(function*() {
      const path = `${yield* TemporaryDirectory.make("span")}/tasks.json`
      const locks = yield* build()
      yield* locks.withLock(Effect.void, path)
      const there: Array<boolean> = []
      const tracer = Tracer.make({
        onStart: (name) => {
          if (name === "FileLock.acquire") there.push(Fs.existsSync(`${path}.lock`))
        }
      })
      yield* Effect.withTracer(locks.withLock(Effect.void, path), tracer)
      assert.deepStrictEqual(there, [false])
    }))
})
