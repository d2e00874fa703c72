import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { Settings } from "../../../src/FileLock.js"
import * as Record from "../../../src/internal/lockFile/record.js"
import * as MemoryFileSystem from "../../../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../../../src/ProcessIdentity.js"
import { makeRecord } from "../../utils/records.js"
import { claimOnClaimPath, claimPath, lockPath, path, play, type Scene } from "../../utils/Scene.js"

const settle = Effect.sleep("100 millis")

/** Ten seconds for an owner that cannot be checked. */
const settings: Settings = { lease: "10 seconds" }

/** A process on a machine of its own, which no other process can check. */
const joinElsewhere = (scene: Scene) =>
  Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => scene.join({ machine, settings }))

describe("A takeover", () => {
  it.effect("leaves a successor alone that came between the staleness check and the claim", () =>
    play((scene) =>
      Effect.gen(function*() {
        const dead = yield* scene.abandon
        const [slow, quick] = yield* Effect.all([scene.join(), scene.join()])
        const claiming = yield* slow.stopAt("link", claimPath)
        const first = yield* Effect.fork(slow.enter("slow"))
        yield* claiming.reached
        const second = yield* Effect.fork(quick.enter("quick"))
        yield* settle
        const record = yield* scene.fs.readFileString(lockPath)
        assert.notStrictEqual(record, dead)
        yield* claiming.goOn
        yield* settle
        assert.strictEqual(yield* scene.fs.readFileString(lockPath), record)
        yield* Fiber.joinAll([first, second])
        assert.strictEqual(scene.occupancy.entries, 2)
      })
    ))

  it.effect("puts no record where nothing is any more, since another process may be about to", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        const [slow, quick, late] = yield* Effect.all([scene.join(), scene.join(), scene.join()])
        const claiming = yield* slow.stopAt("link", claimPath)
        const renaming = yield* slow.stopAt("rename", claimPath)
        const first = yield* Effect.fork(slow.enter("slow"))
        yield* claiming.reached
        yield* quick.enter("quick")
        yield* claiming.goOn
        yield* settle
        const last = yield* Effect.fork(late.enter("late"))
        yield* settle
        yield* renaming.goOn
        yield* Fiber.joinAll([first, last])
      })
    ))

  it.effect("is done by one process at a time, by the one name of its claim", () =>
    play((scene) =>
      Effect.gen(function*() {
        const dead = yield* scene.abandon
        const [first, second] = yield* Effect.all([scene.join(), scene.join()])
        // One has compared, and is about to rename.
        const renaming = yield* first.stopAt("rename", claimPath)
        const winner = yield* Effect.fork(first.enter("first"))
        yield* renaming.reached
        const other = yield* Effect.fork(second.enter("second"))
        yield* settle
        assert.strictEqual(yield* scene.fs.readFileString(lockPath), dead)
        yield* renaming.goOn
        yield* Fiber.joinAll([winner, other])
      })
    ))

  it.effect("leaves a live process's claim alone, however long that takes", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        const [slow, quick] = yield* Effect.all([scene.join(), scene.join()])
        const renaming = yield* slow.stopAt("rename", claimPath)
        const first = yield* Effect.fork(slow.enter("slow"))
        yield* renaming.reached
        const renamingToo = yield* quick.stopAt("rename", claimPath)
        const second = yield* Effect.fork(quick.enter("quick"))
        yield* Effect.sleep("500 millis")
        assert.isFalse(yield* renamingToo.isReached)
        yield* renaming.goOn
        yield* settle
        yield* renamingToo.goOn
        yield* Fiber.joinAll([first, second])
      })
    ))

  it.effect.each([1, 2, 3, 6])(
    "takes the claims of %i processes that died one upon the other, at once",
    (levels) =>
      play((scene) =>
        Effect.gen(function*() {
          yield* scene.abandon
          for (let level = 1; level <= levels; level++) {
            yield* scene.fs.writeFileString(`${claimPath}${level === 1 ? "" : level}`, yield* scene.deadRecord)
          }
          const process = yield* scene.join()
          yield* process.enter("the only one", { timeout: 0 })
          assert.deepStrictEqual(yield* scene.names, [])
        })
      )
  )

  it.effect("compares the claim that it replaces, too", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        yield* scene.fs.writeFileString(claimPath, yield* scene.deadRecord)
        const [slow, quick] = yield* Effect.all([scene.join(), scene.join()])
        const claiming = yield* slow.stopAt("link", claimOnClaimPath)
        const first = yield* Effect.fork(slow.enter("slow"))
        yield* claiming.reached
        // Another process has replaced the dead claim by its own, and is about to use it.
        const renaming = yield* quick.stopAt("rename", claimPath)
        const second = yield* Effect.fork(quick.enter("quick"))
        yield* renaming.reached
        const renamingToo = yield* slow.stopAt("rename", claimPath)
        yield* claiming.goOn
        yield* settle
        assert.isFalse(yield* renamingToo.isReached)
        yield* renaming.goOn
        yield* settle
        yield* renamingToo.goOn
        yield* Fiber.joinAll([first, second])
      })
    ))

  it.effect("takes the claim of a process that died while it took the lock over, at once", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        const [dying, next] = yield* Effect.all([scene.join(), scene.join()])
        const renaming = yield* dying.stopAt("rename", claimPath)
        yield* Effect.forkDaemon(dying.enter("dying"))
        yield* renaming.reached
        yield* dying.kill
        yield* next.enter("next", { timeout: 0 })
      })
    ))

  it.effect("begins as soon as the owner is dead by proof, whatever the schedule", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [dying, next] = yield* Effect.all([scene.join(), scene.join()])
        yield* Effect.forkDaemon(dying.run(dying.locks.withLock(Effect.never, path)))
        yield* settle
        const waiting = yield* Effect.fork(next.enter("next", { schedule: Schedule.spaced("1 hour") }))
        yield* settle
        yield* dying.kill
        yield* settle
        assert.strictEqual(scene.occupancy.entries, 1)
        yield* Fiber.join(waiting)
      })
    ))

  it.effect("never comes to a holder that is alive by proof, however long it has had the lock and been stopped", () =>
    play((scene) =>
      Effect.gen(function*() {
        const settings: Settings = { lease: "1 second" }
        const [holder, other] = yield* Effect.all([scene.join({ settings }), scene.join({ settings })])
        const held = yield* Effect.fork(holder.enter("holder", { stay: "20 seconds" }))
        yield* settle
        const early = yield* Effect.flip(other.enter("other", { timeout: "5 seconds" }))
        yield* holder.suspend
        const late = yield* Effect.flip(other.enter("other", { timeout: "5 seconds" }))
        for (const error of [early, late]) {
          assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Timeout" })
        }
        yield* holder.resume
        yield* Fiber.join(held)
      })
    ))

  it.effect("does not happen when the holder was heard of again after it was found silent", () =>
    play((scene) =>
      Effect.gen(function*() {
        const record = makeRecord()
        const heard = record.replace("0000000000", "0000000001")
        yield* scene.fs.writeFileString(lockPath, record)
        const process = yield* joinElsewhere(scene)
        const claiming = yield* process.stopAt("link", claimPath)
        const waiting = yield* Effect.fork(Effect.flip(process.enter("observer", { timeout: "15 seconds" })))
        yield* claiming.reached
        yield* scene.fs.writeFileString(lockPath, heard)
        yield* claiming.goOn
        yield* Fiber.join(waiting)
        assert.strictEqual(yield* scene.fs.readFileString(lockPath), heard)
        yield* scene.fs.remove(lockPath)
      })
    ))

  it.effect("does not count the time in which the observer itself was suspended", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.fs.writeFileString(lockPath, makeRecord())
        const process = yield* joinElsewhere(scene)
        const fiber = yield* Effect.fork(process.enter("suspended observer", { timeout: "10 minutes" }))
        yield* Effect.sleep("2 seconds")
        yield* process.suspend
        yield* Effect.sleep("1 minute")
        yield* process.resume
        yield* Effect.sleep("9 seconds")
        assert.strictEqual(scene.occupancy.entries, 0)
        yield* Fiber.join(fiber)
      })
    ))

  it.effect("does not use a claim of its own that is older than half a lease", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.fs.writeFileString(lockPath, makeRecord())
        const [slow, quick] = yield* Effect.all([joinElsewhere(scene), joinElsewhere(scene)])
        // One has its claim, and is comparing what it found silent with what is there.
        const claimed = yield* slow.stopAt("link", claimPath)
        const first = yield* Effect.fork(slow.enter("slow", { stay: "20 seconds" }))
        yield* claimed.reached
        const comparing = yield* slow.stopAt("close", lockPath)
        yield* claimed.goOn
        yield* comparing.reached
        const slowRenames = yield* slow.stopAt("rename", claimPath)
        // The other has taken that claim, and is about to take over itself.
        const quickRenames = yield* quick.stopAt("rename", claimPath)
        const second = yield* Effect.fork(quick.enter("quick", { stay: "20 seconds" }))
        yield* quickRenames.reached
        yield* comparing.goOn
        yield* settle
        yield* slowRenames.goOn
        yield* settle
        yield* quickRenames.goOn
        yield* Fiber.joinAll([first, second])
      })
    ))

  it.effect("does not rename another process's claim when its own is older than half a lease", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.fs.writeFileString(lockPath, makeRecord())
        const [slow, quick] = yield* Effect.all([joinElsewhere(scene), joinElsewhere(scene)])
        const claiming = yield* slow.stopAt("link", claimPath)
        const first = yield* Effect.fork(slow.enter("slow", { timeout: "5 minutes" }))
        yield* claiming.reached
        const comparing = yield* slow.stopAt("close", lockPath)
        yield* claiming.goOn
        yield* comparing.reached
        // The other has taken that claim and the lock, and has a claim again for a heartbeat that comes late.
        const second = yield* Effect.fork(quick.enter("quick", { stay: "40 seconds" }))
        while (scene.occupancy.entries === 0) {
          yield* settle
        }
        yield* quick.suspend
        yield* Effect.sleep("8 seconds")
        const beating = yield* quick.stopAt("stat", lockPath)
        yield* quick.resume
        yield* beating.reached
        assert.include(yield* scene.names, "tasks.json.lock.claim")
        yield* comparing.goOn
        yield* settle
        yield* beating.goOn
        yield* Fiber.joinAll([first, second])
      })
    ))

  it.effect("that stood still before its rename does not take the other process's record for its own", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.fs.writeFileString(lockPath, makeRecord())
        const [slow, quick] = yield* Effect.all([joinElsewhere(scene), joinElsewhere(scene)])
        const slowRenames = yield* slow.stopAt("rename", claimPath)
        const first = yield* Effect.fork(slow.enter("slow", { stay: "20 seconds" }))
        yield* slowRenames.reached
        // The other has taken that claim, and is about to rename it, too.
        const quickRenames = yield* quick.stopAt("rename", claimPath)
        const second = yield* Effect.fork(quick.enter("quick", { stay: "20 seconds" }))
        yield* quickRenames.reached
        yield* slowRenames.goOn
        yield* settle
        yield* quickRenames.goOn
        yield* Fiber.joinAll([first, second])
      })
    ))

  it.effect.each(
    [
      ["by the wall clock, though the monotonic one stood still", 60_000, "1 millis"],
      ["by the monotonic clock, though the wall clock was set back", -60_000, "6 seconds"]
    ] as const
  )("finds its claim too old %s", ([, set, passes]) =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        const slow = yield* scene.join({ settings })
        const claiming = yield* slow.stopAt("link", claimPath)
        const replacing = yield* slow.stopAt("rename", claimOnClaimPath)
        const renaming = yield* slow.stopAt("rename", claimPath)
        const fiber = yield* Effect.fork(slow.enter("slow"))
        yield* claiming.reached
        yield* scene.setWallClock((yield* Clock.currentTimeMillis) + set)
        yield* Effect.sleep(passes)
        yield* claiming.goOn
        yield* settle
        assert.isTrue(yield* replacing.isReached, "it replaces its own claim, which is then its own for certain")
        assert.isFalse(yield* renaming.isReached)
        yield* replacing.goOn
        yield* renaming.goOn
        yield* Fiber.join(fiber)
      })
    ))
})

