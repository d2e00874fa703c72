import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Option, Schedule, TestClock } from "effect"
import { FileLock, MemoryFileSystem, ProcessIdentity } from "effect-filelock"
import { start } from "./processes.js"
import { addTask } from "./tasks.js"

/** An effect that acquires the lock and keeps it, and another one that waits until it is acquired. */
const makeHolder = Effect.map(Effect.makeLatch(), (locked) => ({
  hold: locked.open.pipe(Effect.zipRight(Effect.never), FileLock.withLock("/tasks.txt")),
  locked: locked.await
}))

it.scoped("a process hands the lock to another one", () =>
  Effect.gen(function*() {
    const disk = yield* MemoryFileSystem.makeDisk()
    const machine = yield* ProcessIdentity.makeMachine()
    const first = yield* start(machine, disk)
    const second = yield* start(machine, disk)
    const { hold, locked } = yield* makeHolder

    const holding = yield* first.fork(hold)
    yield* locked
    const adding = yield* second.fork(addTask("/tasks.txt", "sweep"))
    yield* TestClock.adjust("1 second")
    assert.isNull(adding.unsafePoll())
    yield* Fiber.interrupt(holding)
    yield* Fiber.join(adding)
  }))

it.scoped("the lock of a killed process is taken over at once", () =>
  Effect.gen(function*() {
    const disk = yield* MemoryFileSystem.makeDisk()
    const machine = yield* ProcessIdentity.makeMachine()
    const first = yield* start(machine, disk)
    const second = yield* start(machine, disk)
    const { hold, locked } = yield* makeHolder

    yield* first.fork(hold)
    yield* locked
    yield* first.kill
    const status = yield* second.run(FileLock.inspect("/tasks.txt"))
    assert.strictEqual(Option.getOrThrow(status).state, "abandoned")
    yield* second.run(addTask("/tasks.txt", "sweep", { timeout: 0 }))
  }))

const patiently = { timeout: "5 minutes", schedule: Schedule.spaced("5 seconds") } as const

it.scoped("the lock of another host is taken over after 30 seconds of silence", () =>
  Effect.gen(function*() {
    const disk = yield* MemoryFileSystem.makeDisk()
    const first = yield* start(yield* ProcessIdentity.makeMachine(), disk)
    const second = yield* start(yield* ProcessIdentity.makeMachine(), disk)
    const { hold, locked } = yield* makeHolder

    yield* first.fork(hold)
    yield* locked
    const adding = yield* second.fork(addTask("/tasks.txt", "sweep", patiently))
    // The holder lives, and its heartbeats say so.
    yield* TestClock.adjust("40 seconds")
    assert.isNull(adding.unsafePoll())
    yield* first.kill
    yield* TestClock.adjust("15 seconds")
    assert.isNull(adding.unsafePoll())
    yield* TestClock.adjust("20 seconds")
    yield* Fiber.join(adding)
  }))

it.scoped("the lock of a process from before a reboot is taken over after 30 seconds", () =>
  Effect.gen(function*() {
    const disk = yield* MemoryFileSystem.makeDisk()
    const machine = yield* ProcessIdentity.makeMachine()
    const first = yield* start(machine, disk)
    const { hold, locked } = yield* makeHolder

    yield* first.fork(hold)
    yield* locked
    yield* first.kill
    yield* machine.reboot
    const second = yield* start(machine, disk)
    const adding = yield* second.fork(addTask("/tasks.txt", "sweep", patiently))
    yield* TestClock.adjust("25 seconds")
    assert.isNull(adding.unsafePoll())
    yield* TestClock.adjust("10 seconds")
    yield* Fiber.join(adding)
  }))
