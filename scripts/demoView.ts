/**
 * How the demonstration is shown: redrawn in place on a terminal, in plain lines elsewhere.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Snapshot, State } from "./demoModel.js"
import * as DemoModel from "./demoModel.js"

/** Where it goes. */
export interface View {
  /** Prints a line that stays. */
  readonly say: (line: string) => Effect.Effect<void>
  /** Shows the current state until the scope ends. */
  readonly follow: (snapshot: Effect.Effect<Snapshot>) => Effect.Effect<void, never, Scope.Scope>
}

const width = 25

const words: Record<State, string> = {
  idle: "",
  waiting: "waits",
  inside: "is inside",
  finished: "has finished",
  killed: "was killed",
  ended: "has ended",
  failed: "has failed"
}

const bar = ({ added, name, state }: Snapshot["workers"][number], tasksEach: number): string => {
  const full = Math.round((added / tasksEach) * width)
  return `  ${name}  ${"█".repeat(full)}${"░".repeat(width - full)}  ${String(added).padStart(2)}/${tasksEach}  ${
    words[state]
  }`
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

const write = (text: string): Effect.Effect<void> => Effect.sync(() => process.stdout.write(text))

const terminal: View = (() => {
  let drawn = 0
  const clear = () => (drawn === 0 ? "" : `\x1b[${drawn}A\x1b[0J`)
  const draw = (snapshot: Snapshot): Effect.Effect<void> =>
    Effect.suspend(() => {
      const lines = [...snapshot.workers.map((worker) => bar(worker, snapshot.tasksEach)), `  ${note(snapshot)}`]
      const text = `${clear()}${lines.join("\n")}\n`
      drawn = lines.length
      return write(text)
    })
  return {
    say: (line) =>
      Effect.suspend(() => {
        const text = `${clear()}${line}\n`
        drawn = 0
        return write(text)
      }),
    follow: (snapshot) => {
      const frame = Effect.flatMap(snapshot, draw)
      // The last state stays on the screen, above what comes next.
      const settle = Effect.zipRight(
        frame,
        Effect.sync(() => {
          drawn = 0
        })
      )
      return Effect.zipRight(
        Effect.addFinalizer(() => settle),
        Effect.asVoid(Effect.forkScoped(Effect.forever(Effect.zipRight(frame, Effect.sleep("60 millis")))))
      )
    }
  }
})()

const plain: View = {
  say: (line) => write(`${line}\n`),
  follow: (snapshot) => {
    let told = 0
    const look = Effect.gen(function*() {
      const current = yield* snapshot
      const total = current.workers.length * current.tasksEach
      const fifth = Math.floor((current.workers.reduce((sum, { added }) => sum + added, 0) / total) * 5)
      if (fifth > told) {
        told = fifth
        const each = current.workers.map(({ added, name }) => `${name} ${added}/${current.tasksEach}`)
        yield* write(`  ${each.join(", ")}; ${note(current)}\n`)
      }
    })
    return Effect.zipRight(
      Effect.addFinalizer(() => look),
      Effect.asVoid(Effect.forkScoped(Effect.forever(Effect.zipRight(look, Effect.sleep("30 millis")))))
    )
  }
}

/** For where we run. */
export const view: View = process.stdout.isTTY && !process.env["CI"] ? terminal : plain
