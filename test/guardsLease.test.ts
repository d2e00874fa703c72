import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { Settings } from "../src/FileLock.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import { makeRecord } from "./utils/records.js"
import { claimPath, lockPath, path, play, type Stage } from "./utils/Stage.js"

const settings: Settings = { lease: "10 seconds" }

const settle = Effect.sleep("100 millis")

/** A process on a machine of its own, which nobody else can check. */
const joinElsewhere = (stage: Stage) =>
  Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => stage.join({ machine, settings }))

describe("A takeover after a lease of silence", () => {
  it.effect("is not gone on with by one who stood still for so long that its claim is too old", () =>
    play((stage) =>
      Effect.gen(function*() {
        yield* stage.fs.writeFileString(lockPath, makeRecord())
        const [slow, quick] = yield* Effect.all([joinElsewhere(stage), joinElsewhere(stage)])
        // One has its claim, and is just comparing what it judged with what is there.
        const claimed = yield* slow.stopAt("close", claimPath)
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

  it.effect("does not happen when the holder was heard of again after it was judged", () =>
    play((stage) =>
      Effect.gen(function*() {
        const record = makeRecord()
        const heard = record.replace("0000000000", "0000000001")
        yield* stage.fs.writeFileString(lockPath, record)
        const process = yield* joinElsewhere(stage)
        const claiming = yield* process.stopAt("open", claimPath)
        const waiting = yield* Effect.fork(Effect.flip(process.enter("robber", { timeout: "15 seconds" })))
        yield* claiming.reached
        yield* stage.fs.writeFileString(lockPath, heard)
        yield* claiming.goOn
        yield* Fiber.join(waiting)
        assert.strictEqual(yield* stage.fs.readFileString(lockPath), heard)
        yield* stage.fs.remove(lockPath)
      })
    ))

  it.effect("does not count the time in which the observer itself was suspended", () =>
    play((stage) =>
      Effect.gen(function*() {
        yield* stage.fs.writeFileString(lockPath, makeRecord())
        const process = yield* joinElsewhere(stage)
        const fiber = yield* Effect.fork(process.enter("suspended observer", { timeout: "10 minutes" }))
        yield* Effect.sleep("2 seconds")
        yield* process.suspend
        yield* Effect.sleep("1 minute")
        yield* process.resume
        yield* Effect.sleep("9 seconds")
        assert.strictEqual(stage.occupancy.entries, 0)
        yield* Fiber.join(fiber)
      })
    ))
})

/** A holder that is suspended until somebody elsewhere has judged it silent, and is about to replace its record. */
const suspendUntilReplaced = (stage: Stage) =>
  Effect.gen(function*() {
    const [holder, other] = yield* Effect.all([joinElsewhere(stage), joinElsewhere(stage)])
    const replacing = yield* other.stopAt("rename", claimPath)
    const suspend = Effect.gen(function*() {
      yield* Effect.sleep("1 second")
      yield* holder.suspend
      const next = yield* Effect.fork(other.enter("other", { stay: "20 seconds" }))
      yield* replacing.reached
      return next
    })
    return { holder, replacing, suspend }
  })

describe("A holder that was suspended", () => {
  it.effect("beats under the claim, and declares itself lost where somebody else has that", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { holder, replacing, suspend } = yield* suspendUntilReplaced(stage)
        const held = yield* Effect.fork(Effect.flip(holder.enter("holder", { stay: "1 minute" })))
        const next = yield* suspend
        yield* holder.resume
        // Not as long as until the beat after, which would find out.
        yield* Effect.sleep("2 seconds")
        yield* replacing.goOn
        yield* Fiber.joinAll([held, next])
      })
    ))

  it.effect("beats under the claim, keeps its lock and leaves no claim behind where nobody else has acted", () =>
    play((stage) =>
      Effect.gen(function*() {
        const holder = yield* joinElsewhere(stage)
        const held = yield* Effect.fork(holder.enter("holder", { stay: "1 minute" }))
        yield* Effect.sleep("1 second")
        yield* holder.suspend
        yield* Effect.sleep("8 seconds")
        yield* holder.resume
        yield* settle
        assert.match(yield* stage.fs.readFileString(lockPath), /"beat":"0*1"/)
        assert.deepStrictEqual(yield* stage.fs.readDirectory("/data"), ["tasks.json.lock"])
        yield* Fiber.join(held)
      })
    ))

  it.effect("is not told by verify that the lock is its own while somebody is about to replace its record", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { holder, replacing, suspend } = yield* suspendUntilReplaced(stage)
        const held = yield* Effect.fork(holder.run(Effect.scoped(Effect.gen(function*() {
          const handle = yield* holder.locks.acquire(path)
          yield* Effect.sleep("2 seconds")
          return yield* Effect.exit(handle.verify)
        }))))
        const next = yield* suspend
        yield* holder.resume
        yield* Effect.sleep("5 seconds")
        yield* replacing.goOn
        assert.isTrue(Exit.isFailure(yield* Fiber.join(held)))
        yield* Fiber.join(next)
      })
    ))

  it.effect("removes in a late release no record but its own", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { holder, replacing, suspend } = yield* suspendUntilReplaced(stage)
        const third = yield* stage.join({ settings })
        const held = yield* Effect.fork(Effect.exit(holder.enter("holder", { stay: "2 seconds" })))
        const next = yield* suspend
        yield* holder.resume
        yield* Effect.sleep("3 seconds")
        const last = yield* Effect.fork(third.enter("third", { stay: "20 seconds" }))
        yield* Effect.sleep("3 seconds")
        yield* replacing.goOn
        yield* Fiber.join(held)
        yield* Fiber.joinAll([next, last])
      })
    ))
})

