/**
 * What simulated worlds have found, each told as the shortest story that shows it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import * as Program from "./Program.js"
import * as Script from "./Script.js"
import { Troubles } from "./Troubles.js"
import { lockPath, type World } from "./World.js"

/** Starts a process that acquires once, and stays for so many milliseconds. */
const start = (world: World, hostIndex = 0, stay = 0) => {
  const host = world.hosts[hostIndex]
  assert.isDefined(host)
  const player = world.addPlayer(host, {}, undefined)
  world.start(player, Program.last(world, player, stay))
  return player
}

const assertNothingLeft = (world: World): void => {
  assert.isUndefined(world.watcher.violation)
  assert.deepStrictEqual(world.list(), ["value"])
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
    new Troubles(world).leaveAt([`${lockPath}.reap`], true)
    const other = start(world, 0, 10_000)
    Script.playToTheEnd(world)
    assert.isTrue(holder.ended)
    assert.isTrue(other.ended)
    assertNothingLeft(world)
  })

  it("a removal in the background looks often enough to find out that the process in its way is silent", () => {
    const world = Script.makeWorld({ kind: "hosts" })
    world.addHost()
    new Troubles(world).leaveAt([`${lockPath}.reap`], false)
    world.addHost()
    pauseInside(world, 1)
    const other = start(world, 1, 10_000)
    Script.playToTheEnd(world)
    assert.isTrue(other.ended)
    assertNothingLeft(world)
  })

  it("whoever takes a lock over looks after what else the dead have left", () => {
    const world = Script.makeWorld()
    world.addHost()
    const troubles = new Troubles(world)
    troubles.leaveAt([lockPath], true)
    troubles.leaveAt([`${lockPath}.reap.reap`], false)
    start(world, 0, 10_000)
    Script.playToTheEnd(world)
    assertNothingLeft(world)
  })

  it("a process that dies while it makes sure that the disk has room leaves nothing for good", () => {
    const world = Script.makeWorld()
    world.addHost()
    const troubles = new Troubles(world)
    troubles.leaveAt([lockPath], false)
    troubles.leaveAt([`${lockPath}.reap`], true)
    const first = start(world)
    const isAt = (syscall: string) =>
      Script.playUntil(
        world,
        ({ process, step }) =>
          process === first && step.path.endsWith(".room") && step.syscall === syscall && step.method !== "remove"
      )
    assert.isDefined(isAt("open"))
    world.stall(first, 5e9)
    const second = start(world)
    assert.isDefined(isAt("open"))
    assert.isTrue(second.ended)
    assert.isDefined(isAt("write"))
    world.kill(first)
    start(world)
    Script.playToTheEnd(world)
    assertNothingLeft(world)
  })

  it("a disk without room is left as it was found", () => {
    const world = Script.makeWorld()
    world.addHost()
    const troubles = new Troubles(world)
    troubles.leaveAt([lockPath], false)
    troubles.leaveAt([`${lockPath}.reap`], true)
    start(world)
    const isMakingSure = Script.playUntil(world, ({ step }) => step.path.endsWith(".room") && step.syscall === "write")
    assert.isDefined(isMakingSure)
    world.runSync(world.disk.configure({ capacity: 1 }))
    const isAgain = Script.playUntil(world, ({ step }) => step.path.endsWith(".room") && step.syscall === "open")
    assert.isDefined(isAgain)
    assert.notInclude(world.list(), "value.lock.reap.room")
    world.runSync(world.disk.configure({ capacity: 1e9 }))
    Script.playToTheEnd(world)
    assertNothingLeft(world)
  })
})
