/**
 * The identity of this process, and whether another process lives.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Channel } from "./internal/handover/channel.js"
import * as machine from "./internal/process/machine.js"
import * as node from "./internal/process/node.js"
import type { Reserve } from "./internal/process/reserve.js"

/**
 * What distinguishes one process from every other, on any machine and after any reboot. An empty string means that the system does not
 * tell. Two empty strings are not taken for equal.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessInfo {
  readonly pid: number
  /** When the process started: clock ticks since the boot, field 22 of `/proc/<pid>/stat` (proc(5)). Two processes that had one pid in turn differ in it. */
  readonly startTime: string
  /** Changes with each boot: `/proc/sys/kernel/random/boot_id`, or a fingerprint of the host where there is none. */
  readonly bootId: string
  /** The namespace that `pid` belongs to. */
  readonly pidNamespace: string
  /** The namespace that `startTime` belongs to. */
  readonly timeNamespace: string
  readonly hostname: string
  /** Random, one for each thread of the process. */
  readonly instance: string
  /** The number of a worker thread; 0 for the main thread of the process. */
  readonly thread: number
  /**
   * Where other processes reach this one: the network namespace of Linux, the directory of its socket elsewhere. Empty where it cannot be
   * reached, and until its first lock. With `behalf:` in front it is where the process is reached that acquires locks for this one.
   */
  readonly network: string
}

/**
 * Whether a holder lives. `"alive"` and `"dead"` are proven. `"unknown"` means that it cannot be checked from here: another machine,
 * another container, another worker thread of this process, where its address gives no answer either.
 *
 * @since 0.1.0
 * @category models
 */
export type Liveness = "alive" | "dead" | "unknown"

/**
 * The identity of this process, and its view of others.
 *
 * A process may have many records at once, and may have left some behind. So each record has a token, which counts as alive from
 * `issueToken` to `retireToken`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ProcessIdentity {
  readonly info: ProcessInfo
  /**
   * This process, where `info` is another one for which it acquires locks, and which may end before they are released. Without it, `info` is
   * this process.
   */
  readonly self?: ProcessInfo | undefined
  /** When this machine was booted, in milliseconds on its wall clock; `-Infinity` where the system does not say. */
  readonly bootedAt: number
  /** A token that no other acquisition of any process has. It counts as alive from now on. */
  readonly issueToken: Effect.Effect<string>
  /** From now on a record with this token counts as that of a dead process. */
  readonly retireToken: (token: string) => Effect.Effect<void>
  /**
   * Whether the process that wrote a record lives and its token is not retired. Never fails. Takes microseconds where the process table
   * tells, and a connection on this machine where it does not.
   */
  readonly isAlive: (record: ProcessInfo & { readonly token: string }) => Effect.Effect<Liveness>
  /** How this process exchanges messages with those that it can reach. Without it, waiting processes poll. */
  readonly channel?: Channel | undefined
  /** Whether messages come from this process to the one that wrote a record. Without it, to none. */
  readonly canReach?: ((record: ProcessInfo) => boolean) | undefined
  /**
   * Whether system calls that it has begun may end after it is dead, as those of a worker thread that was terminated. Where its locks
   * need such calls, it cannot be reached.
   */
  readonly leavesCalls?: boolean | undefined
  /** A descriptor that is kept for the time when the process has no other one left. */
  readonly reserve?: Reserve | undefined
}

/**
 * The reference with the identity of this process. It has a default, which reads the process table of the running system. Provide a
 * process of `makeMachine` instead to simulate another process in a test.
 *
 * On Linux the default decides by boot id, pid namespace, time namespace, process id and start time. Without a usable `/proc`, as on macOS
 * and Windows, a fingerprint of the host stands in for the boot id, and only a process whose pid does not exist is dead.
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
 * The identity of this process on a machine that is distinguished from others by `machineId` as well. Needed where virtual machines that
 * were cloned from one running snapshot, and so have the same boot id, share a directory.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMachine = (machineId: string): Layer.Layer<never> =>
  Layer.sync(ProcessIdentity, () => node.make({ machineId }))

/**
 * Options of a simulated process. What is left out is chosen so that the process differs from every other of its machine.
 *
 * @since 0.1.0
 * @category testing
 */
export interface SpawnOptions {
  /** For a process id that is used again. */
  readonly pid?: number | undefined
  /** For a container: processes of different namespaces do not find each other in their process tables. Default `"pid:[1]"`. */
  readonly pidNamespace?: string | undefined
  /** For another worker thread of the same process. */
  readonly threadOf?: ProcessIdentity | undefined
  /**
   * Processes of different networks cannot reach each other. By default each pid namespace has a network of its own, as containers do:
   * `"net:[1]"` for `"pid:[1]"`. Empty if no other process can reach this one.
   */
  readonly network?: string | undefined
}

/**
 * A machine that exists in memory only.
 *
 * @since 0.1.0
 * @category testing
 */
export interface Machine {
  /** Starts a process and answers with its identity. */
  readonly spawn: (options?: SpawnOptions) => Effect.Effect<ProcessIdentity>
  /**
   * Removes a process, with all its threads, from the process table. Its fibers go on, those of the heartbeats of its locks included: the
   * caller has to stop them. To interrupt them would release the locks; a `Crash` of its file system stops them where they are.
   */
  readonly kill: (process: ProcessIdentity) => Effect.Effect<void>
  /** Ends one thread of a process. Its fibers go on: the caller has to stop them. */
  readonly terminate: (thread: ProcessIdentity) => Effect.Effect<void>
  /** Kills every process and changes the boot id. */
  readonly reboot: Effect.Effect<void>
}

/**
 * Makes a machine for tests: spawn processes, provide each to a program, kill them, reboot.
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
