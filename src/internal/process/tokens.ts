import * as Effect from "effect/Effect"
import type * as ProcessIdentity from "../../ProcessIdentity.js"

/** The claims of one realm of one process that still stand. */
export interface Tokens {
  readonly instance: string
  readonly live: Set<string>
  issued: number
}

export const make = (instance: string): Tokens => ({ instance, live: new Set(), issued: 0 })

export const TypeId: ProcessIdentity.TypeId = Symbol.for("effect-filelock/ProcessIdentity") as ProcessIdentity.TypeId

/** A process from what it is, the claims it stands by, and how it looks at the process table. */
export const toIdentity = (
  info: ProcessIdentity.ProcessInfo,
  tokens: Tokens,
  inProcessTable: (other: ProcessIdentity.ProcessInfo) => ProcessIdentity.Liveness
): ProcessIdentity.ProcessIdentity => ({
  [TypeId]: TypeId,
  info,
  issueToken: Effect.sync(() => {
    const token = `${tokens.instance}-${(tokens.issued++).toString(36)}`
    tokens.live.add(token)
    return token
  }),
  retireToken: (token) => Effect.sync(() => void tokens.live.delete(token)),
  isAlive: (claim) =>
    Effect.sync(() => {
      if (
        claim.bootId !== info.bootId || claim.pidNamespace !== info.pidNamespace ||
        info.bootId === "" || info.pidNamespace === ""
      ) {
        return "unknown"
      }
      if (claim.instance === tokens.instance) {
        return tokens.live.has(claim.token) ? "alive" : "dead"
      }
      if (claim.pid === info.pid && claim.startTime === info.startTime) {
        return "unknown"
      }
      return claim.timeNamespace === info.timeNamespace ? inProcessTable(claim) : "unknown"
    })
})
