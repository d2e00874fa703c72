import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as FileLock from "../../../src/FileLock.js"
import { MemoryNetwork } from "../../../src/internal/handover/memoryChannel.js"
import * as Message from "../../../src/internal/handover/message.js"
import * as Machine from "../../../src/internal/process/machine.js"
import * as Runtime from "../../../src/internal/runtime.js"
import type * as ProcessIdentity from "../../../src/ProcessIdentity.js"
import { lockPath, path, play, type Process, type Scene } from "../../utils/Scene.js"

const settle = Effect.sleep("100 millis")

/** One who looks by this schedule gets a lock in time only if it is told. */
const hourly = Schedule.spaced("1 hour")

const requestFile = /\.lock\.[0-9a-f]{32}-[0-9a-z]+$/

type Options = FileLock.LockOptions & { readonly stay?: Duration.DurationInput }

/** Who came into the critical section, and when; in milliseconds from now. */
const makeVisits = (scene: Scene) =>
  Effect.map(Clock.currentTimeMillis, (began) => {
    const order: Array<string> = []
    const times: Array<number> = []
    const visit = (process: Process, name: string, { stay = "1 second", ...options }: Options = {}) =>
      process.run(process.locks.withLock(
        scene.occupancy.inside(
          name,
          Effect.flatMap(Clock.currentTimeMillis, (now) => {
            order.push(name)
            times.push(now - began)
            return Effect.sleep(stay)
          })
        ),
        path,
        options
      ))
    return {
      order,
      times,
      visit,
      /** Asks for the lock, and is told when it is its turn. */
      come: (process: Process, name: string, options?: Options) =>
        Effect.zipLeft(Effect.fork(visit(process, name, { schedule: hourly, ...options })), settle),
      /** The same for a process that is going to be killed. */
      comeToDie: (process: Process, name: string, options?: Options) =>
        Effect.zipLeft(Effect.forkDaemon(visit(process, name, { schedule: hourly, ...options })), settle)
    }
  })

const joinSeveral = (scene: Scene, count: number) => Effect.replicateEffect(scene.join(), count)

const requests = (scene: Scene) =>
  Effect.map(scene.names, (names) => names.filter((name) => requestFile.test(name)).length)

/** Fails unless what was to take no time took less than some milliseconds. */
const isPrompt = (from: number | undefined, to: number | undefined) =>
  assert.isAtMost((to ?? Infinity) - (from ?? Infinity), 5, "it is told at once")

/** A machine whose network does with what is sent what a test says, which may bring it later with `soon`. */
const machineWith = (carry: (arrive: () => void, soon: (run: () => void) => void, to: string, from: string) => void) =>
  Effect.withFiberRuntime<ProcessIdentity.Machine>((fiber) => {
    const soon = (run: () => void) => Runtime.soon(fiber, run)
    return Machine.make({ network: new MemoryNetwork((from, to, _what, arrive) => carry(arrive, soon, to, from)) })
  })

