import * as Effect from "effect/Effect"
import * as Match from "effect/Match"
import type { ParseError } from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { describe, expect, test } from "tstyche"
import * as LockError from "../../src/LockError.js"
import type { LockHolder } from "../../src/LockHolder.js"

type AnyLockError = LockError.LockAcquisitionError | LockError.LockDirectoryError | LockError.LockLostError

declare const error: AnyLockError
declare const failing: Effect.Effect<number, AnyLockError>

describe("fields", () => {
  test("of LockAcquisitionError", () => {
    expect<LockError.LockAcquisitionError["_tag"]>().type.toBe<"LockAcquisitionError">()
    expect<Pick<LockError.LockAcquisitionError, "path" | "lockPath" | "reason" | "waited" | "timeout">>().type.toBe<{
      readonly path: string
      readonly lockPath: string
      readonly reason: LockError.Reason
      readonly waited: number
      readonly timeout: number
    }>()
    expect<LockError.LockAcquisitionError["holder"]>().type.toBe<LockHolder | undefined>()
    expect<LockError.LockAcquisitionError["cause"]>().type.toBe<unknown>()
  })

  test("of LockDirectoryError", () => {
    expect<LockError.LockDirectoryError["_tag"]>().type.toBe<"LockDirectoryError">()
    expect<LockError.LockDirectoryError["directory"]>().type.toBe<string>()
    expect<LockError.LockDirectoryError>().type.not.toHaveProperty("reason")
  })

  test("of LockLostError", () => {
    expect<LockError.LockLostError["_tag"]>().type.toBe<"LockLostError">()
    expect<LockError.LockLostError["reason"]>().type.toBe<LockError.LostReason>()
    expect<LockError.LockLostError["holder"]>().type.toBe<LockHolder | undefined>()
  })

  test("all are errors, whose message is a text", () => {
    expect<AnyLockError>().type.toBeAssignableTo<Error>()
    expect<AnyLockError["message"]>().type.toBe<string>()
  })
})

describe("reasons", () => {
  test("of an acquisition", () => {
    expect<LockError.Reason>().type.toBe<
      | "Timeout"
      | "Foreign"
      | "InvalidPath"
      | "PermissionDenied"
      | "StorageFull"
      | "Deadlock"
      | "BackendUnavailable"
      | "SystemError"
    >()
  })

  test("of a loss", () => {
    expect<LockError.LostReason>().type.toBe<"Removed" | "Replaced" | "LeaseExpired" | "BackendUnavailable">()
  })
})

describe("narrowing", () => {
  test("catchTag on each of the three leaves the two others", () => {
    expect(Effect.catchTag(failing, "LockAcquisitionError", ({ waited }) => Effect.succeed(waited))).type.toBe<
      Effect.Effect<number, LockError.LockDirectoryError | LockError.LockLostError>
    >()
    expect(Effect.catchTag(failing, "LockDirectoryError", ({ directory }) => Effect.succeed(directory))).type.toBe<
      Effect.Effect<number | string, LockError.LockAcquisitionError | LockError.LockLostError>
    >()
    expect(Effect.catchTag(failing, "LockLostError", ({ reason }) => Effect.succeed(reason))).type.toBe<
      Effect.Effect<number | LockError.LostReason, LockError.LockAcquisitionError | LockError.LockDirectoryError>
    >()
  })

  test("the tag of a value tells which error it is", () => {
    if (error._tag === "LockLostError") {
      expect(error).type.toBe<LockError.LockLostError>()
    } else if (error._tag === "LockDirectoryError") {
      expect(error).type.toBe<LockError.LockDirectoryError>()
    } else {
      expect(error).type.toBe<LockError.LockAcquisitionError>()
    }
  })

  test("a match over the three tags is exhaustive", () => {
    const describe = Match.typeTags<AnyLockError>()({
      LockAcquisitionError: ({ waited }) => waited,
      LockDirectoryError: ({ directory }) => directory,
      LockLostError: () => true
    })
    expect(describe).type.toBe<(input: AnyLockError) => number | string | boolean>()
    expect(Match.typeTags<AnyLockError>()).type.not.toBeCallableWith({ LockLostError: () => true })
  })
})

test("the classes are schemas that need nothing", () => {
  expect(Schema.decodeUnknown(LockError.LockAcquisitionError)({})).type.toBe<
    Effect.Effect<LockError.LockAcquisitionError, ParseError>
  >()
  expect(Schema.decodeUnknown(LockError.LockDirectoryError)({})).type.toBe<
    Effect.Effect<LockError.LockDirectoryError, ParseError>
  >()
  expect(Schema.decodeUnknown(LockError.LockLostError)({})).type.toBe<
    Effect.Effect<LockError.LockLostError, ParseError>
  >()
})
