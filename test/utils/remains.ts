/**
 * What processes leave at a lock's place when they die.
 */
import type { PlatformError } from "@effect/platform/Error"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import type { Stage } from "./FaultScene.js"
import * as Player from "./Player.js"

type Remains = (stage: Stage, lockPath: string) => Effect.Effect<void, PlatformError, Scope.Scope>

/** Lets a process want the lock, and die at its n-th operation of that kind. */
const dieAt = (method: string, nth: number, fault: MemoryFileSystem.Fault): Remains => (stage, lockPath) =>
  Effect.gen(function*() {
    const identity = yield* stage.machine.spawn()
    let calls = 0
    let dead = false
    const fs = yield* MemoryFileSystem.withFaults(yield* stage.view, {
      fault: (operation) => {
        if (operation.method === method) {
          calls++
        }
        return operation.method === method && calls === nth ? fault : undefined
      },
      onCrash: Effect.suspend(() => {
        dead = true
        return stage.machine.kill(identity)
      })
    })
    const player = yield* Player.start(identity, fs)
    yield* Effect.forkDaemon(player.locks.withLock(Effect.void, lockPath.slice(0, -".lock".length)))
    while (!dead) {
      yield* Effect.sleep("1 millis")
    }
  })

/** A whole record of a process that was killed when it wanted to release. */
export const deadHolder: Remains = dieAt("remove", 1, MemoryFileSystem.Fault.Crash())

/** An empty file of a process that was killed between creating and writing. */
export const emptyRecord: Remains = dieAt(
  "writeFileString",
  1,
  MemoryFileSystem.Fault.Crash({ moment: "during", written: 0 })
)

/** A dead holder's record, and the claim of a process that was killed when it wanted to take it over. */
export const deadHolderAndClaim: Remains = (stage, lockPath) =>
  Effect.zipRight(
    deadHolder(stage, lockPath),
    dieAt("rename", 1, MemoryFileSystem.Fault.Crash())(stage, lockPath)
  )

/** A dead holder's record, and the empty claim of a process that was killed while it made it. */
export const deadHolderAndEmptyClaim: Remains = (stage, lockPath) =>
  Effect.zipRight(
    deadHolder(stage, lockPath),
    dieAt("writeFileString", 2, MemoryFileSystem.Fault.Crash({ moment: "during" }))(stage, lockPath)
  )

/** Nothing but a dead process's claim. */
export const deadClaim: Remains = (stage, lockPath) =>
  Effect.zipRight(
    deadHolderAndClaim(stage, lockPath),
    Effect.flatMap(stage.view, (fs) => fs.remove(lockPath))
  )
