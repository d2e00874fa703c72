import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as FileLock from "../src/FileLock.js"
import { claimOf, nextOf } from "../src/internal/lockFile/names.js"
import * as Record from "../src/internal/lockFile/record.js"
import { makeRecord } from "./utils/records.js"
import { type Actor, lockPath, path, play, type Stage } from "./utils/Stage.js"

const nextPath = nextOf(lockPath)

const settle = Effect.sleep("1 millis")

const now = Effect.map(Effect.clock, (clock) => Number(clock.unsafeCurrentTimeNanos()) / 1e6)

/** A process that writes down where it asks the file system for what. */
const joinWatched = (stage: Stage) =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const asked: Array<{ readonly method: string; readonly path: string; readonly at: number }> = []
    const actor = yield* stage.join({
      faults: {
        fault: ({ method, path }) => {
          asked.push({ method, path, at: Number(clock.unsafeCurrentTimeNanos()) / 1e6 })
          return undefined
        }
      }
    })
    return {
      ...actor,
      hasAskedWhoIsNext: () => asked.some((one) => one.path === nextPath),
      /** When it asked for this, in milliseconds. */
      timesOf: (method: string, path: string) =>
        asked.filter((one) => one.method === method && one.path === path).map(({ at }) => at)
    }
  })

/** Has the lock from now on, until told to leave. */
const hold = ({ locks, run }: Actor) =>
  Effect.gen(function*() {
    const inside = yield* Deferred.make<void>()
    const gate = yield* Deferred.make<void>()
    const body = Effect.zipRight(Deferred.succeed(inside, undefined), Deferred.await(gate))
    const fiber = yield* Effect.fork(run(locks.withLock(body, path)))
    yield* Effect.raceFirst(Deferred.await(inside), Fiber.join(fiber))
    return { leave: Effect.zipRight(Deferred.succeed(gate, undefined), Fiber.join(fiber)) }
  })

/** Waits for the lock from now on, until it is next. */
const lineUp = (stage: Stage, actor: Actor, options: Parameters<Actor["enter"]>[1] = {}) =>
  Effect.gen(function*() {
    // A daemon, since nobody can wait for the end of a process that is killed.
    const waiting = yield* Effect.forkDaemon(actor.enter(`process ${actor.identity.info.pid}`, options))
    yield* Effect.repeat(settle, {
      until: () => Effect.map(pidOf(stage, nextPath), (pid) => pid === actor.identity.info.pid)
    })
    return waiting
  })

/** Which process has a file. */
const pidOf = ({ fs }: Stage, at: string) =>
  Effect.match(fs.readFileString(at), {
    onSuccess: (text) => Option.getOrUndefined(Record.decode(text))?.pid,
    onFailure: () => undefined
  })

const filesOf = ({ fs }: Stage) => Effect.map(fs.readDirectory("/data"), (names) => [...names].sort())

const alone = ["tasks.json.lock"]
const withNext = ["tasks.json.lock", "tasks.json.lock.next"]

describe("A process that has just had a lock", () => {
  /** Has the lock for a while and wants it again at once, when another one is next who does not get a word in. */
  const wantAgain = (stage: Stage, stay: Duration.DurationInput, timeout?: 0) =>
    Effect.gen(function*() {
      const entered: Array<string> = []
      const busy = yield* joinWatched(stage)
      const other = yield* stage.join()
      const enter = (actor: Actor, who: string, options: { readonly timeout?: 0 } = {}) =>
        actor.run(actor.locks.withLock(Effect.sync(() => entered.push(who)), path, options))
      // What it does once for each directory is over.
      yield* enter(busy, "first")
      yield* Effect.sleep("1 second")
      const { leave } = yield* hold(busy)
      const waiting = yield* Effect.fork(enter(other, "other"))
      while ((yield* pidOf(stage, nextPath)) === undefined) {
        yield* Effect.sleep("0.1 millis")
      }
      yield* other.suspend
      yield* Effect.sleep(stay)
      assert.isFalse(busy.hasAskedWhoIsNext())
      yield* leave
      const again = yield* Effect.fork(enter(busy, "again", timeout === undefined ? {} : { timeout }))
      yield* Effect.sleep("100 millis")
      yield* other.resume
      yield* Fiber.joinAll([waiting, again])
      return { entered, busy }
    })

  it.effect("lets the one who is next go first when it has had its turn", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { busy, entered } = yield* wantAgain(stage, "30 millis")
        assert.deepStrictEqual(entered, ["first", "other", "again"])
        assert.isTrue(busy.hasAskedWhoIsNext())
      })
    ))

  it.effect("does not even look who is next within its turn", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { busy, entered } = yield* wantAgain(stage, "3 millis")
        assert.deepStrictEqual(entered, ["first", "again", "other"])
        assert.isFalse(busy.hasAskedWhoIsNext())
      })
    ))

  it.effect("asks once only, and for nobody, when it tries once", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { busy, entered } = yield* wantAgain(stage, "30 millis", 0)
        assert.deepStrictEqual(entered, ["first", "again", "other"])
        assert.isFalse(busy.hasAskedWhoIsNext())
      })
    ))

  it.effect("looks for nobody when that was a while ago, and takes what is free", () =>
    play((stage) =>
      Effect.gen(function*() {
        const cold = yield* joinWatched(stage)
        yield* cold.enter("cold")
        const { leave } = yield* hold(yield* stage.join())
        const next = yield* stage.join()
        const waiting = yield* lineUp(stage, next)
        yield* next.suspend
        yield* Effect.sleep("200 millis")
        yield* leave
        yield* cold.enter("cold", { stay: 0 })
        assert.isFalse(cold.hasAskedWhoIsNext())
        yield* next.resume
        yield* Fiber.join(waiting)
      })
    ))

  it.effect("lets each of those who wait have its turn, however often it comes", () =>
    play((stage) =>
      Effect.gen(function*() {
        const busy = yield* stage.join({ settings: { handoff: 0 } })
        const others = yield* Effect.all(Array.from({ length: 3 }, () => stage.join()))
        let over = false
        const coming = yield* Effect.fork(
          Effect.repeat(busy.enter("busy", { stay: "1 millis" }), { until: () => over })
        )
        yield* Effect.sleep("20 millis")
        yield* Effect.forEach(
          others,
          (other, number) => other.enter(`other ${number}`, { stay: "1 millis", timeout: "2 seconds" }),
          { concurrency: "unbounded" }
        )
        over = true
        yield* Fiber.join(coming)
      })
    ))
})

