import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as FileLock from "../../src/FileLock.js"
import * as Requirement from "../servers/requirement.js"
import { layer } from "../utils/layer.js"
import * as Simulation from "../utils/Simulation.js"
import * as Engine from "./Engine.js"

const testTimeout = 60_000

class Ground extends Context.Tag("Ground")<Ground, Engine.Ground>() {}

let names = 0

/** Asks until it is so. */
const until = (isSo: Effect.Effect<boolean>) =>
  Effect.repeat(isSo, { until: (so) => so, schedule: Schedule.spaced("5 millis") })

/** A lock that no other test has, and so many programs that want it. */
const start = (count: number) =>
  Effect.gen(function*() {
    const { isFree, pathOf, program, takeAway } = yield* Ground
    const path = pathOf(`file-${++names}`)
    const programs = yield* Effect.replicateEffect(program, count)
    const [first, second = first] = programs
    if (first === undefined || second === undefined) return yield* Effect.dieMessage("no program")
    return { path, pathOf, programs, first, second, isFree: isFree(path), takeAway: takeAway(path) }
  })

/** Runs `use` under the lock; goes on when it is inside. */
const hold = <A, E>(path: string, program: Context.Context<FileLock.FileLock>, use: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const isInside = yield* Deferred.make<void>()
    const fiber = yield* Effect.fork(Effect.exit(Effect.provide(
      FileLock.withLock(Effect.zipRight(Deferred.succeed(isInside, undefined), use), path, { label: "the holder" }),
      program
    )))
    yield* Effect.raceFirst(
      Deferred.await(isInside),
      Effect.flatMap(Fiber.join(fiber), (exit) => Effect.dieMessage(`no lock: ${String(exit)}`))
    )
    return fiber
  })

