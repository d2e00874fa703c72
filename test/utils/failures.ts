/**
 * What every error of the library must be, whatever it is about.
 */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { LockAcquisitionError, LockDirectoryError, LockLostError } from "../../src/LockError.js"

const LockError = Schema.Union(LockAcquisitionError, LockDirectoryError, LockLostError)

export type LockError = typeof LockError.Type

/** The error itself: one that a person can act on, and that can be sent to another process. */
export const expectSound = <E extends LockError>(error: E): Effect.Effect<E> =>
  Effect.gen(function*() {
    const { message } = error
    assert.notMatch(message, /undefined|\[object|NaN/, "a message says what it means")
    assert.notMatch(
      message,
      // eslint-disable-next-line no-control-regex -- these are what it is about
      /[\x00-\x1f\x7f-\x9f\u202a-\u202e]/,
      "a message cannot write to the terminal what it wants"
    )
    assert.isTrue(
      message.includes(JSON.stringify(error.path)) || message.includes(error.lockPath),
      `a message says what it is about: ${message}`
    )
    const sent = JSON.stringify(yield* Schema.encode(LockError)(error))
    const received = yield* Schema.decodeUnknown(LockError)(JSON.parse(sent))
    assert.strictEqual(received._tag, error._tag)
    assert.strictEqual(received.message, message)
    return error
  }).pipe(Effect.orDie)

/** The sound error that an effect fails with. */
export const failureOf = <A, E extends LockError, R>(self: Effect.Effect<A, E, R>): Effect.Effect<E, A, R> =>
  Effect.flatMap(Effect.flip(self), expectSound)
