import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as FileLock from "../../FileLock.js"
import * as Ending from "./ending.js"
import * as ExitCode from "./exitCode.js"
import * as Locks from "./locks.js"
import * as Output from "./output.js"
import * as Signals from "./signals.js"
import * as View from "./topView.js"

const interval = Duration.seconds(1)

const ctrlC = "\u0003"

/** Another screen, without a cursor; what was on the terminal comes back at the end. */
const enter = "\u001b[?1049h\u001b[?25l"
const leave = "\u001b[?25h\u001b[?1049l"

/** Takes the terminal over until the scope ends, and for as long as the process lives: whatever ends it gives the terminal back. */
const screen: Effect.Effect<void, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => {
    process.once("exit", restore)
    process.stdout.write(enter)
    if (process.stdin.isTTY) process.stdin.setRawMode(true)
  }),
  () =>
    Effect.sync(() => {
      process.off("exit", restore)
      restore()
    })
)

const restore = (): void => {
  if (process.stdin.isTTY) process.stdin.setRawMode(false)
  process.stdin.pause()
  process.stdout.write(leave)
}

/** What the keys and the signals ask for. */
const asked: Effect.Effect<Ending.Ending, never, Scope.Scope> = Effect.gen(function*() {
  const ending = yield* Deferred.make<Ending.Ending>()
  const end = (result: Ending.Ending): void => Deferred.unsafeDone(ending, Effect.succeed(result))
  yield* Signals.listen((signal) => end(Ending.signal(signal)))
  if (process.stdin.isTTY) {
    const onKeys = (keys: Buffer): void => {
      const text = keys.toString("latin1")
      if (text.includes(ctrlC)) end(Ending.signal("SIGINT"))
      else if (/[qQ]/.test(text)) end(Ending.exit(0))
    }
    yield* Effect.acquireRelease(
      Effect.sync(() => process.stdin.on("data", onKeys)),
      () => Effect.sync(() => process.stdin.off("data", onKeys))
    )
  }
  return yield* Deferred.await(ending)
})

const draw = (directory: string) =>
  Effect.gen(function*() {
    const locks = yield* Locks.below(directory)
    // A terminal that is not shown anywhere may have no size.
    const size = { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 }
    const lines = View.lines(directory, locks, yield* DateTime.now, size)
    process.stdout.write(`\u001b[H${lines.map((line) => `${line}\u001b[K`).join("\r\n")}\u001b[J`)
  })

/** The next second, or a terminal of another size. */
const next = Effect.raceFirst(
  Effect.sleep(interval),
  Effect.async<void>((resume) => {
    const onResize = () => resume(Effect.void)
    process.stdout.once("resize", onResize)
    return Effect.sync(() => process.stdout.off("resize", onResize))
  })
)

/** Shows the locks below a directory until it is asked to end. */
export const run = (directory: string): Effect.Effect<Ending.Ending, Locks.DirectoryError, FileLock.FileLock> =>
  process.stdout.isTTY
    ? Effect.scoped(Effect.gen(function*() {
      // A directory that is not there is told before the screen changes.
      yield* Locks.below(directory)
      yield* screen
      return yield* Effect.raceFirst(asked, Effect.forever(Effect.zipRight(draw(directory), next)))
    }))
    : Output.failed("top: stdout is no terminal. Use effect-filelock list", ExitCode.usage)
