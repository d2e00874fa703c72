/**
 * What users of file locks have reported, of this package and of others, by the numbers of the list that they were collected in: what
 * files in memory can show. `integration/reports.test.ts` has the others.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import { assert, describe, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import * as FileLock from "../src/FileLock.js"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"
import * as NodeFileLock from "../src/NodeFileLock.js"
import * as Logs from "./utils/logs.js"
import * as Scene from "./utils/Scene.js"

/** A layer over files in memory. */
const inMemory = (files: Layer.Layer<FileSystem.FileSystem>, settings: FileLock.Settings = {}) =>
  FileLock.layerWith(settings).pipe(Layer.provideMerge(files), Layer.provide(Path.layer))

describe("1. A full disk", () => {
  const full = (errno: string, when: () => boolean) =>
    MemoryFileSystem.layerFaults({
      fault: ({ method }) =>
        when() && /write/i.test(method) ? MemoryFileSystem.Fault.Fail({ errno, moment: "after" }) : undefined
    })

  it.effect.each([
    ["ENOSPC", "StorageFull"] as const,
    ["EDQUOT", "StorageFull"] as const,
    ["EFBIG", "StorageFull"] as const,
    ["EIO", "SystemError"] as const
  ])("is told as %s, and leaves nothing in the way of an acquisition", ([errno, reason]) => {
    let isFull = true
    return Effect.gen(function*() {
      const error = yield* Effect.flip(FileLock.withLock(Effect.void, "/data/x", { timeout: 0 }))
      assert.propertyVal(error, "reason", reason)
      const fs = yield* FileSystem.FileSystem
      assert.deepStrictEqual(yield* fs.readDirectory("/data"), [])
      isFull = false
      yield* FileLock.withLock(Effect.void, "/data/x", { timeout: 0 })
    }).pipe(Effect.provide(inMemory(full(errno, () => isFull))))
  })
})

describe("2. A file system whose names have at most 143 bytes", () => {
  const isLong = (path: unknown): boolean =>
    typeof path === "string" && path.startsWith("/") && path.split("/").some((name) => Buffer.byteLength(name) > 143)
  const guard = (fs: FileSystem.FileSystem): Effect.Effect<FileSystem.FileSystem> =>
    Effect.map(
      MemoryFileSystem.withFaults(fs, { fault: () => MemoryFileSystem.Fault.Fail({ errno: "ENAMETOOLONG" }) }),
      (refusing) =>
        new Proxy(fs, {
          get: (target, method) => {
            const [call, refuse]: ReadonlyArray<unknown> = [Reflect.get(target, method), Reflect.get(refusing, method)]
            return typeof call === "function" && typeof refuse === "function"
              ? (...args: ReadonlyArray<unknown>): unknown => args.some(isLong) ? refuse(...args) : call(...args)
              : call
          }
        })
    )

  it.effect("refuses a lock file with a longer name at once, and a dead holder's lock with a shorter one is taken over", () =>
    Scene.play((scene) =>
      Effect.gen(function*() {
        const guarded = yield* guard(scene.fs)
        const [dying, next] = yield* Effect.all([
          scene.join({ wrap: () => guarded }),
          scene.join({ wrap: () => guarded })
        ])
        const path = `${Scene.directory}/${"n".repeat(138)}`
        const holding = yield* Effect.fork(dying.locks.withLock(Effect.never, path))
        yield* Effect.sleep("100 millis")
        yield* scene.machine.kill(dying.identity)
        yield* next.run(next.locks.withLock(Effect.void, path, { timeout: "1 second" }))
        yield* Fiber.interrupt(holding)
        const error = yield* Effect.flip(next.run(next.locks.withLock(Effect.void, `${path}n`)))
        assert.propertyVal(error, "reason", "InvalidPath")
      })
    ))
})

describe("8. One directory by two names", () => {
  /** As where a directory is mounted at another place, too: no path tells. */
  const mounted = Layer.effect(
    FileSystem.FileSystem,
    Effect.map(MemoryFileSystem.make, (fs): FileSystem.FileSystem => {
      const at = (path: string) => path.replace(/^\/mounted(?=\/|$)/, "/data")
      return {
        ...fs,
        link: (from, to) => fs.link(at(from), at(to)),
        makeDirectory: (path, options) => fs.makeDirectory(at(path), options),
        open: (path, options) => fs.open(at(path), options),
        readDirectory: (path, options) => fs.readDirectory(at(path), options),
        readFile: (path) => fs.readFile(at(path)),
        readLink: (path) => fs.readLink(at(path)),
        realPath: (path) => Effect.as(fs.realPath(at(path)), path),
        remove: (path, options) => fs.remove(at(path), options),
        rename: (from, to) => fs.rename(at(from), at(to)),
        stat: (path) => fs.stat(at(path)),
        writeFileString: (path, data, options) => fs.writeFileString(at(path), data, options)
      }
    })
  )

  it.effect("is a deadlock at once where a fiber would wait for itself", () =>
    Effect.gen(function*() {
      const nested = FileLock.withLock(Effect.void, "/mounted/x", { timeout: "infinity" })
      const error = yield* Effect.flip(FileLock.withLock(nested, "/data/x"))
      assert.propertyVal(error, "reason", "Deadlock")
      assert.include(error.message, "as /data/x, which is the same lock by another name")
      const fs = yield* FileSystem.FileSystem
      assert.deepStrictEqual(yield* fs.readDirectory("/data"), [])
    }).pipe(Effect.provide(inMemory(mounted))))
})

