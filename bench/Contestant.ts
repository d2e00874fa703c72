/**
 * What is compared: one way to be alone with a path. The questions know this and no peer.
 */
import * as Effect from "effect/Effect"

/** One way to be alone. Promises, because most peers are made of them: nobody is measured through somebody else's runtime. */
export interface Contestant {
  /** Waits as long as it takes, runs the body, lets go. */
  readonly exclusively: (path: string, body: () => Promise<void>) => Promise<void>
  /** Acquires and releases again and again, with nothing in between. */
  readonly cycle: (path: string, times: number) => Promise<void>
  /** So many fibers want the path at once and have nothing to do with it. */
  readonly crowd: (path: string, size: number) => Promise<void>
}

/** The same fibers for everybody: what differs is only what each of them does. */
export const crowdOf = <E, R>(size: number, each: Effect.Effect<void, E, R>): Effect.Effect<void, E, R> =>
  Effect.forEach(Array.from({ length: size }), () => each, { concurrency: "unbounded", discard: true })

/** Of something that can be acquired and gives back how to release it. */
export const fromAcquire = (acquire: (path: string) => Promise<() => Promise<void>>): Contestant => ({
  exclusively: async (path, body) => {
    const release = await acquire(path)
    try {
      await body()
    } finally {
      await release()
    }
  },
  cycle: async (path, times) => {
    for (let i = 0; i < times; i++) await (await acquire(path))()
  },
  crowd: (path, size) => Effect.runPromise(crowdOf(size, Effect.promise(async () => (await acquire(path))())))
})
