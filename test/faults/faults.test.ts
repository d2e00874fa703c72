/**
 * Each file operation of an acquisition, of the kinds of takeover, of a heartbeat and of a late release fails, does not answer, or is the
 * last of its process. Whichever it is: no two processes are in the critical section at a time, every caller comes back, the lock is had
 * afterwards, and nothing is left.
 */
import type { PlatformError } from "@effect/platform/Error"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type { Settings } from "../../src/FileLock.js"
import { cleanupTimeout } from "../../src/internal/lock/waitQueue.js"
import { Fault } from "../../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../../src/ProcessIdentity.js"
import * as Scene from "../utils/Scene.js"
import * as Simulation from "../utils/Simulation.js"

interface Story {
  readonly name: string
  /** What dead processes have left. */
  readonly before?: ((scene: Scene.Scene) => Effect.Effect<unknown, PlatformError>) | undefined
  /** How long the first process holds the lock. Default 20 milliseconds. */
  readonly hold?: Duration.DurationInput | undefined
  readonly settings?: Settings | undefined
  /** The other processes are on another machine, and can tell by the lease only whether the first one lives. */
  readonly elsewhere?: boolean | undefined
  /** The whole file system of the first process does not answer from the first to the second of these, in milliseconds. */
  readonly standstill?: readonly [from: number, to: number] | undefined
}

/** What goes wrong at one operation. */
interface Strike {
  readonly name: string
  readonly fault: Fault
  /** For so many milliseconds all later operations fail in the same way. Default 0. */
  readonly lasts?: number | undefined
  /** The caller is interrupted soon after. */
  readonly interrupted?: boolean | undefined
  /** The process is killed so long after. */
  readonly killedAfter?: Duration.DurationInput | undefined
  /** The deadline of the caller. Default 1 minute. */
  readonly timeout?: Duration.DurationInput | undefined
  /** The operations that it strikes. Default all. */
  readonly strikes?: ((method: string) => boolean) | undefined
}

interface Outcome {
  /** The methods of the first process's operations, in their order. */
  readonly operations: ReadonlyArray<string>
  /** What is not as it must be. */
  readonly complaints: ReadonlyArray<string>
}

const unrelatedFiles = ["tasks.json", "tasks.json.lock.bak", "tasks.json.lock.claims", "tasks.json.loc", "other.lock"]

/** A caller has at most to wait for a step that is under way, and for the release of what it obtained. */
const allowance = cleanupTimeout * 2.5

/** Longer than the default lease: by then the clean-up has removed all that it can. */
const cleanedUp = Effect.sleep("2 minutes")

/**
 * The first process takes the lock, and one of its operations is struck. From then on a second process wants the lock, and must get it.
 * Then the first one takes it again, both end, and a third one finds it free and nothing left.
 */
