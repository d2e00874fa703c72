import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as NodeFS from "node:fs"
import * as Ending from "./ending.js"

/** Those that other programs send to have something done, and that a process survives only if it listens. */
const heard: ReadonlyArray<NodeJS.Signals> = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"]

/** Calls a function for each signal until the scope ends. */
export const listen = (onSignal: (signal: NodeJS.Signals) => void): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      for (const signal of heard) process.on(signal, onSignal)
    }),
    () =>
      Effect.sync(() => {
        for (const signal of heard) process.off(signal, onSignal)
      })
  )

/** Does something until a signal comes, which then ends this process. */
export const interrupting = <E, R>(
  effect: Effect.Effect<Ending.Ending, E, R>
): Effect.Effect<Ending.Ending, E, R> =>
  Effect.scoped(Effect.gen(function*() {
    const interrupted = yield* Deferred.make<Ending.Ending>()
    yield* listen((signal) => Deferred.unsafeDone(interrupted, Effect.succeed(Ending.signal(signal))))
    return yield* Effect.raceFirst(effect, Deferred.await(interrupted))
  }))

/** Whether there is a terminal that sends its signals to all processes of the job by itself. */
export const comeFromTerminal = (signal: NodeJS.Signals): boolean => {
  if (signal !== "SIGINT" && signal !== "SIGQUIT") return false
  try {
    NodeFS.closeSync(NodeFS.openSync("/dev/tty", "r"))
    return true
  } catch {
    // There is none.
    return false
  }
}