describe("A record", () => {
  it.effect("is alive to its own process from before it can be seen", () =>
    play((scene) =>
      Effect.gen(function*() {
        const first = yield* scene.join()
        // Another copy of the library in the same process sees the record before its creator knows that it is there.
        const copy = yield* scene.join({ identity: first.identity })
        const published = yield* first.stopAt("lstat", /\.lock\.[^/]+-\w+$/)
        const holding = yield* Effect.fork(first.enter("first"))
        yield* published.reached
        assert.deepStrictEqual(yield* copy.locks.withLockIfAvailable(Effect.void, path), Option.none())
        yield* published.goOn
        const second = yield* Effect.fork(copy.enter("second"))
        yield* Fiber.joinAll([holding, second])
      })
    ))

  it.effect("that appeared late is not trusted: a process that cannot check its owner may have taken it over", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [slow, other] = yield* Effect.all([joinElsewhere(scene), joinElsewhere(scene)])
        // Its record is there, and it does not know it yet.
        const published = yield* slow.stopAt("lstat", /\.lock\.[^/]+-\w+$/)
        const first = yield* Effect.fork(slow.enter("slow"))
        yield* published.reached
        const second = yield* Effect.fork(other.enter("other", { stay: "20 seconds" }))
        while (scene.occupancy.entries === 0) {
          yield* settle
        }
        yield* published.goOn
        yield* Fiber.joinAll([first, second])
      })
    ))

  it.effect("is whole whenever it can be seen", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        const seen: Array<string> = []
        const onStep = () =>
          Effect.gen(function*() {
            for (const at of [lockPath, claimPath]) {
              seen.push(yield* Effect.orElseSucceed(scene.fs.readFileString(at), () => ""))
            }
          })
        const process = yield* scene.join({ onStep })
        yield* process.enter("first", { stay: 0 })
        yield* process.enter("again", { stay: 0 })
        assert.isAbove(seen.length, 40)
        assert.deepStrictEqual(seen.filter((text) => text !== "" && Option.isNone(Record.decode(text))), [])
      })
    ))

  it.effect("leaves nothing when its acquisition is interrupted at any of its steps", () =>
    Effect.gen(function*() {
      let reached = true
      let steps = 0
      for (let at = 0; reached; at++) {
        yield* play((scene) =>
          Effect.gen(function*() {
            const process = yield* scene.join()
            const fiber = yield* Effect.fork(process.run(process.locks.withLock(Effect.never, path)))
            for (let turns = 0; process.steps.length <= at && turns < 1000; turns++) {
              yield* Effect.yieldNow()
            }
            reached = process.steps.length > at
            yield* Fiber.interrupt(fiber)
            assert.deepStrictEqual(yield* scene.names, [])
            steps = process.steps.length
          })
        )
      }
      assert.isAbove(steps, 6)
    }))
})

