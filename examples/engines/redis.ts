import { Console, Effect, Layer } from "effect"
import * as FileLock from "effect-filelock/FileLock"
import * as RedisBackend from "effect-filelock/RedisBackend"
import { Redis } from "ioredis"

const Client = Layer.scoped(
  RedisBackend.RedisClient,
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => new Redis(process.env["REDIS_URL"] ?? "redis://127.0.0.1:6379")),
      (redis) => Effect.sync(() => redis.disconnect())
    ),
    RedisBackend.fromIoredis
  )
)

const Locks = FileLock.layerBackend().pipe(Layer.provide(RedisBackend.layer), Layer.provide(Client))

export const main = Console.log("the only one on all machines").pipe(
  FileLock.withLock("reports/nightly", { timeout: "10 seconds" }),
  Effect.provide(Locks)
)
