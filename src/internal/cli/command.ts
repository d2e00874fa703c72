import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as NodeChildProcess from "node:child_process"
import * as NodeFS from "node:fs"
import { Writable } from "node:stream"
import * as Ending from "./ending.js"
import * as ExitCode from "./exitCode.js"
import * as Output from "./output.js"

/** A command that has a process, and waits in there for its start. */
export interface Command {
  /** `undefined` where it has no process before its start. */
  readonly pid: number | undefined
  /** Waits for an end before its start: it has no process, or that was killed. */
  readonly endedEarly: Effect.Effect<Ending.Ending>
  /** Starts it, and waits for its end. An interruption ends it: by SIGTERM, and by SIGKILL 5 s later. */
  readonly run: Effect.Effect<Ending.Ending>
  /** Sends it a signal. `false` where it is not there. */
  readonly kill: (signal: NodeJS.Signals) => boolean
}

const killTimeout = 5_000

/** What is passed on has a number below this. */
const maxDescriptors = 64

/** A descriptor, what it is of, and whether one reads or writes there. */
interface Opened {
  readonly descriptor: number
  readonly link: string
  readonly mode: number
}

/** What a process has open; nothing where the system does not tell. */
const openedBy = (pid: number): ReadonlyArray<Opened> => {
  const directory = `/proc/${pid}/fd`
  try {
    return NodeFS.readdirSync(directory).flatMap((name) => {
      const path = `${directory}/${name}`
      try {
        return [{
          descriptor: Number(name),
          link: NodeFS.readlinkSync(path),
          mode: NodeFS.lstatSync(path).mode
        }]
      } catch {
        // The directory itself is open while it is read.
        return []
      }
    })
  } catch {
    return []
  }
}

/**
 * The descriptors, from 3 on, that this process was started with: a script may have opened a file for the command. Node does not pass them on by
 * itself, and has opened others, which are no files, or pipes with both ends. A pipe with both ends that the parent has, too, is none of Node.
 */
const inherited = (): ReadonlySet<number> => {
  const opened = openedBy(process.pid).filter(({ descriptor }) => descriptor > 2)
  const ofParent = new Set(openedBy(process.ppid).map(({ link }) => link))
  const isOneEnd = ({ link, mode }: Opened) => opened.every((other) => other.link !== link || other.mode === mode)
  return new Set(
    opened.filter((one) =>
      one.descriptor < maxDescriptors &&
      (/^(\/|socket:)/.test(one.link) || (one.link.startsWith("pipe:") && (isOneEnd(one) || ofParent.has(one.link))))
    ).map(({ descriptor }) => descriptor)
  )
}

/**
 * What the environment has and a shell may drop, since it has no names for it: the functions that bash exports, and names with dots. Each is
 * under a name that a shell keeps.
 */
const withoutName = (): ReadonlyArray<readonly [name: string, text: string]> =>
  Object.entries(process.env).filter(([name]) => name !== "" && !/^[A-Za-z_]\w*$/.test(name)).map((
    [name, value],
    index
  ) => [`effect_filelock_${index}`, `${name}=${value ?? ""}`] as const)

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
      const kept = inherited()
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
  let ending: Ending.Ending | undefined
  const listeners = new Set<(ending: Ending.Ending) => void>()
  const settle = (result: Ending.Ending): void => {
    if (ending !== undefined) return
    ending = result
    for (const listener of listeners) listener(result)
  }
  const spawn = (
    command: string,
    args: ReadonlyArray<string>,
    stdio: Array<Stdio>,
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
  const ended = Effect.async<Ending.Ending>((resume) => {
    const listener = (ending: Ending.Ending) => resume(Effect.succeed(ending))
    if (ending !== undefined) return listener(ending)
    listeners.add(listener)
    return Effect.sync(() => listeners.delete(listener))
  })
  const kill = (signal: NodeJS.Signals): boolean => ending === undefined && child?.kill(signal) === true
  const stop = Effect.suspend(() => {
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
  /** Starts it by a function, and waits for its end. */
  const run = (start: () => void): Effect.Effect<Ending.Ending> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.suspend(() => {
        start()
        return Effect.onInterrupt(restore(ended), () => stop)
      })
    )
  return { spawn, ended, kill, run }
}

type Stdio = "inherit" | "ignore" | "pipe"

/** What becomes of each descriptor, up to the last one that is passed on. */
const stdioOf = (kept: ReadonlySet<number>, pipe?: number): Array<Stdio> =>
  Array.from(
    { length: Math.max(2, pipe ?? 0, ...kept) + 1 },
    (_, descriptor) => descriptor === pipe ? "pipe" : descriptor < 3 || kept.has(descriptor) ? "inherit" : "ignore"
  )

const gated = (
  [name, ...args]: readonly [string, ...ReadonlyArray<string>],
  kept: ReadonlySet<number>,
  descriptor: number
): Process => {
  const { ended, kill, run, spawn } = makeProcess(name)
  // env(1) would take the command for a variable.
  const hidden = name.includes("=") ? [] : withoutName()
  const gateArgs = ["-c", gate(descriptor, hidden.map(([name]) => name)), "effect-filelock", name, ...args]
  const spawned = spawn("/bin/sh", gateArgs, stdioOf(kept, descriptor), Object.fromEntries(hidden))
  const pipe = spawned?.stdio[descriptor]
  const opening = pipe instanceof Writable ? pipe : undefined
  // It may have been killed.
  opening?.on("error", () => {})
  let isStarted = false
  return {
    pid: spawned?.pid,
    kill,
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
  const { kill, run, spawn } = makeProcess(name)
  return {
    pid: undefined,
    kill,
    endedEarly: Effect.never,
    run: run(() => void spawn(name, args, stdioOf(kept))),
    end: Effect.void
  }
}