describe("Of the processes that wait for a lock", () => {
  it.effect("one at a time is next, and never the one that has it", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const waiters = yield* Effect.all(Array.from({ length: 5 }, () => stage.join()))
        const pids = waiters.map(({ identity }) => identity.info.pid)
        const waiting = yield* Effect.forEach(waiters, (one) => Effect.fork(one.enter(`${one.identity.info.pid}`)))
        yield* Effect.sleep("500 millis")
        const holders: Array<number | undefined> = []
        for (let turn = 0; turn < waiters.length; turn++) {
          assert.deepStrictEqual(yield* filesOf(stage), withNext)
          const next = yield* pidOf(stage, nextPath)
          assert.include(pids, next)
          assert.notInclude(holders, next)
          assert.notStrictEqual(yield* pidOf(stage, lockPath), next)
          yield* turn === 0 ? leave : Effect.sleep("1 second")
          yield* Effect.sleep("1 millis")
          const holder = yield* pidOf(stage, lockPath)
          assert.strictEqual(holder, next)
          holders.push(holder)
          yield* Effect.sleep("100 millis")
        }
        assert.deepStrictEqual(yield* filesOf(stage), alone)
        assert.sameMembers(holders, pids)
        yield* Fiber.joinAll(waiting)
      })
    ))

  it.effect("the one that was next is so no more once it has the lock", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const waiter = yield* stage.join()
        const waiting = yield* lineUp(stage, waiter, { stay: "1 minute" })
        yield* leave
        yield* settle
        assert.strictEqual(yield* pidOf(stage, lockPath), waiter.identity.info.pid)
        assert.deepStrictEqual(yield* filesOf(stage), alone)
        yield* Fiber.join(waiting)
      })
    ))

  it.effect("the one that was next is so no more once it has waited for long enough", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const waiting = yield* lineUp(stage, yield* stage.join(), { timeout: "2 seconds" })
        assert.deepStrictEqual(yield* filesOf(stage), withNext)
        assert.propertyVal(yield* Effect.flip(Fiber.join(waiting)), "reason", "Timeout")
        assert.deepStrictEqual(yield* filesOf(stage), alone)
        yield* leave
      })
    ))

  it.effect("the one that was next is so no more once it is interrupted", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const waiting = yield* lineUp(stage, yield* stage.join())
        assert.deepStrictEqual(yield* filesOf(stage), withNext)
        yield* Fiber.interrupt(waiting)
        assert.deepStrictEqual(yield* filesOf(stage), alone)
        yield* leave
      })
    ))

  it.effect("another one is next when the one that was goes away", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const leaving = yield* lineUp(stage, yield* stage.join())
        const heir = yield* stage.join()
        const waiting = yield* Effect.fork(heir.enter("heir"))
        yield* Effect.sleep("100 millis")
        yield* Fiber.interrupt(leaving)
        yield* Effect.sleep("10 millis")
        assert.strictEqual(yield* pidOf(stage, nextPath), heir.identity.info.pid)
        yield* leave
        yield* Fiber.join(waiting)
      })
    ))

  it.effect("another one is next when the one that was has died", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const dying = yield* stage.join()
        yield* lineUp(stage, dying)
        const heir = yield* stage.join()
        const waiting = yield* Effect.fork(heir.enter("heir"))
        yield* Effect.sleep("100 millis")
        yield* dying.kill
        yield* Effect.sleep("1 second")
        assert.strictEqual(yield* pidOf(stage, nextPath), heir.identity.info.pid)
        yield* leave
        yield* Fiber.join(waiting)
      })
    ))

  for (const timeout of [0, undefined] as const) {
    const how = timeout === 0 ? "that tries once" : "that would wait"
    it.effect(`nothing is left of one that died, once a process ${how} has come by`, () =>
      play((stage) =>
        Effect.gen(function*() {
          const { leave } = yield* hold(yield* stage.join())
          const dying = yield* stage.join()
          yield* lineUp(stage, dying)
          yield* dying.kill
          yield* leave
          assert.deepStrictEqual(yield* filesOf(stage), ["tasks.json.lock.next"])
          const fresh = yield* stage.join()
          yield* fresh.enter("fresh", timeout === undefined ? {} : { timeout })
          assert.deepStrictEqual(yield* filesOf(stage), [])
        })
      ))
  }

  it.effect("one that stands still at the head is let go first for a while, and then passed by", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const still = yield* stage.join()
        const standing = yield* lineUp(stage, still)
        yield* still.suspend
        const waiter = yield* stage.join()
        const waiting = yield* Effect.fork(waiter.enter("waiter", { stay: "1 second" }))
        yield* settle
        yield* leave
        yield* Effect.sleep("200 millis")
        assert.isUndefined(yield* pidOf(stage, lockPath))
        yield* Effect.sleep("300 millis")
        assert.strictEqual(yield* pidOf(stage, lockPath), waiter.identity.info.pid)
        yield* Fiber.join(waiting)
        assert.strictEqual(yield* pidOf(stage, nextPath), still.identity.info.pid)
        yield* still.resume
        yield* Fiber.join(standing)
      })
    ))

  it.effect("one that is dead, and that nobody can replace, is passed by as well", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const dying = yield* stage.join()
        yield* lineUp(stage, dying)
        // Somebody whom nobody here can check was about to replace it.
        yield* stage.fs.writeFileString(claimOf(nextPath), makeRecord())
        yield* dying.kill
        const waiter = yield* stage.join()
        const waiting = yield* Effect.fork(waiter.enter("waiter", { stay: "1 second" }))
        yield* Effect.sleep("100 millis")
        yield* leave
        yield* Effect.sleep("400 millis")
        assert.strictEqual(yield* pidOf(stage, lockPath), waiter.identity.info.pid)
        yield* Fiber.join(waiting)
        yield* Effect.forEach([nextPath, claimOf(nextPath)], (left) => stage.fs.remove(left), { discard: true })
      })
    ))

  it.effect("nobody is one who only tries once", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const trying = yield* joinWatched(stage)
        const { locks, run } = trying
        const tryOnce = Effect.gen(function*() {
          assert.isTrue(Option.isNone(yield* run(Effect.scoped(locks.acquireIfAvailable(path)))))
          const error = yield* Effect.flip(trying.enter("trying", { timeout: 0 }))
          assert.propertyVal(error, "reason", "Timeout")
        })
        yield* tryOnce
        assert.deepStrictEqual(yield* filesOf(stage), alone)
        const waiting = yield* lineUp(stage, yield* stage.join())
        const next = yield* stage.fs.readFileString(nextPath)
        yield* tryOnce
        assert.strictEqual(yield* stage.fs.readFileString(nextPath), next)
        assert.isFalse(trying.hasAskedWhoIsNext())
        yield* leave
        yield* Fiber.join(waiting)
      })
    ))
})