describe("A release", () => {
  it.effect("removes nothing but its own record", () =>
    play((scene) =>
      Effect.gen(function*() {
        const process = yield* scene.join()
        const successor = makeRecord((yield* scene.machine.spawn()).info)
        const error = yield* Effect.flip(process.locks.withLock(
          Effect.zipRight(scene.fs.remove(lockPath), scene.fs.writeFileString(lockPath, successor)),
          path
        ))
        assert.deepInclude(error, { _tag: "LockLostError", reason: "Replaced" })
        assert.strictEqual(yield* scene.fs.readFileString(lockPath), successor)
        yield* scene.fs.remove(lockPath)
      })
    ))

  it.effect("is not overtaken by its own process, to which the token lives until the record is gone", () =>
    play((scene) =>
      Effect.gen(function*() {
        const first = yield* scene.join()
        const [copy, third] = yield* Effect.all([scene.join({ identity: first.identity }), scene.join()])
        const unlinking = yield* first.stopAt("unlink", lockPath)
        const releasing = yield* Effect.fork(first.enter("first"))
        yield* unlinking.reached
        const second = yield* Effect.fork(copy.enter("copy", { stay: "10 seconds" }))
        yield* settle
        yield* unlinking.goOn
        yield* settle
        yield* third.enter("third")
        yield* Fiber.joinAll([releasing, second])
      })
    ))

  it.effect("that has read its record already removes no successor's when its lock is broken meanwhile", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [owner, admin, next, third] = yield* Effect.all([scene.join(), scene.join(), scene.join(), scene.join()])
        const unlinking = yield* owner.stopAt("unlink", lockPath)
        const releasing = yield* Effect.fork(Effect.exit(owner.enter("owner")))
        yield* unlinking.reached
        const status = Option.getOrThrow(yield* admin.run(admin.locks.inspect(path)))
        const holder = Option.getOrThrow(Option.fromNullable(status.holders[0]))
        const breaking = yield* Effect.fork(admin.run(admin.locks.breakLock(path, holder)))
        yield* settle
        const second = yield* Effect.fork(next.enter("next", { stay: "10 seconds" }))
        yield* settle
        yield* unlinking.goOn
        yield* settle
        const last = yield* Effect.fork(third.enter("third"))
        assert.isTrue(yield* Fiber.join(breaking))
        yield* Fiber.join(releasing)
        yield* Fiber.joinAll([second, last])
      })
    ))

  it.effect("that comes late removes no record but its own", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [holder, other, third] = yield* Effect.all([
          joinElsewhere(scene),
          joinElsewhere(scene),
          scene.join({ settings })
        ])
        const held = yield* Effect.fork(Effect.exit(holder.enter("holder", { stay: "2 seconds" })))
        yield* Effect.sleep("1 second")
        yield* holder.suspend
        // Another process has found the holder silent for a lease, and is about to replace its record.
        const replacing = yield* other.stopAt("rename", claimPath)
        const next = yield* Effect.fork(other.enter("other", { stay: "20 seconds" }))
        yield* replacing.reached
        yield* holder.resume
        yield* Effect.sleep("3 seconds")
        const last = yield* Effect.fork(third.enter("third", { stay: "20 seconds" }))
        yield* Effect.sleep("3 seconds")
        yield* replacing.goOn
        yield* Fiber.join(held)
        yield* Fiber.joinAll([next, last])
      })
    ))

  it.effect("that comes late takes the claim first, and removes its record where no other process has acted", () =>
    play((scene) =>
      Effect.gen(function*() {
        const holder = yield* scene.join({ settings })
        const claiming = yield* holder.stopAt("link", claimPath)
        const held = yield* Effect.fork(holder.enter("holder"))
        yield* Effect.sleep("500 millis")
        // The machine was suspended: its monotonic clock stood still meanwhile.
        yield* scene.setWallClock((yield* Clock.currentTimeMillis) + 6_000)
        yield* claiming.reached
        yield* claiming.goOn
        yield* Fiber.join(held)
      })
    ))

  it.effect("is done when the answer of its unlink was lost, and is no loss of the lock", () =>
    play((scene) =>
      Effect.gen(function*() {
        let lost = false
        const process = yield* scene.join({
          faults: {
            fault: ({ method, path }) => {
              if (method === "remove" && path === lockPath && !lost) {
                lost = true
                return MemoryFileSystem.Fault.Fail({ errno: "EIO", moment: "after" })
              }
              return undefined
            }
          }
        })
        yield* process.enter("first")
        assert.isTrue(lost)
        yield* process.enter("again", { timeout: 0 })
      })
    ))
})
