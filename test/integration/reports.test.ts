/**
 * What users of file locks have reported, of this package and of others, by the numbers of the list that they were collected in: what
 * needs real files and processes. `../reports.test.ts` has the others.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import { assert, describe, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Fs from "node:fs"
import * as FileLock from "../../src/FileLock.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"
import * as Bundle from "../torture/Bundle.js"
import * as TemporaryDirectory from "../torture/TemporaryDirectory.js"
import { layer } from "../utils/layer.js"
import * as Logs from "../utils/logs.js"
import { acquired, refused } from "./fixtures/answers.js"
import * as Program from "./fixtures/program.js"
import * as Scene from "./fixtures/scene.js"

const isRoot = process.getuid?.() === 0

/** Both layers, on real files. */
const layers = {
  "NodeFileLock.layer": Layer.fresh(NodeFileLock.layer),
  "FileLock.layer": Layer.fresh(Layer.provide(FileLock.layer, NodeContext.layer))
}
const onBoth = Object.entries(layers).map(([name, locks]) => ({ name, locks }))

const run = (script: string, ...args: ReadonlyArray<string>) => (prefix: ReadonlyArray<string> = []) => {
  const [command = "", ...rest] = [...prefix, process.execPath, script, ...args]
  return Program.start(command, rest)
}

layer(Scene.Script.layer, { excludeTestServices: true })("1. A limit on the size of files", (it) => {
  const limited = { prefix: ["sh", "-c", "ulimit -f 0; exec \"$@\"", "sh"] }

  it.scoped.each(["node", "platform"] as const)(
    "is StorageFull at once, also where a dead holder's lock is there, and leaves nothing (%s)",
    (layer) =>
      Effect.gen(function*() {
        const scene = yield* Scene.make
        const poor = yield* scene.start({ ...limited, layer })
        assert.deepInclude(yield* poor.acquire("infinity"), refused("StorageFull"))
        assert.deepStrictEqual(scene.files(), [])
        const dead = yield* scene.start()
        yield* dead.acquire(0)
        dead.signal("SIGKILL")
        yield* dead.exit
        assert.deepInclude(yield* poor.acquire("infinity"), { _tag: "refused", reason: "StorageFull" })
        assert.deepStrictEqual(scene.files(), ["tasks.json.lock"])
        const rich = yield* scene.start({ layer })
        assert.deepInclude(yield* rich.acquire(0), acquired)
        yield* rich.release
        assert.deepStrictEqual(scene.files(), [])
      })
  )
})

describe("3. A working directory that is gone", () => {
  const inGoneDirectory = Effect.acquireRelease(
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("gone")
      const before = process.cwd()
      process.chdir(directory)
      Fs.rmdirSync(directory)
      return before
    }),
    (before) => Effect.sync(() => process.chdir(before))
  )

  it.scopedLive.each(onBoth)(
    "is told by each call with a relative path ($name)",
    ({ locks }) =>
      Effect.gen(function*() {
        yield* inGoneDirectory
        const errors = yield* Effect.all([
          Effect.flip(FileLock.withLock(Effect.void, "x")),
          Effect.flip(FileLock.withLocks(Effect.void, ["x", "y"])),
          Effect.flip(FileLock.withLockIfAvailable(Effect.void, "x")),
          Effect.flip(FileLock.acquire("x")),
          Effect.flip(FileLock.inspect("x"))
        ])
        for (const error of errors) {
          assert.include(error.message, "the working directory is gone")
        }
        assert.deepStrictEqual(
          errors.map(({ _tag }) => _tag),
          [...Array.makeBy(4, () => "LockDirectoryError"), "LockAcquisitionError"]
        )
      }).pipe(Effect.provide(locks))
  )
})