const play = (story: Story, strike?: Strike, at = Number.NaN): Effect.Effect<Outcome, unknown> =>
  Effect.gen(function*() {
    const complaints = new Set<string>()
    const scene = yield* Scene.make()
    for (const name of unrelatedFiles) yield* scene.fs.writeFileString(`${Scene.directory}/${name}`, "")
    yield* story.before?.(scene) ?? Effect.void
    const clock = yield* Effect.clock
    const millis = () => Number(clock.unsafeCurrentTimeNanos()) / 1e6
    const start = millis()

    const operations: Array<string> = []
    const inside = new Set<string>()
    let isDead = false
    let isOver = false
    let struckAt: number | undefined
    const fault = (index: number): Fault | undefined => {
      if (isDead) {
        return Fault.Crash()
      }
      if (strike !== undefined && !isOver) {
        if (index === at) {
          struckAt = millis()
          return strike.fault
        }
        if (struckAt !== undefined && millis() - struckAt < (strike.lasts ?? 0)) {
          return strike.fault
        }
      }
      const [from, to] = story.standstill ?? [0, 0]
      const passed = millis() - start
      return passed >= from && passed < to
        ? Fault.Delay({ duration: Duration.millis(Math.ceil(to - passed)) })
        : undefined
    }
    const identity = yield* scene.machine.spawn()
    const die = Effect.suspend(() => {
      isDead = true
      inside.delete("first")
      return scene.machine.kill(identity)
    })
    const { settings } = story
    const first = yield* scene.join({
      identity,
      settings,
      faults: {
        fault: ({ index, method }) => {
          if (!isOver) operations.push(method)
          return fault(index)
        },
        onCrash: die
      }
    })
    const machine = story.elsewhere === true ? yield* ProcessIdentity.makeMachine() : scene.machine
    const section = (name: string, stay: Duration.DurationInput) =>
      Effect.suspend(() => {
        if (name === "first" && isDead) return Effect.never
        if (inside.size > 0) complaints.add(`${name} came in beside ${[...inside].join(", ")}`)
        inside.add(name)
        return Effect.ensuring(Effect.sleep(stay), Effect.sync(() => inside.delete(name)))
      })
    const enter = (
      name: string,
      { locks, run }: Scene.Process,
      stay: Duration.DurationInput,
      timeout: Duration.DurationInput
    ) => run(locks.withLock(section(name, stay), Scene.path, { timeout, schedule: Schedule.spaced("250 millis") }))

    const firstFiber = yield* Effect.forkDaemon(
      enter("first", first, story.hold ?? "20 millis", strike?.timeout ?? "1 minute")
    )
    while (struckAt === undefined && firstFiber.unsafePoll() === null) {
      yield* Effect.sleep("10 millis")
    }
    const second = yield* scene.join({ machine, settings })
    const secondFiber = yield* Effect.forkDaemon(enter("second", second, "20 millis", "10 minutes"))

    if (strike?.interrupted === true) {
      yield* Effect.sleep("10 millis")
      const interruptedAt = millis()
      yield* Effect.timeoutOption(Effect.disconnect(Fiber.interrupt(firstFiber)), "10 minutes")
      if (millis() - interruptedAt > allowance) complaints.add("the interrupted caller did not come back in time")
    }
    if (strike?.timeout !== undefined) {
      const began = millis()
      yield* Effect.timeoutOption(Effect.disconnect(Fiber.await(firstFiber)), "10 minutes")
      const hold = Duration.toMillis(story.hold ?? "20 millis")
      if (millis() - began > Duration.toMillis(strike.timeout) + hold + allowance) {
        complaints.add("the caller did not come back by its deadline")
      }
    }
    if (strike?.killedAfter !== undefined) {
      yield* Effect.sleep(strike.killedAfter)
      yield* die
    }

    if (!isDead) {
      const exit = yield* Effect.timeoutOption(Effect.disconnect(Fiber.await(firstFiber)), "10 minutes")
      if (Option.isNone(exit)) {
        complaints.add("the first process never came back")
      } else if (
        Exit.isFailure(exit.value) && Option.isNone(Cause.failureOption(exit.value.cause)) &&
        strike?.interrupted !== true
      ) {
        complaints.add(`the first process failed with a defect: ${Cause.pretty(exit.value.cause)}`)
      }
      // A lock file that could not be removed for longer than a release tries is others' once its process has ended.
      if ((strike?.lasts ?? 0) >= cleanupTimeout) {
        yield* Effect.sleep("30 seconds")
        if (secondFiber.unsafePoll() === null) yield* die
      }
    }
    const secondExit = yield* Fiber.await(secondFiber)
    if (Exit.isFailure(secondExit)) {
      complaints.add(`the second process did not get the lock: ${Cause.pretty(secondExit.cause)}`)
    }
    yield* cleanedUp
    if (strike !== undefined && struckAt === undefined) complaints.add("nothing was struck")
    isOver = true
    if (!isDead) {
      const again = yield* Effect.exit(enter("first", first, 0, "1 minute"))
      if (Exit.isFailure(again)) {
        complaints.add(`the first process does not get the lock again: ${Cause.pretty(again.cause)}`)
      }
      yield* die
    }
    yield* second.kill
    const third = yield* scene.join({ machine, settings })
    const free = yield* Effect.exit(third.run(third.locks.withLockIfAvailable(Effect.void, Scene.path)))
    if (Exit.isFailure(free) || Option.isNone(free.value)) complaints.add("the lock is not free in the end")
    yield* cleanedUp
    for (const name of yield* scene.names) {
      if (!unrelatedFiles.includes(name)) complaints.add(`${name.replace(/[0-9a-f]{32}/, "…")} is left`)
    }
    for (const name of unrelatedFiles) {
      const content = yield* Effect.option(scene.fs.readFileString(`${Scene.directory}/${name}`))
      if (!Option.contains(content, "")) complaints.add(`${name} was touched`)
    }
    return { operations, complaints: [...complaints] }
  }).pipe(Effect.scoped, Simulation.run)

const leaveClaim = ({ deadRecord, fs }: Scene.Scene, path: string) =>
  Effect.flatMap(deadRecord, (record) => fs.writeFileString(path, record))

