/**
 * Everybody who can be asked to take part, by name.
 */
import * as Schema from "effect/Schema"
import * as Module from "node:module"
import type { Contestant } from "./Contestant.js"
import * as Memory from "./contestants/memory.js"
import * as Ours from "./contestants/ours.js"
import * as Peers from "./contestants/peers.js"
import * as Raw from "./contestants/raw.js"

/** As the tables call them; where a peer can be told how often to look again, that is part of the name. */
export const Name = Schema.Literal(
  "effect-filelock",
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

/** One of them. */
export type Name = typeof Name.Type

/** The one that is measured against the others. */
export const ours: Name = "effect-filelock"

/** Makes one; `installation` is a file in the folder that has the peers. Only the one that is asked for is loaded. */
export const make = (name: Name, installation: string): Contestant => {
  const require = Module.createRequire(installation)
  switch (name) {
    case "effect-filelock":
      return Ours.make()
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

/** Those that exclude processes, as their users have them wait and as fast as they can. */
export const betweenProcesses: ReadonlyArray<Name> = [
  ours,
  "kernel lock",
  "kernel lock, kept open",
  "raw wx, 50 ms",
  "raw wx, 1 ms",
  "lockfile, 50 ms",
  "lockfile, 1 ms",
  "proper-lockfile, 50 ms",
  "proper-lockfile, 1 ms",
  "cross-process-lock"
]
