import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"

const { Fault } = MemoryFileSystem

const codeOf = (error: PlatformError): unknown =>
  error.cause instanceof Error && "code" in error.cause ? error.cause.code : undefined

/** A plan that remembers what it was asked, and strikes the methods given. */
const makePlan = (faults: Record<string, MemoryFileSystem.Fault>, onCrash?: Effect.Effect<void>) => {
  const seen: Array<MemoryFileSystem.Operation> = []
  return {
    seen,
    plan: {
      fault: (operation: MemoryFileSystem.Operation) => {
        seen.push(operation)
        return faults[operation.method]
      },
      onCrash
    }
  }
}

/** Whether something is still not answered when the disk has answered many others since. */
const neverAnswers = <A, E>(disk: FileSystem.FileSystem, self: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkDaemon(self)
    for (let i = 0; i < 100; i++) yield* disk.stat("/")
    return Option.isNone(yield* Fiber.poll(fiber))
  })

const bytes = (text: string) => new TextEncoder().encode(text)

const suite = (
  name: string,
  setting: Effect.Effect<
    { readonly disk: FileSystem.FileSystem; readonly dir: string },
    PlatformError,
    FileSystem.FileSystem
  >,
  layer: typeof MemoryFileSystem.layer
) =>
  describe(name, () => {
    const test = (
      title: string,
      body: (disk: FileSystem.FileSystem, dir: string) => Effect.Effect<void, unknown>
    ) =>
      it.effect(title, () =>
        Effect.gen(function*() {
          const { dir, disk } = yield* setting
          yield* Effect.ensuring(body(disk, dir), Effect.orDie(disk.remove(dir, { recursive: true })))
        }).pipe(Effect.provide(layer)))

    test("counts each call of a user once, whatever it is made of", (disk, dir) =>
      Effect.gen(function*() {
        const { plan, seen } = makePlan({})
        const fs = yield* MemoryFileSystem.withFaults(disk, plan)
        yield* fs.writeFileString(`${dir}/a`, "text")
        yield* fs.readFileString(`${dir}/a`)
        yield* fs.exists(`${dir}/a`)
        yield* Effect.scoped(Effect.flatMap(fs.open(`${dir}/a`), (file) => file.readAlloc(2)))
        yield* Stream.runDrain(fs.stream(`${dir}/a`))
        yield* Stream.run(Stream.make(bytes("new")), fs.sink(`${dir}/a`))
        yield* Effect.scoped(fs.makeTempDirectoryScoped({ directory: dir }))
        assert.deepStrictEqual(seen.map(({ index, method }) => [index, method]), [
          [0, "writeFileString"],
          [1, "readFileString"],
          [2, "exists"],
          [3, "open"],
          [4, "File.readAlloc"],
          [5, "File.close"],
          [6, "stream"],
          [7, "sink"],
          [8, "makeTempDirectoryScoped"],
          [9, "makeTempDirectoryScoped.release"]
        ])
        assert.strictEqual(yield* disk.readFileString(`${dir}/a`), "new")
        assert.deepStrictEqual(yield* disk.readDirectory(dir), ["a"])
      }))

    test("fails before anything happens, with the error that Node would have given", (disk, dir) =>
      Effect.gen(function*() {
        const { plan } = makePlan({ rename: Fault.Fail({ errno: "EACCES" }) })
        const fs = yield* MemoryFileSystem.withFaults(disk, plan)
        yield* fs.writeFileString(`${dir}/a`, "text")
        const error = yield* Effect.flip(fs.rename(`${dir}/a`, `${dir}/b`))
        assert.deepStrictEqual(
          error._tag === "SystemError" &&
            [error.reason, error.method, error.syscall, error.pathOrDescriptor, codeOf(error)],
          ["PermissionDenied", "rename", "rename", `${dir}/a`, "EACCES"]
        )
        assert.deepStrictEqual(yield* disk.readDirectory(dir), ["a"])
      }))

    test("fails after it took effect", (disk, dir) =>
      Effect.gen(function*() {
        const { plan } = makePlan({ rename: Fault.Fail({ errno: "EIO", moment: "after" }) })
        const fs = yield* MemoryFileSystem.withFaults(disk, plan)
        yield* fs.writeFileString(`${dir}/a`, "text")
        assert.strictEqual(codeOf(yield* Effect.flip(fs.rename(`${dir}/a`, `${dir}/b`))), "EIO")
        assert.deepStrictEqual(yield* disk.readDirectory(dir), ["b"])
      }))

    test(
      "gives the failure of a handle its descriptor, and that of a close to the defects, as Node's service does",
      (disk, dir) =>
        Effect.gen(function*() {
          const { plan } = makePlan({
            "File.write": Fault.Fail({ errno: "EIO" }),
            "File.close": Fault.Fail({ errno: "EIO" })
          })
          const fs = yield* MemoryFileSystem.withFaults(disk, plan)
          const exit = yield* Effect.exit(Effect.scoped(Effect.gen(function*() {
            const file = yield* fs.open(`${dir}/a`, { flag: "w" })
            const error = yield* Effect.flip(file.write(bytes("x")))
            assert.strictEqual(error._tag === "SystemError" && error.pathOrDescriptor, file.fd)
          })))
          assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
        })
    )

    test("takes an injected ENOENT for a file that does not exist", (disk, dir) =>
      Effect.gen(function*() {
        const { plan } = makePlan({ exists: Fault.Fail({ errno: "ENOENT" }) })
        const fs = yield* MemoryFileSystem.withFaults(disk, plan)
        assert.isFalse(yield* fs.exists(dir))
      }))

    test("answers late by the clock", (disk, dir) =>
      Effect.gen(function*() {
        const { plan } = makePlan({ writeFileString: Fault.Delay({ duration: "5 seconds" }) })
        const fs = yield* MemoryFileSystem.withFaults(disk, plan)
        const fiber = yield* Effect.fork(fs.writeFileString(`${dir}/a`, "text"))
        yield* TestClock.adjust("4 seconds")
        assert.isFalse(yield* disk.exists(`${dir}/a`))
        yield* TestClock.adjust("1 seconds")
        yield* Fiber.join(fiber)
        assert.isTrue(yield* disk.exists(`${dir}/a`))
      }))

    test("hangs until it is interrupted", (disk, dir) =>
      Effect.gen(function*() {
        const { plan } = makePlan({ readFile: Fault.Hang() })
        const fs = yield* MemoryFileSystem.withFaults(disk, plan)
        const fiber = yield* Effect.fork(fs.readFile(`${dir}/a`))
        assert.isTrue(yield* neverAnswers(disk, Fiber.join(fiber)))
        assert.isTrue(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      }))

    test("does what it did before a crash, nothing after it, and not even its finalizers", (disk, dir) =>
      Effect.gen(function*() {
        const crashes = yield* Ref.make(0)
        const crashed = yield* Deferred.make<void>()
        const { plan } = makePlan(
          { rename: Fault.Crash({ moment: "after" }) },
          Effect.zipRight(
            Ref.update(crashes, (n) =>
              n + 1),
            Deferred.succeed(crashed, void 0)
          )
        )
        const fs = yield* MemoryFileSystem.withFaults(disk, plan)
        yield* fs.writeFileString(`${dir}/lock`, "")
        yield* fs.writeFileString(`${dir}/a`, "")
        const process = yield* Effect.forkDaemon(Effect.acquireUseRelease(
          Effect.void,
          () =>
            fs.rename(`${dir}/a`, `${dir}/b`),
          () =>
            Effect.orDie(fs.remove(`${dir}/lock`))
        ))
        yield* Deferred.await(crashed)
        yield* Fiber.interruptFork(process)
        assert.isTrue(yield* neverAnswers(disk, Fiber.await(process)))
        assert.isTrue(yield* neverAnswers(disk, fs.writeFileString(`${dir}/c`, "")))
        assert.isTrue(yield* neverAnswers(disk, Stream.runDrain(fs.stream(`${dir}/b`))))
        assert.isTrue(yield* neverAnswers(disk, Stream.run(Stream.make(bytes("x")), fs.sink(`${dir}/b`))))
        assert.deepStrictEqual(yield* disk.readDirectory(dir), ["b", "lock"])
        assert.strictEqual(yield* Ref.get(crashes), 1)
      }))

    test("leaves of a write that it crashes during what the plan lets through", (disk, dir) =>
      Effect.gen(function*() {
        const crashWith = (
          fault: MemoryFileSystem.Fault,
          write: (fs: FileSystem.FileSystem) => Effect.Effect<unknown, PlatformError>
        ) =>
          Effect.gen(function*() {
            const crashed = yield* Deferred.make<void>()
            const { plan } = makePlan(
              { writeFile: fault, writeFileString: fault, "File.writeAll": fault, rename: fault },
              Effect.asVoid(Deferred.succeed(crashed, void 0))
            )
            const fs = yield* MemoryFileSystem.withFaults(disk, plan)
            yield* Effect.forkDaemon(write(fs))
            yield* Deferred.await(crashed)
          })
        yield* crashWith(Fault.Crash({ moment: "during" }), (fs) =>
          fs.writeFileString(`${dir}/a`, "text"))
        assert.strictEqual(yield* disk.readFileString(`${dir}/a`), "")
        yield* crashWith(Fault.Crash({ moment: "during", written: 2 }), (fs) =>
          fs.writeFile(`${dir}/a`, bytes("text")))
        assert.strictEqual(yield* disk.readFileString(`${dir}/a`), "te")
        yield* crashWith(Fault.Crash({ moment: "during", written: 3 }), (fs) =>
          Effect.scoped(Effect.flatMap(fs.open(`${dir}/a`, { flag: "a" }), (file) => file.writeAll(bytes("more")))))
        assert.strictEqual(yield* disk.readFileString(`${dir}/a`), "temor")
        yield* crashWith(Fault.Crash({ moment: "during" }), (fs) =>
          fs.rename(`${dir}/a`, `${dir}/b`))
        yield* crashWith(Fault.Crash(), (fs) => fs.writeFileString(`${dir}/a`, "text"))
        assert.strictEqual(yield* disk.readFileString(`${dir}/a`), "temor")
      }))
  })

describe("MemoryFileSystem.withFaults", () => {
  suite(
    "over the file system in memory",
    Effect.gen(function*() {
      const disk = yield* FileSystem.FileSystem
      yield* disk.makeDirectory("/work")
      return { disk, dir: "/work" }
    }),
    MemoryFileSystem.layer
  )
  suite(
    "over the real one",
    Effect.gen(function*() {
      const disk = yield* FileSystem.FileSystem
      return { disk, dir: yield* disk.makeTempDirectory() }
    }),
    NodeFileSystem.layer
  )

  it.effect("stops what other fibers of the process have under way, uninterruptible as they may be", () =>
    Effect.gen(function*() {
      const written = yield* Deferred.make<void>()
      const world = yield* MemoryFileSystem.makeDisk()
      const disk = yield* world.view({
        step: ({ path, syscall }) =>
          path === "/slow" && syscall === "write"
            ? Effect.zipRight(Deferred.succeed(written, void 0), Effect.sleep("1 second"))
            : Effect.void
      })
      const observer = yield* world.view()
      const crashed = yield* Deferred.make<void>()
      const { plan } = makePlan({ rename: Fault.Crash() }, Effect.asVoid(Deferred.succeed(crashed, void 0)))
      const fs = yield* MemoryFileSystem.withFaults(disk, plan)
      const slow = yield* Effect.forkDaemon(Effect.uninterruptible(fs.writeFileString("/slow", "content")))
      yield* Deferred.await(written)
      yield* Effect.forkDaemon(fs.rename("/a", "/b"))
      yield* Deferred.await(crashed)
      yield* TestClock.adjust("1 minute")
      assert.isTrue(yield* neverAnswers(disk, Fiber.await(slow)))
      assert.strictEqual(yield* observer.readFileString("/slow"), "")
    }))

  it.effect("comes as a layer over a fresh disk", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      assert.strictEqual(codeOf(yield* Effect.flip(fs.makeDirectory("/a"))), "EDQUOT")
      yield* fs.writeFileString("/b", "")
    }).pipe(Effect.provide(MemoryFileSystem.layerFaults({
      fault: ({ method }) => method === "makeDirectory" ? Fault.Fail({ errno: "EDQUOT" }) : undefined
    }))))
})
