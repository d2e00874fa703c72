/**
 * The engines that one suite runs over: what each promises, how to start what it needs, and how to look at its locks from outside.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Path from "@effect/platform/Path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Redis } from "ioredis"
import * as Fs from "node:fs"
import * as FileLock from "../../src/FileLock.js"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../../src/ProcessIdentity.js"
import * as Postgres from "../servers/postgres.js"
import * as RedisServer from "../servers/redis.js"
import * as Engines from "../torture/Engines.js"
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
}

/** An engine. */
export interface Engine {
  readonly name: string
  /** Whether what it needs is there. */
  readonly isInstalled: boolean
  readonly promises: Promises
  readonly start: Effect.Effect<Ground, never, Scope.Scope>
  /**
   * The same on a clock that waits for all fibers: where those that do not answer within milliseconds are passed over, a busy machine would
   * decide.
   */
  readonly inSimulatedTime?: Effect.Effect<Ground, never, Scope.Scope>
}

const inDirectory = (program: Ground["program"]): Effect.Effect<Ground, never, Scope.Scope> =>
  Effect.map(TemporaryDirectory.make("engine"), (directory): Ground => ({
    program,
    pathOf: (name) => `${directory}/${name}`,
    isFree: (path) => Effect.sync(() => !Fs.existsSync(`${path}.lock`)),
    takeAway: (path) => Effect.sync(() => Fs.unlinkSync(`${path}.lock`))
  }))

/** Each program is another process of one machine. */
const processes = (platform: Layer.Layer<FileSystem.FileSystem | Path.Path>) =>
  Effect.map(
    ProcessIdentity.makeMachine(),
    (machine): Ground["program"] =>
      Effect.flatMap(machine.spawn(), (process) =>
        Layer.build(
          Layer.fresh(FileLock.layerWith({ lease: "3 seconds" })).pipe(
            Layer.provide(platform),
            Layer.provide(Layer.succeed(ProcessIdentity.ProcessIdentity, process))
          )
        ))
  )

/** Lock files over the services of Node. */
export const lockFiles: Engine = {
  name: "lock files",
  isInstalled: true,
  promises: { fences: false, shared: true, ordered: true, waiters: true, breaksLive: true },
  start: Effect.flatMap(processes(NodeContext.layer), inDirectory),
  inSimulatedTime: Effect.gen(function*() {
    const fs = Context.get(yield* Layer.build(MemoryFileSystem.layer), FileSystem.FileSystem)
    return {
      program: yield* processes(Layer.merge(Layer.succeed(FileSystem.FileSystem, fs), Path.layer)),
      pathOf: (name) => `/${name}`,
      isFree: (path) => Effect.orDie(Effect.map(fs.exists(`${path}.lock`), (exists) => !exists)),
      takeAway: (path) => Effect.orDie(fs.remove(`${path}.lock`))
    } satisfies Ground
  })
}

export const flock: Engine = {
  name: "flock",
  isInstalled: true,
  promises: { fences: false, shared: true, ordered: false, waiters: false, breaksLive: false },
  start: inDirectory(Layer.build(Engines.layer({ _tag: "flock" })))
}

export const postgres: Engine = {
  name: "PostgreSQL",
  isInstalled: Postgres.isInstalled,
  promises: { fences: true, shared: true, ordered: true, waiters: true, breaksLive: true },
  start: Effect.map(Postgres.make(), ({ psql, url }): Ground => {
    const locks = (select: string) => psql(`select ${select} from pg_locks where locktype = 'advisory'`)
    return {
      program: Layer.build(Engines.layer({ _tag: "postgres", url })),
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
    const outside = yield* Effect.acquireRelease(
      Effect.sync(() => new Redis(url)),
      (client) => Effect.promise(() => client.quit())
    )
    const keyOf = (path: string) => `{effect-filelock:${path}}`
    return {
      program: Layer.build(Engines.layer({ _tag: "redis", url }, { lease: "3 seconds" })),
      pathOf: (name) => name,
      isFree: (path) => Effect.promise(async () => await outside.exists(keyOf(path)) === 0),
      takeAway: (path) => Effect.promise(() => outside.del(keyOf(path)))
    } satisfies Ground
  })
}

/** Each of them. */
export const engines: ReadonlyArray<Engine> = [lockFiles, flock, postgres, redis]
