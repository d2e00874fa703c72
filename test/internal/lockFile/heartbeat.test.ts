import * as Path from "@effect/platform/Path"
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Scope from "effect/Scope"
import type { Settings } from "../../../src/FileLock.js"
import { absent, type Disk, DiskError, type Entry } from "../../../src/internal/lockFile/disk.js"
import * as FileSystemDisk from "../../../src/internal/lockFile/fileSystemDisk.js"
import * as Heartbeat from "../../../src/internal/lockFile/heartbeat.js"
import { OwnRecord } from "../../../src/internal/lockFile/ownRecord.js"
import * as Protocol from "../../../src/internal/lockFile/protocol.js"
import * as Round from "../../../src/internal/lockFile/round.js"
import * as Staleness from "../../../src/internal/lockFile/staleness.js"
import * as MemoryFileSystem from "../../../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../../../src/ProcessIdentity.js"
import { makeRecord } from "../../utils/records.js"
import { claimPath, lockPath, path, play, type Scene } from "../../utils/Scene.js"
import * as SimulatedProcess from "../../utils/SimulatedProcess.js"
import * as Simulation from "../../utils/Simulation.js"

const { Fail } = MemoryFileSystem.Fault

const settings: Settings = { lease: "10 seconds" }

const settle = Effect.sleep("100 millis")

const millis = Effect.map(Clock.currentTimeNanos, (nanos) => Number(nanos / 1_000_000n))

/** A process on a machine of its own, which no other process can check. */
const joinElsewhere = (scene: Scene, faults?: MemoryFileSystem.FaultPlan) =>
  Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => scene.join({ machine, settings, faults }))

const beatOf = (text: string): number => Number(/"beat":"(\d{10})"/.exec(text)?.[1])

/** A clock on which also what fibers do takes time, and not only what they wait for. */
const makeBusyClock = Effect.map(Effect.clock, (clock) => {
  let busy = 0n
  /** How long fibers were busy without a pause, by when that was. */
  const phases = new Map<bigint, number>()
  return {
    ...clock,
    sleep: (duration: Duration.Duration) => clock.sleep(duration),
    unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis() + Number(busy / 1_000_000n),
    unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos() + busy,
    /** For what happened before, `longest` does not count. */
    stop: (millis: number): void => {
      busy += BigInt(Math.round(millis * 1e6))
      phases.clear()
    },
    step: (millis: number): void => {
      busy += BigInt(Math.round(millis * 1e6))
      const phase = clock.unsafeCurrentTimeNanos()
      phases.set(phase, (phases.get(phase) ?? 0) + millis)
    },
    longest: (): number => Math.max(...phases.values())
  }
})

/** A local disk. `before` hears of each call, and may let time pass. */
const makeBusyDisk = (before: (call: keyof Disk, path: string) => void): Disk => {
  const files = new Map<string, string>()
  const call = <A>(
    name: keyof Disk,
    path: string,
    run: () => A | Exit.Exit<never, DiskError>
  ): Exit.Exit<A, DiskError> => {
    before(name, path)
    const result = run()
    return Exit.isExit(result) ? result : Exit.succeed(result)
  }
  const fail = (code: string) => Exit.fail(new DiskError(code, undefined))
  const read = (path: string) =>
    call("read", path, (): Entry => {
      const text = files.get(path)
      return text === undefined ? absent : { _tag: "File", text, inode: 1, modifiedAt: 0 }
    })
  return {
    create: (path, text) => call("create", path, () => void files.set(path, text)),
    link: (from, to) =>
      call("link", to, () => files.has(to) ? fail("EEXIST") : void files.set(to, files.get(from) ?? "")),
    rename: (from, to) =>
      call("rename", to, () => {
        files.set(to, files.get(from) ?? "")
        files.delete(from)
      }),
    unlink: (path) => call("unlink", path, () => files.delete(path) ? undefined : fail("ENOENT")),
    exists: (path) => call("exists", path, () => files.has(path)),
    read,
    peek: read,
    rewrite: (path, expected, offset, text) =>
      call("rewrite", path, () => {
        const content = files.get(path) ?? ""
        if (content === expected) {
          files.set(path, content.slice(0, offset) + text + content.slice(offset + text.length))
        }
        return { content, inPlace: true }
      }),
    list: (directory) => call("list", directory, () => []),
    makeDirectory: (path) => call("makeDirectory", path, () => undefined),
    removeDirectory: (path) => call("removeDirectory", path, () => undefined),
    removesInOneStep: true,
    realPath: (path) => call("realPath", path, () => path),
    readLink: (path) => call("readLink", path, () => undefined),
    owner: (path) => call("owner", path, () => undefined),
    workingDirectory: Exit.succeed("/")
  }
}

