import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Array from "effect/Array"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../../src/ProcessIdentity.js"
import * as Occupancy from "../utils/Occupancy.js"
import * as SimulatedProcess from "../utils/SimulatedProcess.js"
import * as Simulation from "../utils/Simulation.js"

/** Replays a failure. */
const seed = process.env["SEED"] === undefined ? Date.now() | 0 : Number(process.env["SEED"])

/** `.ci/run` has more. */
const interruptions = Number(process.env["INTERRUPTIONS"] ?? 300)

const names = ["a", "b", "c"]

interface Crowd {
  readonly directory: string
  readonly view: Effect.Effect<FileSystem.FileSystem>
  readonly fibers: number
  /** How many run at a time. */
  readonly atOnce: number
}

const upTo = (duration: Duration.DurationInput) =>
  Effect.map(Random.next, (part) => Duration.nanos(BigInt(Math.round(Duration.toMillis(duration) * 1e6 * part))))

/** Lets a crowd of fibers of two processes acquire and release locks, each interrupted at a random moment, and looks at what is left. */
const interrupt = (crowd: Crowd) =>
  Effect.gen(function*() {
    const { directory, view } = crowd
    const machine = yield* ProcessIdentity.makeMachine()
    const join = Effect.flatMap(Effect.all([machine.spawn(), view]), ([identity, fs]) =>
      SimulatedProcess.start(identity, fs))
    const processes = [yield* join, yield* join] as const
    const occupancies = new Map<string, Occupancy.Occupancy>()
    for (const name of names) {
      occupancies.set(name, yield* Occupancy.make)
    }
    const pathOf = (name: string) =>
      `${directory}/${name}`
    const inside = (who: string, held: ReadonlyArray<string>): Effect.Effect<void> =>
      Array.reduce(
        held,
        Effect.flatMap(upTo("2 millis"), (hold) => Effect.sleep(hold)),
        (self, name) => occupancies.get(name)?.inside(who, self) ?? Effect.dieMessage(name)
      )

    const oneOf = (who: string, { locks }: SimulatedProcess.SimulatedProcess) =>
      Effect.gen(function*() {
        const [name = "a", other = "b"] = yield* Random.shuffle(names)
        const path = pathOf(name)
        switch (yield* Random.nextIntBetween(0, 6)) {
          case 0:
            return yield* Effect.asVoid(locks.withLockIfAvailable(inside(who, [name]), path))
          case 1:
            return yield* Effect.scoped(Effect.zipRight(locks.acquire(path), inside(who, [name])))
          case 2:
            return yield* Effect.scoped(
              Effect.zipRight(locks.acquireAll([path, pathOf(other), path]), inside(who, [name, other]))
            )
          case 3:
            return yield* locks.withLocks(inside(who, [name, other]), [path, pathOf(other)])
          case 4:
            return yield* Effect.scoped(Effect.flatMap(
              locks.acquireIfAvailable(path),
              (handle) => Option.isSome(handle) ? inside(who, [name]) : Effect.void
            ))
          default:
            return yield* locks.withLock(locks.withLock(inside(who, [name]), path), path)
        }
      })

    // On a machine of any speed some fibers end by themselves, and some never get in.
    const [life] = yield* Effect.timed(Effect.forEach(Array.range(1, 20), () => oneOf("probe", processes[0])))

    const exits = yield* Effect.forEach(Array.range(1, crowd.fibers), (serial) =>
      Effect.gen(function*() {
        const simulated = yield* Random.choice(processes)
        const fiber = yield* Effect.forkDaemon(oneOf(String(serial), simulated))
        yield* Effect.sleep(yield* upTo(life))
        return yield* Fiber.interrupt(fiber)
      }), { concurrency: crowd.atOnce })

    const failures = exits.filter((exit) => Exit.isFailure(exit) && !Cause.isInterruptedOnly(exit.cause))
    assert.deepStrictEqual(failures, [], "a fiber failed for another reason than its interruption")
    assert.isAbove(exits.filter(Exit.isSuccess).length, 0, "no fiber had time to do anything")
    assert.isAbove(exits.filter(Exit.isInterrupted).length, 0, "no fiber was interrupted")
    for (const [name, { entries, overlaps, present }] of occupancies) {
      assert.deepStrictEqual(overlaps, [], `two were inside ${name}`)
      assert.strictEqual(present.size, 0)
      assert.isAbove(entries, 0, `no fiber was ever inside ${name}`)
    }

    // A fiber that was interrupted has left the queue of its process as well, so one attempt is enough.
    for (const { locks } of processes) {
      for (const name of names) {
        assert.deepStrictEqual(yield* locks.withLockIfAvailable(Effect.succeed(name), pathOf(name)), Option.some(name))
        assert.deepStrictEqual(yield* locks.inspect(pathOf(name)), Option.none())
      }
    }
    const fs = yield* view
    assert.deepStrictEqual(yield* fs.readDirectory(directory), [])
  }).pipe(Effect.scoped)

/** A waiter logs a line after a second, which is of no use here. */
const quietly = Logger.withMinimumLogLevel(LogLevel.Warning)

describe(`Fibers that are interrupted at any moment (SEED=${seed})`, () => {
  it.effect(
    "never overlap, and leave neither a lock, nor a file, nor a stuck fiber behind",
    () =>
      Effect.gen(function*() {
        const disk = yield* MemoryFileSystem.makeDisk()
        const fs = yield* disk.view()
        yield* fs.makeDirectory("/data")
        yield* interrupt({
          directory: "/data",
          // A system call takes some time, so that interruptions come within it.
          view: disk.view({
            step: () =>
              Effect.flatMap(Random.next, (luck) => luck < 0.2 ? Effect.sleep(Duration.millis(luck)) : Effect.void)
          }),
          fibers: interruptions,
          atOnce: 20
        })
      }).pipe((self) => Simulation.run(self, { seed })),
    300_000
  )

  it.scopedLive("never overlap on real files, and leave neither a lock, nor a file, nor a stuck fiber behind", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const directory = yield* fs.makeTempDirectoryScoped()
      yield* interrupt({ directory, view: Effect.succeed(fs), fibers: 150, atOnce: 10 })
    }).pipe(Effect.withRandom(Random.make(seed)), quietly, Effect.provide(NodeFileSystem.layer)))
})
