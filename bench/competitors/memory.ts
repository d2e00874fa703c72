/**
 * Competitors that exclude within one process only, and one that does not exclude at all.
 */
import * as Effect from "effect/Effect"
import * as Competitor from "../Competitor.js"
import type * as Peers from "./peers.js"

/** No lock: the cost of the fibers alone. */
export const nothing = (): Competitor.Competitor => ({
  exclusively: (_path, body) => body(),
  loop: async (_path, next, body) => {
    while (next()) body()
  },
  fibers: (_path, size) => Effect.runPromise(Competitor.runFibers(size, Effect.void))
})

/** `Semaphore` of Effect. */
export const semaphore = (): Competitor.Competitor => {
  const one = Effect.unsafeMakeSemaphore(1).withPermits(1)
  return {
    exclusively: (_path, body) => Effect.runPromise(one(Effect.promise(body))),
    loop: (_path, next, body) =>
      Effect.runPromise(Effect.whileLoop({ while: next, body: () => one(Effect.sync(body)), step: () => {} })),
    fibers: (_path, size) => Effect.runPromise(Competitor.runFibers(size, one(Effect.void)))
  }
}

/** `async-mutex`. */
export const asyncMutex = ({ Mutex }: Peers.AsyncMutex): Competitor.Competitor => {
  const mutex = new Mutex()
  return Competitor.fromAcquire(async () => {
    const release = await mutex.acquire()
    return async () => release()
  })
}