/** Locks that are held on a local disk. */
const holdOn = (disk: Disk, clock: Clock.Clock, lease: number) =>
  Effect.gen(function*() {
    const identity = yield* Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => machine.spawn())
    const protocol = Protocol.make({ disk, identity, staleness: Staleness.make(identity, lease), lease })
    const heartbeat = Heartbeat.make({ disk, protocol, lease })
    const lost: Array<Round.Gone> = []
    const owns: Array<OwnRecord> = []
    const add = (lockPath: string) =>
      Effect.withFiberRuntime<Round.Member, DiskError>((fiber) =>
        Effect.gen(function*() {
          const token = yield* identity.issueToken
          const own = new OwnRecord(
            token,
            `${lockPath}.${token}`,
            identity.info,
            undefined,
            clock
          )
          yield* disk.create(lockPath, own.text)
          owns.push(own)
          const member = new Round.Member(
            Protocol.placeOf(lockPath),
            own,
            fiber,
            (gone) => void lost.push(gone)
          )
          heartbeat.add(member)
          return member
        })
      ).pipe(Effect.withClock(clock))
    return { add, heartbeat, lost, owns }
  })

// ---------------------------------------------------------------------------------------------
// when heartbeats are made
// ---------------------------------------------------------------------------------------------

describe("Heartbeats", () => {
  it.effect("begin half an interval after the grant, and come at each interval", () =>
    play((scene) =>
      Effect.gen(function*() {
        const process = yield* scene.join({ settings: { lease: "30 seconds" } })
        const held = yield* Effect.fork(process.enter("holder", { stay: "40 seconds" }))
        const beatAt = (seconds: number, from: number) =>
          Effect.zipRight(
            Effect.sleep((seconds - from) * 1000),
            Effect.map(scene.fs.readFileString(lockPath), beatOf)
          )
        assert.strictEqual(yield* beatAt(4.9, 0), 0)
        assert.strictEqual(yield* beatAt(5.2, 4.9), 1)
        assert.strictEqual(yield* beatAt(14.9, 5.2), 1)
        assert.strictEqual(yield* beatAt(15.4, 14.9), 2)
        assert.strictEqual(yield* beatAt(25.5, 15.4), 3)
        yield* Fiber.join(held)
      })
    ))

  it.effect("keep the record what it was, but for the beat", () =>
    play((scene) =>
      Effect.gen(function*() {
        const process = yield* scene.join({ settings: { lease: "1 second" } })
        const held = yield* Effect.fork(process.enter("holder", { stay: "10 seconds" }))
        yield* settle
        const before = yield* scene.fs.readFileString(lockPath)
        const inode = (yield* scene.fs.stat(lockPath)).ino
        yield* Effect.sleep("9 seconds")
        const after = yield* scene.fs.readFileString(lockPath)
        assert.isAbove(beatOf(after), 20)
        assert.strictEqual(after.replace(/"beat":"\d+"/, `"beat":"0000000000"`), before)
        assert.deepStrictEqual((yield* scene.fs.stat(lockPath)).ino, inode)
        yield* Fiber.join(held)
      })
    ))

  it.effect("of 1,000 locks in one process are spread over the interval, and none comes late", () =>
    Effect.gen(function*() {
      const lease = 30_000
      const locks = 1_000
      const beats: Array<{ readonly at: number; readonly path: string }> = []
      const identity = yield* Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => machine.spawn())
      const fs = yield* MemoryFileSystem.make
      const disk: Disk = {
        ...FileSystemDisk.make(fs),
        rewrite: (path, content) =>
          Effect.map(millis, (at) => {
            beats.push({ at, path })
            return { content, inPlace: true }
          })
      }
      const protocol = Protocol.make({ disk, identity, staleness: Staleness.make(identity, lease), lease })
      const heartbeat = Heartbeat.make({ disk, protocol, lease })
      const start = yield* millis
      const lost: Array<Round.Gone> = []
      yield* Effect.withFiberRuntime<void>((fiber) =>
        Effect.forEach(
          Array.from({ length: locks }, (_, index) => `/tmp/${index}.lock`),
          (lockPath) =>
            Effect.gen(function*() {
              const token = yield* identity.issueToken
              const own = new OwnRecord(
                token,
                `${lockPath}.${token}`,
                identity.info,
                undefined,
                yield* Effect.clock
              )
              heartbeat.add(
                new Round.Member(Protocol.placeOf(lockPath), own, fiber, (gone) => void lost.push(gone))
              )
            }),
          { discard: true }
        )
      )
      yield* Effect.sleep("2 minutes")
      assert.deepStrictEqual(lost, [])
      const perWindow = new Map<number, number>()
      const last = new Map<string, number>()
      let longest = 0
      for (const { at, path } of beats) {
        const window = Math.floor((at - start) / 100)
        perWindow.set(window, (perWindow.get(window) ?? 0) + 1)
        longest = Math.max(longest, at - (last.get(path) ?? start))
        last.set(path, at)
      }
      assert.strictEqual(last.size, locks)
      // Evenly they would be 10 in a tenth of a second.
      assert.isAtMost(Math.max(...perWindow.values()), 25)
      assert.isAtMost(longest, lease / 2)
      // No more than are needed.
      assert.isAtMost(beats.length, locks * 13)
    }).pipe(Effect.provide(Path.layer), Simulation.run))

  it.effect("of many locks are in time again after the process was stopped, and leave time to its other fibers", () =>
    Effect.gen(function*() {
      const lease = 6_000
      const clock = yield* makeBusyClock
      // All late heartbeats together take longer than it takes for a heartbeat to be late.
      const disk = makeBusyDisk(() => clock.step(0.6))
      const { add, lost, owns } = yield* holdOn(disk, clock, lease)
      yield* Effect.forEach(Array.from({ length: 1_000 }, (_, index) => `/tmp/${index}.lock`), add, { discard: true })
      yield* Effect.sleep("10 seconds")
      clock.stop(5_000)
      yield* Effect.sleep("20 seconds")
      assert.deepStrictEqual(lost, [])
      assert.isAtMost(Math.max(...owns.map(({ silence }) => silence)), lease / 2)
      assert.isAtMost(clock.longest(), 100)
    }).pipe(Simulation.run))

  it.effect("need no descriptor between them", () =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk()
      const fs = yield* disk.view({ maxOpenFiles: 2 })
      const identity = yield* Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => machine.spawn())
      const { locks } = yield* SimulatedProcess.start(identity, fs, settings)
      const handles = yield* Effect.forEach(Array.from({ length: 30 }, (_, index) => `/tmp/${index}`), (path) =>
        locks.acquire(path))
      yield* Effect.sleep("20 seconds")
      for (const { isHeld, lockPath } of handles) {
        assert.isTrue(yield* isHeld)
        assert.isAbove(beatOf(yield* fs.readFileString(lockPath)), 3)
      }
    }).pipe(Effect.scoped, Simulation.run))

  it.effect("end with the lock, and those of other locks go on", () =>
    play((scene) =>
      Effect.gen(function*() {
        const process = yield* scene.join({ settings })
        const held = yield* Effect.fork(process.enter("holder", { stay: "20 seconds" }))
        yield* Effect.scoped(Effect.zipRight(process.locks.acquire("/data/other"), Effect.sleep("8 seconds")))
        const from = process.steps.length
        yield* Effect.sleep("8 seconds")
        const since = process.steps.slice(from)
        assert.deepStrictEqual(since.filter(({ path }) => path.includes("other")), [])
        assert.isAbove(since.filter(({ path, syscall }) => path === lockPath && syscall === "write").length, 1)
        yield* Fiber.join(held)
      })
    ))
})

