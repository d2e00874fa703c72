/**
 * The command `effect-filelock` as scripts run it: its bundle, in a directory of its own, as a process.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as NodeProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { bundle } from "../../scripts/bundle-command.js"
import * as TemporaryDirectory from "../torture/TemporaryDirectory.js"

/** How a process ended, and what it has written. */
export interface Result {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A process that may run still. */
export interface Running {
  readonly pid: number
  readonly stdin: (text: string) => void
  readonly signal: (signal: NodeJS.Signals) => void
  readonly result: Effect.Effect<Result>
  /** Waits until its output has a part that matches. */
  readonly says: (pattern: RegExp) => Effect.Effect<string>
}

export interface Scene {
  readonly directory: string
  readonly path: (name: string) => string
  readonly files: () => ReadonlyArray<string>
  readonly write: (name: string, text: string) => void
  readonly read: (name: string) => string
  readonly remove: (name: string) => void
  /** Starts any program here. It ends with the scope. */
  readonly start: (program: string, ...args: ReadonlyArray<string>) => Effect.Effect<Running, never, Scope.Scope>
  /** Starts `effect-filelock`. */
  readonly command: (...args: ReadonlyArray<string>) => Effect.Effect<Running, never, Scope.Scope>
  /** The same, until it ends. */
  readonly run: (...args: ReadonlyArray<string>) => Effect.Effect<Result>
  /** The line of a shell that runs `effect-filelock`. */
  readonly shell: (line: string) => Effect.Effect<Running, never, Scope.Scope>
}

/** Whether nothing is left of a process but its exit code. */
export const isZombie = (pid: number): boolean => /\) Z/.test(Fs.readFileSync(`/proc/${pid}/stat`, "utf8"))

/** The bundle of the command. */
export class Script extends Context.Tag("test/command/Script")<Script, string>() {
  static readonly layer = Layer.scoped(
    Script,
    Effect.gen(function*() {
      const directory = yield* TemporaryDirectory.make("command")
      // The package has the version, and says that files are modules.
      Fs.copyFileSync(
        fileURLToPath(new URL("../../package.json", import.meta.url)),
        Path.join(directory, "package.json")
      )
      yield* Effect.promise(() => bundle(Path.join(directory, "bin")))
      const script = Path.join(directory, "effect-filelock")
      // As a package manager installs it. A script of the shell would change the environment.
      Fs.chmodSync(Path.join(directory, "bin", "bin.cjs"), 0o755)
      Fs.symlinkSync(Path.join("bin", "bin.cjs"), script)
      return script
    })
  )
}

const start = (
  directory: string,
  environment: NodeJS.ProcessEnv,
  program: string,
  args: ReadonlyArray<string>
): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => NodeProcess.spawn(program, args, { cwd: directory, env: { ...process.env, ...environment } })),
      (child) =>
        Effect.async<void>((resume) => {
          if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
          child.once("exit", () => resume(Effect.void))
          // It takes its command along.
          child.kill("SIGTERM")
        }).pipe(Effect.timeoutTo({
          duration: "5 seconds",
          onSuccess: () => undefined,
          onTimeout: () => void child.kill("SIGKILL")
        }))
    ),
    (child) => {
      let stdout = ""
      let stderr = ""
      let onOutput = () => {}
      child.stdin.on("error", () => {})
      child.stdout.on("data", (chunk) => {
        stdout += String(chunk)
        onOutput()
      })
      child.stderr.on("data", (chunk) => {
        stderr += String(chunk)
        onOutput()
      })
      const ended = new Promise<Result>((resolve) =>
        child.once("close", (code, signal) => {
          onOutput()
          resolve({ code, signal, stdout, stderr })
        })
      )
      return {
        pid: child.pid ?? 0,
        stdin: (text) => void child.stdin.write(text),
        signal: (signal) => void child.kill(signal),
        result: Effect.suspend(() => {
          child.stdin.end()
          return Effect.promise(() => ended)
        }),
        says: (pattern) =>
          Effect.async((resume) => {
            onOutput = () => {
              const match = pattern.exec(stdout + stderr)
              if (match !== null) resume(Effect.succeed(match[1] ?? match[0]))
              else if (child.exitCode !== null) resume(Effect.dieMessage(`it has ended, and said ${stdout}${stderr}`))
            }
            onOutput()
          })
      }
    }
  )

export const make: Effect.Effect<Scene, never, Script | Scope.Scope> = Effect.gen(function*() {
  const script = yield* Script
  const directory = yield* TemporaryDirectory.make("scene")
  const path = (name: string) => Path.join(directory, name)
  const programs = [Path.dirname(script), Path.dirname(process.execPath), process.env["PATH"] ?? ""]
  const environment = { PATH: programs.join(":") }
  return {
    directory,
    path,
    files: () => Fs.readdirSync(directory).sort(),
    write: (name, text) => Fs.writeFileSync(path(name), text),
    remove: (name) => Fs.unlinkSync(path(name)),
    read: (name) => Fs.readFileSync(path(name), "utf8"),
    start: (program, ...args) => start(directory, environment, program, args),
    command: (...args) => start(directory, environment, script, args),
    run: (...args) =>
      Effect.scoped(Effect.flatMap(start(directory, environment, script, args), ({ result }) => result)),
    shell: (line) => start(directory, environment, "/bin/sh", ["-c", line])
  }
})
