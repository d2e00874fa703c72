import type { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Settings } from "../src/FileLock.js"
import { formatBeat } from "../src/internal/lockFile/record.js"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import * as Occupancy from "./utils/Occupancy.js"
import * as Player from "./utils/Player.js"
import { makeRecord } from "./utils/records.js"
import * as Simulation from "./utils/Simulation.js"

const lockPath = "/data/file.lock"
const claimPath = "/data/file.lock.reap"
const path = "/data/file"

/** Stops a process right before one of its system calls, and goes on when it is told to. */
interface Stop {
  readonly step: (step: MemoryFileSystem.Step) => Effect.Effect<void>
  /** The process has come there. */
  readonly reached: Effect.Effect<void>
  readonly goOn: Effect.Effect<unknown>
}

const stopAt = (syscall: string, at: string, nth = 1): Effect.Effect<Stop> =>
  Effect.gen(function*() {
    const reached = yield* Deferred.make<void>()
    const go = yield* Deferred.make<void>()
    let count = 0
    return {
      step: (step) =>
        step.syscall === syscall && step.path === at && ++count === nth
          ? Effect.zipRight(Deferred.succeed(reached, void 0), Deferred.await(go))
          : Effect.yieldNow(),
      reached: Deferred.await(reached),
      goOn: Deferred.succeed(go, void 0)
    }
  })

interface Stage {
  readonly fs: FileSystem
  readonly machine: ProcessIdentity.Machine
  /** Starts a process; `identity` plays another copy of the library in a process that is there already. */
  readonly join: (options?: {
    readonly stop?: Stop
    readonly identity?: ProcessIdentity.ProcessIdentity
    readonly settings?: Settings
  }) => Effect.Effect<Player.Player, never, Scope.Scope>
  readonly occupancy: Occupancy.Occupancy
  /** Runs the critical section of somebody for a while. */
  readonly enter: (who: string, player: Player.Player) => Effect.Effect<void, unknown>
  /** Leaves a record of a process that is dead. */
  readonly abandon: Effect.Effect<string, unknown>
}

const onStage = (test: (stage: Stage) => Effect.Effect<void, unknown, Scope.Scope>) =>
  Effect.gen(function*() {
    const disk = yield* MemoryFileSystem.makeDisk()
    const fs = yield* disk.view()
    yield* fs.makeDirectory("/data")
    const machine = yield* ProcessIdentity.makeMachine()
    const occupancy = yield* Occupancy.make
    yield* test({
      fs,
      machine,
      occupancy,
      join: (options = {}) =>
        Effect.gen(function*() {
          const view = yield* disk.view(options.stop === undefined ? {} : { step: options.stop.step })
          return yield* Player.start(options.identity ?? (yield* machine.spawn()), view, options.settings)
        }),
      enter: (who, { locks }) => locks.withLock(occupancy.inside(who, Effect.sleep("1 second")), path),
      abandon: Effect.gen(function*() {
        const { info } = yield* Effect.tap(machine.spawn(), machine.kill)
        const record = makeRecord(info)
        yield* fs.writeFileString(lockPath, record)
        return record
      })
    })
    assert.deepStrictEqual(occupancy.overlaps, [])
    assert.deepStrictEqual(yield* fs.readDirectory("/data"), [])
  }).pipe(Effect.scoped, Simulation.run)

