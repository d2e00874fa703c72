/**
 * All competitors, by name.
 */
import * as Schema from "effect/Schema"
import * as Module from "node:module"
import type { Competitor } from "./Competitor.js"
import * as Engines from "./competitors/engines.js"
import * as Memory from "./competitors/memory.js"
import * as Ours from "./competitors/ours.js"
import * as Peers from "./competitors/peers.js"
import * as Raw from "./competitors/raw.js"

/** The names in the tables. If a peer has a poll interval, the interval is part of the name. */
export const Name = Schema.Literal(
  "effect-filelock",
  "effect-filelock, NodeContext",
  "over flock",
  "over PostgreSQL",
  "over Redis",
  "raw advisory lock",
  "no lock",
  "Effect semaphore",
  "async-mutex",
  "raw wx, promises",
  "raw wx, callbacks",
  "raw wx, 50 ms",
  "raw wx, 1 ms",
  "kernel lock",
  "kernel lock, kept open",
  "proper-lockfile, 50 ms",
  "proper-lockfile, 1 ms",
  "lockfile, 50 ms",
  "lockfile, 1 ms",
  "cross-process-lock"
)

/** One of the names. */
export type Name = typeof Name.Type

/** `NodeFileLock.layer`, which the targets are about. */
export const ours: Name = "effect-filelock"

/** `FileLock.layer` over the file system of `NodeContext`. */
export const anyFileSystem: Name = "effect-filelock, NodeContext"

/** The reference between processes. */
export const kernel: Name = "kernel lock"

/** Where the servers are that some competitors need. */
export const Servers = Schema.Struct({
  postgres: Schema.optionalWith(Schema.String, { exact: true }),
  redis: Schema.optionalWith(Schema.String, { exact: true })
})

/** Makes a competitor and loads no other peer. `installation` is a file in the directory where the peers are installed. */
export const make = (name: Name, installation: string, servers: typeof Servers.Type): Competitor => {
  const require = Module.createRequire(installation)
  switch (name) {
    case "effect-filelock":
      return Ours.node()
    case "effect-filelock, NodeContext":
      return Ours.anyFileSystem()
    case "over flock":
      return Engines.engine({ _tag: "flock" })
    case "over PostgreSQL":
      return Engines.engine({ _tag: "postgres", url: servers.postgres ?? "" })
    case "over Redis":
      return Engines.engine({ _tag: "redis", url: servers.redis ?? "" })
    case "raw advisory lock":
      return Engines.advisoryLock(servers.postgres ?? "")
    case "no lock":
      return Memory.nothing()
    case "Effect semaphore":
      return Memory.semaphore()
    case "async-mutex":
      return Memory.asyncMutex(require("async-mutex"))
    case "raw wx, promises":
    case "raw wx, 50 ms":
      return Raw.promises(50)
    case "raw wx, callbacks":
      return Raw.callbacks()
    case "raw wx, 1 ms":
      return Raw.promises(1)
    case "kernel lock":
      return Peers.kernel(require("fs-native-extensions"))
    case "kernel lock, kept open":
      return Peers.kernelKeptOpen(require("fs-native-extensions"))
    case "proper-lockfile, 50 ms":
      return Peers.properLockfile(require("proper-lockfile"), 50)
    case "proper-lockfile, 1 ms":
      return Peers.properLockfile(require("proper-lockfile"), 1)
    case "lockfile, 50 ms":
      return Peers.lockfile(require("lockfile"), 50)
    case "lockfile, 1 ms":
      return Peers.lockfile(require("lockfile"), 1)
    case "cross-process-lock":
      return Peers.crossProcessLock(require("cross-process-lock"))
  }
}

/** The competitors that exclude other processes. Peers that poll appear with their users' interval and with 1 ms. */
export const betweenProcesses: ReadonlyArray<Name> = [
  ours,
  kernel,
  "kernel lock, kept open",
  anyFileSystem,
  "raw wx, 50 ms",
  "raw wx, 1 ms",
  "lockfile, 50 ms",
  "lockfile, 1 ms",
  "proper-lockfile, 50 ms",
  "proper-lockfile, 1 ms",
  "cross-process-lock"
]
