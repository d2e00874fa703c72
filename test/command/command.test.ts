import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Command from "../../src/internal/cli/command.js"
import * as Scene from "./Scene.js"

/** A command that goes on, its process, and the fiber that waits for its end. */
const started = Effect.gen(function*() {
  const command = yield* Command.make(["sleep", "60"])
  const fiber = yield* Effect.fork(command.run)
  yield* Effect.yieldNow()
  const { pid } = command
  return pid === undefined ? yield* Effect.dieMessage("no process") : { command, fiber, pid }
})

it.scoped("has an ending of its own that the event loop has not read yet when it is interrupted", () =>
  Effect.gen(function*() {
    const { command, fiber, pid } = yield* started
    process.kill(pid, "SIGKILL")
    while (!Scene.isZombie(pid));
    yield* Fiber.interrupt(fiber)
    assert.deepStrictEqual(command.ownEnding(), { _tag: "Signal", signal: "SIGKILL" })
  }))

it.scoped("has no ending of its own when it is ended by an interruption", () =>
  Effect.gen(function*() {
    const { command, fiber } = yield* started
    yield* Fiber.interrupt(fiber)
    assert.isUndefined(command.ownEnding())
  }))