describe("10. A foreign file at the path of the lock", () => {
  it.effect.each(
    [
      ["an empty file", (fs: FileSystem.FileSystem) => fs.writeFileString("/data/x.lock", "")],
      ["a file with other content", (fs: FileSystem.FileSystem) => fs.writeFileString("/data/x.lock", "4242\n")],
      ["a directory", (fs: FileSystem.FileSystem) => fs.makeDirectory("/data/x.lock")]
    ] as const
  )("is named by the log, and the error says what to do: %s", ([what, put]) => {
    const lines: globalThis.Array<string> = []
    return Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      yield* fs.makeDirectory("/data")
      yield* put(fs)
      const waiting = yield* Effect.fork(
        Effect.flip(FileLock.withLock(Effect.void, "/data/x", { timeout: "2 seconds" }))
      )
      yield* TestClock.adjust("3 seconds")
      const error = yield* Fiber.join(waiting)
      assert.propertyVal(error, "reason", "Foreign")
      assert.include(error.message, `it is ${what}`)
      assert.include(error.message, "move it away if nothing needs it")
      assert.lengthOf(lines, 1)
      assert.include(lines[0], `not a lock of effect-filelock is there (it is ${what})`)
    }).pipe(Effect.provide([inMemory(MemoryFileSystem.layer), Logs.collect(lines)]))
  })
})

describe("12. Settings that cannot work", () => {
  it.effect.each([
    { lease: 0 },
    { lease: -1 },
    { lease: 1 },
    { lease: NaN },
    { handoff: -1 },
    { handoff: NaN },
    { pollInterval: 0 }
  ])("are refused where the layer is built: %j", (settings) =>
    Effect.gen(function*() {
      for (const locks of [NodeFileLock.layerWith(settings), inMemory(MemoryFileSystem.layer, settings)]) {
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(locks)))
        const defect = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.dieOption(exit.cause)) : undefined
        assert.propertyVal(defect, "_tag", "IllegalArgumentException")
        assert.include(String(defect), Object.keys(settings).join())
      }
      const config = Config.succeed<FileLock.Settings>(settings)
      const overMemory = Layer.provide(FileLock.layerConfig(config), [MemoryFileSystem.layer, Path.layer])
      for (const locks of [NodeFileLock.layerConfig(config), overMemory]) {
        const error = yield* Effect.flip(Effect.scoped(Layer.build(locks)))
        assert.isTrue(ConfigError.isConfigError(error))
        assert.include(String(error), Object.keys(settings).join())
      }
    }))
})

describe("14. The log of those that wait", () => {
  const waitInVain = (lines: globalThis.Array<string>, level: LogLevel.LogLevel) =>
    Effect.gen(function*() {
      yield* Effect.fork(FileLock.withLock(Effect.never, "/data/x"))
      yield* TestClock.adjust("1 second")
      const waiting = yield* Effect.fork(Effect.forEach(
        Array.range(1, 20),
        () => Effect.exit(FileLock.withLock(Effect.void, "/data/x", { timeout: "90 seconds" })),
        { concurrency: "unbounded" }
      ))
      yield* TestClock.adjust("2 minutes")
      yield* Fiber.join(waiting)
    }).pipe(
      Effect.scoped,
      Effect.provide([inMemory(MemoryFileSystem.layer), Logs.collect(lines), Logger.minimumLogLevel(level)])
    )

  it.effect("has a line for a path and not for a fiber, after 1 s, 10 s and 1 min, wherever the program's log goes", () => {
    const lines: globalThis.Array<string> = []
    return Effect.map(waitInVain(lines, LogLevel.Info), () => {
      assert.deepStrictEqual(
        lines.map((line) => /Waiting for \/data\/x\.lock for ([^:]*):/.exec(line)?.[1]),
        ["1s", "10s", "1m"]
      )
    })
  })

  it.effect("is off where the program logs warnings only", () => {
    const lines: globalThis.Array<string> = []
    return Effect.map(waitInVain(lines, LogLevel.Warning), () => assert.deepStrictEqual(lines, []))
  })
})
