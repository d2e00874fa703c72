import { FileSystem, Path } from "@effect/platform"
import { assert, it } from "@effect/vitest"
import { Config, ConfigProvider, Effect, Layer, Option } from "effect"
import { FileLock, LockedFile, MemoryFileSystem, NodeFileLock } from "effect-filelock"

/** Numbers for invoices: one service of a larger program. That it uses locks does not show in its type. */
class Invoices extends Effect.Service<Invoices>()("app/Invoices", {
  effect: Effect.gen(function*() {
    const locks = yield* FileLock.FileLock
    const directory = yield* Config.string("INVOICES")
    const next = (year: number) =>
      LockedFile.updateString(
        `${directory}/${year}`,
        (last) => String(Number(Option.getOrElse(last, () => "0")) + 1),
        { timeout: "10 seconds", label: "invoice" }
      ).pipe(
        Effect.map(Number),
        Effect.provideService(FileLock.FileLock, locks)
      )
    return { next }
  }),
  dependencies: [NodeFileLock.layerConfig({
    lease: Config.withDefault(Config.duration("LOCK_LEASE"), "30 seconds")
  })]
}) {}

/** What the main program provides. */
export const Live = Invoices.Default

/** What a test provides: the same service, over locks and files in memory. */
const Test = Invoices.DefaultWithoutDependencies.pipe(
  Layer.provide(FileLock.layer),
  Layer.provideMerge(Layer.merge(MemoryFileSystem.layer, Path.layer)),
  Layer.provide(Layer.setConfigProvider(ConfigProvider.fromMap(new Map([["INVOICES", "/invoices"]]))))
)

it.effect("each invoice has a number of its own", () =>
  Effect.gen(function*() {
    const invoices = yield* Invoices
    const numbers = yield* Effect.all(Array.from({ length: 20 }, () => invoices.next(2026)), {
      concurrency: "unbounded"
    })
    assert.sameMembers(numbers, Array.from({ length: 20 }, (_, index) => index + 1))
    const fs = yield* FileSystem.FileSystem
    assert.deepStrictEqual(yield* fs.readDirectory("/invoices"), ["2026"])
  }).pipe(Effect.provide(Test)))
