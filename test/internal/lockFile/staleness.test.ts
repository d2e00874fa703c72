import { assert, describe, it } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/TestClock"
import * as Record from "../../../src/internal/lockFile/record.js"
import * as Staleness from "../../../src/internal/lockFile/staleness.js"
import * as ProcessIdentity from "../../../src/ProcessIdentity.js"
import { makeHolder, makeRecord } from "../../utils/records.js"

const lease = 30_000
const path = "/tmp/file.lock"

const make = Effect.gen(function*() {
  const machine = yield* ProcessIdentity.makeMachine()
  const staleness = Staleness.make(yield* machine.spawn(), lease)
  return {
    machine,
    staleness,
    checkNow: (seen: Record.Seen, at = path) => Effect.map(staleness.check(at, seen), ({ _tag }) => _tag)
  }
})

const record = (changes?: Parameters<typeof makeHolder>[0], beat = 0): Record.Seen => ({
  _tag: "Record",
  holder: makeHolder(changes),
  text: Record.withBeat(makeRecord(changes), beat)
})

/** Reads every so often, and says what the check said each time. */
const repeatedly = (checkNow: Effect.Effect<string>, every: Duration.DurationInput, times: number) =>
  Effect.replicateEffect(Effect.zipLeft(checkNow, TestClock.adjust(every)), times)

describe("The staleness of a record", () => {
  it.effect("is told by the process table for processes of this machine, and never by the clock", () =>
    Effect.gen(function*() {
      const { checkNow, machine } = yield* make
      const other = yield* machine.spawn()
      const seen = record(other.info)
      assert.deepStrictEqual([...new Set(yield* repeatedly(checkNow(seen), "5 seconds", 50))], ["Live"])
      yield* machine.kill(other)
      assert.strictEqual(yield* checkNow(seen), "Stale")
    }))

  it.effect("is told after a whole lease of silence for one that cannot be checked", () =>
    Effect.gen(function*() {
      const { checkNow } = yield* make
      const results = yield* repeatedly(checkNow(record()), "3 seconds", 11)
      assert.deepStrictEqual(results, [...new Array<string>(10).fill("Unverifiable"), "Stale"])
    }))

  it.effect("is counted anew from each beat", () =>
    Effect.gen(function*() {
      const { checkNow } = yield* make
      yield* repeatedly(checkNow(record()), "3 seconds", 10)
      assert.strictEqual(yield* checkNow(record({}, 1)), "Unverifiable")
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* checkNow(record({}, 1)), "Unverifiable")
    }))

  it.effect("is counted anew after a pause of the observer, in which it may have missed a beat", () =>
    Effect.gen(function*() {
      const { checkNow } = yield* make
      yield* repeatedly(checkNow(record()), "3 seconds", 9)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* checkNow(record()), "Unverifiable")
    }))

  it.effect("is counted for each path of its own", () =>
    Effect.gen(function*() {
      const { checkNow } = yield* make
      yield* repeatedly(checkNow(record()), "3 seconds", 10)
      assert.strictEqual(yield* checkNow(record(), "/tmp/other.lock"), "Unverifiable")
      assert.strictEqual(yield* checkNow(record()), "Stale")
    }))

  it.effect("says when to read again so that no pause is too long, and no more often than needed", () =>
    Effect.gen(function*() {
      const { staleness } = yield* make
      let reads = 0
      let waited = 0
      while (true) {
        const check = yield* staleness.check(path, record())
        if (check._tag !== "Unverifiable") {
          assert.strictEqual(check._tag, "Stale")
          break
        }
        reads++
        waited += check.readAgainIn
        yield* TestClock.adjust(check.readAgainIn)
      }
      assert.isAtMost(reads, 20)
      assert.strictEqual(waited, lease)
    }))

  it.effect("is forgotten where something else has come to the path", () =>
    Effect.gen(function*() {
      const { checkNow, staleness } = yield* make
      yield* repeatedly(checkNow(record()), "3 seconds", 10)
      staleness.forget(path)
      assert.strictEqual(yield* checkNow(record()), "Unverifiable")
    }))

  it.effect("is remembered for the paths that were read last, however many there are", () =>
    Effect.gen(function*() {
      const { checkNow } = yield* make
      for (let round = 0; round < 11; round++) {
        for (let index = 0; index < 1100; index++) {
          yield* checkNow(record(), `/tmp/passing-${round}-${index}.lock`)
          if (index % 100 === 0) {
            yield* checkNow(record())
          }
        }
        yield* TestClock.adjust("3 seconds")
      }
      assert.strictEqual(yield* checkNow(record()), "Stale")
    }))
})

describe("The staleness of a file of NULs", () => {
  const zeros = (modifiedAt: number): Record.Seen => ({ _tag: "Zeros", identity: "1:1:1", modifiedAt })

  it.effect("is told by whether it was written before this machine was booted", () =>
    Effect.gen(function*() {
      const { machine, staleness } = yield* make
      yield* TestClock.adjust("1 hour")
      const tagOf = (check: Staleness.Check, seen: Record.Seen) =>
        Effect.map(check.check(path, seen), ({ _tag }) => _tag)
      assert.strictEqual(yield* tagOf(staleness, zeros(0)), "Live", "the machine does not know when it was booted")
      yield* machine.reboot
      yield* TestClock.adjust("1 hour")
      const after = Staleness.make(yield* machine.spawn(), lease)
      const bootedAt = 3_600_000
      assert.strictEqual(yield* tagOf(after, zeros(bootedAt - 1)), "Stale")
      assert.strictEqual(yield* tagOf(after, zeros(bootedAt)), "Live")
      assert.deepStrictEqual(
        [...new Set(yield* repeatedly(tagOf(after, zeros(bootedAt + 1)), "5 seconds", 20))],
        ["Live"]
      )
    }))
})

describe("The staleness of what says nothing about its owner", () => {
  it.effect("is told after a whole lease without a change", () =>
    Effect.gen(function*() {
      const { staleness } = yield* make
      const check = (text: string) => Effect.map(staleness.checkUnknown(path, text), ({ _tag }) => _tag)
      assert.deepStrictEqual(yield* repeatedly(check(""), "3 seconds", 11), [
        ...new Array<string>(10).fill("Unverifiable"),
        "Stale"
      ])
      assert.strictEqual(yield* check("{"), "Unverifiable")
    }))

  it.effect("is never told of what is absent or foreign", () =>
    Effect.gen(function*() {
      const { checkNow } = yield* make
      for (const seen of [{ _tag: "Absent" }, { _tag: "Foreign", what: "a word" }] as const) {
        assert.deepStrictEqual([...new Set(yield* repeatedly(checkNow(seen), "5 seconds", 20))], ["Live"])
      }
    }))
})
