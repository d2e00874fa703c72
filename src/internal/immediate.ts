/**
 * Combinators that go on at once where an effect has ended already, that is, where it is an `Exit`, or where it begins with one of the
 * functions of `suspend` and `withFiber`. A chain of calls on a local disk so takes no step of Effect's runtime; on any other disk they
 * are the combinators of `Effect`.
 *
 * What they are given is begun when it is called, and not when the result is run: wrap the call in `Effect.suspend` to run it again.
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import * as Runtime from "./runtime.js"

/** An effect that a function makes. */
class Suspended<A, E, R> extends Effectable.Class<A, E, R> {
  constructor(readonly make: () => Effect.Effect<A, E, R>) {
    super()
  }
  override commit(): Effect.Effect<A, E, R> {
    return this.make()
  }
}

/** An effect that a function makes which needs the fiber. */
class WithFiber<A, E, R> extends Effectable.Class<A, E, R> {
  constructor(readonly make: (fiber: Runtime.RuntimeFiber) => Effect.Effect<A, E, R>) {
    super()
  }
  override commit(): Effect.Effect<A, E, R> {
    return Effect.withFiberRuntime(this.make)
  }
}

/** As `Effect.suspend`. */
export const suspend = <A, E, R>(make: () => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => new Suspended(make)

/** As `Effect.sync`. */
export const sync = <A>(evaluate: () => A): Effect.Effect<A> => new Suspended(() => Exit.succeed(evaluate()))

/** As `Effect.withFiberRuntime`. */
export const withFiber = <A, E, R>(
  make: (fiber: Runtime.RuntimeFiber) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => new WithFiber(make)

/** Does what can be done without a step of Effect's runtime. A function that throws is a defect, as it is there. */
export const begin = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  let rest = self
  try {
    for (;;) {
      if (rest instanceof Suspended) {
        rest = rest.make()
        continue
      }
      const fiber = rest instanceof WithFiber ? Runtime.current() : undefined
      if (!(rest instanceof WithFiber) || fiber === undefined) {
        return rest
      }
      rest = rest.make(fiber)
    }
  } catch (defect) {
    return Exit.die(defect)
  }
}

/** As `Exit.isExit` tells, of what is known to be an effect. */
export const isExit = <A, E, R>(effect: Effect.Effect<A, E, R>): effect is Exit.Exit<A, E> & Effect.Effect<A, E, R> =>
  "_tag" in effect && (effect._tag === "Success" || effect._tag === "Failure")

/**
 * Runs, in the background and uninterruptibly, what a fiber has to do once it has no part in it any more. What can be done at once is
 * done when this returns. The log of the fiber says what fails.
 */
export const start = (fiber: Runtime.RuntimeFiber, make: () => Effect.Effect<void>, what: string): void => {
  const begun = begin(suspend(make))
  if (!isExit(begun) || begun._tag === "Failure") {
    Runtime.startUninterruptible(
      fiber,
      Effect.catchAllCause(begun, (cause) => Effect.logError(`${what} failed`, cause))
    )
  }
}

const onlyFailure = <E>(cause: Cause.Cause<E>): { readonly error: E } | undefined =>
  cause._tag === "Fail" ? cause : undefined

/** As `Effect.flatMap`. */
export const flatMap = <A, E, R, B, E2, R2>(
  self: Effect.Effect<A, E, R>,
  f: (value: A) => Effect.Effect<B, E2, R2>
): Effect.Effect<B, E | E2, R | R2> => {
  const begun = begin(self)
  return isExit(begun)
    ? begun._tag === "Success" ? begin(f(begun.value)) : Exit.failCause(begun.cause)
    : Effect.flatMap(begun, f)
}

/** As `Effect.map`. */
export const map = <A, E, R, B>(self: Effect.Effect<A, E, R>, f: (value: A) => B): Effect.Effect<B, E, R> => {
  const begun = begin(self)
  return isExit(begun)
    ? begun._tag === "Success" ? Exit.succeed(f(begun.value)) : Exit.failCause(begun.cause)
    : Effect.map(begun, f)
}

/** As `Effect.as`. */
export const as = <A, E, R, B>(self: Effect.Effect<A, E, R>, value: B): Effect.Effect<B, E, R> => map(self, () => value)

/** As `Effect.zipRight`, but the second one is made after the first one has ended. */
export const andThen = <A, E, R, B, E2, R2>(
  self: Effect.Effect<A, E, R>,
  that: () => Effect.Effect<B, E2, R2>
): Effect.Effect<B, E | E2, R | R2> => flatMap(self, that)

/** As `Effect.matchEffect`. */
export const matchEffect = <A, E, R, B, E2, R2, C, E3, R3>(
  self: Effect.Effect<A, E, R>,
  options: {
    readonly onSuccess: (value: A) => Effect.Effect<B, E2, R2>
    readonly onFailure: (error: E) => Effect.Effect<C, E3, R3>
  }
): Effect.Effect<B | C, E2 | E3, R | R2 | R3> => {
  const begun = begin(self)
  if (isExit(begun)) {
    if (begun._tag === "Success") {
      return begin(options.onSuccess(begun.value))
    }
    const failure = onlyFailure(begun.cause)
    if (failure !== undefined) {
      return begin(options.onFailure(failure.error))
    }
  }
  return Effect.matchEffect(begun, options)
}

/** As `Effect.matchCauseEffect`. */
export const matchCauseEffect = <A, E, R, B, E2, R2, C, E3, R3>(
  self: Effect.Effect<A, E, R>,
  options: {
    readonly onSuccess: (value: A) => Effect.Effect<B, E2, R2>
    readonly onFailure: (cause: Cause.Cause<E>) => Effect.Effect<C, E3, R3>
  }
): Effect.Effect<B | C, E2 | E3, R | R2 | R3> => {
  const begun = begin(self)
  return isExit(begun)
    ? begun._tag === "Success" ? begin(options.onSuccess(begun.value)) : begin(options.onFailure(begun.cause))
    : Effect.matchCauseEffect(begun, options)
}
