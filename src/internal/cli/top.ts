import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as NodeTimers from "node:timers/promises"
import type * as FileLock from "../../FileLock.js"
import * as Ending from "./ending.js"
import * as ExitCode from "./exitCode.js"
import * as Locks from "./locks.js"
import * as Output from "./output.js"
import * as Signals from "./signals.js"
import * as View from "./topView.js"

const interval = Duration.seconds(1)

const ctrlC = "\u0003"
const ctrlZ = "\u001a"

/** Another screen, without a cursor; what was on the terminal comes back at the end. */
const enter = "\u001b[?1049h\u001b[?25l"
const leave = "\u001b[?25h\u001b[?1049l"

/** Takes the terminal over until the scope ends, and for as long as the process lives: whatever ends it gives the terminal back. */
const screen: Effect.Effect<void, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => {
    process.once("exit", restore)
    isOpen = true
    process.on("SIGTSTP", stop)
    process.on("SIGCONT", takeOver)
    takeOver()
  }),
  () =>
    Effect.sync(() => {
      isOpen = false
      process.off("SIGCONT", takeOver)
      process.off("SIGTSTP", stop)
      process.off("exit", restore)
      restore()
    })
)

let isOpen = false

/** In this order: from the background it is stopped here, and the screen is the shell's still. */
const takeOver = (): void => {
  if (process.stdin.isTTY) process.stdin.setRawMode(true).resume()
  process.stdout.write(enter)
}

/** Until it is continued, the terminal is the shell's. The system does not stop what no shell could continue. */
const stopWith = (pid: number): void => {
  restore()
  process.off("SIGTSTP", stop)
  process.kill(pid, "SIGTSTP")
  process.on("SIGTSTP", stop)
  // Where it was stopped, SIGCONT does that, or SIGTERM, which comes with it, ends it first.
  void NodeTimers.setImmediate().then(() => NodeTimers.setImmediate()).then(() => isOpen && takeOver())
}

const stop = (): void => stopWith(process.pid)

const restore = (): void => {
  if (process.stdin.isTTY) process.stdin.setRawMode(false)
  process.stdin.pause()
  process.stdout.write(leave)
}

/** What the keys ask for: in raw mode Ctrl-C is one, and so is Ctrl-Z. */
const asked: Effect.Effect<Ending.Ending> = Effect.async((resume) => {
  if (!process.stdin.isTTY) return
  const onKeys = (keys: Buffer): void => {
    const text = keys.toString("latin1")
    if (text.includes(ctrlC)) resume(Effect.succeed(Ending.signal("SIGINT")))
    else if (text.includes(ctrlZ) && process.platform !== "win32") stopWith(0)
    else if (/[qQ]/.test(text)) resume(Effect.succeed(Ending.exit(0)))
  }
  process.stdin.on("data", onKeys)
  return Effect.sync(() => process.stdin.off("data", onKeys))
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
    ? Effect.gen(function*() {
      // A directory that is not there is told before the screen changes.
      yield* Locks.below(directory)
      return yield* Signals.interrupting(Effect.scoped(Effect.zipRight(
        screen,
        Effect.raceFirst(asked, Effect.forever(Effect.zipRight(draw(directory), next)))
      )))
    })
    : Output.failed("top: stdout is no terminal. Use effect-filelock list", ExitCode.usage)
