/**
 * A server that a test starts for itself: it answers on loopback at a free port, and ends with the scope.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as TemporaryDirectory from "../torture/TemporaryDirectory.js"

/** Whom a server runs as. */
export interface User {
  readonly uid?: number
  readonly gid?: number
}

/** Servers refuse to be run by root: this is one of their own users, or this user if it is not root. */
export const unprivileged = (name: string): User => {
  if (process.getuid?.() !== 0) return {}
  const id = (flag: string, user: string): number | undefined => {
    const { status, stdout } = ChildProcess.spawnSync("id", [flag, user], { encoding: "utf8" })
    return status === 0 ? Number(stdout) : undefined
  }
  return { uid: id("-u", name) ?? 65534, gid: id("-g", name) ?? 65534 }
}

/** A program in one of these directories, or in those of PATH. */
export const find = (name: string, directories: ReadonlyArray<string> = []): string | undefined =>
  [...directories, ...(process.env["PATH"] ?? "").split(":"), "/usr/sbin"]
    .map((directory) => `${directory}/${name}`)
    .find((path) => Fs.existsSync(path))

/** An empty directory of a user. */
export const directory = (name: string, { gid, uid }: User): Effect.Effect<string, never, Scope.Scope> =>
  Effect.tap(
    TemporaryDirectory.make(name),
    (path) => Effect.sync(() => uid === undefined || gid === undefined ? undefined : Fs.chownSync(path, uid, gid))
  )

/** A port that nothing listens to just now. */
export const freePort: Effect.Effect<number> = Effect.async((resume) => {
  const server = Net.createServer()
  server.listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

/** A server that runs. */
export interface Server {
  readonly pid: () => number
  /** Waits until it has ended. */
  readonly stop: Effect.Effect<void>
  readonly restart: Effect.Effect<void>
}

/** Starts a server and waits until it is ready. */
export const start = (options: {
  readonly command: string
  readonly args: ReadonlyArray<string>
  readonly cwd: string
  readonly user: User
  readonly stop: NodeJS.Signals
  readonly isReady: (output: string) => boolean
}): Effect.Effect<Server, never, Scope.Scope> => {
  let child: ChildProcess.ChildProcess | undefined
  const begin: Effect.Effect<void> = Effect.async((resume) => {
    let output = ""
    const started = ChildProcess.spawn(options.command, [...options.args], {
      ...options.user,
      cwd: options.cwd,
      stdio: ["ignore", "pipe", "pipe"]
    })
    child = started
    const hear = (chunk: unknown) => {
      output += String(chunk)
      if (options.isReady(output)) resume(Effect.void)
    }
    started.stdout.on("data", hear)
    started.stderr.on("data", hear)
    started.on("error", (error) => resume(Effect.die(error)))
    started.on("exit", (code) => resume(Effect.dieMessage(`${options.command} ended with ${code}: ${output}`)))
  })
  const end: Effect.Effect<void> = Effect.async((resume) => {
    const running = child
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) {
      resume(Effect.void)
      return
    }
    running.on("exit", () => resume(Effect.void))
    running.kill("SIGCONT")
    running.kill(options.stop)
  })
  return Effect.as(Effect.acquireRelease(begin, () => end), {
    pid: () => child?.pid ?? 0,
    stop: end,
    restart: Effect.zipRight(end, begin)
  })
}
