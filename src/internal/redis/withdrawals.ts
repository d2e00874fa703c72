import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { LockKey } from "../../LockBackend.js"
import * as Runtime from "../runtime.js"
import type { Attempt } from "./attempt.js"
import type { Context } from "./grant.js"
import * as Scripts from "./scripts.js"

/** How long the end of the engine waits for what is taken back just then, in milliseconds. */
const closeTimeout = 1_000

/** Takes back, in the background, what an attempt has put at a lock or may still put there, and retires its token. */
export const make = (
  { nameOf, retireToken, server, times }: Pick<Context, "nameOf" | "retireToken" | "server" | "times">
): Effect.Effect<Context["withdraw"], never, Scope.Scope> =>
  Effect.gen(function*() {
    const removals = new Set<Fiber.RuntimeFiber<void>>()
    let isClosed = false
    yield* Effect.addFinalizer(() => {
      isClosed = true
      return Fiber.awaitAll(removals).pipe(
        Effect.interruptible,
        Effect.timeoutOption(closeTimeout),
        Effect.zipRight(Effect.suspend(() => Fiber.interruptAll(removals)))
      )
    })

    /** What cannot be removed for a lease has expired. */
    const remove = (fiber: Runtime.RuntimeFiber, key: LockKey, { holder, record }: Attempt): void => {
      if (isClosed) {
        return
      }
      const args = [record, nameOf(key), holder.token, String(times.retention)]
      const removal = Runtime.start(
        fiber,
        server.run(Scripts.release, nameOf(key), args, times.limit).pipe(
          Effect.retry({
            schedule: Schedule.upTo(Schedule.spaced(times.pause), times.lease),
            while: ({ passes }) => passes
          }),
          Effect.catchAll(({ cause }) =>
            Effect.logDebug(`What was put at ${key.lockPath} in vain may stay there until it expires: ${cause.message}`)
          ),
          Effect.asVoid
        )
      )
      removals.add(removal)
      removal.addObserver(() => removals.delete(removal))
    }

    return (key, attempt) =>
      Effect.withFiberRuntime((fiber) => {
        remove(fiber, key, attempt)
        for (const command of attempt.underWay) {
          command.addObserver(() => remove(fiber, key, attempt))
        }
        return retireToken(attempt.holder.token)
      })
  })
