/**
 * A process with one competitor. It runs the commands of a question.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import * as Ipc from "../test/torture/Ipc.js"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Competitors from "./Competitors.js"
import * as Messages from "./messages.js"
import * as Workload from "./workload.js"

const settings = Ipc.argument(Messages.Settings)
const send = Ipc.send(Messages.Message)

const program = Effect.gen(function*() {
  const commands = yield* Ipc.commands(Messages.Command)
  const competitor = Competitors.make(settings.competitor, settings.installation, settings.servers)
  const runPromise = Runtime.runPromise(yield* Effect.runtime())
  let release = yield* Deferred.make<number>()

  const measure = (action: () => Promise<void>) =>
    Effect.flatMap(
      Effect.promise(() => Workload.measure(action)),
      (measured) => send({ _tag: "measured", ...measured })
    )

  const hold = (path: string) =>
    Effect.gen(function*() {
      release = yield* Deferred.make<number>()
      let at = 0
      const body = send({ _tag: "holding" }).pipe(
        Effect.zipRight(Deferred.await(release)),
        Effect.flatMap((after) => Effect.sleep(after))
      )
      yield* Effect.promise(() =>
        competitor.exclusively(path, async () => {
          await runPromise(body)
          at = Monotonic.millis()
        })
      )
      yield* send({ _tag: "released", at })
    })

  const acquire = (path: string) =>
    Effect.gen(function*() {
      yield* send({ _tag: "waiting" })
      const acquired = yield* Effect.promise(() => Workload.acquire(competitor, path))
      yield* send({ _tag: "acquired", ...acquired })
    })

  const handle = (command: Messages.Command): Effect.Effect<void> => {
    switch (command._tag) {
      case "cycle":
        return measure(() => Workload.cycle(competitor, command.path, command.times))
      case "fibers":
        return measure(() => competitor.fibers(command.path, command.size))
      case "contend":
        return Effect.flatMap(
          Effect.promise(() => Workload.contend(competitor, command)),
          (contended) => send({ _tag: "contended", ...contended })
        )
      case "hold":
        return hold(command.path)
      case "acquire":
        return acquire(command.path)
      case "release":
        return Effect.asVoid(Deferred.succeed(release, command.after))
    }
  }

  const failed = (cause: Cause.Cause<never>) => send({ _tag: "failed", failure: Cause.pretty(cause) })

  yield* send({ _tag: "ready" })
  yield* commands.take.pipe(
    // Each command has a fiber, so that the command `release` reaches a holder.
    Effect.flatMap((command) => Effect.fork(Effect.catchAllCause(handle(command), failed))),
    Effect.forever
  )
})

NodeRuntime.runMain(program)
