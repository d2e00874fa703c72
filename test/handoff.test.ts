import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import type { LockOptions } from "../src/FileLock.js"
import { lockPath, path, play, type Process } from "./utils/Scene.js"

const settle = Effect.sleep("100 millis")

/** Lets so many fibers of a process come while one is inside, and answers with the token that each of them held the lock by. */
const tokensOf = (
  actor: Process,
  fibers: number,
  stay: Duration.DurationInput,
  options: (fiber: number) => LockOptions = () => ({})
) =>
  Effect.gen(function*() {
    const { locks, run } = actor
    const tokens = yield* Ref.make<ReadonlyArray<string>>([])
    const gate = yield* Deferred.make<void>()
    const holding = yield* Effect.fork(run(locks.withLock(Deferred.await(gate), path)))
    yield* settle
    const enter = (fiber: number) =>
      Effect.scoped(Effect.gen(function*() {
        const lock = yield* locks.acquire(path, options(fiber))
        yield* Ref.update(tokens, (all) => [...all, lock.holder.token])
        yield* Effect.sleep(stay)
        yield* lock.verify
      }))
    const waiting = yield* Effect.forEach(
      Array.from({ length: fibers }, (_, fiber) => fiber),
      (fiber) => Effect.fork(run(enter(fiber)))
    )
    yield* settle
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.joinAll([holding, ...waiting])
    return yield* Ref.get(tokens)
  })

describe("A hand-off", () => {
  it.effect("brings the lock to all who wait in a process, in turn, by one record", () =>
    play((stage) =>
      Effect.gen(function*() {
        const tokens = yield* tokensOf(yield* stage.join(), 100, 0)
        assert.strictEqual(tokens.length, 100)
        assert.strictEqual(new Set(tokens).size, 1)
        assert.isFalse(yield* stage.fs.exists(lockPath))
      })
    ))

  it.effect("does not happen when it is turned off", () =>
    play((stage) =>
      Effect.gen(function*() {
        const tokens = yield* tokensOf(yield* stage.join({ settings: { handoff: 0 } }), 20, 0)
        assert.strictEqual(new Set(tokens).size, 20)
      })
    ))

  it.effect("ends with its budget, counted from when the record was made", () =>
    play((stage) =>
      Effect.gen(function*() {
        const tokens = yield* tokensOf(yield* stage.join(), 12, "4 millis")
        assert.strictEqual(new Set(tokens).size, 6)
      })
    ))

  it.effect("does not let others see a label that is not the holder's", () =>
    play((stage) =>
      Effect.gen(function*() {
        const tokens = yield* tokensOf(
          yield* stage.join(),
          6,
          0,
          (fiber) => ({ label: fiber < 3 ? "import" : "export" })
        )
        assert.strictEqual(new Set(tokens).size, 2)
      })
    ))

  it.effect("loses nothing with whoever is interrupted at whichever moment of it", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { locks, run } = yield* stage.join({ settings: { handoff: "1 minute" } })
        const other = yield* stage.join()
        for (let moment = 0; moment < 60; moment++) {
          for (const alone of [true, false]) {
            const gate = yield* Deferred.make<void>()
            const holding = yield* Effect.fork(run(locks.withLock(Deferred.await(gate), path)))
            yield* settle
            const first = yield* Effect.fork(run(locks.withLock(Effect.void, path)))
            yield* settle
            const second = alone ? [] : [yield* Effect.fork(run(locks.withLock(Effect.void, path)))]
            yield* settle
            yield* Deferred.succeed(gate, undefined)
            yield* Effect.repeatN(Effect.yieldNow(), moment)
            yield* Fiber.interrupt(first)
            yield* Fiber.joinAll([holding, ...second])
            assert.isFalse(yield* stage.fs.exists(lockPath), `interrupted at moment ${moment}`)
            assert.isTrue(Option.isSome(yield* other.run(other.locks.withLockIfAvailable(Effect.void, path))))
          }
        }
      })
    ))

  it.effect("does not pass on a lock that is lost", () =>
    play((stage) =>
      Effect.gen(function*() {
        const { locks, run } = yield* stage.join({ settings: { handoff: "1 minute" } })
        const gate = yield* Deferred.make<void>()
        const holding = yield* Effect.fork(run(Effect.scoped(Effect.gen(function*() {
          const lock = yield* locks.acquire(path)
          yield* Deferred.await(gate)
          yield* Effect.flip(lock.verify)
        }))))
        yield* settle
        const next = yield* Effect.fork(run(locks.withLock(stage.fs.exists(lockPath), path)))
        yield* settle
        yield* stage.fs.remove(lockPath)
        yield* Deferred.succeed(gate, undefined)
        yield* Fiber.join(holding)
        assert.isTrue(yield* Fiber.join(next), "the next one has a record of its own")
      })
    ))
})
