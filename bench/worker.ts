/**
 * One process with one contestant in it, which does what a question asks for.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import * as Ipc from "../test/torture/Ipc.js"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Contestants from "./Contestants.js"
import * as Load from "./load.js"
import * as Messages from "./messages.js"

const settings = Ipc.argument(Messages.Settings)
const send = Ipc.send(Messages.Message)

const program = Effect.gen(function*() {
  const commands = yield* Ipc.commands(Messages.Command)
  const contestant = Contestants.make(settings.contestant, settings.installation)
  const runPromise = Runtime.runPromise(yield* Effect.runtime())
  let leave = yield* Deferred.make<number>()

  const hold = (path: string) =>
    Effect.gen(function*() {
      leave = yield* Deferred.make<number>()
      let at = 0
      const inside = send({ _tag: "holding" }).pipe(
        Effect.zipRight(Deferred.await(leave)),
        Effect.flatMap((after) => Effect.sleep(after))
      )
      yield* Effect.promise(() =>
        contestant.exclusively(path, async () => {
          await runPromise(inside)
          at = Monotonic.millis()
        })
      )
      yield* send({ _tag: "left", at })
    })

  const take = (path: string) =>
    Effect.gen(function*() {
      yield* send({ _tag: "waiting" })
      const taken = yield* Effect.promise(() => Load.take(contestant, path))
      yield* send({ _tag: "taken", ...taken })
    })

  const obey = (command: Messages.Command): Effect.Effect<void> => {
    switch (command._tag) {
      case "cycle":
        return Effect.flatMap(
          Effect.promise(() => Load.measure(() => contestant.cycle(command.path, command.times))),
          (measured) => send({ _tag: "measured", ...measured })
        )
      case "crowd":
        return Effect.flatMap(
          Effect.promise(() => Load.measure(() => contestant.crowd(command.path, command.size))),
          (measured) => send({ _tag: "measured", ...measured })
        )
      case "contend":
        return Effect.flatMap(
          Effect.promise(() => Load.contend(contestant, command)),
          (contended) => send({ _tag: "contended", ...contended })
        )
      case "hold":
        return hold(command.path)
      case "take":
        return take(command.path)
      case "leave":
        return Effect.asVoid(Deferred.succeed(leave, command.after))
    }
  }

  const failed = (cause: Cause.Cause<never>) => send({ _tag: "failed", failure: Cause.pretty(cause) })

  yield* send({ _tag: "ready" })
  yield* commands.take.pipe(
    // Beside the next command: whoever holds must hear that it may leave. Nothing else is asked of a busy process.
    Effect.flatMap((command) => Effect.fork(Effect.catchAllCause(obey(command), failed))),
    Effect.forever
  )
})

NodeRuntime.runMain(program)