describe("Waiters of several processes", () => {
  it.effect("get the lock in the order in which they came, each as soon as the one before releases it", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const processes = yield* Random.shuffle(yield* joinSeveral(scene, 8))
        const fibers: Array<Fiber.RuntimeFiber<unknown, unknown>> = []
        const names: Array<string> = []
        for (const process of processes) {
          names.push(`process ${names.length}`)
          fibers.push(yield* come(process, names.at(-1) ?? ""))
        }
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, names)
        for (let index = 1; index < times.length; index++) {
          isPrompt((times[index - 1] ?? 0) + 1_000, times[index])
        }
      })
    ))

  it.effect("take their turns when each comes again and again", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { order, visit } = yield* makeVisits(scene)
        const names = ["one", "two", "three", "four"]
        const fibers = yield* Effect.forEach(names, (name) =>
          Effect.gen(function*() {
            const process = yield* scene.join()
            const again = visit(process, name, { stay: "10 millis", schedule: hourly })
            return yield* Effect.fork(Effect.repeatN(again, 9))
          }))
        yield* Fiber.joinAll(fibers)
        assert.strictEqual(order.length, 40)
        for (let index = 4; index < order.length - 4; index++) {
          assert.strictEqual(order[index], order[index - 4])
        }
      })
    ))

  it.effect("line up behind those that wait already, whichever process holds the lock when they come", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order } = yield* makeVisits(scene)
        const [first, second, third, late, later] = yield* Effect.all([
          scene.join(),
          scene.join(),
          scene.join(),
          scene.join(),
          scene.join()
        ])
        const fibers = [yield* come(first, "first"), yield* come(second, "second"), yield* come(third, "third")]
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual(order, ["first", "second"])
        fibers.push(yield* come(late, "late"))
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual(order, ["first", "second", "third"])
        fibers.push(yield* come(later, "later"), yield* come(first, "first again"))
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, ["first", "second", "third", "late", "later", "first again"])
      })
    ))

  it.effect("get it whatever schedule the others have", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const [holder, patient, standard, eager] = yield* Effect.all([
          scene.join(),
          scene.join(),
          scene.join(),
          scene.join()
        ])
        yield* Fiber.joinAll([
          yield* come(holder, "holder"),
          yield* come(patient, "patient"),
          yield* come(standard, "standard", { schedule: undefined }),
          yield* come(eager, "eager", { schedule: Schedule.spaced("10 millis") })
        ])
        assert.deepStrictEqual(order, ["holder", "patient", "standard", "eager"])
        isPrompt((times[0] ?? 0) + 1_000, times[1])
      })
    ))

  it.effect("are as good as any others when they are worker threads, or containers in one network", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const holder = yield* scene.join()
        const thread = yield* scene.join({ identity: yield* scene.machine.spawn({ threadOf: holder.identity }) })
        const container = yield* scene.join({
          identity: yield* scene.machine.spawn({ pidNamespace: "pid:[2]", network: "net:[1]" })
        })
        const fibers = [yield* come(holder, "holder"), yield* come(thread, "thread")]
        fibers.push(yield* come(container, "container"), yield* come(holder, "holder again"))
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, ["holder", "thread", "container", "holder again"])
        for (let index = 1; index < times.length; index++) {
          isPrompt((times[index - 1] ?? 0) + 1_000, times[index])
        }
      })
    ))

  it.effect("are known to hold it since they have it, and not since they have asked", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come } = yield* makeVisits(scene)
        const [holder, waiter] = yield* Effect.all([scene.join(), scene.join()])
        const fibers = [yield* come(holder, "holder", { stay: "1 minute" }), yield* come(waiter, "waiter")]
        yield* Effect.sleep("1 minute")
        const { holders } = yield* Effect.flatten(holder.run(holder.locks.inspect(path)))
        const acquiredAt = holders[0]?.acquiredAt.epochMillis ?? 0
        assert.isAtMost((yield* Clock.currentTimeMillis) - acquiredAt, 1_000)
        yield* Fiber.joinAll(fibers)
      })
    ))

  it.effect("in two layers of one process hand over to each other, and to other processes", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const one = yield* scene.join()
        const copy = yield* scene.join({ identity: one.identity })
        const other = yield* scene.join()
        yield* Fiber.joinAll([
          yield* come(one, "one"),
          yield* come(copy, "copy"),
          yield* come(other, "other"),
          yield* come(one, "one again"),
          yield* come(copy, "copy again")
        ])
        assert.deepStrictEqual(order, ["one", "copy", "other", "one again", "copy again"])
        for (let index = 1; index < times.length; index++) {
          isPrompt((times[index - 1] ?? 0) + 1_000, times[index])
        }
      })
    ))

  it.effect("are listed by inspect in their order, with their labels, and the holder is not among them", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come } = yield* makeVisits(scene)
        const [holder, zebra, ape, unlabelled, outside] = yield* Effect.all([
          scene.join(),
          scene.join(),
          scene.join(),
          scene.join(),
          scene.join()
        ])
        const inspected = Effect.map(
          Effect.flatMap(outside.locks.inspect(path), Effect.fromNullable),
          Option.match({
            onNone: () => undefined,
            onSome: ({ holders, state, waiters }) => ({
              state,
              holders: holders.map(({ label }) => label),
              waiters: waiters.map(({ label, pid }) => [label, pid])
            })
          })
        )
        const pidOf = ({ identity }: Process) => identity.info.pid
        const fibers = [
          yield* come(holder, "holder", { label: "holds" }),
          yield* come(zebra, "zebra", { label: "waits first" }),
          yield* come(ape, "ape", { label: "waits second" }),
          yield* come(unlabelled, "unlabelled")
        ]
        const waiting = [["waits second", pidOf(ape)], [undefined, pidOf(unlabelled)]]
        assert.deepStrictEqual(yield* inspected, {
          state: "held",
          holders: ["holds"],
          waiters: [["waits first", pidOf(zebra)], ...waiting]
        })
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual(yield* inspected, { state: "held", holders: ["waits first"], waiters: waiting })
        yield* Fiber.joinAll(fibers)
        assert.isUndefined(yield* inspected)
      })
    ))
})