describe("5. A lock file that was removed during a short section", () => {
  const acquisition = (path: string, whatIsThereNow: string | undefined) =>
    Effect.exit(FileLock.withLock(
      Effect.sync(() => {
        Fs.unlinkSync(`${path}.lock`)
        if (whatIsThereNow !== undefined) Fs.writeFileSync(`${path}.lock`, whatIsThereNow)
      }),
      path
    ))

  it.scopedLive.each(onBoth)(
    "is a loss, also where another holder came in ($name)",
    ({ locks }) =>
      Effect.gen(function*() {
        const path = `${yield* TemporaryDirectory.make("removed")}/x`
        const reasons: globalThis.Array<string> = []
        for (const there of [undefined, "the lock of another program"]) {
          const exit = yield* acquisition(path, there)
          const failure = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
          assert.propertyVal(failure, "_tag", "LockLostError")
          reasons.push(failure?._tag === "LockLostError" ? failure.reason : "")
        }
        assert.deepStrictEqual(reasons, ["Removed", "Replaced"])
        assert.strictEqual(Fs.readFileSync(`${path}.lock`, "utf8"), "the lock of another program")
      }).pipe(Effect.provide(locks))
  )
})

layer(Scene.Script.layer, { excludeTestServices: true })("6. A refusal that waiting cannot change", (it) => {
  const abandon = (scene: Scene.Scene, options: Scene.Options) =>
    Effect.gen(function*() {
      const dead = yield* scene.start(options)
      assert.deepInclude(yield* dead.acquire(0), acquired)
      dead.signal("SIGKILL")
      yield* dead.exit
      return dead.pid
    })

  const others = isRoot ? [{ uid: 65_534 }, { uid: 65_533 }] as const : undefined

  for (const layer of ["node", "platform"] as const) {
    it.scoped.skipIf(others === undefined)(
      `is told at once, with the dead process and its user, in a sticky directory (${layer})`,
      () =>
        Effect.gen(function*() {
          const [first, second] = others ?? [{}, {}]
          const scene = yield* Scene.make
          Fs.chmodSync(scene.directory, 0o1777)
          const pid = yield* abandon(scene, first)
          const process = yield* scene.start({ ...second, layer })
          const answer = yield* process.acquire("infinity")
          assert.deepInclude(answer, refused("PermissionDenied", pid))
          assert.include(answer._tag === "refused" ? answer.message : "", `its holder is dead`)
          assert.include(answer._tag === "refused" ? answer.message : "", `the file is user 65534's`)
        })
    )
  }

  for (const layer of ["node", "platform"] as const) {
    it.scoped.skipIf(others === undefined)(
      `is told at once, with the user, where the record may not be read (${layer})`,
      () =>
        Effect.gen(function*() {
          const [first, second] = others ?? [{}, {}]
          const scene = yield* Scene.make
          Fs.chmodSync(scene.directory, 0o777)
          yield* abandon(scene, first)
          Fs.chmodSync(scene.lockPath, 0o600)
          const process = yield* scene.start({ ...second, layer })
          const answer = yield* process.acquire("infinity")
          assert.deepInclude(answer, refused("PermissionDenied"))
          assert.include(answer._tag === "refused" ? answer.message : "", `the file is user 65534's`)
        })
    )
  }

  it.scoped.each(["node", "platform"] as const)(
    "is told at once in a directory that became read-only (%s)",
    (layer) =>
      Effect.gen(function*() {
        const scene = yield* Scene.make
        Fs.chmodSync(scene.directory, 0o777)
        const pid = yield* abandon(scene, Scene.unprivileged)
        Fs.chmodSync(scene.directory, 0o555)
        const process = yield* scene.start({ ...Scene.unprivileged, layer })
        const answer = yield* process.acquire("infinity")
        assert.include(["LockDirectoryError", "LockAcquisitionError"], answer._tag === "refused" ? answer.error : "")
        assert.include(answer._tag === "refused" ? answer.message : "", "EACCES")
        Fs.chmodSync(scene.directory, 0o777)
        assert.deepStrictEqual(scene.files(), ["tasks.json.lock"])
        assert.isAbove(pid, 0)
      })
  )

  it.scoped("is told at once where Node's permission model denies", () =>
    Effect.gen(function*() {
      const script = yield* Bundle.makeTemporary(new URL("./fixtures/lockAsUser.ts", import.meta.url))
      const directory = yield* TemporaryDirectory.make("denied")
      const model = process.allowedNodeEnvironmentFlags.has("--permission")
        ? "--permission"
        : "--experimental-permission"
      const program = yield* Program.start(process.execPath, [
        model,
        "--no-warnings",
        "--allow-fs-read=*",
        script,
        `${directory}/x`
      ])
      assert.strictEqual(yield* program.exit, 0, program.output())
      assert.include(program.output(), "LockDirectoryError")
      assert.include(program.output(), "Access to this API has been restricted")
    }))
})

