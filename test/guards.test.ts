import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { Settings } from "../src/FileLock.js"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"
import { makeRecord } from "./utils/records.js"
import { claimOnClaimPath, claimPath, lockPath, path, play, type Stage } from "./utils/Stage.js"

/** Leaves the record of a process that was killed while it held the lock. */
const abandon = ({ fs, machine }: Stage) =>
  Effect.gen(function*() {
    const { info } = yield* Effect.tap(machine.spawn(), machine.kill)
    yield* fs.writeFileString(lockPath, makeRecord(info))
  })

const settle = Effect.sleep("100 millis")

describe("A takeover", () => {
  it.effect("does not put its record where nothing is any more, since somebody else may be about to", () =>
    play((stage) =>
      Effect.gen(function*() {
        yield* abandon(stage)
        const [slow, quick, late] = yield* Effect.all([stage.join(), stage.join(), stage.join()])
        const claiming = yield* slow.stopAt("open", claimPath)
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

  it.effect("believes no claim whose slow creation somebody may have judged", () =>
    play((stage) =>
      Effect.gen(function*() {
        yield* abandon(stage)
        const [slow, quick] = yield* Effect.all([stage.join(), stage.join()])
        const writing = yield* slow.stopAt("write", claimPath)
        const first = yield* Effect.fork(slow.enter("slow"))
        yield* writing.reached
        // The other has seen an unwritten claim for the whole grace, and is about to replace it.
        const replacing = yield* quick.stopAt("rename", claimOnClaimPath)
        const second = yield* Effect.fork(quick.enter("quick"))
        yield* replacing.reached
        const renaming = yield* slow.stopAt("rename", claimPath)
        const renamingToo = yield* quick.stopAt("rename", claimPath)
        yield* writing.goOn
        yield* settle
        yield* replacing.goOn
        yield* settle
        yield* renaming.goOn
        yield* settle
        yield* renamingToo.goOn
        yield* Fiber.joinAll([first, second])
      })
    ))

  it.effect("leaves a living process's claim alone, however long that takes", () =>
    play((stage) =>
      Effect.gen(function*() {
        yield* abandon(stage)
        const [slow, quick] = yield* Effect.all([stage.join(), stage.join()])
        const renaming = yield* slow.stopAt("rename", claimPath)
        const first = yield* Effect.fork(slow.enter("slow"))
        yield* renaming.reached
        const renamingToo = yield* quick.stopAt("rename", claimPath)
        const second = yield* Effect.fork(quick.enter("quick"))
        yield* Effect.sleep("40 seconds")
        yield* renaming.goOn
        yield* settle
        yield* renamingToo.goOn
        yield* Fiber.joinAll([first, second])
      })
    ))

  it.effect("takes the claim of a process that died while it took the lock over, at once", () =>
    play((stage) =>
      Effect.gen(function*() {
        yield* abandon(stage)
        const [dying, heir] = yield* Effect.all([stage.join(), stage.join()])
        const renaming = yield* dying.stopAt("rename", claimPath)
        yield* Effect.forkDaemon(dying.enter("dying"))
        yield* renaming.reached
        yield* dying.kill
        yield* heir.enter("heir", { timeout: 0 })
      })
    ))

  it.effect("cleans up where a dead process left nothing but its claim", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { info } = yield* Effect.tap(stage.machine.spawn(), stage.machine.kill)
        yield* stage.fs.writeFileString(claimPath, makeRecord(info))
        const process = yield* stage.join()
        yield* process.enter("the only one")
      })
    ))

  it.effect("succeeds although the answer was lost on its way, of the claim's creation and of its renaming", () =>
    play((stage) =>
      Effect.gen(function*() {
        for (const method of ["writeFileString", "rename"]) {
          yield* abandon(stage)
          const process = yield* stage.join({
            faults: {
              fault: (operation) =>
                operation.method === method && operation.path === claimPath
                  ? MemoryFileSystem.Fault.Fail({ errno: "EIO", moment: "after" })
                  : undefined
            }
          })
          yield* process.enter(method, { timeout: 0 })
        }
      })
    ))

  it.effect("begins as soon as the owner is dead by proof, and not at the next look", () =>
    play((stage) =>
      Effect.gen(function*() {
        const [dying, heir] = yield* Effect.all([stage.join(), stage.join()])
        yield* Effect.forkDaemon(dying.run(dying.locks.withLock(Effect.never, path)))
        yield* settle
        const next = yield* Effect.fork(heir.enter("heir", { schedule: Schedule.spaced("1 hour") }))
        yield* settle
        yield* dying.kill
        yield* settle
        assert.strictEqual(stage.occupancy.entries, 1)
        yield* Fiber.join(next)
      })
    ))

  it.effect("never comes to a holder that is alive by proof, however long it has had the lock and been stopped", () =>
    play((stage) =>
      Effect.gen(function*() {
        const settings: Settings = { lease: "3 seconds" }
        const [holder, other] = yield* Effect.all([stage.join({ settings }), stage.join({ settings })])
        const held = yield* Effect.fork(holder.enter("holder", { stay: "2 minutes" }))
        yield* settle
        const early = yield* Effect.flip(other.enter("other", { timeout: "30 seconds" }))
        yield* holder.suspend
        const late = yield* Effect.flip(other.enter("other", { timeout: "30 seconds" }))
        assert.deepInclude([early, late].map(String).join(), "Timed out")
        yield* holder.resume
        yield* Fiber.join(held)
      })
    ))
})

describe("A creator that was slow", () => {
  it.effect("does not wait for its own record when the one who was about to replace it has died", () =>
    play((stage) =>
      Effect.gen(function*() {
        const [slow, dying] = yield* Effect.all([stage.join(), stage.join()])
        const writing = yield* slow.stopAt("write", lockPath)
        const first = yield* Effect.fork(slow.enter("slow"))
        yield* writing.reached
        const renaming = yield* dying.stopAt("rename", claimPath)
        yield* Effect.forkDaemon(dying.enter("dying"))
        yield* renaming.reached
        yield* writing.goOn
        yield* Effect.sleep("5 seconds")
        yield* dying.kill
        yield* Fiber.join(first)
      })
    ))

  it.effect("is not robbed, nor robs anybody, while a third process waits", () =>
    play((stage) =>
      Effect.gen(function*() {
        const [slow, other, third] = yield* Effect.all([stage.join(), stage.join(), stage.join()])
        const writing = yield* slow.stopAt("write", lockPath)
        const first = yield* Effect.fork(slow.enter("slow", { stay: "10 seconds" }))
        yield* writing.reached
        const renaming = yield* other.stopAt("rename", claimPath)
        const second = yield* Effect.fork(other.enter("other", { stay: "10 seconds" }))
        yield* renaming.reached
        yield* writing.goOn
        yield* Effect.sleep("3 seconds")
        const last = yield* Effect.fork(third.enter("third", { stay: "10 seconds" }))
        yield* Effect.sleep("3 seconds")
        yield* renaming.goOn
        yield* Fiber.joinAll([first, second, last])
      })
    ))

  it.effect.each(
    [
      ["by the wall clock, though the monotonic one stood still", 60_000, "1 millis"],
      ["by the monotonic clock, though the wall clock was set back", -60_000, "1500 millis"]
    ] as const
  )("doubts its record, %s", ([, set, passes]) =>
    play((stage) =>
      Effect.gen(function*() {
        const slow = yield* stage.join()
        const writing = yield* slow.stopAt("write", lockPath)
        const renaming = yield* slow.stopAt("rename", claimPath)
        const fiber = yield* Effect.fork(slow.enter("slow"))
        yield* writing.reached
        yield* stage.setWallClock((yield* Clock.currentTimeMillis) + set)
        yield* Effect.sleep(passes)
        yield* writing.goOn
        yield* settle
        assert.isTrue(yield* renaming.isReached, "it takes its own record over, to be certain")
        assert.strictEqual(stage.occupancy.entries, 0)
        yield* renaming.goOn
        yield* Fiber.join(fiber)
      })
    ))

  it.effect("removes nothing when the write fails after somebody else has taken the lock over", () =>
    play((stage) =>
      Effect.gen(function*() {
        const [failing, heir, third] = yield* Effect.all([stage.join(), stage.join(), stage.join()])
        const writing = yield* failing.stopAt("write", lockPath)
        const failed = yield* Effect.fork(Effect.flip(failing.enter("failing")))
        yield* writing.reached
        const held = yield* Effect.fork(heir.enter("heir", { stay: "10 seconds" }))
        while (stage.occupancy.entries === 0) {
          yield* settle
        }
        yield* stage.disk.configure({ capacity: 0 })
        yield* writing.goOn
        assert.deepInclude(yield* Fiber.join(failed), { reason: "StorageFull" })
        yield* stage.disk.configure({ capacity: 1_000_000 })
        yield* third.enter("third")
        yield* Fiber.join(held)
      })
    ))

  it.effect("leaves its unwritten file to the grace, if the write fails while somebody else is about to replace it", () =>
    play((stage) =>
      Effect.gen(function*() {
        const [failing, heir, third] = yield* Effect.all([stage.join(), stage.join(), stage.join()])
        const writing = yield* failing.stopAt("write", lockPath)
        const failed = yield* Effect.fork(Effect.flip(failing.enter("failing")))
        yield* writing.reached
        const renaming = yield* heir.stopAt("rename", claimPath)
        const held = yield* Effect.fork(heir.enter("heir", { stay: "10 seconds" }))
        yield* renaming.reached
        yield* stage.disk.configure({ capacity: 0 })
        yield* writing.goOn
        assert.deepInclude(yield* Fiber.join(failed), { reason: "StorageFull" })
        yield* stage.disk.configure({ capacity: 1_000_000 })
        const last = yield* Effect.fork(third.enter("third", { stay: "10 seconds" }))
        yield* settle
        yield* renaming.goOn
        yield* Fiber.joinAll([held, last])
      })
    ))
})

describe("An unwritten file", () => {
  it.effect("is its creator's, who is still writing", () =>
    play((stage) =>
      Effect.gen(function*() {
        const [slow, other] = yield* Effect.all([stage.join(), stage.join()])
        const writing = yield* slow.stopAt("write", lockPath)
        const first = yield* Effect.fork(slow.enter("slow"))
        yield* writing.reached
        const second = yield* Effect.fork(other.enter("other"))
        yield* Effect.sleep("900 millis")
        yield* writing.goOn
        yield* Fiber.joinAll([first, second])
      })
    ))

  it.effect.each(
    [
      ["that has its inode", true],
      ["of the same time, because the wall clock was set back", false]
    ] as const
  )(
    "is not taken for another file that is not written yet %s",
    ([, reuseInodes]) =>
      play((stage) =>
        Effect.gen(function*() {
          const [judge, creator] = yield* Effect.all([stage.join(), stage.join()])
          // One process has seen an unwritten file for the whole grace, and is about to claim it.
          const createdAt = yield* Clock.currentTimeMillis
          yield* stage.fs.writeFileString(lockPath, "")
          const before = yield* stage.fs.stat(lockPath)
          const claiming = yield* judge.stopAt("open", claimPath)
          const first = yield* Effect.fork(judge.enter("judge", { stay: "3 seconds" }))
          yield* claiming.reached
          // Meanwhile that is gone, and another one has created its own.
          yield* stage.fs.remove(lockPath)
          if (!reuseInodes) {
            yield* stage.setWallClock(createdAt)
          }
          const writing = yield* creator.stopAt("write", lockPath)
          const second = yield* Effect.fork(creator.enter("creator", { stay: "3 seconds" }))
          yield* writing.reached
          const after = yield* stage.fs.stat(lockPath)
          assert.strictEqual(Option.getOrThrow(after.ino) === Option.getOrThrow(before.ino), reuseInodes)
          assert.strictEqual(
            Option.getOrThrow(after.mtime).getTime() === Option.getOrThrow(before.mtime).getTime(),
            !reuseInodes
          )
          yield* claiming.goOn
          yield* settle
          yield* writing.goOn
          yield* Fiber.joinAll([first, second])
        }), { reuseInodes })
  )
})

describe("A release", () => {
  it.effect("is not overtaken by its own process, to whom the token lives until the record is gone", () =>
    play((stage) =>
      Effect.gen(function*() {
        const first = yield* stage.join()
        const [copy, third] = yield* Effect.all([stage.join({ identity: first.identity }), stage.join()])
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

  it.effect("that has looked already removes no successor's record when its lock is broken meanwhile", () =>
    play((stage) =>
      Effect.gen(function*() {
        const [owner, admin, heir, third] = yield* Effect.all([stage.join(), stage.join(), stage.join(), stage.join()])
        const unlinking = yield* owner.stopAt("unlink", lockPath)
        const releasing = yield* Effect.fork(owner.enter("owner"))
        yield* unlinking.reached
        const status = Option.getOrThrow(yield* admin.run(admin.locks.inspect(path)))
        const holder = Option.getOrThrow(Option.fromNullable(status.holders[0]))
        const breaking = yield* Effect.fork(admin.run(admin.locks.breakLock(path, holder)))
        yield* settle
        const second = yield* Effect.fork(heir.enter("heir", { stay: "10 seconds" }))
        yield* settle
        yield* unlinking.goOn
        yield* settle
        const last = yield* Effect.fork(third.enter("third"))
        assert.isTrue(yield* Fiber.join(breaking))
        yield* Fiber.joinAll([releasing, second, last])
      })
    ))
})

describe("What is no record", () => {
  const foreign: ReadonlyArray<readonly [string, (stage: Stage) => Effect.Effect<void, unknown>]> = [
    [
      "a symbolic link to an empty file",
      ({ fs }) => Effect.zipRight(fs.writeFileString("/tmp/precious", ""), fs.symlink("/tmp/precious", lockPath))
    ],
    ["a file of NULs that is larger than any record", ({ fs }) => fs.writeFile(lockPath, new Uint8Array(8192))],
    ["another tool's file", ({ fs }) => fs.writeFileString(lockPath, "4242\n")]
  ]
  it.effect.each(foreign)("is left alone: %s", ([, put]) =>
    play((stage) =>
      Effect.gen(function*() {
        yield* put(stage)
        const process = yield* stage.join()
        const error = yield* Effect.flip(
          process.run(process.locks.withLock(Effect.void, path, { timeout: "9 seconds" }))
        )
        assert.strictEqual(error._tag === "LockAcquisitionError" ? error.reason : error._tag, "Foreign")
        yield* stage.fs.remove(lockPath)
        yield* process.enter("afterwards", { timeout: 0 })
      })
    ))
})
