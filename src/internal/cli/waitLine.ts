import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as FileLock from "../../FileLock.js"
import * as Output from "./output.js"
import * as Status from "./status.js"

const firstLook = Duration.millis(300)
const nextLook = Duration.seconds(1)

/** Back to the beginning of the line, and nothing on it. */
const clear = "\r\u001b[K"

/**
 * Says on the terminal, where stderr is one, for whom a lock is waited for: in one line that is written anew each second. `instance` is that of the
 * waiter. What it returns ends that, and takes the line away, as the end of the scope does.
 */
export const show = (
  path: string,
  instance: string
): Effect.Effect<Effect.Effect<void>, never, FileLock.FileLock | Scope.Scope> =>
  Effect.suspend(() => {
    const { stderr } = process
    if (!stderr.isTTY) return Effect.succeed(Effect.void)
    let isShown = false
    const write = Effect.gen(function*() {
      const status = yield* FileLock.inspect(path)
      if (Option.isNone(status)) return
      const text = Status.waiting(path, status.value, instance, yield* DateTime.now)
      isShown = true
      // A line that is wrapped could not be written over. A terminal that is not shown anywhere may have no size.
      stderr.write(clear + Output.cut(text, (stderr.columns || 80) - 1))
    })
    // What cannot be looked at is not waited for, either: the acquisition says so.
    return Effect.zipRight(
      Effect.sleep(firstLook),
      Effect.forever(Effect.zipRight(Effect.ignore(write), Effect.sleep(nextLook)))
    ).pipe(
      // Without the line, what is there is another program's.
      Effect.ensuring(Effect.sync(() => isShown && stderr.write(clear))),
      Effect.forkScoped,
      Effect.map((fiber) => Effect.asVoid(Fiber.interrupt(fiber)))
    )
  })
