import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"
import { Fault } from "../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import type { Outcome, Scene, Stage, Trouble } from "./utils/FaultScene.js"
import * as FaultScene from "./utils/FaultScene.js"
import * as Remains from "./utils/remains.js"
import * as Simulation from "./utils/Simulation.js"

const makeStage: Effect.Effect<Stage> = Effect.gen(function*() {
  const disk = yield* MemoryFileSystem.makeDisk()
  const watcher = yield* disk.view({ step: () => Effect.void })
  yield* Effect.orDie(watcher.makeDirectory("/data"))
  return {
    directory: "/data",
    view: disk.view(),
    watcher,
    machine: yield* ProcessIdentity.makeMachine(),
    rest: "1 minute",
    simulated: true
  }
})

const play = (scene: Scene, trouble?: Trouble, at?: number): Effect.Effect<Outcome> =>
  makeStage.pipe(
    Effect.flatMap((stage) => FaultScene.play(stage, scene, trouble, at)),
    Effect.scoped,
    Simulation.run
  )

const scenes: ReadonlyArray<Scene> = [
  { name: "an acquisition, a hold and a release" },
  { name: "a takeover from a dead holder", before: Remains.deadHolder },
  { name: "a takeover from one who died before writing", before: Remains.emptyRecord },
  { name: "a takeover that somebody died in", before: Remains.deadHolderAndClaim },
  { name: "a takeover that somebody died in before writing", before: Remains.deadHolderAndEmptyClaim },
  { name: "an acquisition beside a dead process's claim", before: Remains.deadClaim },
  { name: "a hold with heartbeats", hold: "1500 millis", settings: { lease: "3 seconds" } },
  {
    name: "a hold with heartbeats, watched by those who cannot check the holder but by them",
    hold: "1500 millis",
    settings: { lease: "3 seconds" },
    elsewhere: true
  },
  {
    name: "a release after a standstill",
    hold: "2500 millis",
    settings: { lease: "3 seconds" },
    standstill: ["900 millis", "4900 millis"]
  },
  {
    name: "a beat after a standstill",
    hold: "6 seconds",
    settings: { lease: "9 seconds" },
    standstill: ["900 millis", "4900 millis"]
  }
]

const failures = (...errnos: ReadonlyArray<string>): ReadonlyArray<Trouble> =>
  errnos.flatMap((errno) => [
    { name: `${errno} before anything happened`, fault: Fault.Fail({ errno }) },
    { name: `${errno} after it happened`, fault: Fault.Fail({ errno, moment: "after" }) }
  ])

const outages = (...errnos: ReadonlyArray<string>): ReadonlyArray<Trouble> =>
  errnos.map((errno) => ({ name: `${errno} for three seconds`, fault: Fault.Fail({ errno }), lasts: "3 seconds" }))

/** What a file server answers to a request that it had already carried out when its answer was lost. */
const lostAnswers: ReadonlyArray<Trouble> = [
  {
    name: "EEXIST although it was created",
    fault: Fault.Fail({ errno: "EEXIST", moment: "after" }),
    befalls: (method) => method === "writeFileString"
  },
  {
    name: "ENOENT although it was renamed or removed",
    fault: Fault.Fail({ errno: "ENOENT", moment: "after" }),
    befalls: (method) => method === "rename" || method === "remove"
  }
]

const silences = (["before", "after"] as const).flatMap((moment): ReadonlyArray<Trouble> => [
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
    dies: "3 seconds"
  }
])

/** A death after an operation leaves what a death before the next one does. */
const deaths: ReadonlyArray<Trouble> = [
  { name: "death before it happens", fault: Fault.Crash() },
  ...[0, 150].map((written): Trouble => ({
    name: `death when ${written} bytes are written`,
    fault: Fault.Crash({ moment: "during", written }),
    befalls: (method) => method === "writeFileString" || method === "File.writeAll"
  }))
]

/** Whichever error it is, it takes one of few ways through the code; the shortest scenes try them all. */
const troublesOf = (scene: Scene): ReadonlyArray<Trouble> =>
  scenes.indexOf(scene) < 2
    ? [
      ...failures("EIO", "EACCES", "ENOSPC", "EROFS", "EMFILE", "ESTALE", "EBUSY", "EPERM"),
      ...outages("EIO", "ENOSPC", "EACCES"),
      ...lostAnswers,
      ...silences,
      ...deaths
    ]
    : [
      ...failures("EIO"),
      ...outages("EACCES"),
      ...lostAnswers,
      ...silences.slice(0, 1),
      ...deaths
    ]

for (const scene of scenes) {
  describe(scene.name, () => {
    it.effect("ends well when nothing goes wrong", () =>
      Effect.gen(function*() {
        const { complaints, operations } = yield* play(scene)
        assert.deepStrictEqual(complaints, [])
        assert.isAtLeast(operations.length, 6)
      }))

    for (const trouble of troublesOf(scene)) {
      it.effect(`ends well after ${trouble.name}, whichever operation that befalls`, () =>
        Effect.gen(function*() {
          const { operations } = yield* play(scene)
          const complaints = yield* Effect.forEach(
            Array.from(operations.entries()).filter(([, method]) => trouble.befalls?.(method) ?? true),
            ([index, method]) =>
              Effect.map(
                play(scene, trouble, index),
                (outcome) => outcome.complaints.map((complaint) => `operation ${index}, ${method}: ${complaint}`)
              )
          )
          assert.deepStrictEqual(complaints.flat(), [])
        }))
    }
  })
}

describe("on real files", () => {
  const playForReal = (scene: Scene, trouble: Trouble, at: number) =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const stage: Stage = {
        directory: yield* fs.makeTempDirectoryScoped({ prefix: "effect-filelock-" }),
        view: Effect.succeed(fs),
        watcher: fs,
        machine: yield* ProcessIdentity.makeMachine(),
        rest: "4 seconds",
        simulated: false
      }
      return yield* FaultScene.play(stage, scene, trouble, at)
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer), Effect.provide(Logger.remove(Logger.defaultLogger)))

  const troubles = [...failures("EIO"), ...silences.slice(0, 1), ...deaths]

  for (const scene of scenes.slice(0, 2)) {
    it.live(`${scene.name} ends well whatever befalls whichever operation`, () =>
      Effect.gen(function*() {
        const { operations } = yield* play(scene)
        const runs = troubles.flatMap((trouble) =>
          Array.from(operations.entries()).filter(([, method]) => trouble.befalls?.(method) ?? true)
            .map(([index, method]) => ({ index, method, trouble }))
        )
        const complaints = yield* Effect.forEach(runs, ({ index, method, trouble }) =>
          Effect.map(
            playForReal(scene, trouble, index),
            (outcome) =>
              outcome.complaints.map((complaint) => `${trouble.name}, operation ${index}, ${method}: ${complaint}`)
          ), { concurrency: 100 })
        assert.deepStrictEqual(complaints.flat(), [])
      }), 120_000)
  }
})
