import { assert, describe, it, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Fs from "node:fs"
import * as Scene from "./fixtures/processScene.js"
import * as Takeover from "./torture/Takeover.js"
import * as Torture from "./torture/Torture.js"

const acquired: Partial<Scene.Answer> = { _tag: "acquired" }

const refused = (reason: string, holder: number | null = null): Partial<Scene.Answer> => ({
  _tag: "refused",
  error: "LockAcquisitionError",
  reason,
  holder
})

const timedOut = (holder: number) => refused("Timeout", holder)

layer(Scene.Script.layer, { excludeTestServices: true })("a lock between processes", (it) => {
  it.scoped("belongs to one process at a time, and tells the others whom they wait for", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start()
      const second = yield* scene.start()
      assert.deepInclude(yield* first.acquire(0), acquired)
      assert.deepInclude(yield* second.acquire(0), timedOut(first.pid))
      yield* second.ask("infinity")
      yield* first.release
      assert.deepInclude(yield* second.answer, acquired)
      assert.deepInclude(yield* first.acquire(0), timedOut(second.pid))
      yield* second.release
      assert.deepStrictEqual(scene.remains(), [])
    }))

  it.scoped("is taken over from a holder killed with SIGKILL, however long the lease is", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start()
      const second = yield* scene.start()
      assert.deepInclude(yield* first.acquire(0), acquired)
      yield* second.ask("infinity")
      first.signal("SIGKILL")
      assert.deepInclude(yield* second.answer, acquired)
      yield* second.release
      assert.deepStrictEqual(scene.remains(), [])
    }))

  it.scoped("is taken over from a process that left its critical section by process.exit", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start()
      const second = yield* scene.start()
      assert.deepInclude(yield* first.acquire(0), acquired)
      yield* first.exitInside
      assert.deepInclude(yield* second.acquire(0), acquired)
      yield* second.release
      assert.deepStrictEqual(scene.remains(), [])
    }))

  it.scoped.each<NodeJS.Signals>(["SIGTERM", "SIGINT"])(
    "is released by NodeRuntime.runMain on %s",
    (signal) =>
      Effect.gen(function*() {
        const scene = yield* Scene.make
        const holder = yield* scene.start()
        assert.deepInclude(yield* holder.acquire(0), acquired)
        assert.deepStrictEqual(scene.remains(), ["tasks.json.lock"])
        holder.signal(signal)
        yield* holder.exit
        assert.deepStrictEqual(scene.remains(), [])
      })
  )

  it.scoped("is not waited for any more by a process that is told to end, and nothing is left of its waiting", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start()
      const second = yield* scene.start()
      assert.deepInclude(yield* first.acquire(0), acquired)
      yield* second.ask("infinity")
      second.signal("SIGTERM")
      yield* second.exit
      assert.deepStrictEqual(scene.remains(), ["tasks.json.lock"])
      assert.deepInclude(yield* first.verify, { _tag: "verified" })
      yield* first.release
      assert.deepStrictEqual(scene.remains(), [])
    }))

  it.scoped("stays with a stopped holder of the same machine for longer than its lease", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start({ lease: 2_000 })
      const second = yield* scene.start({ lease: 2_000 })
      assert.deepInclude(yield* first.acquire(0), acquired)
      first.signal("SIGSTOP")
      assert.deepInclude(yield* second.acquire(5_000), timedOut(first.pid))
      first.signal("SIGCONT")
      assert.deepInclude(yield* first.verify, { _tag: "verified" })
      assert.deepInclude(yield* second.acquire(1_000), timedOut(first.pid))
      assert.deepInclude(yield* first.verify, { _tag: "verified" })
      yield* first.release
      assert.deepInclude(yield* second.acquire(0), acquired)
    }))

  // Where the tests may not enter another namespace this one is reported as skipped.
  it.scoped.runIf(Scene.isPrivileged)(
    "is judged by its lease where the holder is in another pid namespace",
    () =>
      Effect.gen(function*() {
        const lease = 2_000
        const scene = yield* Scene.make
        const inner = yield* scene.start({ lease, prefix: Scene.otherPidNamespace })
        const outer = yield* scene.start({ lease })
        assert.deepInclude(yield* inner.acquire(0), acquired)
        assert.deepInclude(yield* outer.acquire(2 * lease), { _tag: "refused", reason: "Timeout" })
        assert.deepInclude(yield* inner.verify, { _tag: "verified" })
        inner.signal("SIGKILL")
        yield* inner.exit
        // Nothing proves its death, so its last beat still counts.
        assert.deepInclude(yield* outer.acquire(0), { _tag: "refused", reason: "Timeout" })
        assert.deepInclude(yield* outer.acquire("infinity"), acquired)
        yield* outer.release
        assert.deepStrictEqual(scene.remains(), [])
      })
  )

  it.scoped("cannot be taken in a directory that may not be written, and says so", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      Fs.chmodSync(scene.directory, 0o555)
      const process = yield* scene.start(Scene.unprivileged)
      assert.deepInclude(yield* process.acquire(0), { _tag: "refused", error: "LockDirectoryError" })
      assert.deepInclude(yield* process.acquire("infinity"), { _tag: "refused", error: "LockDirectoryError" })
    }))

  it.scoped("cannot be taken where a directory on the way may not be created, and says so", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      Fs.rmdirSync(scene.directory)
      const process = yield* scene.start(Scene.unprivileged)
      if (Scene.unprivileged.uid === undefined) Fs.chmodSync(`${scene.directory}/..`, 0o555)
      assert.deepInclude(yield* process.acquire(0), { _tag: "refused", error: "LockDirectoryError" })
    }))

  it.scoped("is left alone when its file may not be read", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      Fs.chmodSync(scene.directory, 0o777)
      Fs.writeFileSync(scene.lockPath, "", { mode: 0o000 })
      const process = yield* scene.start(Scene.unprivileged)
      assert.deepInclude(yield* process.acquire(500), refused("PermissionDenied"))
      assert.deepStrictEqual(scene.remains(), ["tasks.json.lock"])
    }))

  it.scoped("can be released although its file may no longer be read", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      Fs.chmodSync(scene.directory, 0o777)
      const first = yield* scene.start(Scene.unprivileged)
      const second = yield* scene.start(Scene.unprivileged)
      assert.deepInclude(yield* first.acquire(0), acquired)
      Fs.chmodSync(scene.lockPath, 0o000)
      assert.deepInclude(yield* second.acquire(0), { _tag: "refused", reason: "PermissionDenied" })
      yield* first.release
      assert.deepStrictEqual(scene.remains(), [])
      assert.deepInclude(yield* second.acquire(0), acquired)
    }))

  it.scoped("never touches a file of another tool, a directory or a FIFO in its place", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const process = yield* scene.start()
      Fs.writeFileSync(scene.lockPath, "4242\n")
      assert.deepInclude(yield* process.acquire(300), refused("Foreign"))
      assert.strictEqual(Fs.readFileSync(scene.lockPath, "utf8"), "4242\n")
      Fs.unlinkSync(scene.lockPath)
      Fs.mkdirSync(scene.lockPath)
      assert.deepInclude(yield* process.acquire(300), refused("Foreign"))
      Fs.rmdirSync(scene.lockPath)
      Scene.makeFifo(scene.lockPath)
      assert.deepInclude(yield* process.acquire(300), refused("Foreign"))
      assert.deepStrictEqual(scene.remains(), ["tasks.json.lock"])
      Fs.unlinkSync(scene.lockPath)
      assert.deepInclude(yield* process.acquire(0), acquired)
    }))

  it.scoped("tells its holder when somebody has replaced its file, and leaves the stranger's in place", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const process = yield* scene.start()
      assert.deepInclude(yield* process.acquire(0), acquired)
      Fs.writeFileSync(scene.lockPath, "not a lock\n")
      assert.deepInclude(yield* process.verify, { _tag: "lost", reason: "Replaced" })
      yield* process.release
      assert.strictEqual(Fs.readFileSync(scene.lockPath, "utf8"), "not a lock\n")
    }))

  it.scoped("serves every process when several wait for one that is killed", () =>
    Effect.gen(function*() {
      const scene = yield* Scene.make
      const first = yield* scene.start()
      const others = yield* Effect.replicateEffect(scene.start(), 3)
      assert.deepInclude(yield* first.acquire(0), acquired)
      yield* Effect.forEach(others, (other) => other.ask("infinity"))
      const served = yield* Effect.fork(Effect.forEach(
        others,
        (other) => Effect.zipRight(other.answer, other.release),
        { concurrency: "unbounded", discard: true }
      ))
      first.signal("SIGKILL")
      yield* Fiber.join(served)
      assert.deepStrictEqual(scene.remains(), [])
    }))
})

