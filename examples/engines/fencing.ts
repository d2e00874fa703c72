import * as PgClient from "@effect/sql-pg/PgClient"
import { Config, Console, Data, Effect, Layer, Option } from "effect"
import * as FileLock from "effect-filelock/FileLock"
import * as PostgresBackend from "effect-filelock/PostgresBackend"

class TooLate extends Data.TaggedError("TooLate")<{ readonly author: string }> {}

const prepare = Effect.gen(function*() {
  const sql = yield* PgClient.PgClient
  yield* sql`create table if not exists report (id int primary key, body text, fence bigint not null)`
  yield* sql`insert into report values (1, '', 0) on conflict do nothing`
})

/** The resource remembers the largest number that it has seen, and takes nothing with a lower one. */
const write = (author: string, fence: bigint) =>
  Effect.gen(function*() {
    const sql = yield* PgClient.PgClient
    const rows = yield* sql`
      update report set body = ${author}, fence = ${String(fence)}
      where id = 1 and fence <= ${String(fence)} returning body`
    if (rows.length === 0) return yield* new TooLate({ author })
    yield* Console.log(`${author} has written`)
  })

/** Takes the lock, and answers with its number when the lock is given back: so late may a write be that was on its way. */
const numberOfLock = Effect.scoped(
  Effect.map(FileLock.acquire("reports/nightly"), ({ fence }) => Option.getOrThrow(fence))
)

export const program = Effect.gen(function*() {
  yield* prepare
  const early = yield* numberOfLock
  const late = yield* numberOfLock
  yield* write("the second holder", late)
  yield* Effect.catchTag(
    write("the first holder", early),
    "TooLate",
    ({ author }) => Console.log(`${author} was too late`)
  )
})

const Database = PgClient.layerConfig({ url: Config.redacted("DATABASE_URL") })
const Locks = FileLock.layerBackend().pipe(Layer.provide(PostgresBackend.layer))

export const main = Effect.provide(program, Layer.provideMerge(Locks, Database))
