/**
 * Whole files under their lock, on every file system.
 */
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as FileLock from "../src/FileLock.js"
import * as LockedFile from "../src/LockedFile.js"
import { onEveryFileSystem, type TestDirectory } from "./utils/fileSystems.js"

/** A behaviour of one process, at a path where nothing is. */
const behaves = (
  behaviour: string,
  test: (
    path: string,
    directory: TestDirectory
  ) => Effect.Effect<void, unknown, FileLock.FileLock | Scope.Scope>
) =>
  onEveryFileSystem(behaviour, (directory) =>
    Effect.gen(function*() {
      const { locks } = yield* directory.join()
      yield* Effect.provideService(test(`${directory.directory}/data/file`, directory), FileLock.FileLock, locks)
      const names = yield* directory.fs.readDirectory(directory.directory, { recursive: true })
      assert.deepStrictEqual(names.filter((name) => name.includes(".lock")), [], "nothing is left")
    }))

const increment = (current: Option.Option<string>) => String(Number(Option.getOrElse(current, () => "0")) + 1)

describe("A file under its lock", () => {
  behaves("is written, read and updated", (path, { fs }) =>
    Effect.gen(function*() {
      const missing = yield* Effect.flip(LockedFile.readString(path))
      assert.propertyVal(missing, "reason", "NotFound")
      yield* LockedFile.writeString(path, "one\n")
      assert.strictEqual(yield* LockedFile.readString(path), "one\n")
      assert.strictEqual(yield* fs.readFileString(path), "one\n")
      const updated = yield* LockedFile.updateString(path, (current) => `${Option.getOrThrow(current)}two\n`)
      assert.strictEqual(updated, "one\ntwo\n")
      yield* LockedFile.updateString(path, (current) => Effect.succeed(`${Option.getOrThrow(current)}three\n`), {
        fsync: false
      })
      assert.strictEqual(yield* fs.readFileString(path), "one\ntwo\nthree\n")
      yield* LockedFile.writeString(path, "")
      assert.strictEqual(yield* LockedFile.readString(path), "")
    }))

  behaves("takes bytes as they are, also many", (path) =>
    Effect.gen(function*() {
      for (const length of [0, 1, 255, 70_000, 300_000]) {
        const bytes = Uint8Array.from({ length }, (_, index) => (index * 7919) % 256)
        for (const fsync of [true, false]) {
          yield* LockedFile.write(path, bytes, { fsync })
          assert.deepStrictEqual(Uint8Array.from(yield* LockedFile.read(path)), bytes)
          yield* LockedFile.update(path, (current) => Option.getOrThrow(current).map((byte) => 255 - byte), { fsync })
          assert.deepStrictEqual(Uint8Array.from(yield* LockedFile.read(path)), bytes.map((byte) => 255 - byte))
        }
      }
    }))

  behaves("is there for the first update, or not", (path, { fs }) =>
    Effect.gen(function*() {
      assert.strictEqual(
        yield* LockedFile.updateString(path, (current) => Option.getOrElse(current, () => "first")),
        "first"
      )
      assert.strictEqual(yield* fs.readFileString(path), "first")
    }))

  behaves("stays as it was where an update fails, dies or is interrupted", (path, { fs }) =>
    Effect.gen(function*() {
      yield* LockedFile.writeString(path, "before")
      const failed = yield* Effect.flip(LockedFile.updateString(path, () => Effect.fail("no" as const)))
      assert.strictEqual(failed, "no")
      const died = yield* Effect.exit(LockedFile.updateString(path, () => {
        throw new Error("a defect")
      }))
      assert.isTrue(Exit.isFailure(died))
      const begun = yield* Deferred.make<void>()
      const interrupted = yield* Effect.fork(
        LockedFile.updateString(path, () => Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never))
      )
      yield* Deferred.await(begun)
      yield* Fiber.interrupt(interrupted)
      assert.strictEqual(yield* fs.readFileString(path), "before")
      assert.strictEqual(yield* LockedFile.updateString(path, () => "after", { timeout: 0 }), "after")
    }))

  behaves("keeps its mode, and is written through links", (path, { directory, fs }) =>
    Effect.gen(function*() {
      yield* LockedFile.writeString(path, "one")
      for (const mode of [0o600, 0o640, 0o755, 0o4711]) {
        yield* fs.chmod(path, mode)
        for (const fsync of [true, false]) {
          yield* LockedFile.writeString(path, mode.toString(8), { fsync })
          assert.strictEqual((yield* fs.stat(path)).mode & 0o7777, mode)
        }
      }
      yield* fs.symlink("data/file", `${directory}/link`)
      yield* LockedFile.updateString(`${directory}/link`, (current) => `${Option.getOrThrow(current)} by a link`)
      assert.strictEqual(yield* fs.readLink(`${directory}/link`), "data/file")
      assert.strictEqual(yield* fs.readFileString(path), "4711 by a link")
    }))

  behaves("is no directory", (path, { fs }) =>
    Effect.gen(function*() {
      yield* fs.makeDirectory(path, { recursive: true })
      const outcomes = [
        yield* Effect.flip(LockedFile.readString(path)),
        yield* Effect.flip(LockedFile.writeString(path, "")),
        yield* Effect.flip(LockedFile.updateString(path, () => ""))
      ]
      for (const error of outcomes) assert.propertyVal(error, "reason", "BadResource")
    }))

  behaves("of text is UTF-8, and comes back as it was", (path, { fs }) =>
    Effect.gen(function*() {
      for (const text of ["\ufeffmark", "ä 𝄞 \0 \r\n"]) {
        yield* LockedFile.writeString(path, text)
        assert.strictEqual(yield* LockedFile.readString(path), text)
      }
      yield* fs.writeFile(path, Uint8Array.of(0x61, 0xff))
      for (const effect of [LockedFile.readString(path), LockedFile.updateString(path, () => "lost")]) {
        const error = yield* Effect.flip(effect)
        assert.propertyVal(error, "_tag", "LockedFileError")
        assert.propertyVal(error, "reason", "InvalidUtf8")
        assert.include(error.message, path)
      }
      assert.strictEqual((yield* fs.readFile(path)).length, 2)
    }))

  behaves("loses no update of many fibers, each with its own answer", (path, { fs }) =>
    Effect.gen(function*() {
      const outcomes = yield* Effect.forEach(
        Array.from({ length: 300 }, (_, index) => index),
        (index) =>
          Effect.either(LockedFile.updateString(path, (current) =>
            index % 7 === 3
              ? Effect.fail(index)
              : index % 7 === 5
              ? Effect.zipRight(Effect.yieldNow(), Effect.suspend(() => Effect.succeed(increment(current))))
              : increment(current))),
        { concurrency: "unbounded" }
      )
      const answers = outcomes.flatMap((outcome) => Either.isRight(outcome) ? [Number(outcome.right)] : [])
      const failures = outcomes.flatMap((outcome) => Either.isLeft(outcome) ? [outcome.left] : [])
      assert.deepStrictEqual(
        answers.sort((one, other) => one - other),
        Array.from({ length: answers.length }, (_, index) => index + 1)
      )
      assert.deepStrictEqual(failures, Array.from({ length: 43 }, (_, index) => 7 * index + 3))
      assert.strictEqual(Number(yield* fs.readFileString(path)), answers.length)
    }))

  behaves("is updated inside its own critical section, by nobody else meanwhile", (path) =>
    Effect.gen(function*() {
      yield* LockedFile.writeString(path, "0")
      const inside = yield* Deferred.make<void>()
      const section = yield* Effect.fork(FileLock.withLock(
        Effect.gen(function*() {
          yield* Deferred.succeed(inside, undefined)
          yield* Effect.yieldNow()
          const first = yield* LockedFile.updateString(path, increment)
          yield* Effect.sleep("5 millis")
          assert.strictEqual(yield* LockedFile.readString(path), first)
          assert.strictEqual(yield* LockedFile.updateString(path, increment), String(Number(first) + 1))
        }),
        path
      ))
      yield* Deferred.await(inside)
      const others = yield* Effect.fork(
        Effect.all(Array.from({ length: 10 }, () => LockedFile.updateString(path, increment)), {
          concurrency: "unbounded"
        })
      )
      yield* Fiber.join(section)
      yield* Fiber.join(others)
      assert.strictEqual(yield* LockedFile.readString(path), "12")
    }))

  behaves("is updated by those that wait although the first of them gives up", (path) =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const entered = yield* Deferred.make<void>()
      const holding = yield* Effect.fork(
        FileLock.withLock(Effect.zipRight(Deferred.succeed(entered, undefined), Deferred.await(gate)), path)
      )
      yield* Deferred.await(entered)
      const update = (timeout: number) => Effect.fork(LockedFile.updateString(path, increment, { timeout }))
      const fibers = yield* Effect.forEach([60_000, 60_000, 60_000, 60_000], update)
      const late = yield* Effect.forEach([5, 10], update)
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fibers[0]!)
      yield* Fiber.interrupt(fibers[2]!)
      for (const fiber of late) {
        const error = yield* Effect.flip(Fiber.join(fiber))
        assert.propertyVal(error, "reason", "Timeout")
      }
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(holding)
      assert.sameMembers([yield* Fiber.join(fibers[1]!), yield* Fiber.join(fibers[3]!)], ["1", "2"])
    }))
})

