import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Settings } from "../../../src/FileLock.js"
import * as Content from "../../../src/internal/flock/content.js"
import { claimOf, prefixOf, requestOf } from "../../../src/internal/lockFile/paths.js"
import { makeHolder, makeRecord } from "../../utils/records.js"
import { claimPath, directory, lockPath, path, play, type Process, type Scene } from "../../utils/Scene.js"

/** Ten seconds for an owner that cannot be checked. */
const settings: Settings = { lease: "10 seconds" }

const settle = Effect.sleep("100 millis")

/** Takes the lock and says how many system calls the process made before it was granted. */
const callsUntilGrant = (process: Process) =>
  Effect.gen(function*() {
    const from = process.steps.length
    return yield* process.run(process.locks.withLock(Effect.sync(() => process.steps.length - from), path))
  })

/** Leaves the request file of an owner beside a lock. */
const leaveRequest = ({ fs }: Scene, prefix: string, owner: Parameters<typeof makeHolder>[0] = {}) => {
  const { token } = makeHolder(owner)
  return Effect.tap(
    Effect.succeed(requestOf(prefix, token)),
    (file) => fs.writeFileString(file, makeRecord(owner))
  )
}

/** A process that is dead, as its records tell it. */
const deadOwner = ({ machine }: Scene) =>
  Effect.gen(function*() {
    const identity = yield* machine.spawn()
    const token = yield* identity.issueToken
    yield* machine.kill(identity)
    return { ...identity.info, token }
  })

