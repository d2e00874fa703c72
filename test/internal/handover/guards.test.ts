import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { MemoryNetwork } from "../../../src/internal/handover/memoryChannel.js"
import * as Message from "../../../src/internal/handover/message.js"
import { lookEvery, Others } from "../../../src/internal/handover/others.js"
import * as Machine from "../../../src/internal/process/machine.js"
import * as MemoryFileSystem from "../../../src/MemoryFileSystem.js"
import { makeHolder } from "../../utils/records.js"
import { claimPath, directory, lockPath, path, play, type Process } from "../../utils/Scene.js"

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

describe("A request file", () => {
  const request = /\.lock\.[0-9a-f]{32}-[0-9a-z]+$/
  const isRequest = (path: string): boolean => request.test(path)

  /** The removal of a request file fails so many times. */
  const failing = (times: number): MemoryFileSystem.FaultPlan => {
    let left = times
    return {
      fault: ({ method, path }) =>
        method === "remove" && isRequest(path) && left-- > 0 ? MemoryFileSystem.Fault.Fail({ errno: "EIO" }) : undefined
    }
  }

  it.effect.each([1, 12])(
    "that cannot be removed %i times after a timeout gives nobody a lock that is not wanted",
    (times) =>
      play((scene) =>
        Effect.gen(function*() {
          const [holder, next] = yield* Effect.all([scene.join(), scene.join()])
          const leaving = yield* scene.join({ faults: failing(times) })
          const release = yield* hold(holder)
          const waiting = yield* Effect.fork(Effect.flip(leaving.enter("leaving", { timeout: "1 second" })))
          yield* Effect.sleep("2 seconds")
          yield* Fiber.join(waiting)
          yield* release
          yield* next.enter("next", { timeout: "1 minute", stay: 0 })
          yield* Effect.sleep("1 minute")
          assert.strictEqual(scene.occupancy.entries, 1)
        })
      )
  )

  it.effect.each([1, 12])(
    "that cannot be removed %i times after the hand-over gives nobody a lock that is not wanted",
    (times) =>
      play((scene) =>
        Effect.gen(function*() {
          const [holder, next] = yield* Effect.all([scene.join(), scene.join()])
          const waiter = yield* scene.join({ faults: failing(times) })
          const release = yield* hold(holder)
          const waiting = yield* Effect.fork(waiter.enter("waiter", { stay: "1 second" }))
          yield* settle
          yield* release
          yield* Fiber.join(waiting)
          for (let count = 0; count < 5; count++) {
            const again = yield* hold(holder)
            const queued = yield* Effect.fork(next.enter(`next ${count}`, { stay: "30 millis", timeout: "1 minute" }))
            yield* settle
            yield* again
            yield* Fiber.join(queued)
          }
          yield* Effect.sleep("1 minute")
        })
      )
  )

  it.effect.each([10, 22, 43, 64, 85])(
    "of a claim is no request for the lock, although its process stands still: held %i ms",
    (stay) =>
      play((scene) =>
        Effect.gen(function*() {
          const [breaking, holder, next] = yield* Effect.all([scene.join(), scene.join(), scene.join()])
          yield* scene.abandon
          const status = yield* Effect.flatten(breaking.run(breaking.locks.inspect(path)))
          const linking = yield* breaking.stopAt("link", /\.claim$/)
          const [dead] = status.holders
          if (dead === undefined) return assert.fail("a dead process has left its lock")
          const broken = yield* Effect.fork(breaking.run(breaking.locks.breakLock(path, dead)))
          yield* linking.reached
          yield* holder.enter("holder", { stay })
          yield* next.enter("next", { timeout: "1 minute", stay: 0 })
          yield* linking.goOn
          yield* Fiber.join(broken)
          assert.strictEqual(scene.occupancy.entries, 2)
        })
      )
  )

  it.effect("is the lock of its process where that has lost what it had taken over from a dead holder", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        const waiter = yield* scene.join()
        const removing = yield* waiter.stopAt("unlink", request)
        const waiting = yield* Effect.fork(waiter.enter("waiter", { timeout: "infinity" }))
        yield* removing.reached
        // It stands still for so long that another process may take the lock over, have it, and hand it over to this one.
        const [name = ""] = (yield* scene.names).filter((name) => isRequest(`/${name}`))
        yield* scene.fs.remove(lockPath)
        yield* scene.fs.link(`${directory}/${name}`, lockPath)
        yield* removing.goOn
        yield* Fiber.join(waiting)
        assert.strictEqual(scene.occupancy.entries, 1)
      })
    ))

  it.effect("that takes longer to remove than a lease, after a takeover, gives nobody a lock that is another one's by then", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        const waiter = yield* scene.join()
        const elsewhere = yield* scene.join({ machine: yield* Machine.make() })
        const removing = yield* waiter.stopAt("unlink", request)
        const waiting = yield* Effect.fork(waiter.enter("waiter", { timeout: "infinity" }))
        yield* removing.reached
        const entering = yield* Effect.fork(elsewhere.enter("elsewhere", { timeout: "infinity", stay: "10 seconds" }))
        yield* Effect.sleep("33 seconds")
        assert.strictEqual(scene.occupancy.entries, 1)
        yield* removing.goOn
        yield* Fiber.join(entering)
        yield* Fiber.join(waiting)
        assert.strictEqual(scene.occupancy.entries, 2)
      })
    ))

  it.effect("of a claim that is never found is no reason to look all the time", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        let looks = 0
        const waiter = yield* scene.join({
          faults: {
            fault: ({ method, path }) =>
              method === "link" && path.includes(".claim-") && ++looks < 20_000
                ? MemoryFileSystem.Fault.Fail({ errno: "ENOENT" })
                : undefined
          }
        })
        yield* Effect.flip(waiter.enter("waiter", { timeout: "2 seconds" }))
        assert.isBelow(looks, 1_000)
        yield* scene.fs.remove(lockPath)
      })
    ))

  it.effect("of a claim that another process has cleaned up is made anew", () =>
    play((scene) =>
      Effect.gen(function*() {
        yield* scene.abandon
        const waiter = yield* scene.join()
        const claiming = yield* waiter.stopAt("link", claimPath)
        const waiting = yield* Effect.fork(waiter.enter("waiter", { timeout: 0 }))
        yield* claiming.reached
        for (const name of yield* scene.names) {
          if (name.includes(".lock.claim-")) yield* scene.fs.remove(`${directory}/${name}`)
        }
        yield* claiming.goOn
        yield* Fiber.join(waiting)
        assert.strictEqual(scene.occupancy.entries, 1)
      })
    ))

  it.effect("that another process has cleaned up is made anew, so that its waiter has its turn", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [first, second, waiter] = yield* Effect.all([scene.join(), scene.join(), scene.join()])
        let over = false
        const busy = yield* Effect.forEach([first, second], (process, index) =>
          Effect.fork(Effect.repeat(
            Effect.suspend(() => process.enter(`busy ${index}`, { stay: "300 millis", timeout: "infinity" })),
            { until: () => over }
          )))
        yield* settle
        const before = new Set(yield* scene.names)
        const waiting = yield* Effect.fork(waiter.enter("waiter", { timeout: "1 minute", stay: 0 }))
        yield* Effect.sleep("20 millis")
        for (const name of yield* scene.names) {
          if (isRequest(`/${name}`) && !before.has(name)) yield* scene.fs.remove(`${directory}/${name}`)
        }
        yield* Fiber.join(waiting)
        over = true
        yield* Fiber.joinAll(busy)
      })
    ))
})

