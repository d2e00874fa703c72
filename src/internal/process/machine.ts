import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Machine, ProcessIdentity, ProcessInfo, SpawnOptions } from "../../ProcessIdentity.js"
import { MemoryNetwork } from "../handover/memoryChannel.js"
import * as Tokens from "./tokens.js"

let machines = 0

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0")

/** A container has a network of its own. */
const networkOf = (pidNamespace: string): string => pidNamespace.replace("pid:", "net:")

/** A process table in memory, and a network between its processes. */
export const make = (options?: {
  readonly hostname?: string | undefined
  /** Tells the machine from all others; by default the next one that is free. */
  readonly number?: number | undefined
  readonly network?: MemoryNetwork | undefined
}): Effect.Effect<Machine> =>
  Effect.sync(() => {
    const number = options?.number ?? machines++
    const network = options?.network ?? new MemoryNetwork()
    const machineId = `machine${number}`
    const hostname = options?.hostname ?? machineId
    const table = new Map<string, ProcessInfo>()
    /** Processes and threads. */
    const running = new Set<ProcessInfo>()
    let boots = 0
    let bootedAt = -Infinity
    let starts = 0

    const key = (info: ProcessInfo) => `${info.pidNamespace}/${info.pid}`

    const start = (spawn: SpawnOptions): ProcessIdentity => {
      const serial = starts++
      // As long as that of a real process, and as unlike any other.
      const instance = `${hex(number, 12)}${hex(boots, 8)}${hex(serial, 12)}`
      const info = spawn.threadOf === undefined
        ? {
          pid: spawn.pid ?? 1000 + serial,
          startTime: String(serial),
          bootId: `${machineId}-boot${boots}`,
          pidNamespace: spawn.pidNamespace ?? "pid:[1]",
          timeNamespace: "time:[1]",
          hostname,
          instance,
          thread: 0
        }
        : { ...spawn.threadOf.info, instance, thread: 1 + serial }
      const process = Tokens.toIdentity({
        info,
        tokens: Tokens.make(instance),
        bootedAt,
        inProcessTable: (other) => {
          const found = table.get(key(other))
          return found !== undefined && found.startTime === other.startTime && found.bootId === other.bootId
            ? "alive"
            : "dead"
        },
        channel: network.join(instance),
        network: spawn.network ?? networkOf(info.pidNamespace),
        refusalIsProof: true
      })
      if (spawn.threadOf === undefined) {
        table.set(key(process.info), process.info)
      }
      running.add(process.info)
      return process
    }

    const end = (info: ProcessInfo): void => {
      running.delete(info)
      network.close(info.instance)
    }

    return {
      spawn: (spawn = {}) => Effect.sync(() => start(spawn)),
      kill: (process) =>
        Effect.sync(() => {
          if (table.get(key(process.info))?.startTime === process.info.startTime) {
            table.delete(key(process.info))
          }
          for (const info of running) {
            if (key(info) === key(process.info) && info.startTime === process.info.startTime) end(info)
          }
        }),
      terminate: (thread) => Effect.sync(() => end(thread.info)),
      reboot: Effect.map(Clock.currentTimeMillis, (now) => {
        table.clear()
        for (const info of running) end(info)
        boots++
        bootedAt = now
      })
    }
  })
