/**
 * How the demonstration is shown: redrawn in place on a terminal, in plain lines elsewhere.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Model, Worker } from "./demoModel.js"
import * as DemoModel from "./demoModel.js"

/** Where it goes. */
export interface View {
  /** Prints a line that stays. */
  readonly say: (line: string) => Effect.Effect<void>
  /** Shows the current state, with `note` below it, until the scope ends. */
  readonly follow: <R>(
    model: Effect.Effect<Model>,
    note: Effect.Effect<string, never, R>
  ) => Effect.Effect<void, never, R | Scope.Scope>
}

const width = 25

const words: Record<Worker["state"], string> = {
  idle: "",
  waiting: "waits",
  inside: "is inside",
  finished: "has finished",
  killed: "was killed",
  failed: "has failed"
}

const bar = (worker: Worker, tasksEach: number): string => {
  const full = Math.round((worker.added.length / tasksEach) * width)
  return `  ${worker.name}  ${"█".repeat(full)}${"░".repeat(width - full)}  ${
    String(worker.added.length).padStart(2)
  }/${tasksEach}  ${words[worker.state]}`
}

const write = (text: string): Effect.Effect<void> => Effect.sync(() => process.stdout.write(text))

const terminal: View = (() => {
  let drawn = 0
  const clear = () => (drawn === 0 ? "" : `\x1b[${drawn}A\x1b[0J`)
  const draw = (model: Model, note: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      const lines = [...model.workers.map((worker) => bar(worker, model.tasksEach)), `  ${note}`]
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
    follow: (model, note) => {
      const frame = Effect.flatMap(Effect.zip(model, note), ([current, text]) => draw(current, text))
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
  follow: (model, note) => {
    let told = 0
    const look = Effect.gen(function*() {
      const current = yield* model
      const total = current.workers.length * current.tasksEach
      const fifth = Math.floor((DemoModel.acknowledged(current) / total) * 5)
      if (fifth > told) {
        told = fifth
        const each = current.workers.map(({ added, name }) => `${name} ${added.length}/${current.tasksEach}`)
        yield* write(`  ${each.join(", ")}; ${yield* note}\n`)
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