const Tasks = LockedFile.json(Schema.Array(Schema.Struct({ title: Schema.String, due: Schema.DateFromString })))

describe("A file of JSON", () => {
  const task = { title: "write", due: new Date(0) }

  behaves("is read, written and updated through its schema", (path, { fs }) =>
    Effect.gen(function*() {
      yield* Tasks.write(path, [task])
      assert.deepStrictEqual(yield* Tasks.read(path), [task])
      const updated = yield* Tasks.update(path, (tasks) => [...Option.getOrThrow(tasks), { ...task, title: "read" }])
      assert.strictEqual(updated.length, 2)
      assert.deepStrictEqual(JSON.parse(yield* fs.readFileString(path)), [
        { title: "write", due: "1970-01-01T00:00:00.000Z" },
        { title: "read", due: "1970-01-01T00:00:00.000Z" }
      ])
      yield* Tasks.update(path, (tasks) => Effect.succeed(Option.getOrThrow(tasks).slice(1)))
      assert.deepStrictEqual((yield* Tasks.read(path)).map(({ title }) => title), ["read"])
    }))

  behaves("that is none is refused, with the place, and stays", (path, { fs }) =>
    Effect.gen(function*() {
      yield* Tasks.write(path, [])
      for (
        const [content, reason, place] of [
          ["", "InvalidJson", undefined],
          ["{ \"a\": 1, }", "InvalidJson", "line 1, column 11"],
          ["[1, [{}, [], \"x\\n\", -1e3]]\n\n,", "InvalidJson", "line 3, column 1"],
          ["[1,", "InvalidJson", "line 1, column 4"],
          ["\"\\x\"", "InvalidJson", "line 1, column 1"],
          ["[\n  {\"title\": }\n]", "InvalidJson", "line 2, column 13"],
          ["[{\"title\": 1, \"due\": \"\"}]", "InvalidValue", "[\"0\"][\"title\"]"],
          ["{}", "InvalidValue", undefined]
        ] as const
      ) {
        yield* fs.writeFileString(path, content)
        for (const effect of [Tasks.read(path), Tasks.update(path, () => [])]) {
          const error = yield* Effect.flip(effect)
          assert.propertyVal(error, "_tag", "LockedFileError")
          assert.propertyVal(error, "reason", reason)
          assert.propertyVal(error, "place", place)
          assert.include(error.message, path)
        }
        assert.strictEqual(yield* fs.readFileString(path), content)
      }
      const invalid = LockedFile.json(Schema.Struct({ age: Schema.Positive }))
      const refused = yield* Effect.flip(invalid.write(path, { age: -1 }))
      assert.propertyVal(refused, "reason", "InvalidValue")
      assert.propertyVal(refused, "place", "[\"age\"]")
    }))
})
