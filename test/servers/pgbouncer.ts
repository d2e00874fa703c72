/**
 * A connection pooler for tests, in front of a PostgreSQL server.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as Server from "./server.js"

/** Whether it is installed here. */
export const isInstalled = Server.find("pgbouncer") !== undefined

/** Starts a pooler and answers with the address of the server behind it. */
export const make = (
  postgresPort: number,
  mode: "session" | "transaction" | "statement",
  settings: Readonly<Record<string, string>> = {}
): Effect.Effect<string, never, Scope.Scope> =>
  Effect.gen(function*() {
    const user = Server.unprivileged("postgres")
    const directory = yield* Server.directory("pgbouncer", user)
    const port = yield* Server.freePort
    const config = `${directory}/pgbouncer.ini`
    Fs.writeFileSync(
      config,
      `[databases]
postgres = host=127.0.0.1 port=${postgresPort} dbname=postgres user=test
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = ${mode}
${Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`).join("")}`
    )
    yield* Server.start({
      command: Server.find("pgbouncer") ?? "pgbouncer",
      args: [config],
      cwd: directory,
      user,
      stop: "SIGINT",
      isReady: (output) => output.includes("process up")
    })
    return `postgres://test@127.0.0.1:${port}/postgres`
  })