describe("The clean-up", () => {
  it.effect("of 300 dead processes' locks and leftovers delays no grant and no release, and leaves nothing", () =>
    play((scene) =>
      Effect.gen(function*() {
        const alone = yield* callsUntilGrant(yield* scene.join())
        for (let index = 0; index < 300; index++) {
          const owner = yield* deadOwner(scene)
          const other = `${directory}/${index}.lock`
          yield* scene.fs.writeFileString(other, makeRecord(owner))
          if (index % 3 === 0) {
            yield* leaveRequest(scene, other, yield* deadOwner(scene))
          } else {
            yield* scene.fs.writeFileString(claimOf(other, index % 3), yield* scene.deadRecord)
          }
        }
        assert.strictEqual((yield* scene.names).length, 600)
        const process = yield* scene.join()
        const listing = yield* process.stopAt("scandir", directory)
        const calls = yield* callsUntilGrant(process)
        assert.strictEqual(calls, alone)
        // It was granted and released while the clean-up had not begun yet.
        yield* listing.reached
        assert.strictEqual((yield* scene.names).length, 600)
        yield* listing.goOn
        yield* settle
        assert.deepStrictEqual((yield* scene.names).filter((name) => !name.endsWith(".lock")), [])
        for (let index = 0; index < 300; index++) {
          yield* process.run(process.locks.withLock(Effect.void, `${directory}/${index}`, { timeout: 0 }))
        }
        yield* settle
      })
    ))

  it.effect("is made at the first lock in a directory and after each takeover, and not with each lock", () =>
    play((scene) =>
      Effect.gen(function*() {
        const process = yield* scene.join()
        const listings = () => process.steps.filter(({ syscall }) => syscall === "scandir").length
        for (let round = 0; round < 5; round++) {
          yield* process.enter("again", { stay: 0 })
          yield* settle
        }
        assert.strictEqual(listings(), 1)
        yield* scene.abandon
        yield* process.enter("a takeover", { stay: 0 })
        yield* settle
        // One more for the waiters of the dead holder.
        assert.strictEqual(listings(), 3)
      })
    ))

  it.effect("removes the claims of dead processes at every level, and those beside a long name", () =>
    play((scene) =>
      Effect.gen(function*() {
        for (const other of [lockPath, `${directory}/other.lock`, `${directory}/${"n".repeat(200)}.lock`]) {
          for (let level = 1; level <= 6; level++) {
            yield* scene.fs.writeFileString(claimOf(prefixOf(other), level), yield* scene.deadRecord)
          }
          yield* leaveRequest(scene, prefixOf(other), yield* deadOwner(scene))
        }
        yield* (yield* scene.join()).enter("the only one")
      })
    ))

  it.effect("removes what an owner that cannot be checked has left, after a lease", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.fs.writeFileString(`${directory}/other.lock.claim`, makeRecord())
        const request = yield* leaveRequest(scene, lockPath)
        const process = yield* scene.join({ settings })
        yield* process.enter("the only one", { stay: 0 })
        yield* Effect.sleep("9 seconds")
        assert.deepStrictEqual(yield* scene.names, ["other.lock.claim", request.slice(directory.length + 1)])
        yield* Effect.sleep("2 seconds")
        assert.deepStrictEqual(yield* scene.names, [])
      })
    ))

  it.effect("counts the silence of an owner anew when it is heard of", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.fs.writeFileString(`${directory}/other.lock.claim`, makeRecord())
        const process = yield* scene.join({ settings })
        yield* process.enter("the only one", { stay: 0 })
        yield* Effect.sleep("8 seconds")
        yield* scene.fs.writeFileString(`${directory}/other.lock.claim`, makeRecord({ label: "another" }))
        yield* Effect.sleep("8 seconds")
        assert.deepStrictEqual(yield* scene.names, ["other.lock.claim"])
        yield* Effect.sleep("4 seconds")
        assert.deepStrictEqual(yield* scene.names, [])
      })
    ))

  it.effect("removes a request file that is another name of a lock file into which the engine of flock(2) has written", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { token } = yield* deadOwner(scene)
        const { info } = yield* scene.machine.spawn()
        const other = `${directory}/other.lock`
        yield* scene.fs.writeFileString(requestOf(other, token), Content.encode(info, makeHolder().token, 0, undefined))
        const process = yield* scene.join()
        yield* callsUntilGrant(process)
        yield* settle
      })
    ))

  it.effect("removes request files that were never written, after a lease", () =>
    play((scene) =>
      Effect.gen(function*() {
        const owner = yield* deadOwner(scene)
        const file = requestOf(lockPath, owner.token)
        for (const content of ["", makeRecord(owner).slice(0, 90), "\0".repeat(300)]) {
          yield* scene.fs.writeFileString(file, content)
          const process = yield* scene.join({ settings })
          yield* process.enter("the only one", { stay: 0 })
          yield* Effect.sleep("9 seconds")
          assert.strictEqual((yield* scene.names).length, 1)
          yield* Effect.sleep("2 seconds")
          assert.deepStrictEqual(yield* scene.names, [])
        }
      })
    ))

  it.effect("leaves what live processes have", () =>
    play(
      (scene) =>
        Effect.gen(function*() {
          const live = yield* scene.machine.spawn()
          const owner = { ...live.info, token: yield* live.issueToken }
          yield* leaveRequest(scene, lockPath, owner)
          yield* scene.fs.writeFileString(`${directory}/other.lock.claim`, makeRecord(owner))
          const before = yield* scene.names
          const process = yield* scene.join({ settings })
          for (let round = 0; round < 5; round++) {
            yield* scene.abandon
            yield* process.enter("a takeover", { stay: 0 })
            yield* Effect.sleep("1 minute")
          }
          assert.deepStrictEqual(yield* scene.names, before)
          yield* scene.machine.kill(live)
          yield* scene.abandon
          yield* process.enter("a takeover", { stay: 0 })
          yield* settle
        })
    ))

  it.effect("does not make a process lose its lock whose request file it takes away", () =>
    play((scene) =>
      Effect.gen(function*() {
        const slow = yield* scene.join({ settings })
        const linking = yield* slow.stopAt("link", lockPath)
        const fiber = yield* Effect.fork(slow.enter("slow"))
        yield* linking.reached
        const [request = ""] = yield* scene.names
        yield* scene.fs.remove(`${directory}/${request}`)
        yield* linking.goOn
        yield* Fiber.join(fiber)
      })
    ))

  it.effect("leaves files of others, whatever their names", () =>
    play(
      (scene) =>
        Effect.gen(function*() {
          const dead = yield* scene.deadRecord
          const { fs } = scene
          const files = [
            ["a.lock.claim", ""],
            ["b.lock.claim", "4242\n"],
            ["b.lock.claim3", "\0x"],
            ["c.lock.bak", dead],
            ["d.lock.saved-copy", makeRecord()],
            ["e.lock.00000000-0", ""],
            ["f.lock.backup", ""],
            ["g.lockclaim", dead],
            ["h.lock.claim10", dead],
            ["i.lock.claim.txt", dead],
            ["j.lock-.claim", dead],
            ["k.txt", ""],
            ["claim", dead]
          ] as const
          for (const [name, content] of files) {
            yield* fs.writeFileString(`${directory}/${name}`, content)
          }
          yield* fs.makeDirectory(`${directory}/l.lock.claim`)
          yield* fs.writeFileString("/tmp/target", dead)
          yield* fs.symlink("/tmp/target", `${directory}/m.lock.claim`)
          yield* scene.disk.makeNode(`${directory}/n.lock.claim2`, "FIFO")
          const before = yield* scene.names
          const process = yield* scene.join({ settings })
          for (let round = 0; round < 3; round++) {
            yield* process.enter("the only one", { stay: 0 })
            yield* Effect.sleep("1 minute")
            yield* scene.abandon
          }
          yield* process.enter("the last one", { stay: 0 })
          assert.deepStrictEqual(yield* scene.names, before)
          for (const [name, content] of files) {
            assert.strictEqual(yield* fs.readFileString(`${directory}/${name}`), content, name)
          }
          yield* fs.remove(directory, { recursive: true })
          yield* fs.makeDirectory(directory)
        })
    ))

  it.effect("leaves a claim to a process that uses it just now", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        const [taker, cleaner] = yield* Effect.all([scene.join(), scene.join()])
        const renaming = yield* taker.stopAt("rename", claimPath)
        const fiber = yield* Effect.fork(taker.enter("taker"))
        yield* renaming.reached
        yield* cleaner.run(cleaner.locks.withLock(Effect.void, `${directory}/other`))
        yield* settle
        assert.include(yield* scene.names, "tasks.json.lock.claim")
        yield* renaming.goOn
        yield* Fiber.join(fiber)
      })
    ))

  it.effect("ends with its layer, also while it waits for the silence of an owner", () =>
    play(
      (scene) =>
        Effect.gen(function*() {
          yield* scene.fs.writeFileString(`${directory}/other.lock.claim`, makeRecord())
          const process = yield* Effect.scoped(Effect.gen(function*() {
            const process = yield* scene.join({ settings })
            yield* process.enter("the only one", { stay: 0 })
            yield* Effect.sleep("2 seconds")
            return process
          }))
          const steps = process.steps.length
          yield* Effect.sleep("1 minute")
          assert.strictEqual(process.steps.length, steps)
        }),
      { leaves: ["other.lock.claim"] }
    ))

  it.effect("goes on with the other files where one cannot be read or removed", () =>
    play((scene) =>
      Effect.gen(function*() {
        const root = yield* scene.disk.view({ uid: 0 })
        yield* root.writeFileString(`${directory}/a.lock.claim`, yield* scene.deadRecord, { mode: 0o600 })
        yield* scene.fs.writeFileString(`${directory}/b.lock.claim`, yield* scene.deadRecord)
        yield* (yield* scene.join()).enter("the only one")
        assert.deepStrictEqual(yield* scene.names, ["a.lock.claim"])
        yield* root.remove(`${directory}/a.lock.claim`)
      })
    ))
})
