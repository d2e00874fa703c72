import type * as FileSystem from "@effect/platform/FileSystem"
import type * as Path from "@effect/platform/Path"
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Function from "effect/Function"
import type * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { describe, expect, test } from "tstyche"
import * as FileLock from "../../src/FileLock.js"
import type * as LockBackend from "../../src/LockBackend.js"
import type { LockAcquisitionError, LockDirectoryError, LockLostError } from "../../src/LockError.js"
import type { LockHolder } from "../../src/LockHolder.js"

class Refused extends Data.TaggedError("Refused")<{ readonly by: string }> {}

interface Clerk {
  readonly _: unique symbol
}

declare const work: Effect.Effect<number, Refused, Clerk>
declare const pure: Effect.Effect<string>
declare const holder: LockHolder
declare const options: FileLock.LockOptions

type LockErrors = LockAcquisitionError | LockDirectoryError | LockLostError
type AcquireErrors = LockAcquisitionError | LockDirectoryError
type Section<A, E = never, R = never> = Effect.Effect<A, E | LockErrors, R | FileLock.FileLock>

describe("withLock", () => {
  test("data-first keeps what the effect answers with, fails with and needs", () => {
    expect(FileLock.withLock(work, "file")).type.toBe<
      Effect.Effect<
        number,
        Refused | LockAcquisitionError | LockDirectoryError | LockLostError,
        Clerk | FileLock.FileLock
      >
    >()
    expect(FileLock.withLock(work, "file", { timeout: "1 second" })).type.toBe<Section<number, Refused, Clerk>>()
    expect(FileLock.withLock(pure, "file")).type.toBe<
      Effect.Effect<string, LockAcquisitionError | LockDirectoryError | LockLostError, FileLock.FileLock>
    >()
    expect(FileLock.withLock(Effect.never, "file")).type.toBe<Section<never>>()
  })

  test("data-last keeps them, too", () => {
    expect(work.pipe(FileLock.withLock("file"))).type.toBe<Section<number, Refused, Clerk>>()
    expect(work.pipe(FileLock.withLock("file", { mode: "shared" }))).type.toBe<Section<number, Refused, Clerk>>()
    expect(pure.pipe(FileLock.withLock("file"))).type.toBe<Section<string>>()
    expect(Function.pipe(pure, FileLock.withLock("file", options))).type.toBe<Section<string>>()
    expect(FileLock.withLock("file")).type.toBe<<A, E, R>(self: Effect.Effect<A, E, R>) => Section<A, E, R>>()
  })

  test("a generic function around it keeps its parameters", () => {
    const first = <A, E, R>(self: Effect.Effect<A, E, R>) => FileLock.withLock(self, "file")
    const last = <A, E, R>(self: Effect.Effect<A, E, R>) => self.pipe(FileLock.withLock("file"))
    expect(first).type.toBe<<A, E, R>(self: Effect.Effect<A, E, R>) => Section<A, E, R>>()
    expect(last).type.toBe<<A, E, R>(self: Effect.Effect<A, E, R>) => Section<A, E, R>>()
  })

  test("nested critical sections have the errors and the service once", () => {
    expect(work.pipe(FileLock.withLock("inner"), FileLock.withLock("outer"))).type.toBe<
      Section<number, Refused, Clerk>
    >()
  })

  test("takes an effect and one path", () => {
    expect(FileLock.withLock).type.not.toBeCallableWith(work)
    expect(FileLock.withLock).type.not.toBeCallableWith("file", work)
    expect(FileLock.withLock).type.not.toBeCallableWith(work, ["file"])
    expect(FileLock.withLock).type.not.toBeCallableWith(Promise.resolve(1), "file")
    expect(FileLock.withLock("file")).type.not.toBeCallableWith(Promise.resolve(1))
  })
})