describe("A waiter that gives up", () => {
  it.effect("is passed over, and leaves nothing behind, when it is interrupted or its time is over", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const [holder, interrupted, late, scheduled, last] = yield* Effect.all([
          scene.join(),
          scene.join(),
          scene.join(),
          scene.join(),
          scene.join()
        ])
        const held = yield* come(holder, "holder", { stay: "10 seconds" })
        const gone = yield* come(interrupted, "interrupted")
        const timedOut = yield* come(late, "late", { timeout: "3 seconds" })
        const ended = yield* come(scheduled, "scheduled", {
          schedule: Schedule.intersect(Schedule.recurs(2), Schedule.spaced("1 second"))
        })
        const next = yield* come(last, "last")
        assert.strictEqual(yield* requests(scene), 4)
        yield* Fiber.interrupt(gone)
        assert.strictEqual(yield* requests(scene), 3)
        for (const fiber of [ended, timedOut]) {
          assert.deepInclude(yield* Effect.flip(Fiber.join(fiber)), { _tag: "LockAcquisitionError", reason: "Timeout" })
        }
        assert.strictEqual(yield* requests(scene), 1)
        yield* Fiber.joinAll([held, next])
        assert.deepStrictEqual(order, ["holder", "last"])
        isPrompt((times[0] ?? 0) + 10_000, times[1])
      })
    ))

  it.effect("does so when its schedule ends, with a look at each of its recurrences, although it would be told", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come } = yield* makeVisits(scene)
        const [holder, waiter] = yield* Effect.all([scene.join(), scene.join()])
        const held = yield* come(holder, "holder", { stay: "1 minute" })
        const looks = () => waiter.steps.filter((step) => step.path === lockPath && step.syscall === "open").length
        const began = yield* Clock.currentTimeMillis
        const waiting = yield* Effect.fork(waiter.enter("waiter", {
          schedule: Schedule.intersect(Schedule.recurs(5), Schedule.spaced("2 seconds")),
          timeout: "infinity"
        }))
        yield* settle
        const before = looks()
        const error = yield* Effect.flip(Fiber.join(waiting))
        assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Timeout" })
        assert.strictEqual((yield* Clock.currentTimeMillis) - began, 10_000)
        assert.isAtLeast(looks() - before, 5)
        assert.strictEqual(yield* requests(scene), 0)
        yield* Fiber.join(held)
      })
    ))

  it.effect("while the lock is being handed over to it passes it on to the next one", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const [holder, late, next] = yield* Effect.all([scene.join(), scene.join(), scene.join()])
        const held = yield* come(holder, "holder", { stay: "1 second" })
        const waiting = yield* come(late, "late", { timeout: "800 millis" })
        const nextOne = yield* come(next, "next")
        const withdrawing = yield* late.stopAt("unlink", requestFile)
        yield* withdrawing.reached
        yield* Fiber.join(held)
        // The record of the late one is at the lock, and its request file is there as well.
        assert.strictEqual(yield* requests(scene), 2)
        assert.deepStrictEqual(order, ["holder"])
        const before = yield* Clock.currentTimeMillis
        yield* withdrawing.goOn
        const error = yield* Effect.flip(Fiber.join(waiting))
        assert.deepInclude(error, { _tag: "LockAcquisitionError", reason: "Timeout" })
        yield* Fiber.join(nextOne)
        assert.deepStrictEqual(order, ["holder", "next"])
        isPrompt(before + 1_000, yield* Clock.currentTimeMillis)
        assert.strictEqual(times.length, 2)
      })
    ))

  it.effect("just before the lock is handed over to it does not stop the hand-over to the next one", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order } = yield* makeVisits(scene)
        const [holder, gone, next] = yield* Effect.all([scene.join(), scene.join(), scene.join()])
        const held = yield* come(holder, "holder")
        const waiting = yield* come(gone, "gone")
        const nextOne = yield* come(next, "next")
        const giving = yield* holder.stopAt("link", lockPath)
        yield* giving.reached
        yield* Fiber.interrupt(waiting)
        yield* giving.goOn
        yield* Fiber.joinAll([held, nextOne])
        assert.deepStrictEqual(order, ["holder", "next"])
      })
    ))

  it.effect("at any moment leaves the lock to the next one, at once", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order } = yield* makeVisits(scene)
        const [holder, next] = yield* Effect.all([scene.join(), scene.join()])
        const moments = 120
        for (let moment = 0; moment < moments; moment++) {
          const process = yield* scene.join()
          const gate = yield* Deferred.make<void>()
          const held = yield* Effect.fork(holder.run(holder.locks.withLock(Deferred.await(gate), path)))
          yield* settle
          const waiting = yield* come(process, "interrupted")
          const nextOne = yield* come(next, "next")
          yield* Deferred.succeed(gate, undefined)
          yield* Effect.repeatN(Effect.yieldNow(), moment)
          yield* Fiber.interrupt(waiting)
          const began = yield* Clock.currentTimeMillis
          yield* Fiber.joinAll([held, nextOne])
          isPrompt(began + 1_000, yield* Clock.currentTimeMillis)
          assert.deepStrictEqual(yield* scene.names, [], `interrupted at moment ${moment}`)
        }
        const entered = order.filter((name) => name === "interrupted").length
        assert.isAbove(entered, 0)
        assert.isBelow(entered, moments)
      })
    ))
})

