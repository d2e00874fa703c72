import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as FileLock from "../src/FileLock.js"
import { Bell } from "../src/internal/bell.js"
import * as LockBackend from "../src/LockBackend.js"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import * as Player from "./utils/Player.js"
import { makeHolder } from "./utils/records.js"
import * as Simulation from "./utils/Simulation.js"
import { lockPath, path, play } from "./utils/Stage.js"

const settle = Effect.sleep("100 millis")

describe("The bell of a waiter", () => {
  it.effect("keeps a ring while nobody waits", () =>
    Effect.gen(function*() {
      const bell = new Bell()
      bell.ring()
      bell.ring()
      yield* bell.wait
      const waiting = yield* Effect.fork(bell.wait)
      yield* Effect.yieldNow()
      assert.isTrue(Option.isNone(yield* Fiber.poll(waiting)), "rings pile up to one")
      bell.ring()
      yield* Fiber.join(waiting)
    }).pipe(Simulation.run))
})

describe("The line of a process", () => {
  it.effect("passes on a turn that came at whichever moment of an interruption", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { locks, run } = yield* stage.join()
        for (let moment = 0; moment < 60; moment++) {
          const gate = yield* Deferred.make<void>()
          const holding = yield* Effect.fork(run(locks.withLock(Deferred.await(gate), path)))
          yield* settle
          const first = yield* Effect.fork(run(locks.withLock(Effect.void, path)))
          yield* settle
          const second = yield* Effect.fork(run(locks.withLock(Effect.void, path, { timeout: "10 seconds" })))
          yield* settle
          yield* Deferred.succeed(gate, undefined)
          yield* Effect.repeatN(Effect.yieldNow(), moment)
          yield* Fiber.interrupt(first)
          yield* Fiber.joinAll([holding, second])
        }
      })
    ))

  it.effect("serves who came first, even if it was slower to find the lock's name", () =>
    play((stage) =>
      Effect.gen(function*() {
        yield* stage.fs.symlink("/data", "/tmp/link")
        const { enter, locks, run, stopAt } = yield* stage.join()
        const order = yield* Ref.make<ReadonlyArray<string>>([])
        const come = (who: string, to: string) =>
          Effect.fork(run(locks.withLock(Ref.update(order, (all) => [...all, who]), to)))
        const holding = yield* Effect.fork(enter("holder"))
        yield* settle
        const resolving = yield* stopAt("lstat", "/tmp/link")
        const first = yield* come("first", "/tmp/link/tasks.json")
        yield* resolving.reached
        const second = yield* come("second", path)
        yield* settle
        yield* resolving.goOn
        yield* settle
        yield* Fiber.joinAll([holding, first, second])
        assert.deepStrictEqual(yield* Ref.get(order), ["first", "second"])
      })
    ))

  it.effect("is left by whom it did not serve in time", () =>
    play((stage) =>
      Effect.gen(function*() {
        const process = yield* stage.join()
        const held = yield* Effect.fork(process.enter("holder", { stay: "10 seconds" }))
        yield* settle
        const late = yield* Effect.fork(Effect.flip(process.enter("too early", { timeout: "1 second" })))
        yield* Effect.sleep("2 seconds")
        assert.isTrue(Option.isSome(yield* Fiber.poll(late)), "the timeout counts in line, too")
        const next = yield* Effect.fork(process.enter("next"))
        yield* Fiber.joinAll([held, next])
      })
    ))

  it.effect("is left by whom the engine did not serve in time", () =>
    play((stage) =>
      Effect.gen(function*() {
        const [holder, other] = yield* Effect.all([stage.join(), stage.join()])
        const held = yield* Effect.fork(holder.enter("holder", { stay: "10 seconds" }))
        yield* settle
        yield* Effect.flip(other.enter("too early", { timeout: "1 second" }))
        yield* Fiber.join(held)
        yield* other.enter("other", { timeout: 0 })
      })
    ))
})

