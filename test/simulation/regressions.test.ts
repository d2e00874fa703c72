/**
 * What simulated worlds have found, each told as the shortest story that shows it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import { Faults } from "./Faults.js"
import * as Program from "./Program.js"
import * as Script from "./Script.js"
import { lockPath, type World } from "./World.js"

/** Starts a process that acquires once, and stays for so many milliseconds. */
const start = (world: World, hostIndex = 0, stay = 0) => {
  const host = world.hosts[hostIndex]
  assert.isDefined(host)
  const process = world.addProcess(host, {}, undefined)
  world.start(process, Program.last(world, process, stay))
  return process
}

const assertNothingLeft = (world: World): void => {
  assert.isUndefined(world.watcher.violation)
  assert.deepStrictEqual(world.list(), [])
}

/** A process pauses inside for so long that it may remove its record through a claim only. */
const pauseInside = (world: World, hostIndex = 0) => {
  const holder = start(world, hostIndex)
  const inside = Script.playUntil(
    world,
    ({ process, step }) => process === holder && step.method === "writeFile" && step.path.endsWith("/value")
  )
  assert.isDefined(inside)
  world.stall(holder, world.plan.lease * 1e6 * 0.7)
  return holder
}

describe("what simulations have found", () => {
  it.effect("an operation that may not be cut off is not, with faults over its file system either", () =>
    Effect.gen(function*() {
      const arrived = yield* Deferred.make<void>()
      const gate = yield* Deferred.make<void>()
      const disk = yield* MemoryFileSystem.makeDisk()
      const slow = yield* disk.view({
        step: () => Effect.zipRight(Deferred.succeed(arrived, undefined), Deferred.await(gate))
      })
      const faulty = yield* MemoryFileSystem.withFaults(slow, { fault: () => undefined })
      const fiber = yield* Effect.fork(Effect.uninterruptible(faulty.writeFileString("/tmp/a", "all of it")))
      yield* Deferred.await(arrived)
      fiber.unsafeInterruptAsFork(FiberId.none)
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.await(fiber)
      const watcher = yield* disk.view()
      assert.strictEqual(yield* watcher.readFileString("/tmp/a"), "all of it")
    }))

  it("a process that lives on without its engine still removes the lock it could not remove at once", () => {
    const world = Script.makeWorld()
    world.addHost()
    const holder = pauseInside(world)
    new Faults(world).leaveAt([`${lockPath}.claim`])
    const other = start(world, 0, 10_000)
    Script.playToTheEnd(world)
    assert.isTrue(holder.ended)
    assert.isTrue(other.ended)
    assertNothingLeft(world)
  })

  it("a removal in the background looks often enough to find out that the process in its way is silent", () => {
    const world = Script.makeWorld({ kind: "hosts" })
    world.addHost()
    new Faults(world).leaveAt([`${lockPath}.claim`])
    world.addHost()
    pauseInside(world, 1)
    const other = start(world, 1, 10_000)
    Script.playToTheEnd(world)
    assert.isTrue(other.ended)
    assertNothingLeft(world)
  })

  it("a process that takes a lock over looks after what else the dead have left", () => {
    const world = Script.makeWorld()
    world.addHost()
    const faults = new Faults(world)
    faults.leaveAt([lockPath])
    faults.leaveAt([`${lockPath}.claim2`])
    start(world, 0, 10_000)
    Script.playToTheEnd(world)
    assertNothingLeft(world)
  })
})
