import { describe, expect, it, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import * as Bundle from "./torture/Bundle.js"

type Claim = ProcessIdentity.ProcessInfo & { readonly token: string }

interface Child {
  readonly process: ChildProcess
  readonly claim: Claim
  readonly workers?: Claim
}

/** The script of the processes, compiled once. */
class Script extends Context.Tag("test/Script")<Script, string>() {
  static readonly layer = Layer.scoped(
    Script,
    Bundle.makeTemporary(new URL("fixtures/identityChild.ts", import.meta.url))
  )
}

/** Starts a process that prints its identity; it is killed when the scope closes. */
const child = (
  args: ReadonlyArray<string> = [],
  wrap: ReadonlyArray<string> = []
): Effect.Effect<Child, never, Script | Scope.Scope> =>
  Effect.acquireRelease(
    Effect.flatMap(Script, (script) =>
      Effect.promise(async () => {
        const command = [...wrap, process.execPath, script, ...args]
        const started = spawn(command[0] ?? "", command.slice(1), { stdio: ["pipe", "pipe", "inherit"] })
        const [line]: Array<Buffer> = await once(started.stdout, "data")
        return { process: started, ...JSON.parse(String(line)) }
      })),
    ({ process }) =>
      Effect.promise(async () => {
        if (process.exitCode === null && process.signalCode === null) {
          process.kill("SIGKILL")
          await once(process, "exit")
        }
      })
  )

const exited = (process: ChildProcess, signal: NodeJS.Signals) =>
  Effect.promise(async () => {
    process.kill(signal)
    await once(process, "exit")
  })

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

layer(Script.layer, { excludeTestServices: true })("ProcessIdentity of another process", (it) => {
  it.scoped("sees a real process live, stop, go on and die", () =>
    Effect.gen(function*() {
      const identity = yield* ProcessIdentity.ProcessIdentity
      const { claim, process } = yield* child()
      expect(claim.bootId).toBe(identity.info.bootId)
      expect(yield* identity.isAlive(claim)).toBe("alive")
      process.kill("SIGSTOP")
      expect(yield* identity.isAlive(claim)).toBe("alive")
      process.kill("SIGCONT")
      yield* exited(process, "SIGKILL")
      expect(yield* identity.isAlive(claim)).toBe("dead")
    }))

  it.scoped("knows that a process id is used by another process now", () =>
    Effect.gen(function*() {
      const identity = yield* ProcessIdentity.ProcessIdentity
      const { claim } = yield* child()
      expect(yield* identity.isAlive({ ...claim, startTime: String(Number(claim.startTime) - 1) })).toBe("dead")
    }))

  it.scoped("takes a zombie for dead", () =>
    Effect.gen(function*() {
      const identity = yield* ProcessIdentity.ProcessIdentity
      // The shell never waits for its child, so the child stays a zombie once it is killed.
      const { claim, process: parent } = yield* child([], ["sh", "-c", `"$@" & echo started >&2; exec sleep 60`, "sh"])
      expect(yield* identity.isAlive(claim)).toBe("alive")
      process.kill(claim.pid, "SIGKILL")
      for (let look = 0; look < 200 && (yield* identity.isAlive(claim)) !== "dead"; look++) {
        yield* Effect.sleep("10 millis")
      }
      expect(existsSync(`/proc/${claim.pid}`)).toBe(true)
      expect(yield* identity.isAlive(claim)).toBe("dead")
      parent.kill("SIGKILL")
    }))

  it.scoped("takes a worker thread for alive as long as its process lives", () =>
    Effect.gen(function*() {
      const identity = yield* ProcessIdentity.ProcessIdentity
      const { claim, process, workers } = yield* child(["worker"])
      expect(workers).toMatchObject({ pid: claim.pid, startTime: claim.startTime })
      if (workers === undefined) {
        return yield* Effect.dieMessage("the worker said nothing")
      }
      expect(workers.instance).not.toBe(claim.instance)
      expect(yield* identity.isAlive(workers)).toBe("alive")
      yield* exited(process, "SIGKILL")
      expect(yield* identity.isAlive(workers)).toBe("dead")
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
