import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { SystemError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import type * as FileLock from "../src/FileLock.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import { type Ground, onEveryFileSystem } from "./utils/grounds.js"
import * as Ledger from "./utils/Ledger.js"
import * as Player from "./utils/Player.js"
import { lockPath, path, play, type Stage } from "./utils/Stage.js"

/** Does not look again by itself before it has given up. */
const idle: FileLock.LockOptions = { schedule: Schedule.spaced("1 hour"), timeout: "20 seconds" }

/** Goes on as soon as something is so; whoever waits for what never comes is ended by its test. */
const until = (isSo: () => boolean) => Effect.repeat(Effect.sleep("2 millis"), { until: isSo })

/** Holds the lock from now on, until told to leave. */
const hold = ({ locks }: Player.Player, at: string) =>
  Effect.gen(function*() {
    const inside = yield* Deferred.make<void>()
    const gate = yield* Deferred.make<void>()
    const body = Effect.zipRight(Deferred.succeed(inside, undefined), Deferred.await(gate))
    const fiber = yield* Effect.fork(locks.withLock(body, at))
    yield* Effect.raceFirst(Deferred.await(inside), Fiber.join(fiber))
    return { leave: Effect.zipRight(Deferred.succeed(gate, undefined), Fiber.join(fiber)) }
  })

/** A process of a ground whose calls are written down. */
const joinWatched = (ground: Ground, settings?: FileLock.Settings) =>
  Effect.gen(function*() {
    const ledger = Ledger.make(ground.fs)
    const player = yield* Player.start(yield* ground.machine.spawn(), ledger.fs, settings)
    return { ...player, ledger }
  })

describe("A wait", () => {
  onEveryFileSystem("is ended by the release alone, whatever the schedule", (ground) =>
    Effect.gen(function*() {
      const at = `${ground.directory}/tasks.json`
      const held = yield* hold(yield* ground.join(), at)
      const waiter = yield* joinWatched(ground)
      const waiting = yield* Effect.fork(waiter.locks.withLock(Effect.void, at, idle))
      yield* until(() => waiter.ledger.watchers() > 0)
      yield* Effect.sleep("30 millis")
      assert.isNull(waiting.unsafePoll())
      yield* held.leave
      yield* Fiber.join(waiting)
      assert.deepStrictEqual(yield* ground.fs.readDirectory(ground.directory), [])
    }))

  onEveryFileSystem(
    "is ended for one process after the other by nothing but their releases",
    (ground) =>
      Effect.gen(function*() {
        const at = `${ground.directory}/tasks.json`
        const held = yield* hold(yield* ground.join(), at)
        const served: Array<number> = []
        const waiting = yield* Effect.forEach([0, 1, 2, 3, 4], (number) =>
          Effect.gen(function*() {
            const waiter = yield* joinWatched(ground)
            const body = Effect.zipRight(Effect.sync(() => served.push(number)), Effect.sleep("3 millis"))
            const fiber = yield* Effect.fork(waiter.locks.withLock(body, at, idle))
            yield* until(() => waiter.ledger.watchers() > 0)
            return fiber
          }))
        assert.deepStrictEqual(served, [])
        yield* held.leave
        yield* Fiber.joinAll(waiting)
        assert.sameMembers(served, [0, 1, 2, 3, 4])
        assert.deepStrictEqual(yield* ground.fs.readDirectory(ground.directory), [])
      })
  )

  it.effect("ends at the very moment of the release", () =>
    play((stage) =>
      Effect.gen(function*() {
        const [holder, waiter] = yield* Effect.all([stage.join(), stage.join()])
        const clock = yield* Effect.clock
        const now = () => clock.unsafeCurrentTimeMillis()
        const holding = yield* Effect.fork(holder.enter("holder", { stay: "1 minute" }))
        yield* Effect.sleep("1 second")
        let entered = 0
        const waiting = yield* Effect.fork(waiter.run(waiter.locks.withLock(
          Effect.sync(() => {
            entered = now()
          }),
          path,
          { ...idle, timeout: "infinity" }
        )))
        yield* Fiber.join(holding)
        const released = now()
        yield* Fiber.join(waiting)
        assert.strictEqual(entered, released)
      })
    ))
})

const refused = new SystemError({
  module: "FileSystem",
  method: "watch",
  reason: "Unknown",
  pathOrDescriptor: lockPath,
  description: "no more watches"
})

/** What is wrong with a watch, how much later than its schedule a waiter may notice, and the watch. */
const broken: ReadonlyArray<readonly [string, Duration.DurationInput, FileSystem.FileSystem["watch"]]> = [
  ["fails", 0, () => Stream.fail(refused)],
  ["dies", 0, () => Stream.die(Object.assign(new Error("too many open files"), { code: "EMFILE" }))],
  ["never tells anything", "2 seconds", () => Stream.never],
  ["ends at once", "2 seconds", () => Stream.empty]
]

/** One more process, on a file system with another `watch`, that writes down what it asks of it. */
const joinWith = ({ disk, machine }: Stage, watch: FileSystem.FileSystem["watch"]) =>
  Effect.gen(function*() {
    let watches = 0
    // Whoever runs in circles is to be told so, and not to run for ever.
    const patient: typeof watch = (path) => ++watches > 1_000 ? Stream.never : watch(path)
    const ledger = Ledger.make({ ...yield* disk.view(), watch: patient })
    const player = yield* Player.start(yield* machine.spawn(), ledger.fs)
    return {
      ...player,
      ledger,
      /** At how many moments it looked at the lock. */
      looks: () => new Set(ledger.entries.filter((entry) => entry.path === lockPath).map((entry) => entry.at)).size,
      watches: () => watches
    }
  })

describe("A wait where the watch", () => {
  it.effect("does not tell of what happened before it began is over soon after that", () =>
    play((stage) =>
      Effect.gen(function*() {
        for (const stay of [1, 2, 3, 5, 8]) {
          const holder = yield* stage.join()
          const waiter = yield* joinWith(stage, () => Stream.never)
          const holding = yield* Effect.fork(holder.enter("holder", { stay: `${stay} millis` }))
          yield* Effect.repeat(Effect.yieldNow(), { until: () => stage.occupancy.present.size > 0 })
          const waiting = yield* Effect.fork(waiter.locks.withLock(Effect.void, path))
          yield* Fiber.join(holding)
          yield* Effect.sleep("150 millis")
          assert.isNotNull(waiting.unsafePoll())
          yield* Fiber.join(waiting)
        }
      })
    ))

  it.effect("finds nothing to watch any more is over at once, whatever its schedule", () =>
    play((stage) =>
      Effect.gen(function*() {
        const slow: FileSystem.FileSystem["watch"] = (at) =>
          Stream.unwrap(Effect.as(Effect.sleep("5 millis"), stage.fs.watch(at)))
        const holder = yield* stage.join()
        const waiter = yield* joinWith(stage, slow)
        const holding = yield* Effect.fork(holder.enter("holder", { stay: "10 millis" }))
        yield* Effect.sleep("7 millis")
        const waiting = yield* Effect.fork(waiter.locks.withLock(Effect.void, path, idle))
        yield* Fiber.join(holding)
        assert.isNull(waiting.unsafePoll())
        yield* Effect.sleep("10 millis")
        assert.isNotNull(waiting.unsafePoll())
        yield* Fiber.join(waiting)
      })
    ))

  for (const [what, delay, watch] of broken) {
    it.effect(`${what} goes on by its schedule, and by nothing else`, () =>
      play((stage) =>
        Effect.gen(function*() {
          const holder = yield* stage.join()
          const holding = yield* Effect.fork(holder.enter("holder", { stay: "30 seconds" }))
          yield* Effect.sleep("1 millis")
          const waiter = yield* joinWith(stage, watch)
          yield* waiter.locks.withLock(Effect.void, path, { schedule: Schedule.spaced("3 seconds") })
          assert.isNotNull(holding.unsafePoll())
          // At its coming, when it has lined up, and each three seconds.
          assert.strictEqual(waiter.looks(), 12)
          assert.isAtMost(waiter.watches(), 2)
          assert.isBelow(waiter.ledger.entries.length, 100)
        })
      ))

    it.effect(`${what} is over soon after the release`, () =>
      play((stage) =>
        Effect.gen(function*() {
          const holder = yield* stage.join()
          const waiter = yield* joinWith(stage, watch)
          const holding = yield* Effect.fork(holder.enter("holder", { stay: "30 seconds" }))
          yield* Effect.sleep("1 millis")
          const waiting = yield* Effect.fork(waiter.locks.withLock(Effect.void, path))
          yield* Fiber.join(holding)
          // The longest pause of the default schedule, and what the way takes.
          yield* Effect.sleep(Duration.sum("110 millis", delay))
          assert.isNotNull(waiting.unsafePoll())
          yield* Fiber.join(waiting)
        })
      ))

    it.effect(`${what} ends with its deadline`, () =>
      play((stage) =>
        Effect.gen(function*() {
          const holder = yield* stage.join()
          const holding = yield* Effect.fork(holder.enter("holder", { stay: "1 minute" }))
          yield* Effect.sleep("1 millis")
          const waiter = yield* joinWith(stage, watch)
          const error = yield* Effect.flip(waiter.locks.withLock(Effect.void, path, idle))
          assert.propertyVal(error, "reason", "Timeout")
          assert.isNull(holding.unsafePoll())
          assert.isAtMost(waiter.looks(), 3)
          assert.isBelow(waiter.ledger.entries.length, 50)
          yield* Fiber.join(holding)
        })
      ))
  }
})

describe("The watchers of a process", () => {
  type Watched = Effect.Effect.Success<ReturnType<typeof joinWatched>>

  /** Lets two processes wait, one behind the other, for a lock that is held. */
  const whileWaiting = (
    ground: Ground,
    options: FileLock.LockOptions,
    then: (scene: {
      readonly waiting: ReadonlyArray<Fiber.RuntimeFiber<void, unknown>>
      readonly leave: Effect.Effect<unknown, unknown>
    }) => Effect.Effect<void, unknown>
  ): Effect.Effect<void, unknown, Scope.Scope> =>
    Effect.gen(function*() {
      const at = `${ground.directory}/tasks.json`
      const { leave } = yield* hold(yield* ground.join(), at)
      const waiters: ReadonlyArray<Watched> = [yield* joinWatched(ground), yield* joinWatched(ground)]
      const waiting = yield* Effect.forEach(waiters, ({ ledger, locks }) =>
        Effect.zipLeft(
          Effect.fork(locks.withLock(Effect.void, at, options)),
          until(() => ledger.watchers() > 0)
        ))
      yield* then({ waiting, leave })
      for (const { ledger } of waiters) {
        assert.strictEqual(ledger.watchers(), 0)
        assert.isAtMost(ledger.mostWatchers(), 2)
      }
      assert.deepStrictEqual(
        (yield* ground.fs.readDirectory(ground.directory)).filter((name) => name !== "tasks.json.lock"),
        []
      )
      yield* leave
    })

  onEveryFileSystem(
    "are gone when it has the lock",
    (ground) => whileWaiting(ground, idle, ({ leave, waiting }) => Effect.zipRight(leave, Fiber.joinAll(waiting)))
  )

  onEveryFileSystem(
    "are gone when it has waited for long enough",
    (ground) =>
      whileWaiting(
        ground,
        { ...idle, timeout: "500 millis" },
        ({ waiting }) =>
          Effect.forEach(waiting, (one) =>
            Effect.map(Effect.flip(Fiber.join(one)), (error) => assert.propertyVal(error, "reason", "Timeout")), {
            discard: true
          })
      )
  )

  onEveryFileSystem(
    "are gone when it is interrupted",
    (ground) => whileWaiting(ground, idle, ({ waiting }) => Fiber.interruptAll(waiting))
  )

  const realInstances = () =>
    Fs.readdirSync("/proc/self/fd").filter((fd) => {
      try {
        return Fs.readlinkSync(`/proc/self/fd/${fd}`) === "anon_inode:inotify"
      } catch {
        // The descriptor of the listing itself.
        return false
      }
    }).length

  it.scopedLive.runIf(process.platform === "linux")(
    "are as good as one for the kernel, however many paths it waits for",
    () =>
      Effect.gen(function*() {
        const fs = yield* FileSystem.FileSystem
        const directory = yield* fs.makeTempDirectoryScoped({ prefix: "effect-filelock-" })
        const machine = yield* ProcessIdentity.makeMachine()
        const holder = yield* Player.start(yield* machine.spawn(), fs)
        const ledger = Ledger.make(fs)
        const waiter = yield* Player.start(yield* machine.spawn(), ledger.fs)
        const paths = Array.from({ length: 200 }, (_, number) => `${directory}/${number}.json`)
        const held = yield* Effect.forEach(paths, (at) => hold(holder, at), { concurrency: 20 })
        // One watcher of anybody makes the instance that all of them share.
        const watching = yield* Effect.fork(Stream.runDrain(fs.watch(directory)))
        yield* until(() => realInstances() > 0)
        const before = realInstances()
        const waiting = yield* Effect.fork(Effect.forEach(
          paths,
          (at) => waiter.locks.withLock(Effect.succeed(at), at, { ...idle, timeout: "infinity" }),
          { concurrency: "unbounded" }
        ))
        yield* until(() => ledger.watchers() === paths.length)
        assert.strictEqual(realInstances(), before)
        assert.isNull(waiting.unsafePoll())
        yield* Effect.forEach(held, ({ leave }) => leave, { concurrency: 20 })
        assert.deepStrictEqual(yield* Fiber.join(waiting), paths)
        assert.strictEqual(ledger.watchers(), 0)
        assert.strictEqual(realInstances(), before)
        yield* Fiber.interrupt(watching)
        assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
      }).pipe(Effect.provide([NodeFileSystem.layer, Logger.remove(Logger.defaultLogger)])),
    60_000
  )
})

describe("A lock that nobody else wants", () => {
  const shown = ({ entries }: Ledger.Ledger, directory: string) =>
    entries.map(({ method, path }) => `${method} ${path.replace(directory, "")}`)

  onEveryFileSystem(
    "takes a process that comes for the first time one creation and one removal",
    (ground) =>
      Effect.gen(function*() {
        const { directory } = ground
        const { ledger, locks } = yield* joinWatched(ground)
        yield* locks.withLock(Effect.void, `${directory}/tasks.json`)
        assert.deepStrictEqual(shown(ledger, directory), [
          "realPath /tasks.json",
          "readLink /tasks.json",
          "realPath ",
          "writeFileString /tasks.json.lock",
          "readDirectory ",
          "stat /tasks.json.lock",
          "readFile /tasks.json.lock",
          "remove /tasks.json.lock"
        ])
      })
  )

  onEveryFileSystem(
    "takes a process that has had it before as much, and less to look at",
    (ground) =>
      Effect.gen(function*() {
        const { directory } = ground
        const { ledger, locks } = yield* joinWatched(ground)
        yield* locks.withLock(Effect.void, `${directory}/tasks.json`)
        const before = ledger.entries.length
        yield* Effect.sleep("200 millis")
        yield* locks.withLock(Effect.void, `${directory}/tasks.json`)
        assert.deepStrictEqual(shown({ ...ledger, entries: ledger.entries.slice(before) }, directory), [
          "readLink /tasks.json",
          "writeFileString /tasks.json.lock",
          "stat /tasks.json.lock",
          "readFile /tasks.json.lock",
          "remove /tasks.json.lock"
        ])
      })
  )
})
