/**
 * The same behaviour on every file system: in memory, where time is simulated, and on real files, where it passes.
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import { execFileSync } from "node:child_process"
import * as Net from "node:net"
import type * as FileLock from "../../src/FileLock.js"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../../src/ProcessIdentity.js"
import * as Player from "./Player.js"
import * as Simulation from "./Simulation.js"

/** A directory of one's own, and the processes that meet there. */
export interface Ground {
  readonly directory: string
  readonly fs: FileSystem.FileSystem
  readonly machine: ProcessIdentity.Machine
  /** Starts one more process on the machine. */
  readonly join: (settings?: FileLock.Settings) => Effect.Effect<Player.Player, never, Scope.Scope>
  /** Puts something at a path that is neither a file nor a directory. */
  readonly makeNode: (
    path: string,
    type: MemoryFileSystem.NodeType
  ) => Effect.Effect<void, PlatformError, Scope.Scope>
}

const make = (
  directory: string,
  fs: FileSystem.FileSystem,
  makeNode: Ground["makeNode"]
): Effect.Effect<Ground> =>
  Effect.map(ProcessIdentity.makeMachine(), (machine) => ({
    directory,
    fs,
    machine,
    join: (settings) => Effect.flatMap(machine.spawn(), (identity) => Player.start(identity, fs, settings)),
    makeNode
  }))

const inMemory: Effect.Effect<Ground> = Effect.gen(function*() {
  const disk = yield* MemoryFileSystem.makeDisk()
  const fs = yield* disk.view()
  yield* Effect.orDie(fs.makeDirectory("/data"))
  return yield* make("/data", fs, disk.makeNode)
})

const onRealFiles = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const directory = yield* Effect.flatMap(fs.makeTempDirectoryScoped({ prefix: "effect-filelock-" }), fs.realPath)
  return yield* make(directory, fs, (path, type) =>
    type !== "Socket"
      ? Effect.sync(() => void execFileSync(type === "FIFO" ? "mkfifo" : "false", [path]))
      : Effect.asVoid(Effect.acquireRelease(
        Effect.async<Net.Server>((resume) => {
          const server = Net.createServer().listen(path, () => resume(Effect.succeed(server)))
        }),
        (server) => Effect.async<void>((resume) => void server.close(() => resume(Effect.void)))
      )))
}).pipe(Effect.provide(NodeFileSystem.layer))

type Test = (ground: Ground) => Effect.Effect<void, unknown, Scope.Scope>

const quiet = Effect.provide(Logger.remove(Logger.defaultLogger))

/** A behaviour that can be shown in memory only: it takes too long, or another user, or a disk that is full. */
export const inMemoryOnly = (behaviour: string, test: Test): void =>
  it.effect(`${behaviour} (in memory)`, () => inMemory.pipe(Effect.flatMap(test), Effect.scoped, Simulation.run))

/** A behaviour that every file system must show. */
export const onEveryFileSystem = (behaviour: string, test: Test): void => {
  inMemoryOnly(behaviour, test)
  it.scopedLive(`${behaviour} (on real files)`, () => Effect.flatMap(onRealFiles, test).pipe(quiet))
}
