/**
 * This package, as a program uses it: the default layer on Node's file system.
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as FileLock from "../../src/FileLock.js"
import * as Platform from "../../test/torture/Platform.js"
import * as Contestant from "../Contestant.js"

/** One runtime for as long as the process lives; the loops run inside it. */
export const make = (): Contestant.Contestant => {
  const runtime = ManagedRuntime.make(Layer.provide(FileLock.layer, Platform.layer))
  return {
    exclusively: (path, body) =>
      runtime.runPromise(FileLock.withLock(Effect.promise(body), path, { timeout: "infinity" })),
    cycle: (path, times) =>
      runtime.runPromise(Effect.gen(function*() {
        for (let i = 0; i < times; i++) yield* FileLock.withLock(Effect.void, path)
      })),
    crowd: (path, size) => runtime.runPromise(Contestant.crowdOf(size, FileLock.withLock(Effect.void, path)))
  }
}