// ---------------------------------------------------------------------------------------------
// what they are bound to
// ---------------------------------------------------------------------------------------------

describe("A holder whose record is replaced", () => {
  it.effect("in the moment of a heartbeat does not write into that of its successor", () =>
    play((scene) =>
      Effect.gen(function*() {
        const holder = yield* scene.join({ settings })
        const successor = makeRecord((yield* scene.machine.spawn()).info)
        const writing = yield* holder.stopAt("write", lockPath, "File.writeAll")
        const held = yield* Effect.fork(Effect.flip(holder.enter("holder", { stay: "1 hour" })))
        yield* writing.reached
        yield* scene.fs.writeFileString("/data/successor", successor)
        yield* scene.fs.rename("/data/successor", lockPath)
        yield* writing.goOn
        // It is found by the beat itself, and not only by the next one.
        assert.deepInclude(yield* Effect.timeout(Fiber.join(held), "1 second"), {
          _tag: "LockLostError",
          reason: "Replaced"
        })
        assert.strictEqual(yield* scene.fs.readFileString(lockPath), successor)
        yield* scene.fs.remove(lockPath)
      })
    ))

  it.effect("between two heartbeats never writes into what is there now, and finds out", () =>
    play((scene) =>
      Effect.gen(function*() {
        const holder = yield* scene.join({ settings })
        const held = yield* Effect.fork(Effect.flip(holder.enter("holder", { stay: "1 hour" })))
        yield* Effect.sleep("3 seconds")
        assert.strictEqual(beatOf(yield* scene.fs.readFileString(lockPath)), 1)
        const successor = makeRecord((yield* scene.machine.spawn()).info)
        yield* scene.fs.writeFileString("/data/successor", successor)
        yield* scene.fs.rename("/data/successor", lockPath)
        assert.deepInclude(yield* Fiber.join(held), { _tag: "LockLostError", reason: "Replaced" })
        assert.strictEqual(yield* scene.fs.readFileString(lockPath), successor)
        yield* scene.fs.remove(lockPath)
      })
    ))

  it.effect("by a file of another tool between two heartbeats leaves it alone", () =>
    play((scene) =>
      Effect.gen(function*() {
        const holder = yield* scene.join({ settings })
        const held = yield* Effect.fork(Effect.flip(holder.enter("holder", { stay: "1 hour" })))
        yield* settle
        yield* scene.fs.writeFileString("/data/precious", "precious")
        yield* scene.fs.rename("/data/precious", lockPath)
        assert.deepInclude(yield* Fiber.join(held), { _tag: "LockLostError", reason: "Replaced" })
        assert.strictEqual(yield* scene.fs.readFileString(lockPath), "precious")
        yield* scene.fs.remove(lockPath)
      })
    ))
})

