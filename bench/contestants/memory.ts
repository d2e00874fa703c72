/**
 * What excludes within one process only, and what does not exclude at all.
 */
import * as Effect from "effect/Effect"
import * as Contestant from "../Contestant.js"
import type * as Peers from "./peers.js"

/** No lock: what the fibers cost by themselves. */
export const nothing = (): Contestant.Contestant => ({
  exclusively: (_path, body) => body(),
  cycle: () => Promise.resolve(),
  crowd: (_path, size) => Effect.runPromise(Contestant.crowdOf(size, Effect.void))
})

/** Effect's own. */
export const semaphore = (): Contestant.Contestant => {
  const one = Effect.unsafeMakeSemaphore(1).withPermits(1)
  return {
    exclusively: (_path, body) => Effect.runPromise(one(Effect.promise(body))),
    cycle: (_path, times) => Effect.runPromise(Effect.repeatN(one(Effect.void), times - 1)),
    crowd: (_path, size) => Effect.runPromise(Contestant.crowdOf(size, one(Effect.void)))
  }
}

/** `async-mutex`. */
export const asyncMutex = ({ Mutex }: Peers.AsyncMutex): Contestant.Contestant => {
  const mutex = new Mutex()
  return Contestant.fromAcquire(async () => {
    const release = await mutex.acquire()
    return async () => release()
  })
}