describe("7. A program that has no descriptor left", () => {
  it.scopedLive.each(["node", "platform"])("keeps its lock, and releases it (%s)", (layer) =>
    Effect.gen(function*() {
      const script = yield* Bundle.makeTemporary(new URL("./fixtures/outOfDescriptors.ts", import.meta.url))
      const directory = yield* TemporaryDirectory.make("descriptors")
      const program = yield* run(script, layer, `${directory}/x`)(["sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"])
      assert.strictEqual(yield* program.exit, 0, program.output())
      assert.include(program.output(), "EMFILE")
      assert.include(program.output(), "held to the end")
      assert.deepStrictEqual(Fs.readdirSync(directory), [])
    }))
})

describe("9. A directory that is renamed while a lock in it is held", () => {
  it.scopedLive.each(onBoth)(
    "is a loss, and the lock that moved with it is no obstacle to its process ($name)",
    ({ locks }) =>
      Effect.gen(function*() {
        const directory = yield* TemporaryDirectory.make("renamed")
        const [before, after] = [`${directory}/before`, `${directory}/after`]
        const error = yield* Effect.flip(
          FileLock.withLock(Effect.sync(() => Fs.renameSync(before, after)), `${before}/x`)
        )
        assert.propertyVal(error, "reason", "Removed")
        yield* FileLock.withLock(Effect.void, `${after}/x`, { timeout: 0 })
        assert.deepStrictEqual(Fs.readdirSync(after), [])
      }).pipe(Effect.provide(locks))
  )
})

describe("11. Two layers in one process", () => {
  const nested = (outer: Layer.Layer<FileLock.FileLock>, inner: Layer.Layer<FileLock.FileLock>) =>
    Effect.gen(function*() {
      const path = `${yield* TemporaryDirectory.make("layers")}/x`
      const inside = Effect.provide(FileLock.withLock(Effect.succeed("inside"), path, { timeout: 300 }), inner)
      return yield* Effect.exit(Effect.provide(FileLock.withLock(inside, path), outer))
    })
  const { "FileLock.layer": any, "NodeFileLock.layer": node } = layers

  it.scopedLive("re-enter each other where both are NodeFileLock's", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* nested(Layer.fresh(node), Layer.fresh(node)), Exit.succeed("inside"))
    }))

  it.scopedLive.each([
    { name: "FileLock in FileLock", outer: Layer.fresh(any), inner: Layer.fresh(any) },
    { name: "FileLock in NodeFileLock", outer: node, inner: any },
    { name: "NodeFileLock in FileLock", outer: any, inner: node }
  ])("wait in vain for each other otherwise, as the error says: $name", ({ inner, outer }) =>
    Effect.gen(function*() {
      const exit = yield* nested(outer, inner)
      const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
      assert.propertyVal(error, "reason", "Timeout")
      assert.include(error?.message, "another FileLock layer of this process")
    }))
})

layer(Scene.Script.layer, { excludeTestServices: true })("13. A lock that is broken while its holder lives", (it) => {
  it.scoped.each(onBoth)(
    "is told to the holder at once, and nothing says that it is waited for ($name)",
    ({ locks, name }) =>
      Effect.gen(function*() {
        const scene = yield* Scene.make
        const lines: globalThis.Array<string> = []
        // Its heartbeats come after 20 minutes.
        const victim = yield* scene.start({ layer: name === "FileLock.layer" ? "platform" : "node" })
        yield* victim.acquire(0)
        const breaking = Effect.gen(function*() {
          const { holders } = Option.getOrThrow(yield* FileLock.inspect(scene.path))
          const [holder] = holders
          assert.isTrue(holder !== undefined && (yield* FileLock.breakLock(scene.path, holder)))
        })
        yield* breaking.pipe(Effect.provide([locks, Logs.collect(lines), Logger.minimumLogLevel(LogLevel.All)]))
        assert.strictEqual(yield* victim.loss, "Removed")
        assert.deepStrictEqual(lines.filter((line) => line.includes("Waiting")), [])
        assert.deepStrictEqual(scene.files(), [])
      })
  )
})
