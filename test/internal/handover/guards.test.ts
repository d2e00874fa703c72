import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { MemoryNetwork } from "../../../src/internal/handover/memoryChannel.js"
import * as Message from "../../../src/internal/handover/message.js"
import { lookEvery, Pollers } from "../../../src/internal/handover/pollers.js"
import * as Machine from "../../../src/internal/process/machine.js"
import { lockPath, path, play, type Process } from "../../utils/Scene.js"

const settle = Effect.sleep("100 millis")

/** Takes the lock, and gives it back when it is told to. */
const hold = (process: Process) =>
  Effect.gen(function*() {
    const entered = yield* Deferred.make<void>()
    const leave = yield* Deferred.make<void>()
    const body = Effect.zipRight(Deferred.succeed(entered, undefined), Deferred.await(leave))
    const holding = yield* Effect.fork(process.run(process.locks.withLock(body, path)))
    yield* Deferred.await(entered)
    return Effect.zipRight(Deferred.succeed(leave, undefined), Fiber.join(holding))
  })

describe("A holder", () => {
  it.effect("reads one file for a request that does not exist, and does not queue it", () =>
    play((scene) =>
      Effect.gen(function*() {
        const network = new MemoryNetwork()
        const machine = yield* Machine.make({ network })
        const process = yield* scene.join({ identity: yield* machine.spawn() })
        const forger = yield* machine.spawn()
        const release = yield* hold(process)
        yield* settle
        const { holders } = yield* Effect.flatten(process.run(process.locks.inspect(path)))
        const before = process.steps.length
        for (let count = 0; count < 100; count++) {
          const token = yield* forger.issueToken
          const line = Message.encode({ _tag: "wait", owner: holders[0]?.token ?? "", token })
          network.send(forger.info.instance, process.identity.info.instance, line)
          if (count < 4) yield* settle
        }
        yield* settle
        const reads = process.steps.slice(before).map(({ syscall }) => syscall)
        // Of the rest it reads as many at once as it may.
        assert.isAtMost(reads.filter((syscall) => syscall === "stat" || syscall === "lstat").length, 4 + 16)
        const links = () => process.steps.filter(({ syscall }) => syscall === "link").length
        const linked = links()
        yield* release
        assert.strictEqual(links(), linked)
      })
    ))

  it.effect("removes its request file before its critical section begins", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [first, second] = yield* Effect.all([scene.join(), scene.join()])
        const release = yield* hold(first)
        const inside = yield* Deferred.make<ReadonlyArray<string>>()
        const waiting = yield* Effect.fork(
          second.run(second.locks.withLock(
            Effect.flatMap(Effect.orDie(scene.names), (names) => Deferred.succeed(inside, names)),
            path
          ))
        )
        yield* settle
        yield* release
        assert.deepStrictEqual(yield* Deferred.await(inside), ["tasks.json.lock"])
        yield* Fiber.join(waiting)
      })
    ))

  it.effect("hands the lock to a waiter that withdraws just then, and that one to the next", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [holder, leaving, next] = yield* Effect.all([scene.join(), scene.join(), scene.join()])
        const release = yield* hold(holder)
        const waiting = yield* Effect.fork(leaving.enter("leaving", { schedule: Schedule.spaced("1 hour") }))
        yield* settle
        const queued = yield* Effect.fork(next.enter("next", { schedule: Schedule.spaced("1 hour") }))
        yield* settle
        // It is about to remove its request file when the holder links it.
        const withdrawing = yield* leaving.stopAt("unlink", /\.lock\.[0-9a-f]{32}-/)
        const interrupting = yield* Effect.fork(Fiber.interrupt(waiting))
        yield* withdrawing.reached
        yield* release
        yield* withdrawing.goOn
        yield* Fiber.join(interrupting)
        yield* Fiber.join(queued)
        assert.strictEqual(scene.occupancy.entries, 1)
      })
    ))

  it.effect("hands the lock to one that polls in time, among processes that hand it over all the time", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [first, second] = yield* Effect.all([scene.join(), scene.join()])
        const elsewhere = yield* scene.join({ machine: yield* Machine.make() })
        let handOvers = 0
        let over = false
        const again = (process: Process) =>
          process.run(process.locks.withLock(
            Effect.zipRight(Effect.sync(() => handOvers++), Effect.sleep("10 millis")),
            path,
            { timeout: "infinity" }
          ))
        const busy = yield* Effect.forEach(
          [first, second],
          (process) => Effect.fork(Effect.repeat(Effect.suspend(() => again(process)), { until: () => over }))
        )
        yield* settle
        const from = handOvers
        yield* elsewhere.enter("elsewhere", { timeout: "infinity", stay: 0 })
        // Each of two processes looks twice.
        assert.isAtMost(handOvers - from, 2 * 2 * lookEvery + 2)
        over = true
        yield* Fiber.joinAll(busy)
      })
    ))
})

describe("The pollers of a lock", () => {
  const lookedAt = (pollers: Pollers, path: string) => {
    for (let count = 1; count < lookEvery; count++) {
      assert.isFalse(pollers.isDue(path))
    }
    assert.isTrue(pollers.isDue(path))
  }

  it("are alive when they are new, or have another beat, since this process looked last", () => {
    const pollers = new Pollers()
    lookedAt(pollers, lockPath)
    assert.deepStrictEqual(pollers.alive(lockPath, new Map([["one", "1"], ["two", "1"]])), [])
    lookedAt(pollers, lockPath)
    assert.deepStrictEqual(pollers.alive(lockPath, new Map([["one", "1"], ["two", "2"], ["three", "1"]])), [
      "two",
      "three"
    ])
    lookedAt(pollers, lockPath)
    assert.deepStrictEqual(pollers.alive(lockPath, new Map([["one", "1"], ["two", "2"], ["three", "1"]])), [])
  })

  it("of one lock are not those of another, and those of a lock that was forgotten are not alive", () => {
    const pollers = new Pollers()
    lookedAt(pollers, lockPath)
    pollers.alive(lockPath, new Map())
    for (let index = 0; index < 2_000; index++) {
      pollers.isDue(`/elsewhere/${index}.lock`)
    }
    lookedAt(pollers, lockPath)
    assert.deepStrictEqual(pollers.alive(lockPath, new Map([["one", "1"]])), [])
    assert.deepStrictEqual(pollers.alive("/never/seen.lock", new Map([["one", "1"]])), [])
  })
})
