/**
 * Combinators that go on at once where an effect has ended already, that is, where it is an `Exit`. A chain of calls on a local disk so
 * takes no step of Effect's runtime; on any other disk they are the combinators of `Effect`.
 *
 * What they are given is begun when it is called, and not when the result is run: wrap it in `Effect.suspend` to run it again.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

const isExit = <A, E, R>(effect: Effect.Effect<A, E, R>): effect is Exit.Exit<A, E> & Effect.Effect<A, E, R> =>
  Exit.isExit(effect)

const onlyFailure = <E>(cause: Cause.Cause<E>): { readonly error: E } | undefined =>
  cause._tag === "Fail" ? cause : undefined

/** As `Effect.flatMap`. */
export const flatMap = <A, E, R, B, E2, R2>(
  self: Effect.Effect<A, E, R>,
  f: (value: A) => Effect.Effect<B, E2, R2>
): Effect.Effect<B, E | E2, R | R2> =>
  isExit(self) ? Exit.isSuccess(self) ? f(self.value) : Exit.failCause(self.cause) : Effect.flatMap(self, f)

/** As `Effect.map`. */
export const map = <A, E, R, B>(self: Effect.Effect<A, E, R>, f: (value: A) => B): Effect.Effect<B, E, R> =>
  isExit(self) ? Exit.isSuccess(self) ? Exit.succeed(f(self.value)) : Exit.failCause(self.cause) : Effect.map(self, f)

/** As `Effect.matchEffect`. */
export const matchEffect = <A, E, R, B, E2, R2, C, E3, R3>(
  self: Effect.Effect<A, E, R>,
  options: {
    readonly onSuccess: (value: A) => Effect.Effect<B, E2, R2>
    readonly onFailure: (error: E) => Effect.Effect<C, E3, R3>
  }
): Effect.Effect<B | C, E2 | E3, R | R2 | R3> => {
  if (isExit(self)) {
    if (Exit.isSuccess(self)) {
      return options.onSuccess(self.value)
    }
    const failure = onlyFailure(self.cause)
    if (failure !== undefined) {
      return options.onFailure(failure.error)
    }
  }
  return Effect.matchEffect(self, options)
}
