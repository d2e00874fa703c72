/**
 * What simulated worlds have found about heartbeats: what happens to a step of one that is under way when its time is over.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as FileLock from "../../src/FileLock.js"
import * as Script from "./Script.js"
import { directory, lockPath, valuePath, type World } from "./World.js"

const millis = 1e6

type Program = (fs: FileSystem.FileSystem) => Effect.Effect<void, unknown, FileLock.FileLock | Scope.Scope>

const start = (world: World, program: Program) => {
  const process = world.addProcess(world.hosts[0] ?? world.addHost(), {}, undefined)
  world.start(process, (fs) => Effect.ignore(program(fs)))
  return process
}

describe("what simulations have found about heartbeats", () => {
  it("a beat that is under way when the lock is released is never written into another file", () => {
    const world = Script.makeWorld()
    const diary = `${directory}/diary`
    start(world, (fs) =>
      Effect.gen(function*() {
        yield* FileLock.withLock(Effect.sleep("1200 millis"), valuePath)
        const file = yield* fs.open(diary, { flag: "w" })
        yield* file.writeAll(new TextEncoder().encode("dear"))
        yield* Effect.sleep("5 seconds")
      }))
    const beat = Script.playUntil(world, ({ step }) => step.method === "File.writeAll" && step.path === lockPath)
    assert.isDefined(beat)
    world.hold(beat, 2_000 * millis)
    Script.playToTheEnd(world)
    assert.strictEqual(world.read(diary), "dear")
  })
})