const stories: ReadonlyArray<Story> = [
  { name: "an acquisition, a hold and a release" },
  { name: "a takeover from a dead holder", before: (scene) => scene.abandon },
  {
    name: "a takeover in which a process has died",
    before: (scene) => Effect.zipRight(scene.abandon, leaveClaim(scene, Scene.claimPath))
  },
  { name: "an acquisition beside the claim of a dead process", before: (scene) => leaveClaim(scene, Scene.claimPath) },
  {
    name: "an acquisition beside the request file of a dead process",
    before: (scene) => leaveClaim(scene, `${Scene.lockPath}.token-of-another`)
  },
  { name: "a hold with heartbeats", hold: "1500 millis", settings: { lease: "3 seconds" } },
  {
    name: "a hold with heartbeats, watched from another machine",
    hold: "1500 millis",
    settings: { lease: "3 seconds" },
    elsewhere: true
  },
  {
    name: "a release after a standstill",
    hold: "2500 millis",
    settings: { lease: "3 seconds" },
    standstill: [900, 4_900]
  },
  {
    name: "a heartbeat after a standstill",
    hold: "6 seconds",
    settings: { lease: "9 seconds" },
    standstill: [900, 6_900]
  }
]

const failures = (...errnos: ReadonlyArray<string>): ReadonlyArray<Strike> =>
  errnos.flatMap((errno) => [
    { name: `${errno} before it happens`, fault: Fault.Fail({ errno }) },
    { name: `${errno} after it has happened`, fault: Fault.Fail({ errno, moment: "after" }) }
  ])

const outages = (...errnos: ReadonlyArray<string>): ReadonlyArray<Strike> =>
  errnos.map((errno) => ({ name: `${errno} for three seconds`, fault: Fault.Fail({ errno }), lasts: 3_000 }))

/** What a file server answers to a request that it had already carried out when its answer was lost. */
const lostAnswers: ReadonlyArray<Strike> = [
  {
    name: "EEXIST although it has happened",
    fault: Fault.Fail({ errno: "EEXIST", moment: "after" }),
    strikes: (method) => method === "writeFileString" || method === "link"
  },
  {
    name: "ENOENT although it has happened",
    fault: Fault.Fail({ errno: "ENOENT", moment: "after" }),
    strikes: (method) => method === "rename" || method === "remove"
  }
]

const silences = (["before", "after"] as const).flatMap((moment): ReadonlyArray<Strike> => [
  {
    name: `no answer for three seconds, ${moment} it happens, and an interruption`,
    fault: Fault.Delay({ duration: "3 seconds", moment }),
    interrupted: true
  },
  {
    name: `no answer for three seconds, ${moment} it happens, and a timeout of one`,
    fault: Fault.Delay({ duration: "3 seconds", moment }),
    timeout: "1 second"
  },
  {
    name: `no answer ${moment} it happens, an interruption, and death`,
    fault: Fault.Hang({ moment }),
    interrupted: true,
    killedAfter: "3 seconds"
  }
])

/** A death after an operation leaves what a death before the next one does. */
const deaths: ReadonlyArray<Strike> = [
  { name: "death before it happens", fault: Fault.Crash() },
  ...[0, 150].map((written): Strike => ({
    name: `death when ${written} bytes are written`,
    fault: Fault.Crash({ moment: "during", written }),
    strikes: (method) => method === "writeFileString" || method === "File.writeAll"
  }))
]

/** Whichever error it is, it takes one of few ways through the code: two stories try them all. */
const strikesOf = (story: Story): ReadonlyArray<Strike> =>
  stories.indexOf(story) < 2
    ? [
      ...failures("EIO", "EACCES", "ENOSPC", "ESTALE", "EPERM"),
      ...outages("EIO", "EACCES"),
      ...lostAnswers,
      ...silences,
      ...deaths
    ]
    : [...failures("EIO"), ...lostAnswers, ...silences.slice(0, 1), ...deaths]

describe.each(stories)("$name", (story) => {
  it.effect("ends well when nothing goes wrong", () =>
    Effect.gen(function*() {
      const { complaints, operations } = yield* play(story)
      assert.deepStrictEqual(complaints, [])
      assert.isAtLeast(operations.length, 6)
    }))

  it.effect.each(strikesOf(story))("ends well after $name, at whichever operation", (strike) =>
    Effect.gen(function*() {
      const { operations } = yield* play(story)
      const complaints = yield* Effect.forEach(
        Array.from(operations.entries()).filter(([, method]) => strike.strikes?.(method) ?? true),
        ([index, method]) =>
          Effect.map(
            play(story, strike, index),
            (outcome) => outcome.complaints.map((complaint) => `operation ${index}, ${method}: ${complaint}`)
          )
      )
      assert.deepStrictEqual(complaints.flat(), [])
    }))
})