// Milliseconds: they start some fifty processes, which takes its time where others want the machine too.
const patience = 90_000

describe("the torture", () => {
  const options: Torture.Options = {
    processes: 4,
    duration: 5_000,
    killEvery: 150,
    stopFor: 1_000,
    seed: 20_240_817,
    fibers: 1,
    readers: 0,
    work: 2,
    lease: undefined,
    locked: true,
    onProgress: () => Effect.void
  }

  it.live(
    "finds nobody inside together with another and no update lost, though processes are killed and stopped",
    () =>
      Effect.gen(function*() {
        const report = yield* Torture.run(options)
        assert.deepStrictEqual(report.violations, [])
        assert.isAbove(report.kills, 0)
        assert.isAbove(report.acquisitions, 0)
      }),
    patience
  )

  it.live("sees what goes wrong without a lock", () =>
    Effect.gen(function*() {
      const report = yield* Torture.run({ ...options, duration: 1_500, killEvery: 0, stopFor: 0, locked: false })
      assert.isAbove(report.overlaps.length, 0)
      assert.isAbove(report.counter.lost, 0)
      assert.isAbove(report.violations.length, 0)
    }), patience)

  it.live("serves everybody in every round in which a holder was killed", () =>
    Effect.gen(function*() {
      const report = yield* Takeover.run({ rounds: 15, processes: 4, seed: 1, onRound: () => Effect.void })
      assert.deepStrictEqual(report.violations, [])
      assert.strictEqual(report.counter.acknowledged, 15 * 4)
      assert.strictEqual(report.waiting.length + report.stale.length, 15)
    }), patience)
})
