/**
 * One of the processes of the takeover rounds: the holder that will be killed, or one of those that wait for it.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { isMainThread, parentPort, Worker } from "node:worker_threads"
import * as FileLock from "../../src/FileLock.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"
import * as Arena from "./Arena.js"
import * as CriticalSection from "./CriticalSection.js"
import * as EventLog from "./EventLog.js"
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

  /** The same in a thread, until that is terminated. */
  const holdInThread = Effect.gen(function*() {
    const thread = new Worker(String(process.argv[1]), { argv: process.argv.slice(2) })
    yield* Effect.async<void>((resume) => void thread.once("message", () => resume(Effect.void)))
    yield* send({ _tag: "holding" })
    yield* commands.take
    yield* Effect.promise(() => thread.terminate())
    yield* send({ _tag: "terminated" })
  })

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
    Effect.flatMap((command) => {
      switch (command) {
        case "hold":
          return hold(++section)
        case "holdInThread":
          return holdInThread
        default:
          return compete(++section)
      }
    }),
    Effect.catchAllCause((cause) => send({ _tag: "failed", failure: Cause.pretty(cause, { renderErrorCause: true }) })),
    Effect.forever
  )
})

/** Inside a thread: it holds the lock. It leaves no mark of its presence, since its process stays when it ends. */
const thread = FileLock.withLock(
  Effect.sync(() => {
    EventLog.open(Arena.make(settings.root).log, settings.incarnation).write("enterExclusive", 1)
    parentPort?.postMessage("holding")
  }).pipe(Effect.zipRight(Effect.never)),
  Arena.make(settings.root).counter
)

Effect.suspend(() => isMainThread ? program : thread).pipe(
  Effect.provide(Layer.merge(NodeFileLock.layer, Platform.layer)),
  NodeRuntime.runMain
)
