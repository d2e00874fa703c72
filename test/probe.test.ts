import { assert, describe, it } from "@effect/vitest"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Probe from "../src/internal/lockFile/probe.js"
import type { LockHolder } from "../src/LockHolder.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import { makeHolder } from "./utils/records.js"
import * as Simulation from "./utils/Simulation.js"

/** A probe, and the processes that it asks for, which are alive until they are killed. */
const makeScene = Effect.gen(function*() {
  const machine = yield* ProcessIdentity.makeMachine()
  const identity = yield* machine.spawn()
  const base = yield* Effect.clock
  let asked = 0
  let sleeping = 0
  const clock: Clock.Clock = {
    ...base,
    unsafeCurrentTimeMillis: () => base.unsafeCurrentTimeMillis(),
    unsafeCurrentTimeNanos: () => base.unsafeCurrentTimeNanos(),
    sleep: (duration) =>
      Effect.acquireUseRelease(
        Effect.sync(() => void sleeping++),
        () => base.sleep(duration),
        () => Effect.sync(() => void sleeping--)
      )
  }
  const probe = Probe.make({
    ...identity,
    isAlive: (claim) =>
      Effect.suspend(() => {
        asked++
        return identity.isAlive(claim)
      })
  })
  return {
    /** How often it asked for the life of anybody. */
    asked: () => asked,
    /** How many timers of it are set. */
    timers: () => sleeping,
    hurry: Effect.withClock(probe.hurry, clock),
    /** A process that has a lock. */
    own: Effect.map(machine.spawn(), (owner) => ({
      holder: makeHolder(owner.info),
      kill: machine.kill(owner)
    })),
    /** Waits for the death of an owner. */
    mourn: (owner: LockHolder) =>
      Effect.gen(function*() {
        let toldAt: number | undefined
        const mourner: Probe.Mourner = {
          owner,
          tell: () => {
            toldAt ??= base.unsafeCurrentTimeMillis()
          }
        }
        const scope = yield* Scope.make()
        yield* probe.register(mourner).pipe(Scope.extend(scope), Effect.withClock(clock))
        return { toldAt: () => toldAt, leave: Scope.close(scope, Exit.void) }
      })
  }
})

/** Lets everybody go on who can, while no time passes. */
const settle = Effect.repeatN(Effect.yieldNow(), 20)

const now = Effect.map(Effect.clock, (clock) => clock.unsafeCurrentTimeMillis())

/** Kills an owner, and tells how many milliseconds later that is noticed. */
const untilNoticed = (
  owner: { readonly kill: Effect.Effect<void> },
  mourner: { readonly toldAt: () => number | undefined }
) =>
  Effect.gen(function*() {
    assert.isUndefined(mourner.toldAt())
    yield* owner.kill
    const killedAt = yield* now
    yield* Effect.sleep("5 seconds")
    return (mourner.toldAt() ?? Infinity) - killedAt
  })

describe("The death of an owner", () => {
  it.effect("is noticed in time, however often others of the process begin to wait for somebody else", () =>
    Effect.gen(function*() {
      const { hurry, mourn, own } = yield* makeScene
      const owner = yield* own
      const mourner = yield* mourn(owner.holder)
      const hurrying = yield* Effect.fork(Effect.forever(Effect.zipRight(Effect.sleep("2 millis"), hurry)))
      yield* Effect.sleep("1 second")
      assert.isAtMost(yield* untilNoticed(owner, mourner), 10)
      yield* Fiber.interrupt(hurrying)
      yield* mourner.leave
    }).pipe(Simulation.run))

  it.effect("is noticed soon by whoever begins to wait beside one who has waited for long", () =>
    Effect.gen(function*() {
      const { mourn, own } = yield* makeScene
      const old = yield* mourn((yield* own).holder)
      yield* Effect.sleep("10 seconds")
      const owner = yield* own
      const fresh = yield* mourn(owner.holder)
      assert.isAtMost(yield* untilNoticed(owner, fresh), 10)
      yield* Effect.all([old.leave, fresh.leave])
    }).pipe(Simulation.run))

  it.effect("is asked for ever less often, and noticed all the same", () =>
    Effect.gen(function*() {
      for (const waited of [10, 60]) {
        const { asked, mourn, own } = yield* makeScene
        const owner = yield* own
        const mourner = yield* mourn(owner.holder)
        yield* Effect.sleep("200 millis")
        assert.approximately(asked(), 40, 2)
        const before = asked()
        yield* Effect.sleep(`${waited} seconds`)
        assert.isAtMost(asked() - before, waited * 30)
        assert.isAtMost(yield* untilNoticed(owner, mourner), 100)
        yield* mourner.leave
      }
    }).pipe(Simulation.run))

  it.effect("is asked for by nobody once the last one who waited has gone", () =>
    Effect.gen(function*() {
      const { asked, mourn, own, timers } = yield* makeScene
      assert.strictEqual(timers(), 0)
      const first = yield* mourn((yield* own).holder)
      const second = yield* mourn((yield* own).holder)
      yield* Effect.sleep("1 second")
      assert.strictEqual(timers(), 1)
      yield* first.leave
      yield* settle
      assert.strictEqual(timers(), 1)
      yield* second.leave
      yield* settle
      assert.strictEqual(timers(), 0)
      const before = asked()
      yield* Effect.sleep("1 second")
      assert.strictEqual(asked(), before)
    }).pipe(Simulation.run))
})
