import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Takeover from "../torture/Takeover.js"
import * as Torture from "../torture/Torture.js"
import * as Transform from "../torture/Transform.js"

/** Some twenty processes are started; in milliseconds. `npm run torture` and `npm run takeover` take longer. */
const testTimeout = 90_000

const rounds = 2

const options: Torture.Options = {
  processes: 3,
  duration: 700,
  killEvery: 120,
  stopFor: 500,
  seed: 20_240_817,
  fibers: 1,
  readers: 0,
  work: 2,
  lease: undefined,
  locked: true,
  writes: "rename",
  engines: [{ _tag: "lockFiles" }, { _tag: "platform" }],
  onProgress: () => Effect.void
}

describe("Processes that are killed and stopped while they compete for a lock", () => {
  it.live(
    "are never in the critical section at once, and lose no update, whichever layer they use",
    () =>
      Effect.gen(function*() {
        const report = yield* Torture.run(options)
        assert.deepStrictEqual(report.violations, [])
        assert.isAbove(report.kills, 0)
        assert.isAbove(report.acquisitions, 0)
      }),
    testTimeout
  )

  it.live("overlap and lose updates where they do not lock", () =>
    Effect.gen(function*() {
      const report = yield* Torture.run({
        ...options,
        processes: 2,
        duration: 500,
        killEvery: 0,
        stopFor: 0,
        locked: false
      })
      assert.isAbove(report.overlaps.length, 0)
      assert.isAbove(report.counter.lost, 0)
      assert.isAbove(report.violations.length, 0)
    }), testTimeout)

  it.live(
    "read whole contents, whoever writes them through LockedFile, and miss no update",
    () =>
      Effect.gen(function*() {
        const report = yield* Torture.run({ ...options, fibers: 3, readers: 0.5, writes: "LockedFile" })
        assert.deepStrictEqual(report.violations, [])
        assert.isAbove(report.kills, 0)
        assert.isAbove(report.reads, 0)
        assert.isAbove(report.counter.acknowledged, 0)
      }),
    testTimeout
  )

  it.live(
    "read parts of contents where they do not lock and these are written over the old ones",
    () =>
      Effect.gen(function*() {
        const report = yield* Torture.run({
          ...options,
          processes: 2,
          fibers: 2,
          duration: 200,
          killEvery: 0,
          stopFor: 0,
          readers: 0.5,
          locked: false,
          writes: "inPlace"
        })
        assert.isAbove(report.torn, 0)
        assert.isAbove(report.violations.length, 0)
      }),
    testTimeout
  )

  it.live("each get the lock in each round in which its holder is killed", () =>
    Effect.gen(function*() {
      const report = yield* Takeover.run({
        holder: "process",
        rounds,
        processes: 4,
        seed: 1,
        onRound: () => Effect.void
      })
      assert.deepStrictEqual(report.violations, [])
      assert.strictEqual(report.counter.acknowledged, rounds * 4)
      assert.strictEqual(report.waiting.length + report.stale.length, rounds)
    }), testTimeout)
})

describe("Fibers of several processes that replace the content of a file by another one", () => {
  const options: Transform.Options = { processes: 2, fibers: 8, runs: 100, seed: 1, locked: true, mixed: true }

  it.live("each find a whole one", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Transform.run(options), { runs: options.runs, violations: [] })
    }), testTimeout)
})
