/**
 * How the demonstration is shown: redrawn in place on a terminal, in plain lines elsewhere.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Snapshot, State } from "./demoModel.js"
import * as DemoModel from "./demoModel.js"
import type { Output } from "./demoOutput.js"
import * as DemoOutput from "./demoOutput.js"

/** What is shown. */
export interface View {
  /** Prints a line that stays. */
  readonly say: (line: string) => Effect.Effect<void>
  /** Shows the current state until the scope ends. */
  readonly follow: (snapshot: Effect.Effect<Snapshot>) => Effect.Effect<void, never, Scope.Scope>
}

const words: Record<State, string> = {
  idle: "",
  waiting: "waits",
  inside: "is inside",
  finished: "has finished",
  killed: "was killed",
  ended: "has ended",
  failed: "has failed"
}

const longestWord = Math.max(...Object.values(words).map((word) => word.length))

/** A bar has one cell for each task where there is room. */
const bar = (
  { added, name, state }: Snapshot["workers"][number],
  tasksEach: number,
  columns: number
): string => {
  const before = `  ${name}  `
  const after = `  ${String(added).padStart(String(tasksEach).length)}/${tasksEach}  `
  const width = Math.min(tasksEach, Math.max(0, columns - before.length - after.length - longestWord))
  const full = Math.round((added / tasksEach) * width)
  return `${before}${"█".repeat(full)}${"░".repeat(width - full)}${after}${words[state]}`
}

/** Which of them are in their critical section, and how many wait, at the same instant as everything else that is shown. */
const note = (snapshot: Snapshot): string => {
  const inside = DemoModel.inside(snapshot)
  const waiting = snapshot.workers.filter(({ state }) => state === "waiting").length
  const [first] = inside
  const occupants = first === undefined
    ? "no process is inside"
    : inside.length === 1
    ? `${first.name} (pid ${first.pid}) has been inside for ${Math.round(snapshot.at - first.at)} ms`
    : `${inside.length} processes are inside at once`
  return waiting === 0 ? occupants : `${occupants}; ${waiting} ${waiting === 1 ? "waits" : "wait"}`
}

/** The lines that show a snapshot, none longer than `columns`. */
export const frame = (snapshot: Snapshot, columns: number): ReadonlyArray<string> =>
  [...snapshot.workers.map((worker) => bar(worker, snapshot.tasksEach, columns)), `  ${note(snapshot)}`]
    .flatMap((line) => line.length <= columns ? line : DemoOutput.wrap(line, columns))

const terminal = (output: Output): View => {
  let drawn: ReadonlyArray<string> = []
  /** The terminal may have become narrower since the lines were drawn: then they take more rows. */
  const clear = (): string => {
    const rows = drawn.reduce((sum, { length }) => sum + Math.max(1, Math.ceil(length / output.columns())), 0)
    drawn = []
    // What is typed is echoed in the row below.
    return rows === 0 ? "" : `\r\x1b[${rows}A\x1b[0J`
  }
  return {
    say: (line) =>
      Effect.sync(() => {
        output.write(clear())
        DemoOutput.print(output, line)
      }),
    follow: (snapshot) => {
      const redraw = Effect.map(snapshot, (current) => {
        const lines = frame(current, output.columns())
        output.write(`${clear()}${lines.join("\n")}\n`)
        drawn = lines
      })
      // The last state stays on the screen, above what comes next. A terminal forgets some of what was written before Ctrl-C:
      // then it is not known how many rows the lines take, and they stay as they are.
      const settle = (exit: Exit.Exit<unknown, unknown>) =>
        Effect.zipRight(
          Exit.isInterrupted(exit) ? Effect.void : redraw,
          Effect.sync(() => {
            drawn = []
          })
        )
      return Effect.zipRight(
        Effect.addFinalizer(settle),
        Effect.asVoid(Effect.forkScoped(Effect.forever(Effect.zipRight(redraw, Effect.sleep("60 millis")))))
      )
    }
  }
}

const plain = (output: Output): View => {
  const say = (line: string) => Effect.sync(() => DemoOutput.print(output, line))
  return {
    say,
    follow: (snapshot) => {
      let told = 0
      const look = Effect.gen(function*() {
        const current = yield* snapshot
        const total = current.workers.length * current.tasksEach
        const fifth = Math.floor((current.workers.reduce((sum, { added }) => sum + added, 0) / total) * 5)
        if (fifth > told) {
          told = fifth
          const each = current.workers.map(({ added, name }) => `${name} ${added}/${current.tasksEach}`)
          yield* say(`  ${each.join(", ")}; ${note(current)}`)
        }
      })
      return Effect.zipRight(
        Effect.addFinalizer(() => look),
        Effect.asVoid(Effect.forkScoped(Effect.forever(Effect.zipRight(look, Effect.sleep("30 millis")))))
      )
    }
  }
}

/** Shows it where it can be redrawn, or else a line now and then. */
export const make = (output: Output): View => (output.redraws ? terminal : plain)(output)
