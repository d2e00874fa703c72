import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Turns from "../../../src/internal/handover/turns.js"
import type * as Runtime from "../../../src/internal/runtime.js"

/** Longer than any of these tests takes, or over at once; in milliseconds. */
const [long, none] = [60_000, 0]

const test = (behaviour: string, self: (turns: Turns.Turns, fiber: Runtime.RuntimeFiber) => Effect.Effect<void>) =>
  it.live(behaviour, () => Effect.withFiberRuntime<void>((fiber) => self(new Turns.Turns(), fiber)))

/** Whether one of many acquisitions in one turn was to wait. */
const isEverOverdue = (turns: Turns.Turns, fiber: Runtime.RuntimeFiber, slice: number): boolean =>
  Array.from({ length: 100 }, () => turns.isOverdue(fiber, slice)).includes(true)

describe("A process that takes locks within one turn of the event loop", () => {
  test("waits for the next one after a time slice, and goes on from there", (turns, fiber) =>
    Effect.gen(function*() {
      assert.isTrue(isEverOverdue(turns, fiber, none))
      assert.isTrue(turns.isOverdue(fiber, none))
      yield* Turns.next
      assert.isFalse(turns.isOverdue(fiber, none))
    }))

  test("does not wait before, nor for few locks", (turns, fiber) =>
    Effect.gen(function*() {
      assert.isFalse(turns.isOverdue(fiber, none))
      assert.isFalse(isEverOverdue(turns, fiber, long))
      yield* Turns.next
    }))
})
