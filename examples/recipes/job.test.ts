import { Path } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Option, Schedule, TestClock } from "effect"
import { FileLock, MemoryFileSystem } from "effect-filelock"

/** Runs a job each minute. A run is left out while an earlier one goes on, in this process or in another one. */
const eachMinute = <A, E, R>(file: string, job: Effect.Effect<A, E, R>) =>
  FileLock.withLockIfAvailable(job, file, { label: "report" }).pipe(
    Effect.tap(Option.match({
      onSome: () => Effect.void,
      onNone: () => Effect.logDebug(`Left out: ${file} is locked by an earlier run`)
    })),
    Effect.repeat(Schedule.fixed("1 minute"))
  )

it.effect("a run is left out while an earlier one goes on", () =>
  Effect.gen(function*() {
    let running = 0
    let most = 0
    let runs = 0
    const job = Effect.acquireUseRelease(
      Effect.sync(() => {
        runs += 1
        running += 1
        most = Math.max(most, running)
      }),
      () => Effect.sleep("90 seconds"),
      () => Effect.sync(() => running -= 1)
    )
    const schedulers = yield* Effect.fork(
      Effect.all([eachMinute("/report", job), eachMinute("/report", job)], { concurrency: "unbounded" })
    )
    yield* TestClock.adjust("10 minutes")
    yield* Fiber.interrupt(schedulers)
    assert.strictEqual(most, 1)
    assert.isAtLeast(runs, 5)
  }).pipe(
    Effect.provide(FileLock.layer.pipe(Layer.provide(Layer.merge(MemoryFileSystem.layer, Path.layer))))
  ))