describe("withLocks", () => {
  test("data-first", () => {
    expect(FileLock.withLocks(work, ["a", "b"])).type.toBe<Section<number, Refused, Clerk>>()
    expect(FileLock.withLocks(work, new Set(["a"]), { label: "both" })).type.toBe<Section<number, Refused, Clerk>>()
    expect(FileLock.withLocks(pure, [])).type.toBe<Section<string>>()
  })

  test("data-last", () => {
    expect(work.pipe(FileLock.withLocks(["a", "b"]))).type.toBe<Section<number, Refused, Clerk>>()
    expect(pure.pipe(FileLock.withLocks(new Map<string, number>().keys(), options))).type.toBe<Section<string>>()
    expect(FileLock.withLocks([])).type.toBe<<A, E, R>(self: Effect.Effect<A, E, R>) => Section<A, E, R>>()
  })

  test("takes paths, and not numbers", () => {
    expect(FileLock.withLocks).type.not.toBeCallableWith(work, [1, 2])
    expect(FileLock.withLocks).type.not.toBeCallableWith(work)
  })
})

describe("withLockIfAvailable", () => {
  test("data-first answers in an Option", () => {
    expect(FileLock.withLockIfAvailable(work, "file")).type.toBe<Section<Option.Option<number>, Refused, Clerk>>()
    expect(FileLock.withLockIfAvailable(pure, "file", { mode: "shared", label: "reader" })).type.toBe<
      Section<Option.Option<string>>
    >()
  })

  test("data-last answers in an Option", () => {
    expect(work.pipe(FileLock.withLockIfAvailable("file"))).type.toBe<
      Section<Option.Option<number>, Refused, Clerk>
    >()
    expect(pure.pipe(FileLock.withLockIfAvailable("file", { label: "reader" }))).type.toBe<
      Section<Option.Option<string>>
    >()
    expect(FileLock.withLockIfAvailable("file")).type.toBe<
      <A, E, R>(self: Effect.Effect<A, E, R>) => Section<Option.Option<A>, E, R>
    >()
  })

  test("takes no timeout and no schedule: it does not wait", () => {
    expect(FileLock.withLockIfAvailable).type.not.toBeCallableWith(work, "file", { timeout: "1 second" })
    expect(FileLock.withLockIfAvailable).type.not.toBeCallableWith(work, "file", { schedule: Schedule.forever })
    expect(FileLock.withLockIfAvailable).type.not.toBeCallableWith("file", { timeout: 0 })
    expect(FileLock.withLockIfAvailable).type.toBeCallableWith("file", { mode: "exclusive" })
  })
})

describe("acquire", () => {
  test("needs a scope, and cannot fail with LockLostError", () => {
    expect(FileLock.acquire("file")).type.toBe<
      Effect.Effect<
        FileLock.LockHandle,
        LockAcquisitionError | LockDirectoryError,
        FileLock.FileLock | Scope.Scope
      >
    >()
    expect(Effect.scoped(FileLock.acquire("file", { timeout: "infinity" }))).type.toBe<
      Effect.Effect<FileLock.LockHandle, AcquireErrors, FileLock.FileLock>
    >()
  })

  test("acquireIfAvailable answers in an Option", () => {
    expect(FileLock.acquireIfAvailable("file", { mode: "shared" })).type.toBe<
      Effect.Effect<Option.Option<FileLock.LockHandle>, AcquireErrors, FileLock.FileLock | Scope.Scope>
    >()
    expect(FileLock.acquireIfAvailable).type.not.toBeCallableWith("file", { timeout: "1 second" })
    expect(FileLock.acquireIfAvailable).type.not.toBeCallableWith("file", { schedule: Schedule.forever })
  })

  test("acquireAll answers with all handles", () => {
    expect(FileLock.acquireAll(["a", "b"], { timeout: 0 })).type.toBe<
      Effect.Effect<ReadonlyArray<FileLock.LockHandle>, AcquireErrors, FileLock.FileLock | Scope.Scope>
    >()
  })

  test("a handle", () => {
    const handle = expect<FileLock.LockHandle>()
    handle.type.toBe<{
      readonly path: string
      readonly lockPath: string
      readonly mode: "exclusive" | "shared"
      readonly holder: LockHolder
      readonly fence: Option.Option<bigint>
      readonly isHeld: Effect.Effect<boolean>
      readonly verify: Effect.Effect<void, LockLostError>
      readonly lost: Effect.Effect<never, LockLostError>
    }>()
  })
})