describe("A holder that releases in the midst of a heartbeat", () => {
  it.effect("waits for it, or it could be written into another file", () =>
    play((scene) =>
      Effect.gen(function*() {
        const holder = yield* joinElsewhere(scene)
        const held = yield* Effect.fork(holder.enter("holder", { stay: "1 hour" }))
        yield* settle
        const writing = yield* holder.stopAt("write", lockPath, "File.writeAll")
        const removing = yield* holder.stopAt("unlink", lockPath)
        yield* writing.reached
        const releasing = yield* Effect.fork(Fiber.interrupt(held))
        yield* Effect.sleep("2 seconds")
        assert.isFalse(yield* removing.isReached)
        yield* writing.goOn
        yield* settle
        assert.isTrue(yield* removing.isReached)
        yield* removing.goOn
        yield* Fiber.join(releasing)
        yield* settle
      })
    ))
})

// ---------------------------------------------------------------------------------------------
// heartbeats that come late
// ---------------------------------------------------------------------------------------------

/** A holder that is suspended until a process elsewhere has found it silent, and is about to replace its record. */
const suspendUntilReplaced = (scene: Scene) =>
  Effect.gen(function*() {
    const [holder, other] = yield* Effect.all([joinElsewhere(scene), joinElsewhere(scene)])
    const replacing = yield* other.stopAt("rename", claimPath)
    const suspend = Effect.gen(function*() {
      yield* Effect.sleep("1 second")
      yield* holder.suspend
      const next = yield* Effect.fork(other.enter("other", { stay: "20 seconds" }))
      yield* replacing.reached
      return next
    })
    return { holder, replacing, suspend }
  })