/** A process that has a file again and again: each time its next record replaces the one before, and nobody comes between. */
const takeAgainAndAgain = ({ fs, machine }: Stage, at: string) =>
  Effect.map(machine.spawn(), ({ info }) => {
    let times = 0
    const once = Effect.suspend(() =>
      Effect.zipRight(
        fs.writeFileString("/tmp/record", makeRecord({ ...info, token: `${info.instance}-${times++}` })),
        fs.rename("/tmp/record", at)
      )
    )
    return {
      once,
      /** Takes it each millisecond. */
      times: (count: number) => Effect.repeatN(Effect.zipRight(Effect.sleep("1 millis"), once), count - 1),
      leave: fs.remove(at)
    }
  })

const idle = { schedule: Schedule.spaced("1 hour"), timeout: "infinity" } as const

describe("Whoever is next", () => {
  /** Waits from now on, and tells when it has the lock. */
  const wait = (stage: Stage, options: FileLock.LockOptions) =>
    Effect.gen(function*() {
      const actor = yield* joinWatched(stage)
      const fiber = yield* Effect.fork(actor.run(actor.locks.withLock(now, path, options)))
      return { asked: () => actor.timesOf("writeFileString", lockPath).length, fiber }
    })

  it.effect("asks for the lock a few times only while another process has it again and again in its turn", () =>
    play((stage) =>
      Effect.gen(function*() {
        const busy = yield* takeAgainAndAgain(stage, lockPath)
        yield* busy.once
        const { asked, fiber } = yield* wait(stage, {})
        yield* busy.times(20)
        assert.isAtMost(asked(), 4)
        yield* busy.leave
        yield* Fiber.join(fiber)
      })
    ))

  it.effect("has the lock at once that it finds free within the turn of another process", () =>
    play((stage) =>
      Effect.gen(function*() {
        const busy = yield* takeAgainAndAgain(stage, lockPath)
        yield* busy.once
        const { asked, fiber } = yield* wait(stage, { schedule: Schedule.spaced("2 millis") })
        yield* busy.times(10)
        assert.isAtMost(asked(), 4)
        yield* busy.leave
        const left = yield* now
        assert.isAtMost((yield* Fiber.join(fiber)) - left, 3)
      })
    ))

  it.effect("has the lock at the end of the turn in which it was outrun, whatever its schedule", () =>
    play((stage) =>
      Effect.gen(function*() {
        const busy = yield* stage.join({ settings: { handoff: 0 } })
        const { leave } = yield* hold(busy)
        const next = yield* stage.join()
        const waiting = yield* lineUp(stage, next, { ...idle, timeout: "20 seconds", stay: 0 })
        const asking = yield* next.stopAt("open", lockPath)
        yield* leave
        yield* asking.reached
        const again = yield* Effect.fork(busy.enter("again", { stay: "2 millis" }))
        yield* settle
        yield* asking.goOn
        yield* Fiber.join(again)
        const left = yield* now
        yield* Fiber.join(waiting)
        assert.isAtMost((yield* now) - left, 25)
      })
    ))
})