describe("options", () => {
  test("are all optional, and each may be undefined", () => {
    expect({}).type.toBeAssignableTo<FileLock.LockOptions>()
    expect(FileLock.acquire).type.toBeCallableWith("file", {
      timeout: undefined,
      mode: undefined,
      schedule: undefined,
      label: undefined
    })
  })

  test("the timeout is a duration or infinity", () => {
    expect(FileLock.acquire).type.toBeCallableWith("file", { timeout: "10 seconds" })
    expect(FileLock.acquire).type.toBeCallableWith("file", { timeout: Duration.minutes(1) })
    expect(FileLock.acquire).type.toBeCallableWith("file", { timeout: 0 })
    expect(FileLock.acquire).type.toBeCallableWith("file", { timeout: "infinity" })
    expect(FileLock.acquire).type.not.toBeCallableWith("file", { timeout: "soon" })
    expect(FileLock.acquire).type.not.toBeCallableWith("file", { timeout: new Date(0) })
  })

  test("the mode is exclusive or shared", () => {
    expect(FileLock.acquire).type.toBeCallableWith("file", { mode: "exclusive" })
    expect(FileLock.acquire).type.toBeCallableWith("file", { mode: "shared" })
    expect(FileLock.acquire).type.not.toBeCallableWith("file", { mode: "write" })
    expect(FileLock.acquireIfAvailable).type.not.toBeCallableWith("file", { mode: "write" })
    expect(FileLock.withLock).type.not.toBeCallableWith(work, "file", { mode: "write" })
    expect(FileLock.withLock).type.not.toBeCallableWith("file", { mode: "write" })
    expect(FileLock.withLocks).type.not.toBeCallableWith(work, ["file"], { mode: "write" })
    expect(FileLock.withLockIfAvailable).type.not.toBeCallableWith(work, "file", { mode: "write" })
  })

  test("a schedule needs nothing", () => {
    expect(FileLock.acquire).type.toBeCallableWith("file", { schedule: Schedule.spaced("1 second") })
    expect(FileLock.acquire).type.not.toBeCallableWith("file", {
      schedule: Schedule.tapOutput(Schedule.recurs(1), () => Effect.asVoid(Effect.scope))
    })
  })

  test("an unknown option is an error", () => {
    expect(FileLock.acquire).type.not.toBeCallableWith("file", { retries: 3 })
    expect(FileLock.withLock).type.not.toBeCallableWith(work, "file", { lease: "1 second" })
  })
})

describe("inspection", () => {
  test("inspect", () => {
    expect(FileLock.inspect("file")).type.toBe<
      Effect.Effect<Option.Option<FileLock.LockStatus>, LockAcquisitionError, FileLock.FileLock>
    >()
    expect<FileLock.LockStatus["state"]>().type.toBe<"held" | "abandoned" | "unverifiable" | "foreign">()
    expect<FileLock.LockStatus["holders"]>().type.toBe<ReadonlyArray<LockHolder>>()
    expect<FileLock.LockStatus["waiters"]>().type.toBe<ReadonlyArray<LockHolder>>()
  })

  test("breakLock", () => {
    expect(FileLock.breakLock("file", holder)).type.toBe<
      Effect.Effect<boolean, LockAcquisitionError, FileLock.FileLock>
    >()
    expect(FileLock.breakLock).type.not.toBeCallableWith("file")
    expect(FileLock.breakLock).type.not.toBeCallableWith("file", { pid: 1 })
  })
})

