/**
 * Who this process is, and whether another one still lives.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as machine from "./internal/process/machine.js"
import * as node from "./internal/process/node.js"

/**
 * What tells one process from every other, on any machine and after any reboot. An empty string means that the system could
 * not say; two processes that lack the same thing are not taken for equal because of it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessInfo {
  readonly pid: number
  /** When the process started, in the kernel's own units; two processes that had one pid in turn differ in it. */
  readonly startTime: string
  /** One run of one machine: it changes with every reboot. */
  readonly bootId: string
  /** Where `pid` has its meaning. */
  readonly pidNamespace: string
  /** Where `startTime` has its meaning. */
  readonly timeNamespace: string
  readonly hostname: string
  /** One realm of the process: a worker thread has another than its main thread. */
  readonly instance: string
}

/**
 * Whether a holder lives: `"alive"` and `"dead"` are proven, `"unknown"` means that it cannot be checked from here
 * (another machine, another container, another thread of this process).
 *
 * @since 0.1.0
 * @category models
 */
export type Liveness = "alive" | "dead" | "unknown"

/**
 * Who this process is, and whether another one still lives.
 *
 * Within one realm a process may have many records, current and left behind; so each record has a token, which counts as alive from
 * `issueToken` to `retireToken`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessIdentity {
  readonly info: ProcessInfo
  /** When this machine was booted, in milliseconds on its wall clock; `-Infinity` where the system does not say. */
  readonly bootedAt: number
  /** A token that no other attempt of any process has or will have; alive from now on. */
  readonly issueToken: Effect.Effect<string>
  /** From now on a record with this token is a dead one's. */
  readonly retireToken: (token: string) => Effect.Effect<void>
  /** Whether the process that wrote a record lives and still stands by it. Takes microseconds and never fails. */
  readonly isAlive: (record: ProcessInfo & { readonly token: string }) => Effect.Effect<Liveness>
}

/**
 * The reference under which the identity of this process is found. Its default reads the process table of the running system;
 * nobody has to provide it. Provide a member of a `makeMachine` to play another process.
 *
 * On Linux the default decides by boot id, pid namespace, time namespace, process id and start time (`/proc/<pid>/stat`, field
 * 22). Without a usable `/proc`, the host's name and fingerprint stand in for the boot id, and only a process that is not there
 * at all is dead.
 *
 * @since 0.1.0
 * @category references
 */
export const ProcessIdentity: Context.Reference<ProcessIdentity, ProcessIdentity> = class ProcessIdentityReference
  extends Context.Reference<ProcessIdentity>()("effect-filelock/ProcessIdentity", {
    defaultValue: (): ProcessIdentity => node.make({})
  })
{}

/**
 * The identity of this process on a machine that is told from others by `machineId` as well. Needed where virtual machines that
 * were cloned from one running snapshot, and so share a boot id, also share a directory.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMachine = (machineId: string): Layer.Layer<never> =>
  Layer.sync(ProcessIdentity, () => node.make({ machineId }))

/**
 * What a played process is made with; everything left out is chosen so that it is unlike every other of its machine.
 *
 * @since 0.1.0
 * @category testing
 */
export interface SpawnOptions {
  /** To play a process id that is used again. */
  readonly pid?: number | undefined
  /** To play a container: processes of different namespaces cannot check each other. */
  readonly pidNamespace?: string | undefined
  /** To play another worker thread of the same process. */
  readonly threadOf?: ProcessIdentity | undefined
}

/**
 * A machine that exists in memory only.
 *
 * @since 0.1.0
 * @category testing
 */
export interface Machine {
  /** Starts a process and answers with its view of the world. */
  readonly spawn: (options?: SpawnOptions) => Effect.Effect<ProcessIdentity>
  /** Takes a process out of the process table. Its fibers are the caller's to stop. */
  readonly kill: (process: ProcessIdentity) => Effect.Effect<void>
  /** Kills every process and changes the boot id. */
  readonly reboot: Effect.Effect<void>
}

/**
 * Makes a machine for tests: spawn processes on it, give each to the program that plays it, kill them, reboot.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { ProcessIdentity } from "effect-filelock"
 *
 * const program = Effect.gen(function*() {
 *   const machine = yield* ProcessIdentity.makeMachine({ hostname: "build-7" })
 *   const first = yield* machine.spawn()
 *   const second = yield* machine.spawn()
 *   const token = yield* first.issueToken
 *   yield* machine.kill(first)
 *   return yield* second.isAlive({ ...first.info, token }) // "dead"
 * })
 * ```
 *
 * @since 0.1.0
 * @category testing
 */
export const makeMachine: (options?: { readonly hostname?: string | undefined }) => Effect.Effect<Machine> =
  machine.make
