import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Redis } from "ioredis"
import { expect, test } from "tstyche"
import * as FileLock from "../../src/FileLock.js"
import type { LockBackend } from "../../src/LockBackend.js"
import * as RedisBackend from "../../src/RedisBackend.js"

declare const ioredis: Redis
/** A client of `redis` itself is given to it in test/engines: its type takes seconds to check. */
declare const nodeRedis: RedisBackend.NodeRedis

test("the layers need a RedisClient, and cannot fail", () => {
  expect(RedisBackend.layer).type.toBe<Layer.Layer<LockBackend, never, RedisBackend.RedisClient>>()
  expect(RedisBackend.layerWith({ lease: "10 seconds", namespace: "locks" })).type.toBe<
    Layer.Layer<LockBackend, never, RedisBackend.RedisClient>
  >()
  expect(RedisBackend.make()).type.toBe<
    Effect.Effect<Context.Tag.Service<LockBackend>, never, RedisBackend.RedisClient | Scope.Scope>
  >()
})

test("a client of either library makes a RedisClient", () => {
  expect(RedisBackend.fromIoredis(ioredis)).type.toBe<Context.Tag.Service<RedisBackend.RedisClient>>()
  expect(RedisBackend.fromNodeRedis(nodeRedis)).type.toBe<Context.Tag.Service<RedisBackend.RedisClient>>()
  expect(RedisBackend.fromIoredis).type.not.toBeCallableWith(nodeRedis)
  expect(RedisBackend.fromNodeRedis).type.not.toBeCallableWith(ioredis)
})

test("options", () => {
  expect(RedisBackend.layerWith).type.toBeCallableWith({ lease: undefined })
  expect(RedisBackend.layerWith).type.not.toBeCallableWith({ lease: "long" })
  expect(RedisBackend.layerWith).type.not.toBeCallableWith({ sequence: "fence" })
})

test("FileLock over it needs no more than a client", () => {
  const client = Layer.sync(RedisBackend.RedisClient, () => RedisBackend.fromIoredis(ioredis))
  expect(FileLock.layerBackend().pipe(Layer.provide(RedisBackend.layer), Layer.provide(client))).type.toBe<
    Layer.Layer<FileLock.FileLock>
  >()
})