describe("A process that dies", () => {
  it.effect("while it waits is passed over, and what it has left is removed", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, comeToDie, order, times } = yield* makeVisits(scene)
        const [holder, dying, next, last] = yield* Effect.all([scene.join(), scene.join(), scene.join(), scene.join()])
        const held = yield* come(holder, "holder")
        yield* comeToDie(dying, "dying")
        const fibers = [held, yield* come(next, "next"), yield* come(last, "last")]
        yield* dying.kill
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, ["holder", "next", "last"])
        isPrompt((times[0] ?? 0) + 1_000, times[1])
      })
    ))

  it.effect("while it waits is passed over also by one that was told of it by the last holder only", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, comeToDie, order, times } = yield* makeVisits(scene)
        const [holder, second, dying, last] = yield* Effect.all([
          scene.join(),
          scene.join(),
          scene.join(),
          scene.join()
        ])
        const fibers = [yield* come(holder, "holder"), yield* come(second, "second")]
        yield* comeToDie(dying, "dying")
        fibers.push(yield* come(last, "last"))
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual(order, ["holder", "second"])
        yield* dying.kill
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, ["holder", "second", "last"])
        isPrompt((times[1] ?? 0) + 1_000, times[2])
      })
    ))

  it.effect("while it waits is not given the lock by a holder that never had to do with it", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, comeToDie, order } = yield* makeVisits(scene)
        const [holder, second, dying, outside] = yield* Effect.all([
          scene.join(),
          scene.join(),
          scene.join(),
          scene.join()
        ])
        const held = yield* come(holder, "holder")
        const next = yield* come(second, "second", { stay: "10 millis" })
        yield* comeToDie(dying, "dying")
        yield* Fiber.join(held)
        yield* Effect.sleep("5 millis")
        assert.deepStrictEqual(order, ["holder", "second"])
        yield* dying.kill
        yield* Fiber.join(next)
        yield* settle
        assert.isTrue(Option.isNone(yield* outside.locks.inspect(path)), "the lock is free")
        // It cleans up.
        yield* outside.enter("outside", { timeout: 0 })
      })
    ))

  it.effect("in the critical section is noticed at once, and all that wait get the lock", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const [holder, ...others] = yield* joinSeveral(scene, 4)
        if (holder === undefined) return assert.fail("there is a holder")
        yield* Effect.forkDaemon(holder.run(holder.locks.withLock(Effect.never, path)))
        yield* settle
        const fibers = yield* Effect.forEach(others, (other, index) => come(other, `waiter ${index}`))
        yield* Effect.sleep("10 seconds")
        assert.deepStrictEqual(order, [])
        yield* holder.kill
        const died = yield* Clock.currentTimeMillis
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual([...order].sort(), ["waiter 0", "waiter 1", "waiter 2"])
        isPrompt(died + 3_000, yield* Clock.currentTimeMillis)
        isPrompt((times[0] ?? 0) + 1_000, times[1])
        isPrompt((times[1] ?? 0) + 1_000, times[2])
      })
    ))

  it.effect("in the critical section leaves the lock to all that wait, also if the first of them is inside for no time", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const [first, dying, ...others] = yield* joinSeveral(scene, 6)
        if (first === undefined || dying === undefined) return assert.fail("they have joined")
        const before = yield* come(first, "first")
        yield* Effect.forkDaemon(dying.run(dying.locks.withLock(Effect.never, path, { schedule: hourly })))
        yield* settle
        const fibers = yield* Effect.forEach(others, (other, index) => come(other, `waiter ${index}`, { stay: 0 }))
        yield* Fiber.join(before)
        yield* Effect.sleep("500 millis")
        assert.deepStrictEqual(order, ["first"])
        yield* dying.kill
        yield* Fiber.joinAll(fibers)
        assert.strictEqual(order.length, 5)
        assert.isAtMost((times[4] ?? Infinity) - (times[1] ?? 0), 20)
      })
    ))

  it.effect("between its unlink and its link is noticed at once by those that wait", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, comeToDie, order, times } = yield* makeVisits(scene)
        const [dying, head, last] = yield* Effect.all([scene.join(), scene.join(), scene.join()])
        yield* comeToDie(dying, "dying")
        const fibers = [yield* come(head, "head"), yield* come(last, "last")]
        const giving = yield* dying.stopAt("link", lockPath)
        yield* giving.reached
        assert.notInclude(yield* scene.names, "tasks.json.lock")
        yield* dying.kill
        const died = yield* Clock.currentTimeMillis
        yield* Fiber.joinAll(fibers)
        assert.strictEqual(order.length, 3)
        isPrompt(died + 2_000, yield* Clock.currentTimeMillis)
        isPrompt((times[1] ?? 0) + 1_000, times[2])
      })
    ))

  it.effect("between its unlink and its link leaves the lock to all that wait, also if they are inside for no time", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, comeToDie, order, times } = yield* makeVisits(scene)
        const [first, dying, ...others] = yield* joinSeveral(scene, 6)
        if (first === undefined || dying === undefined) return assert.fail("they have joined")
        const before = yield* come(first, "first", { stay: "10 seconds" })
        yield* comeToDie(dying, "dying", { stay: "10 millis" })
        const giving = yield* dying.stopAt("link", lockPath)
        const fibers = yield* Effect.forEach(others, (other, index) => come(other, `waiter ${index}`, { stay: 0 }))
        yield* Fiber.join(before)
        yield* giving.reached
        yield* dying.kill
        yield* Fiber.joinAll(fibers)
        assert.strictEqual(order.length, 6)
        assert.isAtMost((times[5] ?? Infinity) - (times[2] ?? 0), 20)
      })
    ))

  it.effect("between its link and its message has handed the lock over: the next one finds it by its own look", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { comeToDie, order, times, visit } = yield* makeVisits(scene)
        const [dying, head] = yield* Effect.all([scene.join(), scene.join()])
        yield* comeToDie(dying, "dying")
        const waiting = yield* Effect.fork(visit(head, "head", { schedule: hourly }))
        yield* settle
        const giving = yield* dying.stopAt("link", lockPath)
        yield* giving.reached
        // What the call does, without what the process does next.
        const [request] = (yield* scene.names).filter((name) => requestFile.test(name))
        yield* scene.fs.link(`/data/${request}`, lockPath)
        yield* dying.kill
        yield* Fiber.join(waiting)
        assert.deepStrictEqual(order, ["dying", "head"])
        isPrompt((times[0] ?? 0) + 1_000, times[1])
      })
    ))

  it.effect("as soon as it is granted the lock is noticed at once by the next one", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, comeToDie, order, times } = yield* makeVisits(scene)
        const [holder, dying, next, last] = yield* Effect.all([scene.join(), scene.join(), scene.join(), scene.join()])
        const fibers = [yield* come(holder, "holder")]
        yield* comeToDie(dying, "dying")
        fibers.push(yield* come(next, "next"), yield* come(last, "last"))
        const accepting = yield* dying.stopAt("unlink", requestFile)
        yield* accepting.reached
        assert.include(yield* scene.fs.readFileString(lockPath), dying.identity.info.instance)
        yield* dying.kill
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, ["holder", "next", "last"])
        isPrompt((times[0] ?? 0) + 1_000, times[1])
        isPrompt((times[1] ?? 0) + 1_000, times[2])
      })
    ))

  it.effect("as a thread, while its process lives, is noticed at once", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, comeToDie, order, times } = yield* makeVisits(scene)
        const main = yield* scene.join()
        const thread = yield* scene.join({ identity: yield* scene.machine.spawn({ threadOf: main.identity }) })
        const other = yield* scene.join()
        yield* comeToDie(thread, "thread")
        const fibers = [yield* come(main, "main"), yield* come(other, "other")]
        const giving = yield* thread.stopAt("unlink", lockPath)
        yield* giving.reached
        yield* thread.suspend
        yield* scene.machine.terminate(thread.identity)
        yield* Fiber.joinAll(fibers)
        assert.strictEqual(order.length, 3)
        isPrompt((times[0] ?? 0) + 1_000, times[1])
        isPrompt((times[1] ?? 0) + 1_000, times[2])
      })
    ))
})

