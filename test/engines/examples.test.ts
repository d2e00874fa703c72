import { assert, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Fencing from "../../examples/engines/fencing.js"
import * as Flock from "../../examples/engines/flock.js"
import * as Memory from "../../examples/engines/memory.js"
import * as Hosts from "../../examples/engines/postgres.js"
import * as Redis from "../../examples/engines/redis.js"
import * as FileLock from "../../src/FileLock.js"
import * as Postgres from "../servers/postgres.js"
import * as RedisServer from "../servers/redis.js"
import * as Requirement from "../servers/requirement.js"
import * as TemporaryDirectory from "../torture/TemporaryDirectory.js"

/** What a program prints. */
const printed = <E, R>(program: Effect.Effect<unknown, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    return Effect.consoleWith((console) =>
      Effect.withConsole(program, {
        ...console,
        log: (...args) => Effect.sync(() => void lines.push(args.join(" ")))
      })
    ).pipe(Effect.as(lines))
  })

it.scopedLive("the example of flock(2) runs", () =>
  Effect.gen(function*() {
    const path = `${yield* TemporaryDirectory.make("example")}/file`
    assert.deepStrictEqual(yield* printed(Flock.alone(path)), ["alone among all programs that use flock(2)"])
  }))

it.live("the example of an engine excludes, and counts its grants", () =>
  Effect.gen(function*() {
    const shared = new Memory.Shared()
    let count = 0
    const add = Effect.suspend(() => {
      const before = count
      return Effect.map(Effect.sleep(1), () => {
        count = before + 1
      })
    }).pipe(FileLock.withLock("file"))
    const program = Effect.provide(Effect.all([add, add, add], { concurrency: 3 }), Memory.locks(shared))
    yield* Effect.all([program, program, program], { concurrency: 3 })
    assert.strictEqual(count, 9)
    assert.isAtLeast(shared.grants, 3)
    assert.strictEqual(shared.holders.size, 0)
  }))

Requirement.describeWhere(Postgres.isInstalled)("The example of fencing numbers", () => {
  it.scopedLive("refuses the write that comes too late", () =>
    Effect.gen(function*() {
      const { url } = yield* Postgres.make()
      const config = ConfigProvider.fromMap(new Map([["DATABASE_URL", url]]))
      assert.deepStrictEqual(yield* printed(Effect.withConfigProvider(Fencing.main, config)), [
        "the second holder has written",
        "the first holder was too late"
      ])
    }))
})

Requirement.describeWhere(Postgres.isInstalled)("The example of two hosts", () => {
  it.scopedLive("creates the table once", () =>
    Effect.gen(function*() {
      const { url } = yield* Postgres.make()
      const config = ConfigProvider.fromMap(new Map([["DATABASE_URL", url]]))
      const lines = yield* printed(Effect.withConfigProvider(Hosts.main, config))
      assert.match(lines.join("\n"), /^host (a|b) has created the table\nhost (?!\1)[ab] finds the table$/)
    }))
})

Requirement.describeWhere(RedisServer.isInstalled)("The example of Redis", () => {
  it.scopedLive("runs", () =>
    Effect.gen(function*() {
      const { url } = yield* RedisServer.make()
      process.env["REDIS_URL"] = url
      assert.deepStrictEqual(yield* printed(Redis.main), ["the only one on all machines"])
    }))
})
