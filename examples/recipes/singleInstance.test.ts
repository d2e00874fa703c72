import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Option } from "effect"
import { FileLock, NodeFileLock } from "effect-filelock"

/** Runs a program if no other instance runs. A killed instance does not count. */
const once = <A, E, R>(file: string, program: Effect.Effect<A, E, R>) =>
  FileLock.withLockIfAvailable(program, file, { label: "instance" }).pipe(
    Effect.tap(Option.match({
      onSome: () => Effect.void,
      onNone: () =>
        Effect.flatMap(
          FileLock.inspect(file),
          (status) => Effect.logInfo(`Already running as process ${Option.getOrUndefined(status)?.holders[0]?.pid}`)
        )
    }))
  )

it.scopedLive("a second instance does not start", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const file = `${yield* fs.makeTempDirectoryScoped()}/server`
    const started = yield* Deferred.make<void>()
    const stop = yield* Deferred.make<void>()
    const first = yield* Effect.fork(
      once(file, Effect.zipRight(Deferred.succeed(started, undefined), Deferred.await(stop)))
    )
    yield* Deferred.await(started)
    assert.isTrue(Option.isNone(yield* once(file, Effect.void)))

    yield* Deferred.succeed(stop, undefined)
    yield* Fiber.join(first)
    assert.isTrue(Option.isSome(yield* once(file, Effect.void)))
  }).pipe(Effect.provide(Layer.merge(NodeFileLock.layer, NodeContext.layer))))
