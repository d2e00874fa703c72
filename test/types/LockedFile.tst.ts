import type { PlatformError } from "@effect/platform/Error"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { describe, expect, test } from "tstyche"
import type { FileLock } from "../../src/FileLock.js"
import * as LockedFile from "../../src/LockedFile.js"
import type { LockAcquisitionError, LockDirectoryError, LockLostError } from "../../src/LockError.js"

class Refused extends Data.TaggedError("Refused")<{ readonly by: string }> {}

class Clerk extends Context.Tag("Clerk")<Clerk, { readonly approve: Effect.Effect<string, Refused> }>() {}

class Cipher extends Context.Tag("Cipher")<Cipher, { readonly key: string }>() {}

type Failure = LockAcquisitionError | LockDirectoryError | LockLostError | PlatformError
type TextFailure = Failure | LockedFile.LockedFileError

const approve = Effect.flatMap(Clerk, (clerk) => clerk.approve)
const bytes = new Uint8Array()

test("what each operation may fail with", () => {
  expect<LockedFile.Failure>().type.toBe<
    LockAcquisitionError | LockDirectoryError | LockLostError | PlatformError
  >()
})

describe("bytes", () => {
  test("read and write", () => {
    expect(LockedFile.read("file")).type.toBe<Effect.Effect<Uint8Array, Failure, FileLock>>()
    expect(LockedFile.write("file", bytes)).type.toBe<Effect.Effect<void, Failure, FileLock>>()
    expect(LockedFile.write).type.not.toBeCallableWith("file", "text")
  })

  test("an update with a function has no error and no requirement of its own", () => {
    const updated = LockedFile.update("file", (current) => {
      expect(current).type.toBe<Option.Option<Uint8Array>>()
      return bytes
    })
    expect(updated).type.toBe<Effect.Effect<Uint8Array, Failure, FileLock>>()
  })

  test("an update with an effect has those of the effect", () => {
    expect(LockedFile.update("file", () => Effect.as(approve, bytes))).type.toBe<
      Effect.Effect<Uint8Array, Refused | Failure, Clerk | FileLock>
    >()
    expect(LockedFile.update).type.not.toBeCallableWith("file", () => "text")
  })
})

describe("text", () => {
  test("readString and writeString", () => {
    expect(LockedFile.readString("file")).type.toBe<Effect.Effect<string, TextFailure, FileLock>>()
    expect(LockedFile.writeString("file", "text")).type.toBe<Effect.Effect<void, Failure, FileLock>>()
    expect(LockedFile.writeString).type.not.toBeCallableWith("file", bytes)
  })

  test("updateString", () => {
    const updated = LockedFile.updateString("file", (current) => {
      expect(current).type.toBe<Option.Option<string>>()
      return "text"
    })
    expect(updated).type.toBe<Effect.Effect<string, TextFailure, FileLock>>()
    expect(LockedFile.updateString("file", () => approve)).type.toBe<
      Effect.Effect<string, Refused | TextFailure, Clerk | FileLock>
    >()
    expect(LockedFile.updateString).type.not.toBeCallableWith("file", () => 1)
  })
})

describe("JSON", () => {
  /** Another type in the file than in the program, and a service for both ways. */
  const Sealed = Schema.transformOrFail(Schema.String, Schema.Number, {
    strict: true,
    decode: (text) => Effect.map(Cipher, ({ key }) => text.length - key.length),
    encode: (number) => Effect.map(Cipher, ({ key }) => key.repeat(number))
  })
  const Plain = LockedFile.json(Schema.Struct({ at: Schema.DateFromString, title: Schema.String }))
  const Secret = LockedFile.json(Schema.Array(Sealed))

  interface Entry {
    readonly at: Date
    readonly title: string
  }

  test("a file has the type and the requirements of its schema", () => {
    expect(Plain).type.toBe<LockedFile.JsonFile<Entry, never>>()
    expect(Secret).type.toBe<LockedFile.JsonFile<ReadonlyArray<number>, Cipher>>()
  })

  test("read", () => {
    expect(Plain.read("file")).type.toBe<Effect.Effect<Entry, TextFailure, FileLock>>()
    expect(Secret.read("file")).type.toBe<
      Effect.Effect<ReadonlyArray<number>, TextFailure, Cipher | FileLock>
    >()
  })

  test("write takes what the program knows, and not what the file has", () => {
    expect(Plain.write("file", { at: new Date(0), title: "first" })).type.toBe<
      Effect.Effect<void, TextFailure, FileLock>
    >()
    expect(Plain.write).type.not.toBeCallableWith("file", { at: "1970-01-01", title: "first" })
    expect(Plain.write).type.not.toBeCallableWith("file", { at: new Date(0) })
    expect(Secret.write("file", [1])).type.toBe<Effect.Effect<void, TextFailure, Cipher | FileLock>>()
    expect(Secret.write).type.not.toBeCallableWith("file", ["1"])
  })

  test("update", () => {
    const updated = Plain.update("file", (current) => {
      expect(current).type.toBe<Option.Option<Entry>>()
      return { at: new Date(0), title: "first" }
    })
    expect(updated).type.toBe<Effect.Effect<Entry, TextFailure, FileLock>>()
    expect(Secret.update("file", () => Effect.as(approve, [1]))).type.toBe<
      Effect.Effect<ReadonlyArray<number>, Refused | TextFailure, Cipher | Clerk | FileLock>
    >()
    expect(Plain.update).type.not.toBeCallableWith("file", () => ({ at: "1970-01-01", title: "first" }))
  })

  test("a generic function around it keeps its parameters", () => {
    const open = <A, I, R>(schema: Schema.Schema<A, I, R>) => LockedFile.json(schema).read("file")
    expect(open).type.toBe<
      <A, I, R>(schema: Schema.Schema<A, I, R>) => Effect.Effect<A, TextFailure, R | FileLock>
    >()
  })
})

describe("options", () => {
  test("those of a lock, without the mode", () => {
    expect(LockedFile.read).type.toBeCallableWith("file", { timeout: "1 second", label: "reader" })
    expect(LockedFile.read).type.not.toBeCallableWith("file", { mode: "shared" })
    expect(LockedFile.writeString).type.not.toBeCallableWith("file", "text", { mode: "exclusive" })
    expect(Plain.read).type.not.toBeCallableWith("file", { mode: "shared" })
  })

  test("only a write or an update knows fsync", () => {
    expect(LockedFile.writeString).type.toBeCallableWith("file", "text", { fsync: false })
    expect(LockedFile.updateString).type.toBeCallableWith("file", () => "text", { fsync: undefined })
    expect(LockedFile.readString).type.not.toBeCallableWith("file", { fsync: false })
    expect(LockedFile.writeString).type.not.toBeCallableWith("file", "text", { fsync: "no" })
  })

  const Plain = LockedFile.json(Schema.String)
})

describe("errors", () => {
  test("catchTags narrows LockedFileError", () => {
    const caught = Effect.catchTag(LockedFile.readString("file"), "LockedFileError", (error) => {
      expect(error).type.toBe<LockedFile.LockedFileError>()
      expect(error.reason).type.toBe<"InvalidUtf8" | "InvalidJson" | "InvalidValue">()
      expect(error.place).type.toBe<string | undefined>()
      return Effect.succeed(0)
    })
    expect(caught).type.toBe<Effect.Effect<string | number, Failure, FileLock>>()
  })
})
