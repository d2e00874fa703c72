import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { MemoryNetwork } from "../../../src/internal/handover/memoryChannel.js"
import * as Tokens from "../../../src/internal/process/tokens.js"
import type * as ProcessIdentity from "../../../src/ProcessIdentity.js"
import { distanceOf } from "../../utils/killPoints.js"
import { path, play, type Scene } from "../../utils/Scene.js"

const distance = distanceOf(2)

/** A process that acquires locks for another one, and that one. */
const pair = ({ machine }: Scene) =>
  Effect.map(Effect.all([machine.spawn(), machine.spawn()]), ([own, other]) => {
    const { pid, startTime } = other.info
    const identity: ProcessIdentity.ProcessIdentity = { ...own, self: own.info, info: { ...own.info, pid, startTime } }
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
      for (let index = 0; stopped; index += distance) {
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

  it.effect("is in use as long as either process lives, for whoever can see or ask one of them", () =>
    play(({ machine }) =>
      Effect.gen(function*() {
        const network = new MemoryNetwork()
        const { info } = yield* machine.spawn()
        const refusalIsProof = true
        let inTable: ProcessIdentity.Liveness = "alive"
        interface Process {
          readonly pid: number
          readonly startTime: string
        }
        const start = (instance: string, pidNamespace: string, net: string, own?: Process, behalfOf?: Process) =>
          Tokens.toIdentity({
            info: { ...info, ...own, instance, pidNamespace },
            behalfOf,
            tokens: Tokens.make(instance),
            bootedAt: 0,
            inProcessTable: () => inTable,
            channel: network.join(instance),
            network: net,
            refusalIsProof
          })
        const other = { pid: info.pid + 1, startTime: "1" }
        const own = start("own", "pid:[1]", "net:[1]", undefined, other)
        const record = { token: yield* own.issueToken, ...own.info }
        const beside = start("beside", "pid:[1]", "net:[1]")
        const observers = [
          beside,
          start("sees", "pid:[1]", "net:[2]"),
          start("asks", "pid:[2]", "net:[1]"),
          start("itself", "pid:[1]", "net:[1]", other)
        ]
        const look = Effect.forEach(observers, (observer) => observer.isAlive(record))
        assert.deepStrictEqual(yield* look, ["alive", "alive", "alive", "alive"])
        inTable = "dead"
        assert.deepStrictEqual(yield* look, ["unknown", "dead", "alive", "alive"])
        // What cannot wait goes by the table.
        assert.strictEqual(Effect.runSync(beside.isAlive(record)), "dead")
        network.close("own")
        assert.deepStrictEqual(yield* look, ["dead", "dead", "unknown", "alive"])
        inTable = "alive"
        assert.deepStrictEqual(yield* look, ["alive", "alive", "unknown", "alive"])
        // Without start times it may be another process that had this pid.
        const nameless = { ...other, startTime: "" }
        const late = start("late", "pid:[1]", "net:[1]", nameless)
        assert.strictEqual(yield* late.isAlive({ ...record, ...nameless }), "unknown")
      })
    ))
})
