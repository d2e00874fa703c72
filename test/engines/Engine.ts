/**
 * The engines that one suite runs over: what each promises, how to start what it needs, and how to look at its locks from outside.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Redis } from "ioredis"
import * as Fs from "node:fs"
import * as FileLock from "../../src/FileLock.js"
import * as FlockBackend from "../../src/FlockBackend.js"
import * as PostgresBackend from "../../src/PostgresBackend.js"
import * as ProcessIdentity from "../../src/ProcessIdentity.js"
import * as RedisBackend from "../../src/RedisBackend.js"
import * as Postgres from "../servers/postgres.js"
import * as RedisServer from "../servers/redis.js"
import * as TemporaryDirectory from "../torture/TemporaryDirectory.js"

/** What an engine does, or does not do; the suite asserts either. */
export interface Promises {
  /** Each grant has a number, larger than that of the grant before. Otherwise none has one. */
  readonly fences: boolean
  /** Shared holders are inside together. Otherwise a shared lock is granted as an exclusive one, which says so. */
  readonly shared: boolean
  /** Programs get the lock in the order in which they have asked for it. Otherwise each gets it at some time. */
  readonly ordered: boolean
  /** `inspect` names those that wait. Otherwise it names none. */
  readonly waiters: boolean
  /** `breakLock` takes the lock from a live holder. Otherwise it fails and says why. */
  readonly breaksLive: boolean
}

/** One engine on its server, or in its directory. */
export interface Ground {
  /** The locks of one more program. */
  readonly program: Effect.Effect<Context.Context<FileLock.FileLock>, never, Scope.Scope>
  /** The path of a lock. */
  readonly pathOf: (name: string) => string
  /** Whether nothing is left of a lock, seen without the package. */
  readonly isFree: (path: string) => Effect.Effect<boolean>
  /** Takes a lock away from its holder, without the package. */
  readonly takeAway: (path: string) => Effect.Effect<void>
  /** The address of the server. */
  readonly server?: string
}

/** An engine. */
export interface Engine {
  readonly name: string
  /** Whether what it needs is there. */
  readonly isInstalled: boolean
  readonly promises: Promises
  readonly start: Effect.Effect<Ground, never, Scope.Scope>
}

const inDirectory = (
  program: (directory: string) => Ground["program"]
): Effect.Effect<Ground, never, Scope.Scope> =>
  Effect.map(TemporaryDirectory.make("engine"), (directory): Ground => ({
    program: program(directory),
    pathOf: (name) => `${directory}/${name}`,
    isFree: (path) => Effect.sync(() => !Fs.existsSync(`${path}.lock`)),
    takeAway: (path) => Effect.sync(() => Fs.unlinkSync(`${path}.lock`))
  }))

/** Lock files over the services of Node; each program is another process of one machine. */
export const lockFiles: Engine = {
  name: "lock files",
  isInstalled: true,
  promises: { fences: false, shared: true, ordered: true, waiters: true, breaksLive: true },
  start: Effect.flatMap(
    ProcessIdentity.makeMachine(),
    (machine) =>
      inDirectory(() =>
        Effect.flatMap(machine.spawn(), (process) =>
          Layer.build(
            Layer.fresh(FileLock.layerWith({ lease: "3 seconds" })).pipe(
              Layer.provide(NodeContext.layer),
              Layer.provide(Layer.succeed(ProcessIdentity.ProcessIdentity, process))
            )
          ))
      )
  )
}

export const flock: Engine = {
  name: "flock",
  isInstalled: true,
  promises: { fences: false, shared: true, ordered: false, waiters: false, breaksLive: false },
  start: inDirectory(() => Layer.build(FileLock.layerBackend().pipe(Layer.provide(Layer.fresh(FlockBackend.layer)))))
}

export const postgres: Engine = {
  name: "PostgreSQL",
  isInstalled: Postgres.isInstalled,
  promises: { fences: true, shared: true, ordered: true, waiters: true, breaksLive: true },
  start: Effect.map(Postgres.make(), ({ psql, url }): Ground => {
    const locks = (select: string) => psql(`select ${select} from pg_locks where locktype = 'advisory'`)
    return {
      server: url,
      program: Layer.build(
        FileLock.layerBackend().pipe(Layer.provide(PostgresBackend.layerConnection({ url: Redacted.make(url) })))
      ),
      pathOf: (name) => name,
      isFree: () => Effect.sync(() => locks("count(*)") === "0"),
      takeAway: () => Effect.sync(() => void locks("pg_terminate_backend(pid)"))
    }
  })
}

export const redis: Engine = {
  name: "Redis",
  isInstalled: RedisServer.isInstalled,
  promises: { fences: true, shared: false, ordered: false, waiters: false, breaksLive: true },
  start: Effect.gen(function*() {
    const { url } = yield* RedisServer.make()
    const connect = Effect.acquireRelease(
      Effect.sync(() => new Redis(url)),
      (client) => Effect.promise(() => client.quit())
    )
    const outside = yield* connect
    const keyOf = (path: string) => `{effect-filelock:${path}}`
    return {
      server: url,
      program: Effect.flatMap(connect, (client) =>
        Layer.build(
          FileLock.layerBackend().pipe(
            Layer.provide(RedisBackend.layerWith({ lease: "3 seconds" })),
            Layer.provide(Layer.succeed(RedisBackend.RedisClient, RedisBackend.fromIoredis(client)))
          )
        )),
      pathOf: (name) => name,
      isFree: (path) => Effect.promise(async () => await outside.exists(keyOf(path)) === 0),
      takeAway: (path) => Effect.promise(() => outside.del(keyOf(path)))
    } satisfies Ground
  })
}

/** Each of them. */
export const engines: ReadonlyArray<Engine> = [lockFiles, flock, postgres, redis]