describe("Taking over", () => {
  it.effect("leaves a successor alone who came between the judgement and the claim", () =>
    onStage(({ abandon, enter, fs, join, occupancy }) =>
      Effect.gen(function*() {
        const dead = yield* abandon
        // The slow one has judged the dead record, and is about to claim it.
        const stop = yield* stopAt("open", claimPath)
        const slow = yield* Effect.fork(Effect.flatMap(join({ stop }), (player) => enter("slow", player)))
        yield* stop.reached
        const quick = yield* Effect.fork(Effect.flatMap(join(), (player) => enter("quick", player)))
        yield* Effect.sleep("10 millis")
        const record = yield* fs.readFileString(lockPath)
        assert.notStrictEqual(record, dead)
        yield* stop.goOn
        yield* Effect.sleep("10 millis")
        assert.strictEqual(yield* fs.readFileString(lockPath), record)
        yield* Fiber.join(quick)
        yield* Fiber.join(slow)
        assert.strictEqual(occupancy.entries, 2)
      })
    ))

  it.effect("is done by one at a time, by the one name of its claim", () =>
    onStage(({ abandon, enter, fs, join }) =>
      Effect.gen(function*() {
        yield* abandon
        // One has compared, and is about to rename.
        const stop = yield* stopAt("rename", claimPath)
        const first = yield* Effect.fork(Effect.flatMap(join({ stop }), (player) => enter("first", player)))
        yield* stop.reached
        const before = yield* fs.readFileString(lockPath)
        const second = yield* Effect.fork(Effect.flatMap(join(), (player) => enter("second", player)))
        yield* Effect.sleep("100 millis")
        assert.strictEqual(yield* fs.readFileString(lockPath), before)
        yield* stop.goOn
        yield* Fiber.join(first)
        yield* Fiber.join(second)
      })
    ))

  it.effect("is done by one at a time, whether the record was seen unwritten or written", () =>
    onStage(({ enter, fs, join, machine }) =>
      Effect.gen(function*() {
        const { info } = yield* Effect.tap(machine.spawn(), machine.kill)
        yield* fs.writeFileString(lockPath, "")
        const stop = yield* stopAt("rename", claimPath)
        const first = yield* Effect.fork(Effect.flatMap(join({ stop }), (player) => enter("first", player)))
        yield* stop.reached
        // The creator's last write arrives after its death.
        yield* fs.writeFileString(lockPath, makeRecord(info))
        const second = yield* Effect.fork(Effect.flatMap(join(), (player) => enter("second", player)))
        yield* Effect.sleep("100 millis")
        yield* stop.goOn
        yield* Fiber.join(first)
        yield* Fiber.join(second)
      })
    ))

  it.effect("does not take an unwritten record for the one that was there before, though it has its inode", () =>
    onStage(({ enter, fs, join }) =>
      Effect.gen(function*() {
        yield* fs.writeFileString(lockPath, "")
        const inode = (yield* fs.stat(lockPath)).ino
        const watcher = yield* Effect.fork(Effect.flatMap(join(), (player) => enter("watcher", player)))
        yield* Effect.sleep("1500 millis")
        // The first one is gone, and a living process has created its own and not written it yet.
        yield* fs.remove(lockPath)
        const stop = yield* stopAt("write", lockPath)
        const creator = yield* Effect.fork(Effect.flatMap(join({ stop }), (player) => enter("creator", player)))
        yield* stop.reached
        assert.deepStrictEqual((yield* fs.stat(lockPath)).ino, inode)
        yield* Effect.sleep("900 millis")
        assert.strictEqual(yield* fs.readFileString(lockPath), "")
        yield* stop.goOn
        yield* Fiber.join(creator)
        yield* Fiber.join(watcher)
      })
    ))
})

