import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Machine, ProcessIdentity, ProcessInfo, SpawnOptions } from "../../ProcessIdentity.js"
import * as Tokens from "./tokens.js"

let machines = 0

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0")

/** A process table in memory. */
export const make = (options?: { readonly hostname?: string | undefined }): Effect.Effect<Machine> =>
  Effect.sync(() => {
    const number = machines++
    const machineId = `machine${number}`
    const hostname = options?.hostname ?? machineId
    const table = new Map<string, ProcessInfo>()
    let boots = 0
    let bootedAt = -Infinity
    let starts = 0

    const key = (info: ProcessInfo) => `${info.pidNamespace}/${info.pid}`

    const start = (spawn: SpawnOptions): ProcessIdentity => {
      const serial = starts++
      // As long as that of a real process, and as unlike any other.
      const instance = `${hex(number, 12)}${hex(boots, 8)}${hex(serial, 12)}`
      const info: ProcessInfo = spawn.threadOf === undefined
        ? {
          pid: spawn.pid ?? 1000 + serial,
          startTime: String(serial),
          bootId: `${machineId}-boot${boots}`,
          pidNamespace: spawn.pidNamespace ?? "pid:[1]",
          timeNamespace: "time:[1]",
          hostname,
          instance
        }
        : { ...spawn.threadOf.info, instance }
      if (spawn.threadOf === undefined) {
        table.set(key(info), info)
      }
      return Tokens.toIdentity(info, Tokens.make(instance), bootedAt, (other) => {
        const found = table.get(key(other))
        return found !== undefined && found.startTime === other.startTime && found.bootId === other.bootId
          ? "alive"
          : "dead"
      })
    }

    return {
      spawn: (spawn = {}) => Effect.sync(() => start(spawn)),
      kill: (process) =>
        Effect.sync(() => {
          if (table.get(key(process.info))?.startTime === process.info.startTime) {
            table.delete(key(process.info))
          }
        }),
      reboot: Effect.map(Clock.currentTimeMillis, (now) => {
        table.clear()
        boots++
        bootedAt = now
      })
    }
  })
