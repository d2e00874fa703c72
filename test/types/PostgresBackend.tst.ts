import { PgClient } from "@effect/sql-pg"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import type * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { expect, test } from "tstyche"
import * as FileLock from "../../src/FileLock.js"
import type { LockBackend } from "../../src/LockBackend.js"
import * as PostgresBackend from "../../src/PostgresBackend.js"

const url = Redacted.make("postgres://localhost/locks")

test("layer and layerWith take the parameters of PgClient", () => {
  expect(PostgresBackend.layer).type.toBe<Layer.Layer<LockBackend, never, PgClient.PgClient>>()
  expect(PostgresBackend.layerWith({ lease: "10 seconds", pooler: "session" })).type.toBe<
    Layer.Layer<LockBackend, never, PgClient.PgClient>
  >()
})

test("layerConnection and make need no PgClient", () => {
  expect(PostgresBackend.layerConnection({ url })).type.toBe<Layer.Layer<LockBackend>>()
  expect(PostgresBackend.layerConnection({ url }, { maxSessions: 5 })).type.toBe<Layer.Layer<LockBackend>>()
  expect(PostgresBackend.make({ url })).type.toBe<
    Effect.Effect<Context.Tag.Service<LockBackend>, never, Scope.Scope>
  >()
})

test("options", () => {
  expect(PostgresBackend.layerWith).type.toBeCallableWith({})
  expect(PostgresBackend.layerWith).type.toBeCallableWith({ namespace: undefined, sequence: "locks.fence" })
  expect(PostgresBackend.layerWith).type.not.toBeCallableWith({ pooler: "transaction" })
  expect(PostgresBackend.layerWith).type.not.toBeCallableWith({ lease: "long" })
  expect(PostgresBackend.layerWith).type.not.toBeCallableWith({ pool: 5 })
  expect(PostgresBackend.layerConnection).type.not.toBeCallableWith({ url: "postgres://localhost/locks" })
})

test("FileLock over it needs PgClient, and fails as the layer of PgClient does", () => {
  const locks = Layer.provide(FileLock.layerBackend(), PostgresBackend.layer)
  expect(locks).type.toBe<Layer.Layer<FileLock.FileLock, never, PgClient.PgClient>>()
  const client = PgClient.layerConfig({ url: Config.redacted("DATABASE_URL") })
  expect(Layer.provide(locks, client)).type.toBe<
    Layer.Layer<FileLock.FileLock, ConfigError | Layer.Layer.Error<typeof client>>
  >()
})
