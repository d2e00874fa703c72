/**
 * Bugs in how a process tells whether another one lives.
 */
import * as Effect from "effect/Effect"
import type * as Tokens from "../../src/internal/process/tokens.js"
import { type Mutant, mutant } from "./Mutant.js"

const tokens = {
  module: "internal/process/tokens",
  replaces: ["toIdentity"] as const,
  noticedBy: ["ProcessIdentity", "integration/processIdentity"]
}

export const processMutants: ReadonlyArray<Mutant> = [
  mutant<typeof Tokens>()({
    ...tokens,
    name: "start-time-ignored",
    bug: "takes a process for the owner of a record because it has the same id, although it started later",
    change: ({ toIdentity }) => ({
      toIdentity: (options) =>
        toIdentity({ ...options, inProcessTable: (other) => options.inProcessTable({ ...other, startTime: "" }) })
    })
  }),
  mutant<typeof Tokens>()({
    ...tokens,
    name: "boot-ignored",
    bug: "looks for an owner of another boot, or another machine, in the process table of this one",
    important: true,
    change: ({ toIdentity }) => ({
      toIdentity: (options) => {
        const { info } = options
        const identity = toIdentity(options)
        return { ...identity, isAlive: (record) => identity.isAlive({ ...record, bootId: info.bootId }) }
      }
    })
  }),
  mutant<typeof Tokens>()({
    ...tokens,
    name: "namespace-ignored",
    bug: "looks for an owner of another pid namespace in the process table of its own",
    change: ({ toIdentity }) => ({
      toIdentity: (options) => {
        const { info } = options
        const identity = toIdentity(options)
        return { ...identity, isAlive: (record) => identity.isAlive({ ...record, pidNamespace: info.pidNamespace }) }
      }
    })
  }),
  mutant<typeof Tokens>()({
    ...tokens,
    name: "own-records-alive",
    bug: "takes a record of its own for a live one although no acquisition stands by it any more",
    change: ({ toIdentity }) => ({
      toIdentity: (options) => {
        const { tokens } = options
        const identity = toIdentity(options)
        return {
          ...identity,
          isAlive: (record) => record.instance === tokens.instance ? Effect.succeed("alive") : identity.isAlive(record)
        }
      }
    })
  }),
  mutant<typeof Tokens>()({
    ...tokens,
    name: "threads-are-one",
    bug: "takes a record of another worker thread of this process for a dead one",
    change: ({ toIdentity }) => ({
      toIdentity: (options) => {
        const { info, tokens } = options
        const identity = toIdentity(options)
        return {
          ...identity,
          isAlive: (record) =>
            identity.isAlive(record.pid === info.pid ? { ...record, instance: tokens.instance } : record)
        }
      }
    })
  })
]
