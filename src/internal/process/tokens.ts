import * as Effect from "effect/Effect"
import type * as ProcessIdentity from "../../ProcessIdentity.js"

/** The tokens of one realm of one process that are alive. */
export interface Tokens {
  readonly instance: string
  readonly live: Set<string>
  issued: number
}

export const make = (instance: string): Tokens => ({ instance, live: new Set(), issued: 0 })

/** A process from what it is, the tokens it stands by, and how it looks at the process table. */
export const toIdentity = (
  info: ProcessIdentity.ProcessInfo,
  tokens: Tokens,
  bootedAt: number,
  inProcessTable: (other: ProcessIdentity.ProcessInfo) => ProcessIdentity.Liveness
): ProcessIdentity.ProcessIdentity => ({
  info,
  bootedAt,
  issueToken: Effect.sync(() => {
    const token = `${tokens.instance}-${(tokens.issued++).toString(36)}`
    tokens.live.add(token)
    return token
  }),
  retireToken: (token) => Effect.sync(() => void tokens.live.delete(token)),
  isAlive: (record) =>
    Effect.sync(() => {
      if (
        record.bootId !== info.bootId || record.pidNamespace !== info.pidNamespace ||
        info.bootId === "" || info.pidNamespace === ""
      ) {
        return "unknown"
      }
      if (record.instance === tokens.instance) {
        return tokens.live.has(record.token) ? "alive" : "dead"
      }
      if (record.pid === info.pid && record.startTime === info.startTime) {
        return "unknown"
      }
      return record.timeNamespace === info.timeNamespace ? inProcessTable(record) : "unknown"
    })
})
