/**
 * What is compared: one way to lock a path. The questions know this interface and no peer.
 */
import * as Effect from "effect/Effect"

/** One way to lock a path. The methods return promises, because most peers do: no peer is measured through Effect's runtime. */
export interface Competitor {
  /** Waits for the lock without a limit, runs the body, and releases the lock. */
  readonly exclusively: (path: string, body: () => Promise<void>) => Promise<void>
  /** Acquires and releases the lock while `next` returns `true`; calls `body` each time the lock is held. */
  readonly loop: (path: string, next: () => boolean, body: () => void) => Promise<void>
  /** Runs `size` fibers at once; each acquires the lock, does nothing, and releases the lock. */
  readonly fibers: (path: string, size: number) => Promise<void>
}

/** Runs `size` fibers. All competitors get the same fibers; only the effect inside differs. */
export const runFibers = <E, R>(size: number, each: Effect.Effect<void, E, R>): Effect.Effect<void, E, R> =>
  Effect.forEach(Array.from({ length: size }), () => each, { concurrency: "unbounded", discard: true })

/** Makes a competitor of a function that acquires a lock and returns its release. */
export const fromAcquire = (acquire: (path: string) => Promise<() => Promise<void>>): Competitor => ({
  exclusively: async (path, body) => {
    const release = await acquire(path)
    try {
      await body()
    } finally {
      await release()
    }
  },
  loop: async (path, next, body) => {
    while (next()) {
      const release = await acquire(path)
      body()
      await release()
    }
  },
  fibers: (path, size) => Effect.runPromise(runFibers(size, Effect.promise(async () => (await acquire(path))())))
})