describe("errors", () => {
  const locked = FileLock.withLock(work, "file")

  test("catchTag takes one error out of the channel", () => {
    const caught = Effect.catchTag(locked, "LockAcquisitionError", (error) => {
      expect(error).type.toBe<LockAcquisitionError>()
      expect(error.reason).type.toBe<
        | "Timeout"
        | "Foreign"
        | "InvalidPath"
        | "PermissionDenied"
        | "StorageFull"
        | "Deadlock"
        | "BackendUnavailable"
        | "SystemError"
      >()
      return Effect.succeed(error.message)
    })
    expect(caught).type.toBe<
      Effect.Effect<string | number, Refused | LockDirectoryError | LockLostError, Clerk | FileLock.FileLock>
    >()
  })

  test("catchTags narrows each of the three", () => {
    const caught = Effect.catchTags(locked, {
      LockAcquisitionError: (error) => Effect.succeed(error),
      LockDirectoryError: (error) => {
        expect(error).type.toBe<LockDirectoryError>()
        return Effect.succeed(error.directory)
      },
      LockLostError: (error) => {
        expect(error.reason).type.toBe<"Removed" | "Replaced" | "LeaseExpired" | "BackendUnavailable">()
        return Effect.succeed(true)
      }
    })
    expect(caught).type.toBe<
      Effect.Effect<number | LockAcquisitionError | string | boolean, Refused, Clerk | FileLock.FileLock>
    >()
  })

  test("the errors of acquire are two: LockLostError cannot be caught there", () => {
    expect(Effect.catchTag(FileLock.acquire("file"), "LockDirectoryError", () => Effect.void)).type.toBe<
      Effect.Effect<void | FileLock.LockHandle, LockAcquisitionError, FileLock.FileLock | Scope.Scope>
    >()
    // @ts-expect-error No overload matches this call
    void Effect.catchTag(FileLock.acquire("file"), "LockLostError", () => Effect.void)
  })
})

describe("the service", () => {
  test("its combinators have no requirement of their own", () => {
    const run = (locks: Context.Tag.Service<FileLock.FileLock>) => locks.withLock(work, "file")
    expect(run).type.toBe<
      (locks: FileLock.FileLock["Type"]) => Effect.Effect<number, Refused | LockErrors, Clerk>
    >()
  })

  test("make", () => {
    expect(FileLock.make()).type.toBe<
      Effect.Effect<Context.Tag.Service<FileLock.FileLock>, never, LockBackend.LockBackend | Scope.Scope>
    >()
  })
})

describe("layers", () => {
  test("layer and layerWith need the files, and cannot fail", () => {
    expect(FileLock.layer).type.toBe<
      Layer.Layer<FileLock.FileLock, never, FileSystem.FileSystem | Path.Path>
    >()
    expect(FileLock.layerWith({ lease: "1 minute", handoff: 0, pollInterval: Duration.millis(50) })).type.toBe<
      Layer.Layer<FileLock.FileLock, never, FileSystem.FileSystem | Path.Path>
    >()
    expect(FileLock.layerWith).type.toBeCallableWith({ lease: undefined })
    expect(FileLock.layerWith).type.not.toBeCallableWith({ lease: "long" })
    expect(FileLock.layerWith).type.not.toBeCallableWith({ timeout: "1 second" })
  })

  test("layerConfig may fail with a ConfigError", () => {
    expect(FileLock.layerConfig({ lease: Config.duration("LEASE") })).type.toBe<
      Layer.Layer<FileLock.FileLock, ConfigError, FileSystem.FileSystem | Path.Path>
    >()
    expect(FileLock.layerConfig).type.toBeCallableWith({})
    expect(FileLock.layerConfig).type.toBeCallableWith(Config.all({ handoff: Config.duration("HANDOFF") }))
    expect(FileLock.layerConfig).type.toBeCallableWith({
      pollInterval: Config.duration("POLL").pipe(Config.withDefault("100 millis"))
    })
    expect(FileLock.layerConfig).type.not.toBeCallableWith({ lease: "1 second" })
    expect(FileLock.layerConfig).type.not.toBeCallableWith({ lease: Config.boolean("LEASE") })
  })

  test("layerBackend needs an engine", () => {
    expect(FileLock.layerBackend()).type.toBe<Layer.Layer<FileLock.FileLock, never, LockBackend.LockBackend>>()
    expect(FileLock.layerBackend({ handoff: 0 })).type.toBe<
      Layer.Layer<FileLock.FileLock, never, LockBackend.LockBackend>
    >()
  })
})
