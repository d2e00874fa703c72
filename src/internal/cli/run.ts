import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as FileLock from "../../FileLock.js"
import type { LockLostError } from "../../LockError.js"
import * as NodeFileLock from "../../NodeFileLock.js"
import { ProcessIdentity } from "../../ProcessIdentity.js"
import * as node from "../process/node.js"
import * as Command from "./command.js"
import * as Ending from "./ending.js"
import * as ExitCode from "./exitCode.js"
import * as Output from "./output.js"
import type { RunOptions } from "./runOptions.js"
import * as Signals from "./signals.js"
import * as WaitLine from "./waitLine.js"

/**
 * Runs a command under a lock, and ends as the command does.
 *
 * The lock is that of the command's own process, which is there before the lock is asked for. If this process is killed, the command goes on, and
 * so does its lock: others wait until the command has ended, and find that by its process.
 */
export const run = (options: RunOptions): Effect.Effect<Ending.Ending> =>
  Effect.scoped(Effect.gen(function*() {
    const command = yield* Command.make(options.command)
    const identity = node.make({ pid: command.pid })
    const context = yield* Layer.build(Layer.provide(NodeFileLock.layer, Layer.succeed(ProcessIdentity, identity)))
    /** Those who cannot ask this process may take the lock over as soon as the command has ended, which is no loss. */
    const couldAsk = ({ holder }: LockLostError): boolean =>
      holder === undefined ? identity.info.network !== "" : identity.canReach?.(holder) === true
    const interrupted = yield* Deferred.make<Ending.Ending>()
    let isRunning = false
    yield* Signals.listen((signal) => {
      if (isRunning) {
        if (!Signals.comeFromTerminal(signal)) command.kill(signal)
      } else if (command.ownEnding() === undefined) {
        Deferred.unsafeDone(interrupted, Effect.succeed(Ending.signal(signal)))
      }
    })
    const endLine = yield* Effect.provide(WaitLine.show(options.path, identity.info.instance), context)
    const body = Effect.gen(function*() {
      yield* endLine
      isRunning = true
      return yield* Effect.ensuring(
        command.run,
        Effect.sync(() => {
          isRunning = false
        })
      )
    })
    const locked = FileLock.withLock(body, options.path, options).pipe(
      Effect.ensuring(endLine),
      Effect.catchTag("LockLostError", (error) => {
        const ending = command.ownEnding()
        return ending !== undefined && command.pid !== undefined && !couldAsk(error)
          ? Effect.succeed(ending)
          : Output.failed(error.message, ExitCode.lost)
      }),
      Effect.catchAll((error) => Output.failed(error.message, options.conflictExitCode))
    )
    // Nothing is waited for any more where there is nothing to run.
    return yield* Effect.raceFirst(
      Effect.provide(locked, context),
      Effect.raceFirst(Deferred.await(interrupted), command.endedEarly)
    )
  }))
