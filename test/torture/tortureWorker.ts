/**
 * One of the processes that torture the lock: it takes it again and again, until it is killed.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as FileLock from "../../src/FileLock.js"
import { fenceStep } from "../../src/LockBackend.js"
import * as LockedFile from "../../src/LockedFile.js"
import * as Arena from "./Arena.js"
import * as Content from "./Content.js"
import * as CriticalSection from "./CriticalSection.js"
import * as Engines from "./Engines.js"
import * as Ipc from "./Ipc.js"
import * as Platform from "./Platform.js"
import * as Messages from "./tortureMessages.js"

const settings = Ipc.argument(Messages.Settings)
const random = Random.make(`${settings.seed}/${settings.incarnation}`)
const report = Ipc.send(Messages.Message)

let started = 0

/** In lines of 32 bytes. What is long is written by another thread. */
const maxLines = settings.writes === "rename" ? 0 : 6_000

/** Takes the lock itself. */
const withLock = ({ counter }: Arena.Arena, sections: CriticalSection.CriticalSection) =>
(
  section: number,
  mode: CriticalSection.Mode,
  work: number
) => {
  const body = sections.inside(
    section,
    mode,
    mode === "exclusive" ? sections.raise(section, work) : sections.observe(section, work)
  )
  return !settings.locked
    ? body
    : Engines.hasFences(settings.engine)
    ? Effect.scoped(Effect.flatMap(FileLock.acquire(counter, { timeout: "infinity", mode }), ({ fence, lost }) => {
      const inside = Effect.zipRight(
        Effect.sync(() => sections.log.write("fence", section, Number(Option.getOrThrow(fence) / BigInt(fenceStep)))),
        body
      )
      return Effect.raceFirst(inside, lost)
    }))
    : FileLock.withLock(body, counter, { timeout: "infinity", mode })
}

/**
 * Leaves the lock to `LockedFile`, or has it around that. Not all of a write is marked where `LockedFile` has the lock for itself: what
 * comes in between is seen by the readers, or by the loss of an update.
 */
const throughLockedFile = ({ counter }: Arena.Arena, sections: CriticalSection.CriticalSection) =>
(
  section: number,
  mode: CriticalSection.Mode,
  work: number
) =>
  Effect.gen(function*() {
    const kind = yield* random.nextIntBetween(0, 3)
    const fsync = yield* random.nextBoolean
    const options = { timeout: "infinity", fsync } as const
    if (mode === "shared") {
      return yield* kind === 0
        ? Effect.map(LockedFile.readString(counter, options), (content) => sections.check(section, content))
        : sections.inside(section, mode, sections.observe(section, work)).pipe(
          FileLock.withLock(counter, { timeout: "infinity", mode })
        )
    }
    const next = (current: Option.Option<string>): string | Effect.Effect<never, string> =>
      sections.next(section, Option.getOrElse(current, () => "")) ?? Effect.fail("the content is not whole")
    const later = (current: Option.Option<string>) =>
      Effect.flatMap(Effect.sleep(work), () => {
        const content = next(current)
        return Effect.isEffect(content) ? content : Effect.succeed(content)
      })
    const updated = yield* kind === 0
      // Together with the other fibers.
      ? LockedFile.updateString(counter, (current) => sections.visit(section, mode, () => next(current)), options)
      : kind === 1
      ? LockedFile.updateString(counter, (current) => sections.inside(section, mode, later(current)), options)
      : sections.inside(section, mode, LockedFile.updateString(counter, later, options)).pipe(
        FileLock.withLock(counter, { timeout: "infinity" })
      )
    sections.log.write("acknowledged", section, Content.valueOf(updated))
  })

const once = (arena: Arena.Arena, sections: CriticalSection.CriticalSection) =>
  Effect.gen(function*() {
    const section = ++started
    const mode = (yield* random.next) < settings.readers ? "shared" : "exclusive"
    const work = (yield* random.next) * settings.work
    const access = settings.writes === "LockedFile" ? throughLockedFile : withLock
    sections.log.write("waiting", section)
    yield* access(arena, sections)(section, mode, work)
    sections.log.write("released", section)
  }).pipe(
    Effect.catchAllCause((cause) => {
      sections.log.write("failed", started)
      return report({ _tag: "failed", failure: Cause.pretty(cause, { renderErrorCause: true }) })
    })
  )

const program = Effect.gen(function*() {
  const arena = Arena.make(settings.root)
  const sections = yield* CriticalSection.make(arena, settings.incarnation, {
    maxLines,
    inPlace: settings.writes === "inPlace"
  })
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
const locks = Engines.layer(settings.engine, options)

program.pipe(
  Effect.provide(Layer.merge(locks, Platform.layer)),
  // The channel to the parent keeps the process alive.
  Effect.zipRight(Effect.sync(() => process.disconnect())),
  NodeRuntime.runMain
)
