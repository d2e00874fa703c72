/**
 * Bugs that were found by reading, each in its smallest form.
 */
import * as PlatformError from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import * as LockBackend from "../src/LockBackend.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import * as FakeBackend from "./utils/FakeBackend.js"
import { claimPath, lockPath, path, play } from "./utils/Scene.js"

/** A file system without hard links, whose errors do not say which system call failed. */
const plain = (fs: FileSystem): FileSystem => ({
  ...fs,
  link: () =>
    Effect.fail(
      new PlatformError.SystemError({
        reason: "Unknown",
        module: "FileSystem",
        method: "link",
        cause: { code: "ENOTSUP" }
      })
    ),
  writeFileString: (...args) =>
    Effect.mapError(fs.writeFileString(...args), (error) =>
      error._tag === "SystemError"
        ? new PlatformError.SystemError({ reason: error.reason, module: error.module, method: error.method })
        : error)
})

describe("A file system without hard links", () => {
  it.effect("need not say which call failed: the lock file of another process is left alone", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [holder, waiter] = yield* Effect.all([scene.join({ wrap: plain }), scene.join({ wrap: plain })])
        const held = yield* Effect.fork(holder.enter("holder", { stay: "1 second" }))
        yield* Effect.sleep("100 millis")
        const taken = yield* waiter.run(waiter.locks.withLockIfAvailable(Effect.void, path))
        assert.isTrue(taken._tag === "None")
        yield* Fiber.join(held)
      })
    ))
})

describe("A process that is stopped for longer than a lease before it renames its claim", () => {
  it.effect("does not take the claim of another machine for its own", () =>
    play((scene) =>
      Effect.gen(function*() {
        const settings = { lease: "1 second" } as const
        yield* scene.abandon
        const stopped = yield* scene.join({ settings })
        const other = yield* scene.join({ settings, machine: yield* ProcessIdentity.makeMachine() })
        const first = yield* stopped.stopAt("rename", claimPath)
        let entered = false
        const late = yield* Effect.fork(
          stopped.run(stopped.locks.withLock(Effect.sync(() => (entered = true)), path, { timeout: "10 seconds" }))
        )
        yield* first.reached
        const second = yield* other.stopAt("rename", claimPath)
        const taking = yield* Effect.fork(other.enter("other", { stay: "1 second" }))
        yield* second.reached
        yield* first.goOn
        yield* Effect.sleep("100 millis")
        assert.isFalse(entered)
        yield* second.goOn
        yield* Fiber.join(taking)
        yield* Fiber.join(late)
        assert.isTrue(entered)
      })
    ))
})

describe("A fiber that acquires a lock by one clock and goes on by another", () => {
  it.effect("has the heartbeats of the lock made by the first one", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { locks } = yield* scene.join()
        const base = yield* Effect.clock
        const hour = 3_600_000
        const ahead: Clock.Clock = {
          [Clock.ClockTypeId]: Clock.ClockTypeId,
          sleep: (duration) => base.sleep(duration),
          unsafeCurrentTimeMillis: () => base.unsafeCurrentTimeMillis() + hour,
          unsafeCurrentTimeNanos: () => base.unsafeCurrentTimeNanos() + BigInt(hour) * 1_000_000n,
          currentTimeMillis: Effect.map(base.currentTimeMillis, (now) => now + hour),
          currentTimeNanos: Effect.map(base.currentTimeNanos, (now) => now + BigInt(hour) * 1_000_000n)
        }
        const beat = Effect.map(scene.fs.readFileString(lockPath), (text) => /"beat":"(\d+)"/.exec(text)?.[1])
        yield* Effect.scoped(Effect.gen(function*() {
          const lock = yield* Effect.withClock(locks.acquire(path), ahead)
          yield* Effect.sleep("26 seconds")
          assert.strictEqual(yield* beat, "0000000003")
          assert.isTrue(yield* lock.isHeld)
        }))
      })
    ))
})

/** Over an engine whose calls run in the caller's fiber, and over one whose calls run in fibers of their own. */
const engines: ReadonlyArray<readonly [string, boolean]> = [["in the caller's fiber", true], [
  "in fibers of its own",
  false
]]

describe("An engine that is broken", () => {
  it.scoped.each(engines)("may describe a holder in its own way (%s)", ([, immediate]) =>
    Effect.gen(function*() {
      const backend = FakeBackend.make({ immediate })
      const locks = yield* FakeBackend.locksOver(backend)
      backend.occupy(path, { pid: 0, token: "" })
      for (const timeout of [0, 10]) {
        const waiting = yield* Effect.fork(Effect.flip(locks.withLock(Effect.void, path, { timeout })))
        yield* TestClock.adjust("1 second")
        const error = yield* Fiber.join(waiting)
        assert.propertyVal(error, "reason", "Timeout")
        assert.include(error.message, "pid 0")
      }
      backend.free(path)
      yield* locks.withLock(Effect.void, path, { timeout: 0 })
    }))

  it.scoped.each(engines)(
    "does not keep others from a lock by a call that throws (%s)",
    ([, immediate]) =>
      Effect.gen(function*() {
        const { service } = FakeBackend.make({ immediate })
        let broken = true
        const throwing = <A>(call: () => A): A => {
          if (broken) {
            throw new Error("broken")
          }
          return call()
        }
        const locks = yield* FakeBackend.locksOver({
          ...service,
          tryAcquire: (...args) => throwing(() => service.tryAcquire(...args)),
          acquire: (...args) => throwing(() => service.acquire(...args))
        })
        const exit = yield* Effect.exit(locks.withLock(Effect.void, path))
        assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
        broken = false
        yield* locks.withLock(Effect.void, path, { timeout: 0 })
      })
  )

  it.scoped.each(engines)(
    "whose release dies does not hide why the body failed (%s)",
    ([, immediate]) =>
      Effect.gen(function*() {
        const backend = FakeBackend.make({ immediate })
        const locks = yield* FakeBackend.locksOver(backend)
        backend.steps.release = () => Effect.die("release")
        const exit = yield* Effect.exit(locks.withLock(Effect.fail("body"), path))
        assert.deepStrictEqual(exit, Exit.failCause(Cause.sequential(Cause.fail("body"), Cause.die("release"))))
      })
  )
})

describe("An engine that can only be polled", () => {
  it.scoped("is asked anew at each look, also where its attempt is made when it is called", () =>
    Effect.gen(function*() {
      const { service } = FakeBackend.make()
      let looks = 0
      const locks = yield* FakeBackend.locksOver(LockBackend.fromTryAcquire({
        ...service,
        tryAcquire: (key, request) => ++looks < 3 ? Exit.succeed(Option.none()) : service.tryAcquire(key, request)
      }))
      const locked = yield* Effect.fork(locks.withLock(Effect.void, path, { timeout: "10 seconds" }))
      yield* TestClock.adjust("9 seconds")
      yield* Fiber.join(locked)
      assert.strictEqual(looks, 3)
    }))
})
