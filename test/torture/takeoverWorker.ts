/**
 * One of the processes of the takeover rounds: the holder that will be killed, or one of those that wait for it.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as FileLock from "../../src/FileLock.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"
import * as Arena from "./Arena.js"
import * as CriticalSection from "./CriticalSection.js"
import * as Ipc from "./Ipc.js"
import * as Platform from "./Platform.js"
import * as Messages from "./takeoverMessages.js"

const settings = Ipc.argument(Messages.Settings)
const send = Ipc.send(Messages.Message)

const program = Effect.gen(function*() {
  const arena = Arena.make(settings.root)
  const sections = yield* CriticalSection.make(arena, settings.incarnation)
  const commands = yield* Ipc.commands(Messages.Command)
  let section = 0
  yield* send({ _tag: "ready" })

  /** Stays inside until it is killed. */
  const hold = (section: number) =>
    sections.inside(section, "exclusive", Effect.zipRight(send({ _tag: "holding" }), Effect.never)).pipe(
      FileLock.withLock(arena.counter, { timeout: "infinity" })
    )

  const compete = (section: number) =>
    Effect.gen(function*() {
      sections.log.write("waiting", section)
      yield* send({ _tag: "waiting" })
      yield* sections.inside(section, "exclusive", sections.raise(section, 1)).pipe(
        FileLock.withLock(arena.counter, { timeout: "infinity" })
      )
      sections.log.write("released", section)
      yield* send({ _tag: "served" })
    })

  yield* commands.take.pipe(
    Effect.flatMap((command) => command === "hold" ? hold(++section) : compete(++section)),
    Effect.catchAllCause((cause) => send({ _tag: "failed", failure: Cause.pretty(cause, { renderErrorCause: true }) })),
    Effect.forever
  )
})

program.pipe(
  Effect.provide(Layer.merge(NodeFileLock.layer, Platform.layer)),
  NodeRuntime.runMain
)