describe("A process that cannot hand over, or be handed over to", () => {
  it.effect("because no network reaches it gets the lock by its schedule, and the others get it from it", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const apart = yield* scene.join({ identity: yield* scene.machine.spawn({ network: "" }) })
        const [holder, other] = yield* Effect.all([scene.join(), scene.join()])
        const held = yield* come(holder, "holder")
        const polling = yield* come(apart, "apart", { schedule: undefined })
        yield* Fiber.joinAll([held, polling])
        assert.deepStrictEqual(order, ["holder", "apart"])
        assert.isAtMost((times[1] ?? Infinity) - (times[0] ?? 0), 1_000 + 110)
        const again = yield* come(apart, "apart again")
        const next = yield* come(other, "other", { schedule: undefined })
        yield* Fiber.joinAll([again, next])
        assert.deepStrictEqual(order, ["holder", "apart", "apart again", "other"])
        assert.isAtMost((times[3] ?? Infinity) - (times[2] ?? 0), 1_000 + 110)
      })
    ))

  it.effect("because it is on another machine gets the lock by its schedule", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const elsewhere = yield* scene.join({ machine: yield* Machine.make() })
        const here = yield* scene.join()
        yield* Fiber.joinAll([
          yield* come(here, "here"),
          yield* come(elsewhere, "elsewhere", { schedule: Schedule.spaced("300 millis") })
        ])
        assert.deepStrictEqual(order, ["here", "elsewhere"])
        assert.isAtMost((times[1] ?? Infinity) - (times[0] ?? 0), 1_000 + 310)
      })
    ))

  it.effect("because it is stopped is passed over for one that is awake, and gets the lock later", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        // What comes to a process while it is stopped is there when it goes on.
        const late: Array<() => void> = []
        let isStopped = (_instance: string): boolean => false
        const machine = yield* machineWith((arrive, soon, to) =>
          isStopped(to) ? void late.push(arrive) : soon(() => isStopped(to) ? void late.push(arrive) : arrive())
        )
        const [holder, stopped, awake] = yield* Effect.all([
          scene.join({ machine }),
          scene.join({ machine }),
          scene.join({ machine })
        ])
        const held = yield* come(holder, "holder", { stay: "5 seconds" })
        const first = yield* come(stopped, "stopped")
        const second = yield* come(awake, "awake")
        yield* stopped.suspend
        isStopped = (instance) => instance === stopped.identity.info.instance
        yield* Fiber.join(held)
        yield* settle
        assert.deepStrictEqual(order, ["holder", "awake"])
        isPrompt((times[0] ?? 0) + 5_000, times[1])
        isStopped = () => false
        yield* stopped.resume
        for (const arrive of late) arrive()
        yield* Fiber.joinAll([first, second])
        assert.deepStrictEqual(order, ["holder", "awake", "stopped"])
        isPrompt((times[1] ?? 0) + 1_000, times[2])
      })
    ))

  it.effect("because another process came between its unlink and its link tells those that wait about that one", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times, visit } = yield* makeVisits(scene)
        const [holder, first, second, barging] = yield* Effect.all([
          scene.join(),
          scene.join(),
          scene.join(),
          scene.join()
        ])
        const fibers = [yield* come(holder, "holder"), yield* come(first, "first"), yield* come(second, "second")]
        const giving = yield* holder.stopAt("link", lockPath)
        yield* giving.reached
        fibers.push(yield* Effect.fork(visit(barging, "barging", { timeout: 0 })))
        yield* settle
        assert.deepStrictEqual(order, ["holder", "barging"])
        yield* giving.goOn
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, ["holder", "barging", "first", "second"])
        isPrompt((times[1] ?? 0) + 1_000, times[2])
        isPrompt((times[2] ?? 0) + 1_000, times[3])
      })
    ))

  it.effect("because its lock was broken leaves it to one of those that wait", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order } = yield* makeVisits(scene)
        const [holder, first, second, outside] = yield* Effect.all([
          scene.join(),
          scene.join(),
          scene.join(),
          scene.join()
        ])
        const gate = yield* Deferred.make<void>()
        const held = yield* Effect.fork(
          Effect.exit(holder.run(holder.locks.withLock(Deferred.await(gate), path)))
        )
        yield* settle
        const fibers = [
          yield* come(first, "first", { schedule: undefined }),
          yield* come(second, "second", { schedule: undefined })
        ]
        const status = yield* Effect.flatten(outside.locks.inspect(path))
        const [broken] = status.holders
        if (broken === undefined) return assert.fail("there is a holder")
        assert.isTrue(yield* outside.run(outside.locks.breakLock(path, broken)))
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual((yield* Fiber.join(held))._tag, "Failure")
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual([...order].sort(), ["first", "second"])
      })
    ))
})

