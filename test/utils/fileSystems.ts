/**
 * The same behaviour on every file system: in memory, where time is simulated; on real files through the `FileSystem` service; and on real
 * files as `NodeFileLock` uses them.
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
import * as internal from "../../src/internal/lock/fileLock.js"
import { WaitQueues } from "../../src/internal/lock/waitQueue.js"
import * as NodeFiles from "../../src/internal/lockedFile/nodeFiles.js"
import * as NodeDisk from "../../src/internal/lockFile/nodeDisk.js"
import { makeEngine } from "../../src/internal/nodeFileLock.js"
import * as Settings from "../../src/internal/settings.js"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../../src/ProcessIdentity.js"
import * as SimulatedProcess from "./SimulatedProcess.js"
import * as Simulation from "./Simulation.js"

/** A directory of one test, and the simulated processes that meet there. */
export interface TestDirectory {
  readonly directory: string
  readonly fs: FileSystem.FileSystem
  readonly machine: ProcessIdentity.Machine
  /** Whether time passes only where nothing else can go on. */
  readonly simulated: boolean
  /** Starts one more process on the machine. */
  readonly join: (
    settings?: FileLock.Settings
  ) => Effect.Effect<SimulatedProcess.SimulatedProcess, never, Scope.Scope>
  /** Puts something at a path that is neither a file nor a directory. */
  readonly makeNode: (
    path: string,
    type: MemoryFileSystem.NodeType
  ) => Effect.Effect<void, PlatformError, Scope.Scope>
}

const memoryDirectory = "/data"

type Start = typeof SimulatedProcess.start

const make = (
  directory: string,
  fs: FileSystem.FileSystem,
  start: Start,
  makeNode: TestDirectory["makeNode"]
): Effect.Effect<TestDirectory> =>
  Effect.map(ProcessIdentity.makeMachine(), (machine) => ({
    directory,
    fs,
    machine,
    simulated: directory === memoryDirectory,
    join: (settings) => Effect.flatMap(machine.spawn(), (identity) => start(identity, fs, settings)),
    makeNode
  }))

const inMemory: Effect.Effect<TestDirectory> = Effect.gen(function*() {
  const disk = yield* MemoryFileSystem.makeDisk()
  const fs = yield* disk.view()
  yield* Effect.orDie(fs.makeDirectory(memoryDirectory))
  return yield* make(memoryDirectory, fs, SimulatedProcess.start, disk.makeNode)
})

const onRealFiles = (start: Start) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const directory = yield* Effect.flatMap(fs.makeTempDirectoryScoped({ prefix: "effect-filelock-" }), fs.realPath)
    return yield* make(directory, fs, start, (path, type) =>
      type !== "Socket"
        ? Effect.sync(() => void execFileSync(type === "FIFO" ? "mkfifo" : "false", [path]))
        : Effect.asVoid(Effect.acquireRelease(
          Effect.async<Net.Server>((resume) => {
            const server = Net.createServer().listen(path, () => resume(Effect.succeed(server)))
          }),
          (server) => Effect.async<void>((resume) => void server.close(() => resume(Effect.void)))
        )))
  }).pipe(Effect.provide(NodeFileSystem.layer))

/** As `NodeFileLock` makes its service, except that the processes share neither queues nor what they know of directories. */
const startOnNode: Start = (identity, fs, settings = {}) =>
  Effect.gen(function*() {
    const decoded = yield* Settings.decodeOrDie(settings)
    const disk = NodeDisk.make()
    const engine = makeEngine(disk, identity, decoded.lease)
    yield* Effect.addFinalizer(() => engine.close)
    return { identity, fs, locks: internal.make(engine, decoded, new WaitQueues(), () => NodeFiles.make(disk)) }
  })

type Test = (directory: TestDirectory) => Effect.Effect<void, unknown, Scope.Scope>

const quiet = Effect.provide(Logger.remove(Logger.defaultLogger))

/** A behaviour that can be shown in memory only: it takes too long, or another user, or a disk that is full. */
export const inMemoryOnly = (behaviour: string, test: Test): void =>
  it.effect(`${behaviour} (in memory)`, () => inMemory.pipe(Effect.flatMap(test), Effect.scoped, Simulation.run))

/** A behaviour that every file system must show. */
export const onEveryFileSystem = (behaviour: string, test: Test): void => {
  inMemoryOnly(behaviour, test)
  it.scopedLive(`${behaviour} (on real files)`, () =>
    Effect.flatMap(onRealFiles(SimulatedProcess.start), test).pipe(quiet))
  it.scopedLive(`${behaviour} (on Node)`, () => Effect.flatMap(onRealFiles(startOnNode), test).pipe(quiet))
}
