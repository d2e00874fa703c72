import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type * as Scope from "effect/Scope"
import * as NodeChildProcess from "node:child_process"
import { Writable } from "node:stream"
import * as NodeTimers from "node:timers/promises"
import * as Ending from "./ending.js"
import * as ExitCode from "./exitCode.js"
import * as HandedOn from "./handedOn.js"
import * as Output from "./output.js"

/** A command that has a process, and waits in there for its start. */
export interface Command {
  /** `undefined` where it has no process before its start. */
  readonly pid: number | undefined
  /** Waits for an end before its start: it has no process, or that was killed. */
  readonly endedEarly: Effect.Effect<Ending.Ending>
  /** Starts it, and waits for its end. An interruption ends it: by SIGTERM, and by SIGKILL 5 s later. */
  readonly run: Effect.Effect<Ending.Ending>
  /** How it has ended by itself, before an interruption. */
  readonly ownEnding: () => Ending.Ending | undefined
  /** Sends it a signal. `false` where it is not there. */
  readonly kill: (signal: NodeJS.Signals) => boolean
}

const killTimeout = 5_000

/**
 * Waits for a line, without which nothing is run; then the process is that of the command. The names of its variables are those of no other
 * program: one that is in the environment would be handed on with another value.
 */
const gate = (descriptor: number, kept: ReadonlyArray<string>): string =>
  [
    `read -r effect_filelock_go <&${descriptor} || exit 1; exec ${descriptor}<&-`,
    ...kept.length === 0
      ? [`exec "$@"`]
      // Not as arguments of this shell, which everybody can read for as long as it waits.
      : [
        `set -- ${kept.map((name) => `"$${name}"`).join(" ")} "$@"; unset ${kept.join(" ")}; exec /usr/bin/env -- "$@"`
      ]
  ].join("; ")

/** A shell understands one digit in a redirection. */
const gateDescriptors = [3, 4, 5, 6, 7, 8, 9]

/** Starts the process. It ends with the scope if the command has not been started. */
export const make = (
  command: readonly [string, ...ReadonlyArray<string>]
): Effect.Effect<Command, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const kept = HandedOn.descriptors()
      const descriptor = gateDescriptors.find((descriptor) => !kept.has(descriptor))
      return process.platform === "win32" || descriptor === undefined
        ? direct(command, kept)
        : gated(command, kept, descriptor)
    }),
    (process) => process.end
  )

interface Process extends Command {
  readonly end: Effect.Effect<void>
}

const endingOf = (code: number | null, signal: NodeJS.Signals | null): Ending.Ending =>
  signal === null ? Ending.exit(code ?? 1) : Ending.signal(signal)

/** A command that cannot be run at all, as a shell says it. */
const failure = (name: string, error: Error): Ending.Ending => {
  const isMissing = "code" in error && error.code === "ENOENT"
  Output.complain(`${name}: ${isMissing ? "command not found" : error.message}`)
  return Ending.exit(isMissing ? ExitCode.notFound : ExitCode.cannotRun)
}

/** A process, once it is there, and how it ends. */
const makeProcess = (name: string) => {
  let child: NodeChildProcess.ChildProcess | undefined
  const result = Deferred.unsafeMake<Ending.Ending>(FiberId.none)
  let isStopping = false
  let ownEnding: Ending.Ending | undefined
  /** The first one counts. */
  const settle = (ending: Ending.Ending): void => {
    if (!isStopping) ownEnding ??= ending
    Deferred.unsafeDone(result, Effect.succeed(ending))
  }
  const spawn = (
    command: string,
    args: ReadonlyArray<string>,
    stdio: Array<HandedOn.Stdio>,
    variables?: Readonly<Record<string, string>>
  ) => {
    try {
      const spawned = NodeChildProcess.spawn(command, args, { stdio, env: { ...process.env, ...variables } })
      // Another error is that of a signal that may not be sent, as to a program of another user.
      spawned.on("error", (error) => spawned.pid === undefined ? settle(failure(name, error)) : undefined)
      spawned.once("exit", (code, signal) => settle(endingOf(code, signal)))
      child = spawned
      // Some errors are thrown, others are told later: without a process there may be no pipes.
      return spawned.pid === undefined ? undefined : spawned
    } catch (error) {
      settle(failure(name, error instanceof Error ? error : new Error(String(error))))
      return undefined
    }
  }
  const ended = Deferred.await(result)
  const kill = (signal: NodeJS.Signals): boolean => child?.kill(signal) === true
  /**
   * Its end may be known to others first: the next holder takes the lock over from a process that is dead, and says so. What the system has told
   * this process by then is read in one turn of the event loop.
   */
  const turn = Effect.repeatN(Effect.promise(() => NodeTimers.setImmediate()), 1)
  const terminate = Effect.suspend(() => {
    if (ownEnding !== undefined) return Effect.succeed(Effect.void)
    isStopping = true
    kill("SIGTERM")
    // A process that is stopped gets it once it goes on.
    kill("SIGCONT")
    // What cannot be interrupted has no timeout, and so it is where a fiber is interrupted.
    return Effect.timeoutTo(Effect.interruptible(ended), {
      duration: killTimeout,
      onSuccess: () => Effect.void,
      onTimeout: () =>
        Effect.suspend(() => {
          kill("SIGKILL")
          return Effect.asVoid(ended)
        })
    })
  }).pipe(Effect.flatten)
  const stop = Effect.zipRight(turn, terminate)
  /** Starts it by a function, and waits for its end. */
  const run = (start: () => void): Effect.Effect<Ending.Ending> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        start()
        return Effect.onInterrupt(restore(ended), () => stop)
      })
    )
  return { spawn, ended, kill, run, ownEnding: () => ownEnding }
}

const gated = (
  [name, ...args]: readonly [string, ...ReadonlyArray<string>],
  kept: ReadonlySet<number>,
  descriptor: number
): Process => {
  const { ended, kill, ownEnding, run, spawn } = makeProcess(name)
  // env(1) would take the command for a variable.
  const hidden = name.includes("=") ? [] : HandedOn.variables()
  const gateArgs = ["-c", gate(descriptor, hidden.map(([name]) => name)), "effect-filelock", name, ...args]
  const spawned = spawn("/bin/sh", gateArgs, HandedOn.stdio(kept, descriptor), Object.fromEntries(hidden))
  const pipe = spawned?.stdio[descriptor]
  const opening = pipe instanceof Writable ? pipe : undefined
  // It may have been killed.
  opening?.on("error", () => {})
  let isStarted = false
  return {
    pid: spawned?.pid,
    kill,
    ownEnding,
    endedEarly: Effect.flatMap(ended, (ending) => isStarted ? Effect.never : Effect.succeed(ending)),
    run: run(() => {
      isStarted = true
      opening?.end("go\n")
    }),
    end: Effect.suspend(() => {
      if (isStarted) return Effect.void
      kill("SIGKILL")
      return Effect.asVoid(ended)
    })
  }
}

/** Where a process cannot wait for its start. */
const direct = (
  [name, ...args]: readonly [string, ...ReadonlyArray<string>],
  kept: ReadonlySet<number>
): Process => {
  const { kill, ownEnding, run, spawn } = makeProcess(name)
  return {
    pid: undefined,
    kill,
    ownEnding,
    endedEarly: Effect.never,
    run: run(() => void spawn(name, args, HandedOn.stdio(kept))),
    end: Effect.void
  }
}