describe("A lock that is broken while its holder lives", () => {
  it.effect("is lost at once, and not at the next heartbeat of its holder", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [holder, breaker] = yield* Effect.all([scene.join(), scene.join()])
        const holding = yield* Effect.fork(Effect.flip(holder.run(holder.locks.withLock(Effect.never, path))))
        yield* settle
        const { holders } = yield* Effect.flatten(breaker.locks.inspect(path))
        const from = yield* Clock.currentTimeMillis
        const breaking = yield* Effect.fork(Effect.forEach(holders, (holder) => breaker.locks.breakLock(path, holder)))
        assert.propertyVal(yield* Fiber.join(holding), "reason", "Removed")
        isPrompt(from, yield* Clock.currentTimeMillis)
        assert.deepStrictEqual(yield* Fiber.join(breaking), [true])
      })
    ))
})

describe("A message", () => {
  it.effect("that comes twice changes nothing", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const machine = yield* machineWith((arrive, soon) => {
          soon(arrive)
          soon(arrive)
        })
        const names = ["one", "two", "three", "four"]
        const processes = yield* Effect.forEach(names, () => scene.join({ machine }))
        yield* Fiber.joinAll(
          yield* Effect.forEach(processes, (process, index) => come(process, names[index] ?? ""))
        )
        assert.deepStrictEqual(order, names)
        assert.isAtMost((times[3] ?? Infinity) - (times[0] ?? 0), 3_000 + 15)
      })
    ))

  it.effect("that asks for the lock when it was released already gets it", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const held: Array<() => void> = []
        const machine = yield* machineWith((arrive) => void held.push(arrive))
        const join = scene.join({ machine })
        const [holder, first, second] = yield* Effect.all([join, join, join])
        const fibers = [
          yield* come(holder, "holder"),
          yield* come(first, "first"),
          yield* come(second, "second")
        ]
        yield* Effect.sleep("2 seconds")
        assert.deepStrictEqual(order, ["holder"])
        const deliver = Effect.sync(() => held.splice(0).forEach((arrive) => arrive()))
        yield* Effect.repeat(deliver, { times: 3_000, schedule: Schedule.spaced("1 millis") })
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, ["holder", "first", "second"])
        isPrompt((times[1] ?? 0) + 1_000, times[2])
      })
    ))

  it.effect("that says who waits reaches the next holder although the lock was released already", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, visit } = yield* makeVisits(scene)
        const held: Array<() => void> = []
        let late = false
        const machine = yield* machineWith((arrive, soon) => late ? void held.push(arrive) : soon(arrive))
        const join = scene.join({ machine })
        const [holder, first, second, barging] = yield* Effect.all([join, join, join, join])
        const fibers = [yield* come(holder, "holder"), yield* come(first, "first"), yield* come(second, "second")]
        const giving = yield* holder.stopAt("link", lockPath)
        yield* giving.reached
        const held0 = yield* Effect.fork(visit(barging, "barging", { timeout: 0 }))
        yield* settle
        late = true
        yield* giving.goOn
        yield* Fiber.join(held0)
        yield* settle
        assert.deepStrictEqual(order, ["holder", "barging"])
        late = false
        held.forEach((arrive) => arrive())
        yield* settle
        assert.deepStrictEqual(order, ["holder", "barging", "first"])
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, ["holder", "barging", "first", "second"])
      })
    ))

  it.effect("that comes too late for a holder that knows its queue is passed on by it all the same", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const onTheirWay: Array<() => void> = []
        let isLate = (_to: string, _from: string): boolean => false
        const machine = yield* machineWith((arrive, soon, to, from) =>
          isLate(to, from) ? void onTheirWay.push(arrive) : soon(arrive)
        )
        const join = scene.join({ machine })
        const [holder, next, last] = yield* Effect.all([join, join, join])
        const deliver = Effect.sync(() => onTheirWay.splice(0).forEach((arrive) => arrive()))
        const fibers = [
          yield* come(holder, "holder", { stay: "1 second" }),
          yield* come(next, "next", { stay: "1 second" })
        ]
        // The request of the last one reaches the holder when the lock is the next one's.
        isLate = (_to, from) => from === last.identity.info.instance
        fibers.push(yield* come(last, "last"))
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual(order, ["holder", "next"])
        // And what the holder says about it reaches the next one when that has released the lock.
        isLate = (to) => to === next.identity.info.instance
        yield* deliver
        yield* Effect.sleep("2 seconds")
        assert.deepStrictEqual(order, ["holder", "next"])
        isLate = () => false
        const delivered = yield* Clock.currentTimeMillis
        yield* deliver
        yield* Fiber.joinAll(fibers)
        assert.deepStrictEqual(order, ["holder", "next", "last"])
        isPrompt(delivered + 1_000, yield* Clock.currentTimeMillis)
        assert.strictEqual(times.length, 3)
      })
    ))

  it.effect("is not needed: where all are lost, those that wait look for themselves", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const machine = yield* machineWith(() => {})
        const names = ["one", "two", "three", "four"]
        const processes = yield* Effect.forEach(names, () => scene.join({ machine }))
        yield* Fiber.joinAll(
          yield* Effect.forEach(
            processes,
            (process, index) => come(process, names[index] ?? "", { schedule: undefined })
          )
        )
        assert.deepStrictEqual([...order].sort(), [...names].sort())
        assert.isAtMost((times[3] ?? Infinity) - (times[0] ?? 0), 3 * (1_000 + 1_250))
      })
    ))

  it.effect.each([1, 2, 3, 4, 5, 6, 7, 8])(
    "may be lost, late, doubled or out of order: one process is inside at a time, and each gets the lock (seed %i)",
    (seed) =>
      play((scene) =>
        Effect.gen(function*() {
          const { order, visit } = yield* makeVisits(scene)
          const random = Random.make(seed)
          const onTheirWay: Array<() => void> = []
          const machine = yield* machineWith((arrive) => void onTheirWay.push(arrive, arrive, () => {}))
          // Each is brought, or lost, at random: the next one to arrive is any of those that are on their way.
          const carrying = yield* Effect.fork(Effect.forever(
            Effect.gen(function*() {
              yield* Effect.sleep(yield* random.nextIntBetween(0, 4))
              for (let left = yield* random.nextIntBetween(0, 6); left > 0 && onTheirWay.length > 0; left--) {
                const [arrive] = onTheirWay.splice(yield* random.nextIntBetween(0, onTheirWay.length), 1)
                if (yield* random.nextBoolean) arrive?.()
              }
            })
          ))
          const rounds = 12
          const names = ["one", "two", "three", "four", "five"]
          const fibers = yield* Effect.forEach(names, (name) =>
            Effect.gen(function*() {
              const process = yield* scene.join({ machine })
              return yield* Effect.fork(Effect.repeatN(
                Effect.gen(function*() {
                  yield* Effect.sleep(yield* random.nextIntBetween(0, 30))
                  const timeout = (yield* random.nextBoolean) ? "infinity" : yield* random.nextIntBetween(1, 100)
                  const stay = yield* random.nextIntBetween(0, 20)
                  yield* Effect.ignore(visit(process, name, { stay, timeout }))
                }),
                rounds - 1
              ))
            }))
          yield* Fiber.joinAll(fibers)
          yield* Fiber.interrupt(carrying)
          assert.isAbove(order.length, names.length * rounds / 4)
          assert.deepStrictEqual([...new Set(order)].sort(), [...names].sort())
        })
      )
  )

  it.effect("that is forged gives no lock to a waiter, nor takes one from a holder", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const forger = yield* scene.machine.spawn()
        const forged = yield* forger.issueToken
        const [holder, waiter] = yield* Effect.all([scene.join(), scene.join()])
        const held = yield* come(holder, "holder")
        const waiting = yield* come(waiter, "waiter")
        const status = yield* Effect.flatten(holder.locks.inspect(path))
        const [held0, waiting0] = [...status.holders, ...status.waiters].map(({ token }) => token)
        if (held0 === undefined || waiting0 === undefined) return assert.fail("both have a token")
        const send = (token: string, message: Message.Message) =>
          forger.channel?.send(Message.instanceOf(token), message)
        for (let time = 0; time < 20; time++) {
          send(waiting0, { _tag: "granted", token: waiting0, queue: [forged, waiting0, held0] })
          send(waiting0, { _tag: "next", token: waiting0, owner: forged })
          send(waiting0, { _tag: "moved", token: waiting0, owner: held0 })
          send(waiting0, { _tag: "wait", token: forged, owner: waiting0 })
          send(held0, { _tag: "granted", token: held0, queue: [forged, held0] })
          send(held0, { _tag: "moved", token: held0, owner: forged })
          send(held0, { _tag: "wait", token: forged, owner: held0 })
          send(held0, { _tag: "wait", token: held0, owner: held0 })
          send(held0, { _tag: "ready", token: forged, owner: held0 })
          yield* Effect.sleep("10 millis")
        }
        assert.deepStrictEqual(order, ["holder"])
        yield* Fiber.joinAll([held, waiting])
        assert.deepStrictEqual(order, ["holder", "waiter"])
        isPrompt((times[0] ?? 0) + 1_000, times[1])
      })
    ))

  it.effect("of a forger that goes on all the time does not make a hand-over late", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come, order, times } = yield* makeVisits(scene)
        const forger = yield* scene.machine.spawn()
        const forged = yield* forger.issueToken
        const [holder, waiter] = yield* Effect.all([scene.join(), scene.join()])
        const held = yield* come(holder, "holder", { stay: "3 seconds" })
        const waiting = yield* come(waiter, "waiter")
        const status = yield* Effect.flatten(holder.locks.inspect(path))
        const [token] = status.waiters.map(({ token }) => token)
        if (token === undefined) return assert.fail("one waits")
        const forging = yield* Effect.fork(Effect.forever(Effect.zipRight(
          Effect.sync(() => forger.channel?.send(Message.instanceOf(token), { _tag: "next", token, owner: forged })),
          Effect.sleep("7 millis")
        )))
        yield* Fiber.joinAll([held, waiting])
        yield* Fiber.interrupt(forging)
        assert.deepStrictEqual(order, ["holder", "waiter"])
        isPrompt((times[0] ?? 0) + 3_000, times[1])
      })
    ))

  it.effect("of a forger makes a holder look at the lock at most once a millisecond", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come } = yield* makeVisits(scene)
        const forger = yield* scene.machine.spawn()
        const holder = yield* scene.join()
        const held = yield* come(holder, "holder")
        const { holders } = yield* Effect.flatten(holder.locks.inspect(path))
        const before = holder.steps.length
        for (let time = 0; time < 1_000; time++) {
          for (const { token } of holders) {
            forger.channel?.send(Message.instanceOf(token), { _tag: "moved", token, owner: token })
          }
          if (time % 10 === 0) yield* Effect.sleep("1 millis")
        }
        yield* settle
        assert.isBelow(holder.steps.length - before, 500)
        yield* Fiber.join(held)
      })
    ))

  it.effect("of a forger makes a waiter look at the lock at most once a millisecond", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { come } = yield* makeVisits(scene)
        const forger = yield* scene.machine.spawn()
        const [holder, waiter] = yield* Effect.all([scene.join(), scene.join()])
        const held = yield* come(holder, "holder")
        const waiting = yield* come(waiter, "waiter")
        const status = yield* Effect.flatten(holder.locks.inspect(path))
        const [token] = status.waiters.map(({ token }) => token)
        if (token === undefined) return assert.fail("one waits")
        const before = waiter.steps.length
        for (let time = 0; time < 1_000; time++) {
          forger.channel?.send(Message.instanceOf(token), { _tag: "moved", token, owner: token })
          if (time % 10 === 0) yield* Effect.sleep("1 millis")
        }
        yield* settle
        assert.isBelow(waiter.steps.length - before, 500)
        yield* Fiber.joinAll([held, waiting])
      })
    ))
})
