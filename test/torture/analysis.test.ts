import { assert, describe, it } from "@effect/vitest"
import * as Analysis from "./Analysis.js"
import * as Content from "./Content.js"
import type { Event, Kind } from "./EventLog.js"
import * as Standstill from "./Standstill.js"

const event = (millis: number, incarnation: number, kind: Kind, value = 0, section = 1): Event => ({
  kind,
  incarnation,
  section,
  at: BigInt(millis) * 1_000_000n,
  value
})

describe("the analysis of a torture run", () => {
  it("sees two processes that were in the critical section at once", () => {
    const events = [
      event(1, 1, "enterExclusive"),
      event(2, 2, "enterExclusive"),
      event(3, 1, "leave"),
      event(4, 2, "leave")
    ]
    assert.deepStrictEqual(Analysis.overlaps(events), [{ at: 2_000_000n, incarnation: 2, other: 1, seenBy: "times" }])
  })

  it("does not mind readers that are inside together, but minds a writer among them", () => {
    const readers = [event(1, 1, "enterShared"), event(2, 2, "enterShared"), event(5, 1, "leave"), event(6, 2, "leave")]
    assert.strictEqual(Analysis.overlaps(readers).length, 0)
    const withWriter = [...readers.slice(0, 2), event(3, 3, "enterExclusive"), ...readers.slice(2)]
    assert.strictEqual(Analysis.overlaps(withWriter).length, 2)
  })

  it("counts a killed process as inside until its killer was about to send the signal, and no longer", () => {
    const killed = [event(1, 1, "enterExclusive"), event(3, 1, "kill")]
    assert.strictEqual(Analysis.overlaps([...killed, event(4, 2, "enterExclusive"), event(5, 1, "exit")]).length, 0)
    assert.strictEqual(Analysis.overlaps([killed[0]!, event(2, 2, "enterExclusive"), killed[1]!]).length, 1)
    assert.deepStrictEqual(Analysis.takeovers([...killed, event(7, 2, "enterExclusive")]), [4])
  })

  it("believes the mark of a living process over all times", () => {
    assert.deepStrictEqual(Analysis.overlaps([event(1, 2, "foundAlive", 1)]), [
      { at: 1_000_000n, incarnation: 2, other: 1, seenBy: "mark" }
    ])
  })

  it("counts an update as lost when two acknowledged the same value, or the counter has less than was acknowledged", () => {
    const both = [
      event(1, 1, "intent", 1),
      event(2, 2, "intent", 1),
      event(3, 1, "acknowledged", 1),
      event(4, 2, "acknowledged", 1)
    ]
    assert.deepInclude(Analysis.reconcile(both, 1), { acknowledged: 2, lost: 1, unexplained: 0 })
    assert.deepInclude(Analysis.reconcile(both.slice(0, 3), 0), { acknowledged: 1, lost: 1 })
  })

  it("accepts a value that a killed process wrote and could not acknowledge, and no other", () => {
    const events = [
      event(1, 1, "intent", 1),
      event(2, 1, "kill"),
      event(3, 2, "intent", 2),
      event(4, 2, "acknowledged", 2)
    ]
    assert.deepStrictEqual(Analysis.reconcile(events, 2), {
      acknowledged: 1,
      unacknowledged: 1,
      lost: 0,
      unexplained: 0
    })
    assert.deepInclude(Analysis.reconcile(events, 3), { lost: 0, unexplained: 1 })
  })

  it("finds a read that missed an update which had been acknowledged before the reader came in", () => {
    const events = [
      event(1, 1, "waiting"),
      event(2, 2, "acknowledged", 1),
      event(3, 1, "observed", 0),
      event(4, 3, "waiting"),
      event(5, 2, "acknowledged", 2),
      event(6, 3, "enterShared"),
      event(7, 3, "observed", 1)
    ]
    assert.deepStrictEqual(Analysis.staleReads(events), [{ at: 7_000_000n, incarnation: 3, value: 1, acknowledged: 2 }])
  })

  it("tells a whole content from each part of it, and from each mixture with another one", () => {
    for (let value = 0; value < 20; value++) {
      const [one, other] = [Content.make(value, 12), Content.make(value + 1, 12)]
      assert.strictEqual(Content.valueOf(one), value)
      for (let length = 0; length < Math.max(one.length, other.length); length++) {
        for (const mixed of [one.slice(0, length), other.slice(0, length) + one.slice(length)]) {
          assert.isTrue(mixed === one || mixed === other || Content.valueOf(mixed) === undefined, mixed)
        }
      }
    }
  })

  it("measures how long no process entered while a given process waited, and how long while any process waited", () => {
    const events = [
      event(10, 1, "waiting"),
      event(30, 2, "waiting"),
      event(50, 1, "kill"),
      event(75, 2, "enterExclusive"),
      event(80, 2, "leave")
    ]
    const { ofAll, ofOne } = Standstill.longest(events)
    assert.strictEqual(ofOne.millis, 45)
    assert.strictEqual(ofAll.millis, 65)
  })

  it("does not count the time in which a stopped process owns the lock, or the only one that waits is stopped", () => {
    const owner = [
      event(0, 1, "waiting"),
      event(0, 2, "waiting"),
      event(10, 1, "stop"),
      event(10, 1, "stoppedOwner"),
      event(90, 1, "resume"),
      event(95, 1, "enterExclusive")
    ]
    assert.strictEqual(Standstill.longest(owner).ofAll.millis, 10)
    const waiter = [event(0, 1, "waiting"), event(5, 1, "stop"), event(90, 1, "resume"), event(97, 1, "enterExclusive")]
    assert.strictEqual(Standstill.longest(waiter).ofOne.millis, 7)
  })
})
