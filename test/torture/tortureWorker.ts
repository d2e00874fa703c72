/**
 * One of the processes that torture the lock: it takes it again and again, until it is killed.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as FileLock from "../../src/FileLock.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"
import * as Arena from "./Arena.js"
import * as CriticalSection from "./CriticalSection.js"
import * as Ipc from "./Ipc.js"
import * as Platform from "./Platform.js"
import * as Messages from "./tortureMessages.js"

const settings = Ipc.argument(Messages.Settings)
const random = Random.make(`${settings.seed}/${settings.incarnation}`)
const report = Ipc.send(Messages.Message)

let started = 0

const once = (arena: Arena.Arena, sections: CriticalSection.CriticalSection) =>
  Effect.gen(function*() {
    const section = ++started
    const mode = (yield* random.next) < settings.readers ? "shared" : "exclusive"
    const work = (yield* random.next) * settings.work
    const body = sections.inside(
      section,
      mode,
      mode === "exclusive" ? sections.raise(section, work) : sections.observe(section, work)
    )
    sections.log.write("waiting", section)
    yield* settings.locked
      ? FileLock.withLock(body, arena.counter, { timeout: "infinity", mode })
      : body
    sections.log.write("released", section)
  }).pipe(
    Effect.catchAllCause((cause) => {
      sections.log.write("failed", started)
      return report({ _tag: "failed", failure: Cause.pretty(cause, { renderErrorCause: true }) })
    })
  )

const program = Effect.gen(function*() {
  const arena = Arena.make(settings.root)
  const sections = yield* CriticalSection.make(arena, settings.incarnation)
  const commands = yield* Ipc.commands(Messages.Command)
  yield* report({ _tag: "ready" })
  yield* Queue.take(commands)
  const limit = settings.sections ?? Number.POSITIVE_INFINITY
  const fiber = Effect.whileLoop({
    while: () => started < limit,
    body: () => Effect.zipRight(once(arena, sections), Effect.yieldNow()),
    step: () => {}
  })
  yield* Effect.replicateEffect(fiber, settings.fibers, { concurrency: "unbounded", discard: true })
})

const options: FileLock.Settings = settings.lease === null ? {} : { lease: settings.lease }
const locks = settings.platform
  ? Layer.provide(FileLock.layerWith(options), Platform.layer)
  : NodeFileLock.layerWith(options)

program.pipe(
  Effect.provide(Layer.merge(locks, Platform.layer)),
  // The channel to the parent keeps the process alive.
  Effect.zipRight(Effect.sync(() => process.disconnect())),
  NodeRuntime.runMain
)
