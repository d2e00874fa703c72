import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as ProcessIdentity from "../src/ProcessIdentity.js"

describe("ProcessIdentity of this process", () => {
  it.effect("knows its own tokens, in every copy of the service", () =>
    Effect.gen(function*() {
      const identity = yield* ProcessIdentity.ProcessIdentity
      const token = yield* identity.issueToken
      expect(yield* identity.isAlive({ ...identity.info, token })).toBe("alive")
      expect(yield* identity.isAlive({ ...identity.info, token: "never-issued" })).toBe("dead")
      yield* identity.retireToken(token)
      expect(yield* identity.isAlive({ ...identity.info, token })).toBe("dead")
      expect(yield* identity.issueToken).not.toBe(token)
    }))

  it.effect("has one registry of tokens for all copies of the service", () =>
    Effect.gen(function*() {
      const copy = Effect.provide(ProcessIdentity.ProcessIdentity, ProcessIdentity.layerMachine("the same"))
      const [one, other] = yield* Effect.all([copy, copy])
      expect(one).not.toBe(other)
      const token = yield* one.issueToken
      expect(yield* other.isAlive({ ...one.info, token })).toBe("alive")
      yield* other.retireToken(token)
      expect(yield* one.isAlive({ ...other.info, token })).toBe("dead")
    }))

  it.effect("does not mistake another process that had its pid before for itself", () =>
    Effect.gen(function*() {
      const identity = yield* ProcessIdentity.ProcessIdentity
      const before = { ...identity.info, startTime: "1", instance: "another", token: "token-of-another" }
      expect(yield* identity.isAlive(before)).toBe("dead")
    }))

  it.effect("cannot check another boot, namespace or machine, whatever the host is called", () =>
    Effect.gen(function*() {
      const identity = yield* ProcessIdentity.ProcessIdentity
      const claim = { ...identity.info, pid: 2 ** 30, instance: "another", token: "some-token" }
      expect(yield* identity.isAlive(claim)).toBe("dead")
      expect(yield* identity.isAlive({ ...claim, bootId: "another" })).toBe("unknown")
      expect(yield* identity.isAlive({ ...claim, pidNamespace: "pid:[1]" })).toBe("unknown")
      expect(yield* identity.isAlive({ ...claim, hostname: "another" })).toBe("dead")
      const elsewhere = yield* ProcessIdentity.ProcessIdentity.pipe(
        Effect.provide(ProcessIdentity.layerMachine("clone-2"))
      )
      expect(yield* elsewhere.isAlive(claim)).toBe("unknown")
    }))

  it.effect("does not check start times across time namespaces", () =>
    Effect.gen(function*() {
      const identity = yield* ProcessIdentity.ProcessIdentity
      const claim = { ...identity.info, pid: 2 ** 30, instance: "another", timeNamespace: "time:[1]", token: "token" }
      expect(yield* identity.isAlive(claim)).toBe("unknown")
    }))
})

describe("ProcessIdentity of a simulated machine", () => {
  it.effect("lets processes live and die, and reuse process ids", () =>
    Effect.gen(function*() {
      const machine = yield* ProcessIdentity.makeMachine({ hostname: "build-7" })
      const observer = yield* machine.spawn()
      const first = yield* machine.spawn({ pid: 42 })
      const token = yield* first.issueToken
      const claim = { ...first.info, token }
      expect(first.info.hostname).toBe("build-7")
      expect(yield* observer.isAlive(claim)).toBe("alive")
      yield* machine.kill(first)
      expect(yield* observer.isAlive(claim)).toBe("dead")
      yield* machine.spawn({ pid: 42 })
      expect(yield* observer.isAlive(claim)).toBe("dead")
    }))

  it.effect("cannot check containers with their own network, and processes before a reboot or on another machine", () =>
    Effect.gen(function*() {
      const machine = yield* ProcessIdentity.makeMachine()
      const observer = yield* machine.spawn()
      const container = yield* machine.spawn({ pidNamespace: "pid:[2]" })
      const main = yield* machine.spawn()
      const thread = yield* machine.spawn({ threadOf: main, network: "" })
      const elsewhere = yield* Effect.flatMap(ProcessIdentity.makeMachine(), (other) => other.spawn())
      const claimOf = (identity: ProcessIdentity.ProcessIdentity) =>
        Effect.map(identity.issueToken, (token) => ({ ...identity.info, token }))
      expect(yield* observer.isAlive(yield* claimOf(container))).toBe("unknown")
      expect(yield* observer.isAlive(yield* claimOf(elsewhere))).toBe("unknown")
      expect(yield* main.isAlive(yield* claimOf(thread))).toBe("unknown")
      expect(yield* observer.isAlive(yield* claimOf(thread))).toBe("alive")
      const claim = yield* claimOf(main)
      yield* machine.reboot
      const after = yield* machine.spawn()
      expect(yield* after.isAlive(claim)).toBe("unknown")
    }))

  it.effect("tells by the address of a thread, or of a container in its network, whether that lives", () =>
    Effect.gen(function*() {
      const machine = yield* ProcessIdentity.makeMachine()
      const observer = yield* machine.spawn()
      const main = yield* machine.spawn()
      const thread = yield* machine.spawn({ threadOf: main })
      const container = yield* machine.spawn({ pidNamespace: "pid:[2]", network: main.info.network || "net:[1]" })
      const claimOf = (identity: ProcessIdentity.ProcessIdentity) =>
        Effect.map(identity.issueToken, (token) => ({ ...identity.info, token }))
      const [ofThread, ofContainer] = [yield* claimOf(thread), yield* claimOf(container)]
      for (const other of [observer, main]) {
        expect(yield* other.isAlive(ofThread)).toBe("alive")
        expect(yield* other.isAlive(ofContainer)).toBe("alive")
      }
      yield* machine.terminate(thread)
      yield* machine.kill(container)
      for (const other of [observer, main]) {
        expect(yield* other.isAlive(ofThread)).toBe("dead")
        expect(yield* other.isAlive(ofContainer)).toBe("dead")
      }
      expect(yield* observer.isAlive(yield* claimOf(main))).toBe("alive")
    }))
})
