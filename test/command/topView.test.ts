import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as View from "../../src/internal/cli/topView.js"

describe("effect-filelock top", () => {
  it("fits in a terminal of any size, and leaves its last column free", () => {
    const now = DateTime.unsafeMake(60_000)
    const holder = {
      ...{ token: "token-0001", pid: 1, startTime: "1", bootId: "boot", pidNamespace: "pid", timeNamespace: "time" },
      ...{ hostname: "host", instance: "instance", thread: 0, network: "", label: "a label" },
      acquiredAt: DateTime.unsafeMake(0)
    }
    const lock = {
      path: "a/lock",
      status: { state: "held", mode: "exclusive", holders: [holder], waiters: [holder, holder, holder] }
    } as const
    for (const columns of [1, 2, 5, 9, 10, 20, 80, 200]) {
      for (const rows of [1, 2, 3, 24]) {
        const lines = View.lines("a", { found: [lock, lock], problems: ["no permission"] }, now, { columns, rows })
        assert.isAtMost(lines.length, rows)
        for (const line of lines) assert.isBelow(line.length, columns)
      }
    }
    const [head, titles, problem, first] = View.lines("a", { found: [lock], problems: ["no permission"] }, now, {
      columns: 80,
      rows: 24
    })
    assert.match(head ?? "", /^a: 1 lock, 3 waiters + {2}q quits$/)
    assert.match(titles ?? "", /^LOCK +STATE +AGE +HOLDER$/)
    assert.strictEqual(problem, "! no permission")
    assert.match(first ?? "", /^lock\.lock +held +1m +pid 1 on host "a label"$/)
  })
})