describe("A creator", () => {
  it.effect("that stalled before writing does not believe in what it wrote", () =>
    onStage(({ enter, join, occupancy }) =>
      Effect.gen(function*() {
        const stop = yield* stopAt("write", lockPath)
        const slow = yield* Effect.fork(Effect.flatMap(join({ stop }), (player) => enter("slow", player)))
        yield* stop.reached
        const quick = yield* Effect.fork(Effect.flatMap(join(), (player) => enter("quick", player)))
        // Long enough for the other to take the unwritten file for a dead one's.
        while (occupancy.entries === 0) {
          yield* Effect.sleep("100 millis")
        }
        yield* stop.goOn
        yield* Fiber.join(quick)
        yield* Fiber.join(slow)
        assert.strictEqual(occupancy.entries, 2)
      })
    ))

  it.effect("that stalled before writing is not robbed by one who judged its unwritten file", () =>
    onStage(({ enter, fs, join }) =>
      Effect.gen(function*() {
        const stop = yield* stopAt("write", lockPath)
        const slow = yield* Effect.fork(Effect.flatMap(join({ stop }), (player) => enter("slow", player)))
        yield* stop.reached
        // The other has compared the unwritten file with what it judged, and is about to replace it.
        const stopOther = yield* stopAt("rename", claimPath)
        const other = yield* Effect.fork(Effect.flatMap(join({ stop: stopOther }), (player) => enter("other", player)))
        yield* stopOther.reached
        yield* stop.goOn
        yield* Effect.sleep("500 millis")
        assert.notStrictEqual(yield* fs.readFileString(lockPath), "", "the record was written")
        yield* stopOther.goOn
        yield* Fiber.join(other)
        yield* Fiber.join(slow)
      })
    ))

  it.effect("that is interrupted between creating and writing leaves nothing behind", () =>
    onStage(({ enter, fs, join, occupancy }) =>
      Effect.gen(function*() {
        const stop = yield* stopAt("write", lockPath)
        const fiber = yield* Effect.fork(Effect.flatMap(join({ stop }), (player) => enter("interrupted", player)))
        yield* stop.reached
        assert.strictEqual(yield* fs.readFileString(lockPath), "")
        const interruption = yield* Effect.fork(Fiber.interrupt(fiber))
        yield* Effect.sleep("100 millis")
        yield* stop.goOn
        yield* Fiber.join(interruption)
        assert.strictEqual(occupancy.entries, 0)
        // The one that stood in its way is gone at once, without any grace.
        assert.deepStrictEqual(yield* fs.readDirectory("/data"), [])
      })
    ))

  it.effect("is alive to its own process from before its record can be seen", () =>
    onStage(({ enter, join, machine }) =>
      Effect.gen(function*() {
        const identity = yield* machine.spawn()
        const stop = yield* stopAt("close", lockPath)
        const first = yield* Effect.fork(Effect.flatMap(join({ identity, stop }), (player) => enter("first", player)))
        yield* stop.reached
        // Another copy of the library in the same process sees the record before its creator knows that it is written.
        const copy = yield* join({ identity })
        assert.deepStrictEqual(yield* copy.locks.withLockIfAvailable(Effect.void, path), Option.none())
        yield* stop.goOn
        const second = yield* Effect.fork(enter("second", copy))
        yield* Fiber.join(first)
        yield* Fiber.join(second)
      })
    ))
})

describe("A holder", () => {
  it.effect("whose record is replaced in the moment of a heartbeat does not write into that of its successor", () =>
    onStage(({ fs, join, machine }) =>
      Effect.gen(function*() {
        // The first write creates the record, the second is the first beat.
        const stop = yield* stopAt("write", lockPath, 2)
        const player = yield* join({ stop, settings: { lease: "3 seconds" } })
        const successor = makeRecord((yield* machine.spawn()).info)
        const fiber = yield* Effect.fork(Effect.flip(player.locks.withLock(Effect.never, path)))
        yield* stop.reached
        yield* fs.writeFileString("/data/successor", successor)
        yield* fs.rename("/data/successor", lockPath)
        yield* stop.goOn
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(error._tag === "LockLostError" ? error.reason : error._tag, "Replaced")
        assert.strictEqual(yield* fs.readFileString(lockPath), successor)
        yield* fs.remove(lockPath)
      })
    ))

  it.effect("whose record was replaced since its last heartbeat does not beat for its successor", () =>
    onStage(({ fs, join, machine }) =>
      Effect.gen(function*() {
        const player = yield* join({ settings: { lease: "3 seconds" } })
        const successor = makeRecord((yield* machine.spawn()).info)
        const fiber = yield* Effect.fork(Effect.flip(player.locks.withLock(Effect.never, path)))
        // The first beat comes after one second, the next one after another.
        yield* Effect.sleep("1500 millis")
        assert.include(yield* fs.readFileString(lockPath), formatBeat(1))
        yield* fs.writeFileString("/data/successor", successor)
        yield* fs.rename("/data/successor", lockPath)
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(error._tag === "LockLostError" ? error.reason : error._tag, "Replaced")
        assert.strictEqual(yield* fs.readFileString(lockPath), successor)
        yield* fs.remove(lockPath)
      })
    ))

  it.effect("removes nothing but its own record", () =>
    onStage(({ fs, join, machine }) =>
      Effect.gen(function*() {
        const player = yield* join()
        const successor = makeRecord((yield* machine.spawn()).info)
        yield* player.locks.withLock(
          Effect.zipRight(fs.remove(lockPath), fs.writeFileString(lockPath, successor)),
          path
        )
        assert.strictEqual(yield* fs.readFileString(lockPath), successor)
        yield* fs.remove(lockPath)
      })
    ))
})
