/**
 * A PostgreSQL server for tests: a real one, on loopback and a free port, with a directory of its own.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Server from "./server.js"

/** One server. */
export interface Postgres {
  readonly port: number
  readonly url: string
  /** Ends all sessions and the server, and starts it again on the same port. */
  readonly restart: Effect.Effect<void>
  /** What `psql` answers to a statement. */
  readonly psql: (statement: string) => string
}

const directories = ["/usr/local/bin", "/usr/bin", ...versions("/usr/lib/postgresql"), ...versions("/opt/postgresql")]

function versions(directory: string): ReadonlyArray<string> {
  return Fs.existsSync(directory)
    ? Fs.readdirSync(directory).sort((left, right) => Number(right) - Number(left)).map((name) =>
      `${directory}/${name}/bin`
    )
    : []
}

/** Where a program of the server is. */
export const find = (name: string): string | undefined => Server.find(name, directories)

/** Whether the server is installed here. */
export const isInstalled = find("initdb") !== undefined && find("postgres") !== undefined

/** Starts a server with these settings; it ends with the scope. A standby follows nobody. */
export const make = (
  settings: Readonly<Record<string, string>> = {},
  role: "primary" | "standby" = "primary"
): Effect.Effect<Postgres, never, Scope.Scope> =>
  Effect.gen(function*() {
    const user = Server.unprivileged("postgres")
    const directory = yield* Server.directory("postgres", user)
    const data = `${directory}/data`
    const port = yield* Server.freePort
    ChildProcess.execFileSync(find("initdb") ?? "initdb", [
      ...["-D", data, "-U", "test", "--auth=trust", "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"]
    ], { ...user, stdio: "pipe", cwd: directory })
    Fs.appendFileSync(`${data}/pg_hba.conf`, "host all all 10.203.0.0/16 trust\n")
    if (role === "standby") Fs.writeFileSync(`${data}/standby.signal`, "")
    const options = Object.entries({
      listen_addresses: "127.0.0.1",
      unix_socket_directories: directory,
      fsync: "off",
      max_connections: "200",
      shared_buffers: "16MB",
      autovacuum: "off",
      ...settings
    }).flatMap(([name, value]) => ["-c", `${name}=${value}`])
    const server = yield* Server.start({
      command: find("postgres") ?? "postgres",
      args: ["-D", data, "-p", String(port), ...options],
      cwd: directory,
      user,
      // SIGINT ends the sessions first.
      stop: "SIGINT",
      isReady: (output) => /database system is ready to accept (read-only )?connections/.test(output)
    })
    return {
      port,
      url: `postgres://test@127.0.0.1:${port}/postgres`,
      restart: server.restart,
      psql: (statement) =>
        ChildProcess.execFileSync(find("psql") ?? "psql", [
          ...["-h", "127.0.0.1", "-p", String(port), "-U", "test", "-d", "postgres", "-qAtc", statement]
        ], { encoding: "utf8", cwd: directory }).trim()
    }
  })
