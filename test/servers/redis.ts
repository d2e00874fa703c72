/**
 * A Redis server of its own for a test. It keeps nothing on disk.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Server from "./server.js"

/** The program, where it is installed. */
export const program: string | undefined = Server.find("redis-server")

/** Whether it is installed here. */
export const isInstalled = program !== undefined

/** A server on loopback. */
export interface Redis extends Server.Server {
  readonly port: number
  readonly url: string
  /** It accepts connections, and answers nothing. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
}

/** Starts a server; it ends when the scope closes. A restart loses its data. */
export const make = (...options: ReadonlyArray<string>): Effect.Effect<Redis, never, Scope.Scope> =>
  Effect.gen(function*() {
    const port = yield* Server.freePort
    const cwd = yield* Server.directory("redis", {})
    const server = yield* Server.start({
      command: program ?? "redis-server",
      args: ["--bind", "127.0.0.1", "--port", String(port), "--save", "", "--appendonly", "no", ...options],
      cwd,
      user: {},
      stop: "SIGKILL",
      isReady: (output) => output.includes("Ready to accept connections")
    })
    const signal = (name: NodeJS.Signals) => Effect.sync(() => void process.kill(server.pid(), name))
    return {
      ...server,
      port,
      url: `redis://127.0.0.1:${port}`,
      pause: signal("SIGSTOP"),
      resume: signal("SIGCONT")
    }
  })