describe("An attempt", () => {
  it.effect("is never cut off by an interruption, and what it obtains is given back", () =>
    play((stage) =>
      Effect.gen(function*() {
        const process = yield* stage.join()
        for (const syscall of ["write", "close"]) {
          const stop = yield* process.stopAt(syscall, lockPath)
          const fiber = yield* Effect.fork(process.enter(syscall))
          yield* stop.reached
          const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
          yield* settle
          yield* stop.goOn
          yield* Fiber.join(interruption)
          yield* settle
          assert.deepStrictEqual(yield* stage.fs.readDirectory("/data"), [])
        }
        assert.strictEqual(stage.occupancy.entries, 0)
      })
    ))

  const ways: ReadonlyArray<readonly [string, (locks: FileLock.FileLock) => Effect.Effect<void, unknown>]> = [
    ["a body", (locks) => locks.withLock(Effect.void, "/tmp/file")],
    ["a handle", (locks) => Effect.asVoid(Effect.scoped(locks.acquire("/tmp/file")))]
  ]

  // Where a fiber goes on without a break nobody can interrupt it, so it is given breaks at ever other places.
  it.scopedLive.each(ways.flatMap(([what, want]) => [12, 16, 17, 19, 23].map((steps) => [what, steps, want] as const)))(
    "gives back what it obtained for %s, whenever its caller is interrupted (a break after %i steps)",
    ([, steps, want]) =>
      Effect.gen(function*() {
        const disk = yield* MemoryFileSystem.makeDisk()
        const fs = yield* disk.view({ step: () => Effect.void })
        const machine = yield* ProcessIdentity.makeMachine()
        const { locks } = yield* Player.start(yield* machine.spawn(), fs)
        const wanted = want(locks).pipe(Effect.withMaxOpsBeforeYield(steps))
        let moments = 0
        for (let done = false; !done; moments++) {
          const fiber = yield* Effect.fork(wanted)
          yield* Effect.repeatN(Effect.yieldNow(), moments)
          done = Exit.isSuccess(yield* Fiber.interrupt(fiber))
          assert.isTrue(Option.isSome(yield* locks.withLockIfAvailable(Effect.void, "/tmp/file")), `moment ${moments}`)
          assert.deepStrictEqual(yield* fs.readDirectory("/tmp"), [])
        }
        assert.isAbove(moments, 5)
      })
  )

  it.effect("on a storage that does not answer fails in time, and is no lock that is merely taken", () =>
    play((stage) =>
      Effect.gen(function*() {
        const process = yield* stage.join()
        const opening = yield* process.stopAt("open", lockPath)
        const fiber = yield* Effect.fork(Effect.flip(process.run(process.locks.withLockIfAvailable(Effect.void, path))))
        yield* opening.reached
        yield* Effect.sleep("5 seconds")
        assert.isTrue(Option.isSome(yield* Fiber.poll(fiber)))
        yield* opening.goOn
        assert.deepInclude(yield* Fiber.join(fiber), { reason: "Timeout" })
        yield* settle
      })
    ))
})

