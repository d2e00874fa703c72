import { expect } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync } from "node:fs"
import * as ProcessIdentity from "../../src/ProcessIdentity.js"
import * as Bundle from "../torture/Bundle.js"
import { layer } from "../utils/layer.js"

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
