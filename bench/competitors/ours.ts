/**
 * This package, as a program uses it: each of its two layers with the default settings.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as FileLock from "../../src/FileLock.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"
import * as Competitor from "../Competitor.js"

/** The runtime lives as long as the process. The loop runs inside the runtime. */
export const make = (layer: Layer.Layer<FileLock.FileLock>): Competitor.Competitor => {
  const runtime = ManagedRuntime.make(layer)
  return {
    exclusively: (path, body) =>
      runtime.runPromise(FileLock.withLock(Effect.promise(body), path, { timeout: "infinity" })),
    loop: (path, next, body) =>
      runtime.runPromise(Effect.whileLoop({
        while: next,
        body: () => FileLock.withLock(Effect.sync(body), path),
        step: () => {}
      })),
    fibers: (path, size) => runtime.runPromise(Competitor.runFibers(size, FileLock.withLock(Effect.void, path)))
  }
}

/** `NodeFileLock.layer`. */
export const node = (): Competitor.Competitor => make(NodeFileLock.layer)

/** `FileLock.layer` over `NodeContext.layer`. */
export const anyFileSystem = (): Competitor.Competitor => make(Layer.provide(FileLock.layer, NodeContext.layer))