describe("A holder that was suspended", () => {
  it.effect("makes its heartbeat under the claim, and is told of the loss where another process has that", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { holder, replacing, suspend } = yield* suspendUntilReplaced(scene)
        const held = yield* Effect.fork(Effect.flip(holder.enter("holder", { stay: "1 minute" })))
        const next = yield* suspend
        yield* holder.resume
        // Not as long as until the heartbeat after, which would find out.
        yield* Effect.sleep("2 seconds")
        yield* replacing.goOn
        yield* Fiber.join(held)
        yield* Fiber.join(next)
      })
    ))

  it.effect("makes its heartbeat under the claim, keeps its lock and leaves no claim where no other process has acted", () =>
    play((scene) =>
      Effect.gen(function*() {
        const holder = yield* joinElsewhere(scene)
        const held = yield* Effect.fork(holder.enter("holder", { stay: "1 minute" }))
        yield* Effect.sleep("1 second")
        yield* holder.suspend
        yield* Effect.sleep("8 seconds")
        const claiming = yield* holder.stopAt("link", claimPath)
        yield* holder.resume
        yield* claiming.reached
        assert.strictEqual(beatOf(yield* scene.fs.readFileString(lockPath)), 0)
        yield* claiming.goOn
        yield* settle
        assert.strictEqual(beatOf(yield* scene.fs.readFileString(lockPath)), 1)
        assert.deepStrictEqual(yield* scene.names, ["tasks.json.lock"])
        yield* Fiber.join(held)
      })
    ))

  it.effect("is not told by verify that the lock is its own while another process is about to replace its record", () =>
    play((scene) =>
      Effect.gen(function*() {
        const { holder, replacing, suspend } = yield* suspendUntilReplaced(scene)
        const held = yield* Effect.fork(holder.run(Effect.scoped(Effect.gen(function*() {
          const handle = yield* holder.locks.acquire(path)
          yield* Effect.sleep("2 seconds")
          return yield* Effect.exit(handle.verify)
        }))))
        const next = yield* suspend
        yield* holder.resume
        yield* Effect.sleep("5 seconds")
        yield* replacing.goOn
        assert.isTrue(Exit.isFailure(yield* Fiber.join(held)))
        yield* Fiber.join(next)
      })
    ))
})