describe("A waiter", () => {
  const blocked: LockBackend.Blocked = {
    _tag: "Blocked",
    reason: "Timeout",
    holder: Option.none(),
    lookAgain: Option.none()
  }

  /** Locks over an engine that does what this contender does. */
  const locksOver = (contender: LockBackend.Contender) =>
    FileLock.layerBackend().pipe(
      Layer.provide(Layer.succeed(
        LockBackend.LockBackend,
        LockBackend.make({
          capabilities: { liveness: "kernel", fencing: false, shared: false, wakes: true },
          resolve: (path) => Effect.succeed({ path, lockPath: `${path}.lock` }),
          contend: () => contender,
          inspect: () => Effect.succeedNone,
          breakLock: () => Effect.succeed(false)
        })
      )),
      Layer.build,
      Effect.map((context) => Context.get(context, FileLock.FileLock))
    )

  it.effect("asks an engine that answers at once no oftener than its schedule says", () =>
    Effect.gen(function*() {
      let asked = 0
      const locks = yield* locksOver({
        attempt: Effect.suspend(() =>
          ++asked > 1_000 ? Effect.dieMessage("it is asked again and again") : Effect.succeed(blocked)
        ),
        end: Effect.void,
        changes: () => Effect.void
      })
      const options = { schedule: Schedule.spaced("100 millis"), timeout: "1 second" } as const
      const error = yield* Effect.flip(locks.withLock(Effect.void, path, options))
      assert.deepInclude(error, { reason: "Timeout" })
      // At its coming, each tenth of a second, and when its time is over.
      assert.isAtLeast(asked, 10)
      assert.isAtMost(asked, 12)
    }).pipe(Effect.scoped, Simulation.run))

  it.effect("goes on when it is served, and gives the lock back when nothing of its wait is left", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const note = (event: string) => Effect.sync(() => void events.push(event))
      const grant: LockBackend.Grant = {
        _tag: "Grant",
        holder: makeHolder(),
        fence: Option.none(),
        recovered: false,
        verify: Effect.void,
        keep: Effect.never,
        keepAfter: Duration.hours(1),
        release: note("given back")
      }
      const answers = [blocked, grant]
      const locks = yield* locksOver({
        attempt: Effect.suspend(() => {
          const answer = answers.shift()
          return answer === undefined ? Effect.dieMessage("it is asked once more") : Effect.succeed(answer)
        }),
        end: Effect.void,
        changes: (ring) =>
          Effect.zipRight(
            Effect.addFinalizer(() => Effect.zipRight(Effect.sleep("50 millis"), note("nothing is left"))),
            Effect.sync(ring)
          )
      })
      yield* locks.withLock(note("inside"), path)
      assert.deepStrictEqual(events, ["inside", "nothing is left", "given back"])
    }).pipe(Effect.scoped, Simulation.run))
})

describe("Several locks of which one cannot be had", () => {
  it.effect("are given back at once, and not only when the scope ends", () =>
    play((stage) =>
      Effect.gen(function*() {
        const [holder, wanting, third] = yield* Effect.all([stage.join(), stage.join(), stage.join()])
        const held = yield* Effect.fork(holder.enter("holder"))
        yield* settle
        yield* Effect.flip(wanting.run(wanting.locks.acquireAll(["/data/a", path], { timeout: 0 })))
        assert.isTrue(Option.isSome(yield* third.run(third.locks.withLockIfAvailable(Effect.void, "/data/a"))))
        yield* Fiber.join(held)
      })
    ))
})

describe("A body that cannot be interrupted", () => {
  it.effect("has not succeeded if its lock was lost meanwhile", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { locks, run } = yield* stage.join({ settings: { lease: "3 seconds" } })
        const body = Effect.zipRight(stage.fs.remove(lockPath), Effect.sleep("5 seconds"))
        const inside = locks.withLock(Effect.uninterruptible(body), path)
        for (const self of [inside, Effect.uninterruptible(inside)]) {
          assert.deepInclude(yield* Effect.flip(run(self)), { _tag: "LockLostError", reason: "Removed" })
        }
      })
    ))
})

describe("The identity of a process", () => {
  it.effect("has one registry for all copies of the service", () =>
    Effect.gen(function*() {
      const copy = Effect.provide(ProcessIdentity.ProcessIdentity, ProcessIdentity.layerMachine("the same"))
      const [one, other] = yield* Effect.all([copy, copy])
      assert.notStrictEqual(one, other)
      const token = yield* one.issueToken
      assert.strictEqual(yield* other.isAlive({ ...one.info, token }), "alive")
      yield* other.retireToken(token)
      assert.strictEqual(yield* one.isAlive({ ...other.info, token }), "dead")
    }))
})
