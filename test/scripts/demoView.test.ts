import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as FiberId from "effect/FiberId"
import * as Ref from "effect/Ref"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import type { Snapshot, State } from "../../scripts/demoModel.js"
import * as DemoOutput from "../../scripts/demoOutput.js"
import * as DemoView from "../../scripts/demoView.js"

/** Replays a failure: `FAST_CHECK_SEED`, as the failure names it. */
const parameters = {
  seed: process.env.FAST_CHECK_SEED === undefined ? Date.now() | 0 : Number(process.env.FAST_CHECK_SEED),
  numRuns: 100
}

const tasksEach = 25

const states = ["idle", "waiting", "inside", "finished", "killed", "ended", "failed"] as const

const snapshotOf = (...workers: ReadonlyArray<readonly [state: State, added: number]>): Snapshot => ({
  at: 100,
  tasksEach,
  workers: workers.map(([state, added], index) => ({
    name: `worker-${index + 1}`,
    pid: 1_000_000 + index,
    at: 80,
    state,
    added
  }))
})

const worker = FastCheck.tuple(FastCheck.constantFrom(...states), FastCheck.nat(tasksEach))

const snapshots = FastCheck.tuple(worker, worker, worker, worker).map((workers) => snapshotOf(...workers))

const columns = FastCheck.integer({ min: 20, max: 140 })

const word = FastCheck.string({ unit: FastCheck.constantFrom("a", "b", "(", ")", "4"), minLength: 1, maxLength: 15 })

/** A screen that is as wide as it is told to be, and what was written to it. */
const screen = (redraws: boolean) => {
  const self = { width: 80, written: "", writes: 0 }
  const output: DemoOutput.Output = {
    redraws,
    columns: () => self.width,
    write: (text) => {
      self.written += text
      self.writes += 1
    }
  }
  return { self, view: DemoView.make(output) }
}

describe("The lines of the demonstration", () => {
  it("fit the terminal, break between words only, and lose none", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(word), FastCheck.nat(4), columns, (words, indent, columns) => {
        const spaces = " ".repeat(words.length === 0 ? 0 : indent)
        const lines = DemoOutput.wrap(`${spaces}${words.join(" ")}`, columns)
        for (const line of lines) assert.isAtMost(line.length, columns)
        assert.isTrue(lines.every((line) => line.startsWith(spaces)))
        assert.deepStrictEqual(lines.flatMap((line) => line.trim().split(" ").filter((part) => part !== "")), words)
      }),
      parameters
    )
  })

  it("break a word only if it is too long for a line", () => {
    assert.deepStrictEqual(DemoOutput.wrap("  one abcdefghij two", 8), ["  one", "  abcdef", "  ghij", "  two"])
    assert.deepStrictEqual(DemoOutput.wrap("  it is", 4), ["  it", "  is"])
    assert.deepStrictEqual(DemoOutput.wrap("", 10), [""])
  })

  it("fit the terminal while the processes work", () => {
    FastCheck.assert(
      FastCheck.property(snapshots, columns, (snapshot, columns) => {
        for (const line of DemoView.frame(snapshot, columns)) assert.isAtMost(line.length, columns)
      }),
      parameters
    )
  })

  it("are one for each process and one for all from 60 columns on", () => {
    FastCheck.assert(
      FastCheck.property(snapshots, FastCheck.constantFrom(60, 80, 120), (snapshot, columns) => {
        assert.strictEqual(DemoView.frame(snapshot, columns).length, snapshot.workers.length + 1)
      }),
      parameters
    )
  })

  it("say of one snapshot which processes are inside, and how many wait", () => {
    const last = (snapshot: Snapshot) => DemoView.frame(snapshot, 80).at(-1)
    assert.strictEqual(
      last(snapshotOf(["waiting", 1], ["inside", 2], ["waiting", 3])),
      "  worker-2 (pid 1000001) has been inside for 20 ms; 2 wait"
    )
    assert.strictEqual(
      last(snapshotOf(["inside", 1], ["inside", 2], ["waiting", 3])),
      "  2 processes are inside at once; 1 waits"
    )
    assert.strictEqual(last(snapshotOf(["finished", 1], ["killed", 2])), "  no process is inside")
  })

  it.effect("are drawn over the last ones on a terminal, in as many rows as these take by now", () =>
    Effect.gen(function*() {
      const { self, view } = screen(true)
      const scope = yield* Scope.make()
      const current = yield* Ref.make(snapshotOf(["inside", 1], ["waiting", 2]))
      yield* Scope.extend(view.follow(Ref.get(current)), scope)
      yield* TestClock.adjust("1 millis")
      assert.notInclude(self.written, "\x1b")
      assert.strictEqual(self.written.split("\n").length, 4)
      yield* TestClock.adjust("60 millis")
      assert.include(self.written, "\r\x1b[3A\x1b[0J")
      // Each of the three lines takes two rows.
      self.width = 45
      self.written = ""
      yield* view.say("a line that stays")
      assert.strictEqual(self.written, "\r\x1b[6A\x1b[0Ja line that stays\n")
      self.written = ""
      yield* Scope.close(scope, Exit.void)
      yield* view.say("the end")
      assert.notInclude(self.written, "\x1b")
    }))

  it.effect("stay as they are when the demonstration is stopped", () =>
    Effect.gen(function*() {
      const { self, view } = screen(true)
      const scope = yield* Scope.make()
      yield* Scope.extend(view.follow(Effect.succeed(snapshotOf(["inside", 1], ["waiting", 2]))), scope)
      yield* TestClock.adjust("1 millis")
      self.written = ""
      yield* Scope.close(scope, Exit.interrupt(FiberId.none))
      yield* view.say("stopped")
      assert.strictEqual(self.written, "stopped\n")
    }))

  it.effect("are plain elsewhere, one at each fifth of the tasks", () =>
    Effect.gen(function*() {
      const { self, view } = screen(false)
      self.width = Infinity
      const scope = yield* Scope.make()
      const current = yield* Ref.make(snapshotOf(["inside", 0], ["waiting", 0]))
      yield* Scope.extend(view.follow(Ref.get(current)), scope)
      yield* TestClock.adjust("90 millis")
      assert.strictEqual(self.written, "")
      yield* Ref.set(current, snapshotOf(["inside", 5], ["waiting", 6]))
      yield* TestClock.adjust("90 millis")
      assert.strictEqual(
        self.written,
        "  worker-1 5/25, worker-2 6/25; worker-1 (pid 1000000) has been inside for 20 ms; 1 waits\n"
      )
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(self.writes, 1)
    }))
})
