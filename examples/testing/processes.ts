import { FileSystem, Path } from "@effect/platform"
import { Effect, Layer, Scope } from "effect"
import { FileLock, MemoryFileSystem, ProcessIdentity } from "effect-filelock"

interface Options extends ProcessIdentity.SpawnOptions {
  /** What goes wrong with the file system of the process. */
  readonly fault?: MemoryFileSystem.FaultPlan["fault"]
}

/** Starts a process on a machine. It has locks of its own and a view of the disk of its own. */
export const start = (
  machine: ProcessIdentity.Machine,
  disk: MemoryFileSystem.Disk,
  { fault, ...options }: Options = {}
) =>
  Effect.gen(function*() {
    const identity = yield* machine.spawn(options)
    let killed = false
    const kill = Effect.suspend(() => {
      killed = true
      return machine.kill(identity)
    })
    // No operation of a killed process returns, so its fibers stop where they are.
    const fs = yield* MemoryFileSystem.withFaults(yield* disk.view(), {
      fault: (operation) => killed ? MemoryFileSystem.Fault.Crash() : fault?.(operation),
      onCrash: kill
    })
    // Closing the scope of a killed process would wait for its operations.
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer((exit) => killed ? Effect.void : Scope.close(scope, exit))
    const services = yield* FileLock.layer.pipe(
      Layer.provideMerge(Layer.mergeAll(
        Layer.succeed(FileSystem.FileSystem, fs),
        Layer.succeed(ProcessIdentity.ProcessIdentity, identity),
        Path.layer
      )),
      Layer.buildWithScope(scope)
    )
    return {
      /** Runs an effect in this process. */
      run: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provide(self, services),
      /** Starts an effect in this process. It is a daemon: interrupting a fiber of a killed process would wait for ever. */
      fork: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.forkDaemon(Effect.provide(self, services)),
      /** Ends this process, as SIGKILL does. */
      kill
    }
  })
