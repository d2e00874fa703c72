import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as V8 from "node:v8"
import * as Vm from "node:vm"
import * as FileLock from "../../../src/FileLock.js"
import * as LockBackend from "../../../src/LockBackend.js"
import { makeHolder } from "../../utils/records.js"

const collectGarbage = (): void => {
  V8.setFlagsFromString("--expose-gc")
  Vm.runInNewContext("gc")()
}

/** An engine whose grants keep the fiber that renewed them. */
const layer = (grants: Array<WeakRef<LockBackend.Grant>>) =>
  Layer.succeed(
    LockBackend.LockBackend,
    LockBackend.fromTryAcquire({
      canonical: (path) => Exit.succeed({ path, lockPath: `${path}.lock` }),
      tryAcquire: () =>
        Effect.map(Effect.forkDaemon(Effect.interruptible(Effect.never)), (renewal) => {
          const grant: LockBackend.Grant = {
            holder: makeHolder(),
            mode: "exclusive",
            fence: Option.none(),
            recovered: false,
            verify: Effect.asVoid(Fiber.poll(renewal)),
            release: Effect.asVoid(Fiber.interrupt(renewal))
          }
          grants.push(new WeakRef(grant))
          return Option.some(grant)
        }),
      inspect: () => Effect.succeedNone,
      breakLock: () => Effect.succeed(false)
    })
  )

it.live("a fiber that takes one lock after the other keeps nothing of those that are over", () => {
  const grants: Array<WeakRef<LockBackend.Grant>> = []
  return Effect.gen(function*() {
    yield* Effect.repeatN(FileLock.withLock(Effect.void, "file"), 99)
    yield* Effect.sleep(10)
    collectGarbage()
    assert.strictEqual(grants.length, 100)
    assert.isBelow(grants.filter((grant) => grant.deref() !== undefined).length, 10)
  }).pipe(Effect.provide(Layer.provide(FileLock.layerBackend(), layer(grants))))
})