describe("A holder that cannot beat", () => {
  it.effect("is told so before anybody else can have the lock", () =>
    play((stage) =>
      Effect.gen(function*() {
        const [holder, other] = yield* Effect.all([joinElsewhere(stage), joinElsewhere(stage)])
        const held = yield* Effect.fork(Effect.flip(holder.enter("holder", { stay: "1 hour" })))
        yield* settle
        // Its storage does not answer for a while.
        const beating = yield* holder.stopAt("readlink", lockPath)
        const next = yield* Effect.fork(other.enter("other", { stay: "1 minute" }))
        yield* beating.reached
        const since = yield* Clock.currentTimeMillis
        while (stage.occupancy.entries < 2) {
          yield* settle
        }
        assert.isAbove((yield* Clock.currentTimeMillis) - since, 1000)
        yield* beating.goOn
        yield* Fiber.joinAll([held, next])
      })
    ))
})

describe("A holder that releases in the midst of a beat", () => {
  it.effect("neither cuts the beat off nor closes the handle under it, or it could be written into another file", () =>
    play((stage) =>
      Effect.gen(function*() {
        const holder = yield* joinElsewhere(stage)
        const held = yield* Effect.fork(holder.enter("holder", { stay: "1 hour" }))
        yield* settle
        const writing = yield* holder.stopAt("write", lockPath, "File.writeAll")
        const closing = yield* holder.stopAt("close", lockPath, "File.close")
        yield* writing.reached
        const releasing = yield* Effect.fork(Fiber.interrupt(held))
        yield* Effect.sleep("2 seconds")
        assert.isFalse(yield* closing.isReached)
        yield* writing.goOn
        yield* settle
        assert.isTrue(yield* closing.isReached)
        yield* closing.goOn
        yield* Fiber.join(releasing)
        yield* settle
      })
    ))
})

describe("A holder whose record was replaced between two beats", () => {
  it.effect("never writes into what is there now, and finds out", () =>
    play((stage) =>
      Effect.gen(function*() {
        const holder = yield* joinElsewhere(stage)
        const held = yield* Effect.fork(Effect.flip(holder.enter("holder", { stay: "1 hour" })))
        yield* Effect.sleep("5 seconds")
        assert.match(yield* stage.fs.readFileString(lockPath), /"beat":"0*1"/)
        yield* stage.fs.writeFileString("/data/precious", "precious")
        yield* stage.fs.rename("/data/precious", lockPath)
        assert.deepInclude(yield* Fiber.join(held), { _tag: "LockLostError", reason: "Replaced" })
        assert.strictEqual(yield* stage.fs.readFileString(lockPath), "precious")
        yield* stage.fs.remove(lockPath)
      })
    ))
})
