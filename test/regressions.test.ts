/**
 * Bugs that were found by reading, each in its smallest form.
 */
import * as PlatformError from "@effect/platform/Error"
import type { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { path, play } from "./utils/Scene.js"

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
