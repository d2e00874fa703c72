import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as ProcessIdentity from "../../ProcessIdentity.js"
import type { Channel } from "../handover/channel.js"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"
import type { Reserve } from "./reserve.js"

/** The tokens of one realm of one process that are alive. */
export interface Tokens {
  readonly instance: string
  readonly live: Set<string>
  issued: number
}

/** How many connections are remembered. */
const maxVerified = 1_000

export const make = (instance: string): Tokens => ({ instance, live: new Set(), issued: 0 })

const behalf = "behalf:"

/**
 * The network in the record of a process on whose behalf another one acquires. That one can be reached there. The lock is in use as long as
 * either lives.
 */
const onBehalf = (network: string): string => `${behalf}${network}`

const isOnBehalf = ({ network }: ProcessIdentity.ProcessInfo): boolean => network.startsWith(behalf)

/** A process from what it is, the tokens it stands by, how it looks at the process table, and how it reaches others. */
export const toIdentity = (options: {
  readonly info: Omit<ProcessIdentity.ProcessInfo, "network">
  /** What is different in the records of a process on whose behalf this one acquires locks. */
  readonly behalfOf?: Pick<ProcessIdentity.ProcessInfo, "pid" | "startTime"> | undefined
  readonly tokens: Tokens
  readonly bootedAt: number
  readonly inProcessTable: (other: ProcessIdentity.ProcessInfo) => ProcessIdentity.Liveness
  readonly channel: Channel
  /** Where other processes reach this one once it listens; empty where it cannot. */
  readonly network: string
  /** Whether an address refuses only those of dead processes. */
  readonly refusalIsProof: boolean
  /** Whether calls that it has begun on other threads may end after its address refuses. */
  readonly leavesCalls?: boolean
  readonly reserve?: Reserve
}): ProcessIdentity.ProcessIdentity => {
  const { bootedAt, channel, network, tokens } = options
  const self = { ...options.info, network: "" }
  const info = options.behalfOf === undefined ? self : { ...self, ...options.behalfOf }

  const canReach = (record: ProcessIdentity.ProcessInfo): boolean =>
    network !== "" && (record.network === network || record.network === onBehalf(network)) &&
    record.bootId === info.bootId

  /** What can be reached is the process that a record describes. */
  const canAsk = (record: ProcessIdentity.ProcessInfo): boolean => record.network === network && canReach(record)

  /**
   * Connections to processes that were found alive while they were open. Such a process lives as long as that connection is open: no other
   * program can have come to listen at its address meanwhile.
   */
  const verified = new Map<string, number>()

  const lookUp = (record: ProcessIdentity.ProcessInfo & { readonly token: string }): ProcessIdentity.Liveness => {
    if (
      record.bootId !== info.bootId || record.pidNamespace !== info.pidNamespace ||
      info.bootId === "" || info.pidNamespace === ""
    ) {
      return "unknown"
    }
    if (record.instance === tokens.instance) {
      return tokens.live.has(record.token) ? "alive" : "dead"
    }
    if (record.pid === self.pid && record.startTime === self.startTime) {
      // It may be that of a thread, which has ended. One that another process has acquired is of this whole process, if that can be told.
      return isOnBehalf(record) && self.startTime !== "" ? "alive" : "unknown"
    }
    return record.timeNamespace === info.timeNamespace ? options.inProcessTable(record) : "unknown"
  }

  const checkInTable = (record: ProcessIdentity.ProcessInfo & { readonly token: string }): ProcessIdentity.Liveness => {
    const connection = canAsk(record) && record.thread === 0 && record.instance !== tokens.instance
      ? channel.connectionTo(record.instance)
      : undefined
    if (connection !== undefined && verified.get(record.instance) === connection) {
      return "alive"
    }
    const liveness = lookUp(record)
    if (liveness === "alive" && connection !== undefined) {
      if (verified.size >= maxVerified) verified.clear()
      verified.set(record.instance, connection)
    }
    return liveness
  }

  /** What follows from the answer of a process that can be reached; what is known without it for a fiber that cannot wait. */
  const ask = (
    instance: string,
    known: ProcessIdentity.Liveness,
    outcome: Readonly<Record<ProcessIdentity.Liveness, ProcessIdentity.Liveness>>
  ) =>
    Effect.withFiberRuntime<ProcessIdentity.Liveness>((fiber) =>
      Runtime.isSynchronous(fiber)
        ? Exit.succeed(known)
        : Effect.async((resume) => channel.ask(instance, (answer) => resume(Effect.succeed(outcome[answer]))))
    )

  return {
    info,
    self: info === self ? undefined : self,
    bootedAt,
    channel,
    leavesCalls: options.leavesCalls === true,
    reserve: options.reserve,
    canReach,
    issueToken: Immediate.sync(() => {
      // Before its first record can be seen: an address that refuses is a dead process's.
      if (info.network === "" && network !== "" && channel.open()) {
        self.network = network
        info.network = info === self ? network : onBehalf(network)
      }
      const token = `${tokens.instance}-${(tokens.issued++).toString(36)}`
      tokens.live.add(token)
      return token
    }),
    retireToken: (token) => Immediate.sync(() => void tokens.live.delete(token)),
    isAlive: (record) =>
      Immediate.suspend(() => {
        const liveness = checkInTable(record)
        const isOurs = record.instance === tokens.instance
        if (!canReach(record)) {
          return Exit.succeed(liveness)
        }
        if (isOnBehalf(record)) {
          return liveness === "alive" || isOurs
            ? Exit.succeed(liveness)
            // A stranger may listen there once both are dead. One that has acquired a lock, and lives, makes its heartbeats.
            : ask(record.instance, liveness, {
              alive: liveness === "dead" ? "unknown" : "alive",
              dead: liveness,
              unknown: options.refusalIsProof ? "unknown" : liveness
            })
        }
        // The process table does not know the threads of a process, nor what is in another pid namespace.
        return liveness === "unknown" || (liveness === "alive" && record.thread > 0 && !isOurs)
          ? ask(record.instance, liveness, { alive: "alive", dead: "dead", unknown: liveness })
          : Exit.succeed(liveness)
      })
  }
}