describe("A holder that asks for its lock after a pause", () => {
  it.effect("gets an answer, and nothing of the fiber that has acquired it", () =>
    Effect.gen(function*() {
      const tenant = yield* FiberRef.make("nobody")
      const clock = yield* makeBusyClock
      const { add, heartbeat } = yield* holdOn(makeBusyDisk(() => clock.step(0.1)), clock, 10_000)
      const holder = yield* Effect.fork(Effect.zipRight(FiberRef.set(tenant, "the holder"), add(lockPath)))
      const member = yield* Effect.flatten(Fiber.await(holder))
      clock.stop(8_000)
      yield* heartbeat.verify(member)
      assert.strictEqual(yield* FiberRef.get(tenant), "nobody")
    }).pipe(Effect.scoped, Simulation.run))

  it.effect("and releases it meanwhile, leaves nothing", () =>
    play((scene) =>
      Effect.gen(function*() {
        const holder = yield* joinElsewhere(scene)
        const scope = yield* Scope.make()
        const handle = yield* holder.run(Scope.extend(holder.locks.acquire(path), scope))
        yield* Effect.sleep("1 second")
        yield* holder.suspend
        yield* Effect.sleep("7 seconds")
        const asked = yield* Effect.fork(holder.run(Effect.exit(handle.verify)))
        yield* settle
        const released = yield* Effect.fork(holder.run(Scope.close(scope, Exit.void)))
        yield* settle
        const writing = yield* holder.stopAt("write", lockPath, "File.writeAll")
        yield* holder.resume
        yield* writing.reached
        yield* Effect.sleep("1 second")
        yield* writing.goOn
        yield* Fiber.join(released)
        yield* Fiber.join(asked)
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual(yield* scene.names, [])
      })
    ))

  it.effect("is not told what a heartbeat from before the pause has found", () =>
    play((scene) =>
      Effect.gen(function*() {
        const holder = yield* joinElsewhere(scene)
        const successor = makeRecord((yield* scene.machine.spawn()).info)
        const scope = yield* Scope.make()
        const handle = yield* holder.run(Scope.extend(holder.locks.acquire(path), scope))
        const closing = yield* holder.stopAt("close", lockPath)
        yield* closing.reached
        yield* holder.suspend
        yield* Effect.sleep("11 seconds")
        yield* scene.fs.writeFileString("/data/successor", successor)
        yield* scene.fs.rename("/data/successor", lockPath)
        const asked = yield* Effect.fork(holder.run(Effect.exit(handle.verify)))
        yield* settle
        yield* closing.goOn
        yield* holder.resume
        assert.isTrue(Exit.isFailure(yield* Fiber.join(asked)))
        yield* holder.run(Scope.close(scope, Exit.void))
        yield* scene.fs.remove(lockPath)
      })
    ))
})

describe("A heartbeat under a claim that is late itself", () => {
  it.effect("does not count, and the next one is made under a claim, too", () =>
    Effect.gen(function*() {
      const clock = yield* makeBusyClock
      const calls: Array<string> = []
      let stops = 0
      const disk = makeBusyDisk((call, path) => {
        if (call === "rewrite" || path === claimPath) calls.push(call)
        // The process stands still under its claim, for longer than that may be old.
        const stands = call === "rewrite" && stops++ === 0
        clock.step(stands ? 5_500 : 0.1)
      })
      const { add, lost } = yield* holdOn(disk, clock, 10_000)
      yield* add(lockPath)
      clock.stop(8_000)
      yield* Effect.sleep("2 seconds")
      assert.deepStrictEqual(lost, [])
      assert.deepStrictEqual(calls.filter((call) => call === "link" || call === "rewrite"), [
        "link",
        "rewrite",
        "link",
        "rewrite"
      ])
    }).pipe(Simulation.run))
})

// ---------------------------------------------------------------------------------------------
// heartbeats that fail
// ---------------------------------------------------------------------------------------------

const isBeat = ({ method, path }: MemoryFileSystem.Operation): boolean =>
  method === "File.writeAll" && path === lockPath

describe("A heartbeat whose answer is lost", () => {
  it.effect.each([["once", 1], ["three times", 3]] as const)(
    "%s does not lose the lock",
    ([, times]) =>
      play((scene) =>
        Effect.gen(function*() {
          let lost = 0
          const holder = yield* joinElsewhere(scene, {
            fault: (operation) =>
              isBeat(operation) && lost < times
                ? (lost += 1, Fail({ errno: "EIO", moment: "after" }))
                : undefined
          })
          const held = yield* Effect.fork(holder.enter("holder", { stay: "1 minute" }))
          yield* Effect.sleep("30 seconds")
          assert.strictEqual(lost, times)
          assert.isAbove(beatOf(yield* scene.fs.readFileString(lockPath)), 6)
          yield* Fiber.join(held)
        })
      )
  )
})