describe("A process whose identity has no channel", () => {
  it.effect("polls, and is polled for", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { bootedAt, info, isAlive, issueToken, retireToken } = yield* scene.machine.spawn()
        const alone = yield* scene.join({ identity: { bootedAt, info, isAlive, issueToken, retireToken } })
        const other = yield* scene.join()
        const first = yield* hold(alone)
        const next = yield* Effect.fork(other.enter("other", { stay: "1 second" }))
        yield* settle
        yield* first
        yield* alone.enter("alone", { stay: 0 })
        yield* Fiber.join(next)
        assert.strictEqual(scene.occupancy.entries, 2)
      })
    ))
})

describe("A release", () => {
  it.effect("has removed the lock file when it has ended, whether other processes wait or not", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [holder, waiter] = yield* Effect.all([scene.join(), scene.join()])
        const release = yield* hold(holder)
        const waiting = yield* Effect.fork(waiter.enter("waiter"))
        yield* settle
        const { holders } = yield* Effect.flatten(holder.run(holder.locks.inspect(path)))
        yield* release
        const record = yield* Effect.orElseSucceed(scene.fs.readFileString(lockPath), () => "")
        assert.notInclude(record, holders[0]?.token ?? "no holder")
        yield* Fiber.join(waiting)
      })
    ))
})

describe("Those that a process has seen in the directory", () => {
  const lookedAt = (others: Others, path: string) => {
    for (let count = 1; count < lookEvery; count++) {
      assert.isFalse(others.isDue(path))
    }
    assert.isTrue(others.isDue(path))
  }

  const requests = (texts: { readonly [token: string]: string }) =>
    Object.entries(texts).map(([token, text]) => ({ holder: makeHolder({ token }), text }))

  it("and that poll, are alive when they are new, or have another beat, since this process looked last", () => {
    const others = new Others()
    const found = (texts: { readonly [token: string]: string }) => {
      lookedAt(others, lockPath)
      others.add(lockPath, requests(texts), [])
      const { polling } = others.take(lockPath)
      return polling
    }
    assert.strictEqual(found({ one: "1", two: "1" }), undefined)
    assert.strictEqual(found({ one: "1", two: "2" }), "two")
    assert.strictEqual(found({ one: "1", two: "2" }), undefined)
    assert.strictEqual(found({ one: "1", two: "2", three: "1" }), "three")
  })

  it("are taken once", () => {
    const others = new Others()
    lookedAt(others, lockPath)
    others.add(lockPath, [], requests({ one: "1" }))
    assert.deepStrictEqual(others.take(lockPath), { polling: undefined, waiting: ["one"] })
    assert.deepStrictEqual(others.take(lockPath), { polling: undefined, waiting: [] })
  })

  it("for one lock are not those of another, and those of a lock that was forgotten are not alive", () => {
    const others = new Others()
    lookedAt(others, lockPath)
    others.add(lockPath, [], [])
    for (let index = 0; index < 2_000; index++) {
      others.isDue(`/elsewhere/${index}.lock`)
    }
    lookedAt(others, lockPath)
    others.add(lockPath, requests({ one: "1" }), [])
    others.add("/never/seen.lock", requests({ one: "1" }), [])
    assert.isFalse(others.has(lockPath))
    assert.isFalse(others.has("/never/seen.lock"))
  })
})
