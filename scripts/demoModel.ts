/**
 * The state of the workers, as their messages tell it.
 */
import type { Message } from "./demoMessages.js"

/** One worker. */
export interface Worker {
  readonly name: string
  readonly pid: number
  /** Tasks that it says it has added. */
  readonly added: ReadonlyArray<number>
  readonly state: "idle" | "waiting" | "inside" | "finished" | "killed" | "failed"
  readonly lingers: boolean
}

/** All of them. */
export interface Model {
  readonly workers: ReadonlyArray<Worker>
  readonly tasksEach: number
  /** When each worker entered its critical section, in the order of the messages. */
  readonly entered: ReadonlyArray<{ readonly name: string; readonly at: number }>
  readonly failures: ReadonlyArray<string>
}

/** The model at the beginning of a part. */
export const begin = (
  workers: ReadonlyArray<{ readonly name: string; readonly pid: number }>,
  tasksEach: number
): Model => ({
  workers: workers.map(({ name, pid }) => ({ name, pid, added: [], state: "idle", lingers: false })),
  tasksEach,
  entered: [],
  failures: []
})

const change = (model: Model, name: string, f: (worker: Worker) => Worker): Model => ({
  ...model,
  workers: model.workers.map((worker) => worker.name === name && worker.state !== "killed" ? f(worker) : worker)
})

/** The model after a message of a worker. */
export const update = (name: string, message: Message) => (model: Model): Model => {
  switch (message._tag) {
    case "ready":
      return model
    case "waiting":
      return change(model, name, (worker) => ({ ...worker, state: "waiting" }))
    case "inside":
      return {
        ...change(model, name, (worker) => ({ ...worker, state: "inside", lingers: message.lingers })),
        entered: [...model.entered, { name, at: message.at }]
      }
    case "added":
      return change(model, name, (worker) => ({ ...worker, state: "idle", added: [...worker.added, message.number] }))
    case "finished":
      return change(model, name, (worker) => ({ ...worker, state: "finished" }))
    case "failed":
      return {
        ...change(model, name, (worker) => ({ ...worker, state: "failed" })),
        failures: [...model.failures, `${name}: ${message.failure}`]
      }
  }
}

/** The model after a worker was killed. */
export const markKilled = (name: string) => (model: Model): Model =>
  change(model, name, (worker) => ({ ...worker, state: "killed", lingers: false }))

/** How many tasks the workers say they have added. */
export const acknowledged = (model: Model): number =>
  model.workers.reduce((sum, worker) => sum + worker.added.length, 0)

/** Whether all workers have ended. */
export const isOver = (model: Model): boolean =>
  model.workers.every(({ state }) => state === "finished" || state === "killed" || state === "failed")

/** How many of these tasks the file lacks. */
export const missing = (
  model: Model,
  tasks: ReadonlyArray<{ readonly worker: string; readonly number: number }>
): number => {
  const present = new Set(tasks.map(({ number, worker }) => `${worker}/${number}`))
  return model.workers.reduce(
    (sum, { added, name }) => sum + added.filter((number) => !present.has(`${name}/${number}`)).length,
    0
  )
}
