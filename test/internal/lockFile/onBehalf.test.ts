import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { ProcessIdentity } from "../../../src/ProcessIdentity.js"
import { path, play, type Scene } from "../../utils/Scene.js"

/** A process that acquires locks for another one, and that one. */
const pair = ({ machine }: Scene) =>
  Effect.map(Effect.all([machine.spawn(), machine.spawn()]), ([own, other]) => {
    const { pid, startTime } = other.info
    const identity: ProcessIdentity = { ...own, self: own.info, info: { ...own.info, pid, startTime } }
    return { identity, other, own }
  })

describe("A lock that is acquired on behalf of another process", () => {
  it.effect("stays with the other process when the one that has acquired it is killed", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { identity, other, own } = yield* pair(scene)
        const [holder, next] = yield* Effect.all([scene.join({ identity }), scene.join()])
        yield* Effect.forkDaemon(holder.run(holder.locks.withLock(Effect.never, path)))
        yield* Effect.sleep("1 second")
        yield* scene.machine.kill(own)
        yield* holder.suspend
        // Longer than a lease.
        const early = yield* Effect.flip(next.enter("next", { timeout: "45 seconds" }))
        assert.include(String(early), `by pid ${other.info.pid}`)
        yield* scene.machine.kill(other)
        yield* next.enter("next", { timeout: 0 })
      })
    ))

  it.effect("takes nothing from its next holder at its release, if the other process has ended before", () =>
    Effect.gen(function*() {
      let stopped = true
      for (let index = 0; stopped; index++) {
        stopped = false
        yield* play((scene) =>
          Effect.gen(function*() {
            const { identity, other } = yield* pair(scene)
            const [next, third] = yield* Effect.all([scene.join(), scene.join()])
            let from = Infinity
            const holder = yield* scene.join({
              identity,
              onStep: (step) =>
                Effect.suspend(() => {
                  if (step.index !== from + index) return Effect.yieldNow()
                  stopped = true
                  return Effect.zipRight(
                    Effect.forkDaemon(next.enter("next", { stay: "10 seconds" })),
                    Effect.sleep("1 second")
                  )
                })
            })
            yield* holder.run(holder.locks.withLock(
              Effect.suspend(() => {
                from = holder.steps.length
                return scene.machine.kill(other)
              }),
              path
            )).pipe(Effect.either)
            yield* third.enter("third")
            yield* Effect.sleep("1 minute")
          })
        )
        assert.isBelow(index, 100)
      }
    }))
})
