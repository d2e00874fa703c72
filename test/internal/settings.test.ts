import * as Path from "@effect/platform/Path"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as FileLock from "../../src/FileLock.js"
import * as Settings from "../../src/internal/settings.js"
import * as LockFileBackend from "../../src/LockFileBackend.js"
import * as MemoryFileSystem from "../../src/MemoryFileSystem.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"

/** The same settings as they come from a program that is not compiled with types. */
const untyped = (settings: Readonly<Record<string, unknown>>): FileLock.Settings => settings

const refused: ReadonlyArray<readonly [string, FileLock.Settings]> = [
  ["lease must be a duration from 100ms to 7d, not 99", { lease: 99 }],
  ["lease must be a duration from 100ms to 7d, not 8 days", { lease: "8 days" }],
  ["lease must be a duration from 100ms to 7d, not 0", { lease: 0 }],
  ["lease must be a duration from 100ms to 7d, not NaN", { lease: NaN }],
  ["lease must be a duration from 100ms to 7d, not Infinity", { lease: Infinity }],
  ["lease must be a duration from 100ms to 7d, not -1000", { lease: -1_000 }],
  ["lease must be a duration from 100ms to 7d, not soon", untyped({ lease: "soon" })],
  ["lease must be a duration from 100ms to 7d, not [object Object]", untyped({ lease: {} })],
  ["handoff must be a duration from 0 to 1d, not Infinity", { handoff: Infinity }],
  ["handoff must be a duration from 0 to 1d, not 25 hours", { handoff: "25 hours" }],
  ["pollInterval must be a duration from 1ms to 1d, not 0", { pollInterval: 0 }],
  ["pollInterval must be a duration from 1ms to 1d, not 0.5", { pollInterval: 0.5 }],
  ["pollInterval must be a duration from 1ms to 1d, not 2 days", { pollInterval: "2 days" }]
]

const allowed: ReadonlyArray<FileLock.Settings> = [
  {},
  { lease: undefined, handoff: undefined, pollInterval: undefined },
  { lease: 100 },
  { lease: "7 days" },
  { lease: Duration.seconds(3), handoff: 0, pollInterval: 1 },
  { handoff: "1 day", pollInterval: "1 day" }
]

describe("Settings", () => {
  it("have defaults", () => {
    for (const settings of [{}, { lease: undefined, handoff: undefined, pollInterval: undefined }]) {
      assert.deepStrictEqual(
        Either.map(
          Settings.decode(settings),
          ({ handoff, lease, pollInterval }) =>
            [handoff, lease, pollInterval].map((duration) => Duration.toMillis(duration))
        ),
        Either.right([5, 30_000, 100])
      )
    }
  })

  it("are taken as they are up to their limits", () => {
    for (const settings of allowed) {
      assert.isTrue(Either.isRight(Settings.decode(settings)), JSON.stringify(settings))
    }
  })

  it("outside of their limits are refused, with what is wrong", () => {
    for (const [message, settings] of refused) {
      assert.deepStrictEqual(Settings.decode(settings), Either.left(message))
    }
  })
})

const memory = [MemoryFileSystem.layer, Path.layer] as const

/** Builds the layers that take settings. */
const layers = {
  "FileLock.layerWith": (settings: FileLock.Settings) =>
    Effect.asVoid(Layer.build(Layer.provide(FileLock.layerWith(settings), memory))),
  "FileLock.layerBackend": (settings: FileLock.Settings) =>
    FileLock.layerBackend(settings).pipe(
      Layer.provide(LockFileBackend.layer),
      Layer.provide(memory),
      Layer.build,
      Effect.asVoid
    ),
  "LockFileBackend.layerWith": (settings: FileLock.Settings) =>
    Effect.asVoid(Layer.build(Layer.provide(LockFileBackend.layerWith(settings), memory))),
  "NodeFileLock.layerWith": (settings: FileLock.Settings) =>
    Effect.asVoid(Layer.build(NodeFileLock.layerWith(settings)))
}

describe("A layer with settings", () => {
  for (const [name, build] of Object.entries(layers)) {
    it.scoped(`dies of settings that are not allowed (${name})`, () =>
      Effect.gen(function*() {
        for (const [message, settings] of refused) {
          const exit = yield* Effect.exit(build(settings))
          assert.deepStrictEqual(exit, Exit.die(new Cause.IllegalArgumentException(message)))
        }
      }))

    it.scoped(`is built with settings that are allowed (${name})`, () =>
      Effect.forEach(allowed, (settings) => build(settings)))
  }
})

const configured = {
  "FileLock.layerConfig": (settings: Config.Config.Wrap<FileLock.Settings>) =>
    Layer.provide(FileLock.layerConfig(settings), memory),
  "NodeFileLock.layerConfig": NodeFileLock.layerConfig
}

describe("A layer with settings from the configuration", () => {
  const build = (layer: Layer.Layer<FileLock.FileLock, unknown>, entries: ReadonlyArray<readonly [string, string]>) =>
    Layer.build(layer).pipe(Effect.withConfigProvider(ConfigProvider.fromMap(new Map(entries))), Effect.exit)

  for (const [name, layer] of Object.entries(configured)) {
    it.scoped(`fails with a ConfigError that says what is wrong (${name})`, () =>
      Effect.gen(function*() {
        const locks = layer({ lease: Config.duration("LEASE") })
        assert.isTrue(Exit.isSuccess(yield* build(locks, [["LEASE", "45 seconds"]])))
        const wrong = yield* build(locks, [["LEASE", "1 millis"]])
        assert.include(String(wrong), "lease must be a duration from 100ms to 7d, not Duration(1ms)")
        assert.include(String(wrong), "InvalidData")
        assert.include(String(yield* build(locks, [["LEASE", "soon"]])), "InvalidData")
        assert.include(String(yield* build(locks, [])), "MissingData")
      }))

    it.scoped(`has the default settings where none is taken from the configuration (${name})`, () =>
      Effect.gen(function*() {
        assert.isTrue(Exit.isSuccess(yield* build(layer({}), [])))
        // A program that is compiled without exactOptionalPropertyTypes may write `undefined`.
        const absent: Readonly<Record<string, unknown>> = { lease: undefined }
        assert.isTrue(Exit.isSuccess(yield* build(layer(absent), [])))
        assert.isTrue(Exit.isSuccess(yield* build(layer(Config.succeed({})), [])))
      }))

    it.scoped(`takes the defaults of the configuration (${name})`, () =>
      Effect.gen(function*() {
        const lease = Config.withDefault(Schema.Config("LEASE", Schema.NumberFromString), 10_000)
        assert.isTrue(Exit.isSuccess(yield* build(layer({ lease }), [])))
      }))
  }
})