describe("A heartbeat after one whose answer is lost", () => {
  it.effect("changes the record: others would take it for silent otherwise", () =>
    Effect.gen(function*() {
      const clock = yield* makeBusyClock
      const disk = makeBusyDisk(() => clock.step(0.1))
      const beats: Array<string> = []
      const { add, owns } = yield* holdOn(
        {
          ...disk,
          rewrite: (path, expected, offset, beat) => {
            const answer = disk.rewrite(path, expected, offset, beat)
            beats.push(beat)
            return beats.length === 1 ? Exit.fail(new DiskError("EIO", undefined)) : answer
          }
        },
        clock,
        10_000
      )
      yield* add(lockPath)
      yield* Effect.sleep("3 seconds")
      assert.deepStrictEqual(beats.map(Number), [1, 1, 2])
      assert.strictEqual(owns[0]?.beats, 2)
    }).pipe(Simulation.run))
})

describe("A heartbeat that fails", () => {
  it.effect("is made again, and the lock is kept", () =>
    play((scene) =>
      Effect.gen(function*() {
        const start = yield* millis
        const clock = yield* Effect.clock
        const now = () => Number(clock.unsafeCurrentTimeNanos() / 1_000_000n) - start
        const holder = yield* joinElsewhere(scene, {
          fault: (operation) => isBeat(operation) && now() > 4_000 && now() < 7_000 ? Fail({ errno: "EIO" }) : undefined
        })
        yield* holder.enter("holder", { stay: "1 minute" })
      })
    ))

  it.effect("for six tenths of a lease loses the lock, with what the disk said", () =>
    play((scene) =>
      Effect.gen(function*() {
        const holder = yield* joinElsewhere(scene, {
          fault: (operation) => isBeat(operation) ? Fail({ errno: "EIO" }) : undefined
        })
        const start = yield* millis
        const error = yield* Effect.flip(holder.enter("holder", { stay: "1 hour" }))
        const lostAfter = (yield* millis) - start
        assert.deepInclude(error, { _tag: "LockLostError", reason: "LeaseExpired" })
        assert.match(String(error instanceof Error && "cause" in error ? error.cause : ""), /EIO/)
        assert.isAtLeast(lostAfter, 5_900)
        assert.isAtMost(lostAfter, 6_500)
      })
    ))

  it.effect("is told to the holder before another process can have the lock", () =>
    play((scene) =>
      Effect.gen(function*() {
        const [holder, other] = yield* Effect.all([joinElsewhere(scene), joinElsewhere(scene)])
        const held = yield* Effect.fork(Effect.flip(holder.enter("holder", { stay: "1 hour" })))
        yield* settle
        // Its storage does not answer for a while.
        const beating = yield* holder.stopAt("open", lockPath, "open")
        const next = yield* Effect.fork(other.enter("other", { stay: "1 minute" }))
        yield* beating.reached
        while (scene.occupancy.entries < 2) {
          yield* settle
        }
        yield* beating.goOn
        yield* Fiber.join(held)
        yield* Fiber.join(next)
      })
    ))

  it.effect("finds the file of its lock removed, and says so", () =>
    play((scene) =>
      Effect.gen(function*() {
        const holder = yield* joinElsewhere(scene)
        const held = yield* Effect.fork(Effect.flip(holder.enter("holder", { stay: "1 hour" })))
        yield* settle
        yield* scene.fs.remove(lockPath)
        assert.deepInclude(yield* Fiber.join(held), { _tag: "LockLostError", reason: "Removed" })
      })
    ))
})

describe("Asking for a lock", () => {
  it.effect("that cannot be read is no proof of its loss", () =>
    play((scene) =>
      Effect.gen(function*() {
        let unreadable = false
        const holder = yield* joinElsewhere(scene, {
          fault: ({ path }) => unreadable && path === lockPath ? Fail({ errno: "EIO" }) : undefined
        })
        yield* holder.run(Effect.scoped(Effect.gen(function*() {
          const { isHeld, verify } = yield* holder.locks.acquire(path)
          yield* verify
          unreadable = true
          assert.deepInclude(yield* Effect.flip(verify), { _tag: "LockLostError", reason: "BackendUnavailable" })
          assert.isTrue(yield* isHeld)
          unreadable = false
          yield* verify
        })))
      })
    ))
})
