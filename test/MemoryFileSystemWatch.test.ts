import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import type { PlatformError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"

type Action = (fs: FileSystem.FileSystem, dir: string) => Effect.Effect<void, PlatformError>

/** The kernel joins events that repeat the one before while nobody has read it: how many there are is chance. */
const withoutRepetition = (events: ReadonlyArray<string>) =>
  events.filter((event, index) => event !== events[index - 1])

const onlyOnce = (events: ReadonlyArray<string>) => [...new Set(events)]

/**
 * What watchers of a directory and of the file `f` in it see of some actions. The name of a file that Node's service would
 * take for one in the working directory must not be in use there.
 */
const observe = (action: Action, recursive = false) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const dir = yield* fs.makeTempDirectoryScoped({ prefix: "watched-" })
    yield* fs.writeFileString(`${dir}/f`, "")
    const seen = { directory: Array.of<string>(), file: Array.of<string>() }
    const follow = (path: string, into: Array<string>) =>
      Effect.forkScoped(Stream.runForEach(fs.watch(path, { recursive }), (event) =>
        Effect.sync(() =>
          into.push(`${event._tag} ${event.path}`)
        )))
    yield* follow(dir, seen.directory)
    yield* follow(`${dir}/f`, seen.file)
    const repeatUntil = (what: Effect.Effect<void, PlatformError>, done: () => boolean) =>
      Effect.repeat(Effect.zipRight(what, Effect.sleep("20 millis")), { until: done })
    yield* repeatUntil(fs.chmod(`${dir}/f`, 0o644), () =>
      seen.directory.length > 0 && seen.file.length > 0)
    yield* Effect.sleep("50 millis")
    seen.directory.length = 0
    seen.file.length = 0
    yield* action(fs, dir)
    // The kernel keeps the order of all events of a process: after this one there are none of the actions to come.
    yield* repeatUntil(
      fs.writeFileString(`${dir}/end`, ""),
      () => seen.directory.some((event) => event.endsWith("end"))
    )
    yield* Effect.sleep("50 millis")
    return {
      directory: withoutRepetition(seen.directory.filter((event) => !event.endsWith("end"))),
      file: withoutRepetition(seen.file)
    }
  }).pipe(Effect.scoped)

const cases: ReadonlyArray<{
  readonly title: string
  readonly action: Action
  readonly expected: { readonly directory: ReadonlyArray<string>; readonly file: ReadonlyArray<string> }
}> = [
  {
    title: "sees a file written",
    action: (fs, dir) => fs.writeFileString(`${dir}/f`, "text"),
    expected: { directory: ["Update f"], file: ["Update f"] }
  },
  {
    title: "sees a new name as a removal, because it looks for it where the process stands",
    action: (fs, dir) => fs.writeFileString(`${dir}/new-name`, ""),
    expected: { directory: ["Remove new-name"], file: [] }
  },
  {
    title: "sees a new name that exists in the working directory as a creation",
    action: (fs, dir) => fs.makeDirectory(`${dir}/tmp`),
    expected: { directory: ["Create tmp"], file: [] }
  },
  {
    title: "sees a file removed",
    action: (fs, dir) => fs.remove(`${dir}/f`),
    expected: { directory: ["Remove f"], file: ["Update f", "Remove f"] }
  },
  {
    title: "goes deaf on a file that was replaced, and keeps hearing the directory",
    action: (fs, dir) =>
      Effect.gen(function*() {
        yield* fs.writeFileString(`${dir}/g`, "new")
        yield* fs.rename(`${dir}/g`, `${dir}/f`)
        yield* fs.writeFileString(`${dir}/f`, "newer")
      }),
    expected: {
      directory: ["Remove g", "Update g", "Remove g", "Remove f", "Update f"],
      file: ["Update f", "Remove f"]
    }
  },
  {
    title: "hears of another name for a file, and of a change through it",
    action: (fs, dir) => Effect.zipRight(fs.link(`${dir}/f`, `${dir}/g`), fs.writeFileString(`${dir}/g`, "text")),
    expected: { directory: ["Remove g", "Update g"], file: ["Update f"] }
  },
  {
    title: "hears of new times",
    action: (fs, dir) => fs.utimes(`${dir}/f`, 1, 1),
    expected: { directory: ["Update f"], file: ["Update f"] }
  },
  {
    title: "hears a handle whose file has no name any more",
    action: (fs, dir) =>
      Effect.scoped(Effect.gen(function*() {
        const file = yield* fs.open(`${dir}/f`, { flag: "r+" })
        yield* fs.remove(`${dir}/f`)
        yield* file.writeAll(new TextEncoder().encode("text"))
      })),
    expected: { directory: ["Remove f", "Update f"], file: ["Update f", "Remove f"] }
  },
  {
    title: "does not hear what happens a directory further down",
    action: (fs, dir) => Effect.zipRight(fs.makeDirectory(`${dir}/sub`), fs.writeFileString(`${dir}/sub/x`, "text")),
    expected: { directory: ["Remove sub"], file: [] }
  }
]

const atRoot = Effect.acquireRelease(
  Effect.sync(() => {
    const before = process.cwd()
    process.chdir("/")
    return before
  }),
  (before) => Effect.sync(() => process.chdir(before))
)

describe("MemoryFileSystem.watch", () => {
  for (const { action, expected, title } of cases) {
    it.live(`${title}, as on the real disk`, () =>
      Effect.gen(function*() {
        yield* atRoot
        const [real, memory] = yield* Effect.all([
          Effect.provide(observe(action), NodeFileSystem.layer),
          Effect.provide(observe(action), MemoryFileSystem.layer)
        ], { concurrency: 2 })
        assert.deepStrictEqual(memory, expected)
        // Node's service looks each new or lost name up before it tells, so of two events close together either may be first.
        assert.sameMembers(onlyOnce(real.directory), onlyOnce(expected.directory))
        assert.sameMembers(onlyOnce(real.file), onlyOnce(expected.file))
      }).pipe(Effect.scoped))
  }

  it.effect("needs the path to exist", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      const error = yield* Effect.flip(Stream.runDrain(fs.watch("/nowhere")))
      assert.strictEqual(error._tag === "SystemError" && error.reason, "NotFound")
    }))

  it.effect("tells paths below the directory when it watches all of them", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      yield* fs.makeDirectory("/a/b", { recursive: true })
      yield* fs.writeFileString("/a/b/c", "")
      const seen: Array<string> = []
      const fiber = yield* Effect.fork(Stream.runForEach(
        fs.watch("/a", { recursive: true }),
        (event) => Effect.sync(() => seen.push(`${event._tag} ${event.path}`))
      ))
      const settle = Effect.repeatN(Effect.yieldNow(), 50)
      yield* settle
      seen.length = 0
      yield* fs.writeFileString("/a/b/c", "text")
      yield* fs.writeFileString("/a/b/d", "")
      yield* settle
      assert.deepStrictEqual(withoutRepetition(seen), ["Update b/c", "Remove b/d"])
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("stops with its stream", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      const fiber = yield* Effect.fork(Stream.runHead(fs.watch("/")))
      yield* Effect.repeatN(Effect.yieldNow(), 50)
      yield* fs.makeDirectory("/a")
      assert.deepStrictEqual(yield* Fiber.join(fiber), Option.some(FileSystem.WatchEventCreate({ path: "a" })))
    }))
})
