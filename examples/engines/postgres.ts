import * as PgClient from "@effect/sql-pg/PgClient"
import { Config, Console, Effect, Layer } from "effect"
import * as FileLock from "effect-filelock/FileLock"
import * as PostgresBackend from "effect-filelock/PostgresBackend"

/** Creates the table of the program, whichever host comes first. The other hosts wait until it is there. */
const migrate = (host: string) =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const tables = yield* sql`select 1 from information_schema.tables where table_name = 'invoice'`
    if (tables.length > 0) return yield* Console.log(`${host} finds the table`)
    yield* sql`create table invoice (id int primary key)`
    yield* Console.log(`${host} has created the table`)
  }).pipe(FileLock.withLock("app/migration", { timeout: "1 minute", label: host }))

const Database = PgClient.layerConfig({ url: Config.redacted("DATABASE_URL") })
const Locks = FileLock.layerBackend().pipe(Layer.provide(PostgresBackend.layer))

/** A host has connections of its own, and no file in common with the other ones. */
const onHost = (host: string) => Effect.provide(migrate(host), Layer.fresh(Layer.provideMerge(Locks, Database)))

export const main = Effect.all([onHost("host a"), onHost("host b")], { concurrency: "unbounded" })