for (const engine of Engine.engines) {
  const { promises } = engine
  Requirement.describeWhere(engine.isInstalled)(`FileLock over ${engine.name}`, () => {
    const ground = Layer.scoped(Ground, engine.start)
    layer(ground, { excludeTestServices: true })("each program", (it) => {
      const inOrder = <A, E>(self: Effect.Effect<A, E, Ground | Scope.Scope>): typeof self =>
        engine.inSimulatedTime === undefined
          ? self
          : Simulation.run(Effect.scoped(Effect.provideServiceEffect(self, Ground, engine.inSimulatedTime)))

      const test = (behaviour: string, self: Effect.Effect<void, unknown, Ground | Scope.Scope>) =>
        it.scoped(behaviour, () => self, testTimeout)

      test(
        `has one holder at a time among fibers of several programs, ${
          promises.fences ? "each with a larger number than the one before" : "without fencing numbers"
        }, and leaves nothing`,
        Effect.gen(function*() {
          const { isFree, path, programs } = yield* start(3)
          let inside = 0
          const fences: Array<Option.Option<bigint>> = []
          const section = Effect.scoped(Effect.gen(function*() {
            const { fence, verify } = yield* FileLock.acquire(path)
            assert.strictEqual(++inside, 1)
            fences.push(fence)
            yield* verify
            yield* Effect.sleep(1)
            inside -= 1
          }))
          yield* Effect.forEach(
            programs,
            (program) =>
              Effect.provide(
                Effect.forEach([0, 1, 2], () => Effect.repeatN(section, 6), { concurrency: "unbounded" }),
                program
              ),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(fences.length, 63)
          const numbers = fences.flatMap(Option.toArray)
          assert.strictEqual(numbers.length, promises.fences ? 63 : 0)
          assert.isTrue(numbers.every((fence, index) => index === 0 || fence > (numbers[index - 1] ?? 0n)))
          yield* until(isFree)
        })
      )

      test(
        promises.ordered
          ? "hands the lock over first come, first served"
          : "hands the lock to each that waits, in some order",
        inOrder(Effect.gen(function*() {
          const { first, path, programs } = yield* start(5)
          const mayLeave = yield* Deferred.make<void>()
          const order: Array<number> = []
          const holder = yield* hold(path, first, Deferred.await(mayLeave))
          const waiters = yield* Effect.forEach(programs.slice(1), (program, index) =>
            Effect.zipLeft(
              Effect.fork(Effect.provide(FileLock.withLock(Effect.sync(() => order.push(index)), path), program)),
              promises.waiters
                ? until(Effect.map(
                  Effect.orDie(Effect.provide(FileLock.inspect(path), first)),
                  Option.exists(({ waiters }) => waiters.length > index)
                ))
                : Effect.sleep(20)
            ))
          yield* Deferred.succeed(mayLeave, undefined)
          yield* Fiber.join(holder)
          yield* Fiber.joinAll(waiters)
          assert.deepStrictEqual(promises.ordered ? order : [...order].sort(), [0, 1, 2, 3])
        }))
      )

      test(
        promises.shared ? "lets shared holders in together" : "grants a shared lock as an exclusive one, and says so",
        Effect.gen(function*() {
          const { first, path, programs: [, , third = Context.empty() as never], second } = yield* start(3)
          yield* Effect.scoped(Effect.gen(function*() {
            const { mode } = yield* Effect.provide(FileLock.acquire(path, { mode: "shared" }), first)
            assert.strictEqual(mode, promises.shared ? "shared" : "exclusive")
            const other = yield* Effect.provide(FileLock.acquireIfAvailable(path, { mode: "shared" }), second)
            assert.strictEqual(Option.isSome(other), promises.shared)
            const writer = yield* Effect.provide(FileLock.acquireIfAvailable(path), third)
            assert.isTrue(Option.isNone(writer))
            const status = Option.getOrThrow(yield* Effect.provide(FileLock.inspect(path), third))
            assert.strictEqual(status.mode, promises.shared ? "shared" : "exclusive")
          }))
          yield* Effect.provide(FileLock.withLock(Effect.void, path, { timeout: "5 seconds" }), third)
        })
      )

      test(
        "names the holder to those that it refuses",
        Effect.gen(function*() {
          const { first, path, second } = yield* start(2)
          const holder = yield* hold(path, first, Effect.never)
          const once = yield* Effect.flip(Effect.provide(Effect.scoped(FileLock.acquire(path, { timeout: 0 })), second))
          assert.propertyVal(once, "reason", "Timeout")
          assert.include(once.message, "is taken: held for")
          assert.include(once.message, "(\"the holder\")")
          const later = yield* Effect.flip(
            Effect.provide(Effect.scoped(FileLock.acquire(path, { timeout: 100 })), second)
          )
          assert.include(later.message, "Timed out after")
          assert.include(later.message, "(\"the holder\")")
          const status = Option.getOrThrow(yield* Effect.provide(FileLock.inspect(path), second))
          assert.strictEqual(status.state, "held")
          assert.strictEqual(status.holders[0]?.label, "the holder")
          yield* Fiber.interrupt(holder)
          assert.isTrue(Option.isNone(yield* Effect.provide(FileLock.inspect(path), second)))
        })
      )

      test(
        promises.waiters ? "names those that wait" : "does not name those that wait",
        Effect.gen(function*() {
          const { first, path, second } = yield* start(2)
          const holder = yield* hold(path, first, Effect.never)
          const waiter = yield* Effect.fork(
            Effect.provide(FileLock.withLock(Effect.void, path, { label: "the waiter" }), second)
          )
          const waiting = Effect.map(
            Effect.orDie(Effect.provide(FileLock.inspect(path), first)),
            (status) => Option.getOrThrow(status).waiters.map(({ label }) => label)
          )
          if (promises.waiters) yield* until(Effect.map(waiting, (labels) => labels.includes("the waiter")))
          else {
            yield* Effect.sleep(50)
            assert.deepStrictEqual(yield* waiting, [])
          }
          yield* Fiber.interrupt(holder)
          yield* Fiber.join(waiter)
        })
      )

      test(
        "interrupts the body when the lock is taken away, and grants it again",
        Effect.gen(function*() {
          const { first, isFree, path, second, takeAway } = yield* start(2)
          const holder = yield* hold(path, first, Effect.never)
          yield* takeAway
          const exit = yield* Fiber.join(holder)
          const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.failureOption(exit.cause)) : undefined
          assert.propertyVal(error, "_tag", "LockLostError")
          yield* Effect.provide(FileLock.withLock(Effect.void, path, { timeout: "10 seconds" }), second)
          yield* until(isFree)
        })
      )

      test(
        promises.breaksLive
          ? "breaks the lock of exactly the named holder"
          : "does not break the lock of a live holder",
        Effect.gen(function*() {
          const { first, path, second } = yield* start(2)
          const holder = yield* hold(path, first, Effect.never)
          const [owner] = Option.getOrThrow(yield* Effect.provide(FileLock.inspect(path), second)).holders
          if (owner === undefined) return yield* Effect.dieMessage("no holder")
          const breakLock = (token: string) => Effect.provide(FileLock.breakLock(path, { ...owner, token }), second)
          assert.isFalse(yield* breakLock("another-token"))
          if (promises.breaksLive) {
            assert.isTrue(yield* breakLock(owner.token))
            assert.isTrue(Exit.isFailure(yield* Fiber.join(holder)))
            assert.isFalse(yield* breakLock(owner.token))
          } else {
            assert.propertyVal(yield* Effect.flip(breakLock(owner.token)), "_tag", "LockAcquisitionError")
            yield* Fiber.interrupt(holder)
          }
        })
      )

      test(
        "re-enters a lock that the fiber has, and refuses at once what would wait for itself",
        Effect.gen(function*() {
          const { first, path } = yield* start(1)
          const nested = FileLock.withLock(Effect.succeed("inside"), path)
          assert.strictEqual(yield* Effect.provide(FileLock.withLock(nested, path), first), "inside")
          const again = Effect.flip(Effect.scoped(FileLock.acquire(path)))
          const error = yield* Effect.provide(FileLock.withLock(again, path), first)
          assert.propertyVal(error, "reason", "Deadlock")
        })
      )

      test(
        "takes several locks in one order, whatever the order of their paths",
        Effect.gen(function*() {
          const { path, pathOf, programs } = yield* start(2)
          const paths = [path, pathOf(`file-${++names}`), pathOf(`file-${++names}`)]
          yield* Effect.forEach(programs, (program, index) =>
            Effect.provide(
              Effect.repeatN(FileLock.withLocks(Effect.void, index === 0 ? paths : [...paths].reverse()), 5),
              program
            ), { concurrency: "unbounded" })
        })
      )

      test(
        "releases whatever becomes of the body",
        Effect.gen(function*() {
          const { first, isFree, path } = yield* start(1)
          const locked = <A, E>(body: Effect.Effect<A, E>) =>
            Effect.exit(Effect.provide(FileLock.withLock(body, path), first))
          assert.isTrue(Exit.isSuccess(yield* locked(Effect.void)))
          assert.isTrue(yield* isFree)
          assert.isTrue(Exit.isFailure(yield* locked(Effect.fail("no"))))
          assert.isTrue(yield* isFree)
          assert.isTrue(Exit.isFailure(yield* locked(Effect.die("no"))))
          assert.isTrue(yield* isFree)
          const holder = yield* hold(path, first, Effect.never)
          yield* Fiber.interrupt(holder)
          assert.isTrue(yield* isFree)
        })
      )

      test(
        "leaves nothing, whenever an acquisition is interrupted",
        Effect.gen(function*() {
          const { first, isFree, path, second } = yield* start(2)
          for (let index = 0; index < 40; index++) {
            const holder = index % 2 === 0 ? yield* hold(path, first, Effect.never) : undefined
            const waiter = yield* Effect.fork(Effect.provide(FileLock.withLock(Effect.sleep(1), path), second))
            yield* Effect.sleep((index * 0.7) % 9)
            yield* Fiber.interruptFork(waiter)
            if (holder !== undefined) yield* Fiber.interrupt(holder)
            yield* Fiber.await(waiter)
          }
          yield* until(isFree)
          yield* Effect.provide(FileLock.withLock(Effect.void, path, { timeout: "5 seconds" }), first)
        })
      )

      test(
        "keeps a lock until its scope is closed, and says so",
        Effect.gen(function*() {
          const { first, isFree, path } = yield* start(1)
          const scope = yield* Scope.make()
          const handle = yield* Scope.extend(Effect.provide(FileLock.acquire(path), first), scope)
          assert.isTrue(yield* handle.isHeld)
          assert.isFalse(yield* isFree)
          yield* Scope.close(scope, Exit.void)
          assert.isFalse(yield* handle.isHeld)
          assert.isTrue(yield* isFree)
        })
      )

      test(
        "lets a thousand fibers of a program in, one after the other",
        Effect.gen(function*() {
          const { first, path } = yield* start(1)
          let count = 0
          yield* Effect.provide(
            Effect.forEach(
              Array.from({ length: 1000 }),
              () =>
                FileLock.withLock(
                  Effect.suspend(() => {
                    const before = count
                    return Effect.map(Effect.yieldNow(), () => {
                      count = before + 1
                    })
                  }),
                  path
                ),
              { concurrency: "unbounded", discard: true }
            ),
            first
          )
          assert.strictEqual(count, 1000)
        })
      )

      test(
        "refuses what is no path",
        Effect.gen(function*() {
          const { first } = yield* start(1)
          for (const path of ["", "a\0b"]) {
            const error = yield* Effect.flip(Effect.provide(Effect.scoped(FileLock.acquire(path)), first))
            assert.propertyVal(error, "reason", "InvalidPath")
          }
        })
      )
    })
  })
}

it("runs over every engine", () => {
  assert.deepStrictEqual(Engine.engines.map(({ name }) => name), ["lock files", "flock", "PostgreSQL", "Redis"])
})