describe("Whoever was outrun on the way to the head", () => {
  it.effect("leaves it alone for a while, and looks again by itself, the sooner the oftener it was outrun", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const next = yield* takeAgainAndAgain(stage, nextPath)
        yield* next.once
        const waiter = yield* joinWatched(stage)
        const waiting = yield* Effect.fork(waiter.run(waiter.locks.withLock(Effect.void, path, idle)))
        // It has lined up, and watches.
        yield* Effect.sleep("10 millis")
        const start = yield* now
        yield* next.times(150)
        const looks = [...new Set(waiter.timesOf("stat", nextPath).filter((at) => at > start))]
        const pauses = looks.slice(1, 11).map((at, index) => at - (looks[index] ?? 0))
        assert.strictEqual(pauses.length, 10)
        pauses.forEach((pause, index) => {
          assert.isAbove(pause, 20 / (index + 1) - 0.1)
          assert.isBelow(pause, 60 / (index + 1) + 0.1)
        })
        yield* next.leave
        yield* Effect.sleep("20 millis")
        assert.strictEqual(yield* pidOf(stage, nextPath), waiter.identity.info.pid)
        yield* leave
        yield* Fiber.join(waiting)
      })
    ))
})

describe("Whoever is behind another one", () => {
  it.effect("takes its place when that one dies, whatever its own schedule", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const next = yield* stage.join()
        yield* lineUp(stage, next)
        const behind = yield* stage.join()
        const waiting = yield* Effect.fork(behind.enter("behind", { ...idle, stay: 0 }))
        yield* Effect.sleep("50 millis")
        yield* next.kill
        yield* Effect.sleep("300 millis")
        assert.strictEqual(yield* pidOf(stage, nextPath), behind.identity.info.pid)
        const left = yield* now
        yield* leave
        yield* Fiber.join(waiting)
        assert.isAtMost((yield* now) - left, 3)
      })
    ))

  it.effect("learns that nobody is there any more although it stood still for longer than its rest", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { leave } = yield* hold(yield* stage.join())
        const next = yield* takeAgainAndAgain(stage, nextPath)
        yield* next.once
        const behind = yield* stage.join()
        const waiting = yield* Effect.fork(behind.enter("behind", { ...idle, stay: 0 }))
        yield* Effect.sleep("10 millis")
        yield* next.times(3)
        const looking = yield* behind.stopAt("stat", nextPath)
        yield* looking.reached
        yield* Effect.sleep("100 millis")
        yield* looking.goOn
        yield* next.leave
        yield* Effect.sleep("100 millis")
        assert.strictEqual(yield* pidOf(stage, nextPath), behind.identity.info.pid)
        yield* leave
        yield* Fiber.join(waiting)
      })
    ))
})
