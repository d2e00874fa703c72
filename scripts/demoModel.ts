/**
 * What the workers did, as their messages tell it.
 *
 * The messages of one worker arrive in their order. Those of two workers do not: one says that it is inside, and only then the
 * message arrives in which the other one says that it has left. So what is shown is the state at one instant, the latest one
 * that every worker has told everything before.
 */
import * as Arr from "effect/Array"
import * as Option from "effect/Option"
import type { Message } from "./demoMessages.js"

/** What a worker does. */
export type State = "idle" | "waiting" | "inside" | "finished" | "killed" | "ended" | "failed"

/** What a worker does from an instant on, until its next moment. */
export interface Moment {
  readonly at: number
  readonly state: State
  /** How many tasks it has added by then. */
  readonly added: number
}

/** One worker. */
export interface Worker {
  readonly name: string
  readonly pid: number
  /** In the order of their times. */
  readonly moments: Arr.NonEmptyReadonlyArray<Moment>
  /** What happened to it before this instant is known. */
  readonly toldUntil: number
  /** Tasks that it says it has added. */
  readonly added: ReadonlyArray<number>
  /** Whether it stays in its critical section for ever. */
  readonly lingers: boolean
}

/** All of them. */
export interface Model {
  readonly workers: ReadonlyArray<Worker>
  readonly tasksEach: number
  readonly failures: ReadonlyArray<string>
}

/** What all workers did at one instant. */
export interface Snapshot {
  readonly at: number
  readonly tasksEach: number
  readonly workers: ReadonlyArray<Moment & { readonly name: string; readonly pid: number }>
}

/** The model at the beginning of a part. */
export const begin = (
  workers: ReadonlyArray<{ readonly name: string; readonly pid: number }>,
  tasksEach: number
): Model => ({
  workers: workers.map(({ name, pid }) => ({
    name,
    pid,
    moments: [{ at: -Infinity, state: "idle", added: 0 }],
    toldUntil: -Infinity,
    added: [],
    lingers: false
  })),
  tasksEach,
  failures: []
})

const endStates: ReadonlyArray<State> = ["finished", "killed", "ended", "failed"]

const hasEnded = (worker: Worker): boolean => endStates.includes(Arr.lastNonEmpty(worker.moments).state)

const change = (model: Model, name: string, f: (worker: Worker) => Worker): Model => ({
  ...model,
  workers: model.workers.map((worker) => worker.name === name && !hasEnded(worker) ? f(worker) : worker)
})

/** After the end nothing happens to a worker. */
const become = (worker: Worker, at: number, state: State): Worker => ({
  ...worker,
  moments: Arr.append(worker.moments, { at, state, added: worker.added.length }),
  toldUntil: endStates.includes(state) ? Infinity : at
})

/** The model after a message of a worker. */
export const update = (name: string, message: Message) => (model: Model): Model => {
  const { at } = message
  switch (message._tag) {
    case "ready":
    case "alive":
      return change(model, name, (worker) => ({ ...worker, toldUntil: at }))
    case "waiting":
      return change(model, name, (worker) => become(worker, at, "waiting"))
    case "inside":
      return change(model, name, (worker) => ({ ...become(worker, at, "inside"), lingers: message.lingers }))
    case "left":
      return change(model, name, (worker) => become(worker, at, "idle"))
    case "added":
      return change(
        model,
        name,
        (worker) => become({ ...worker, added: [...worker.added, message.number] }, at, "idle")
      )
    case "finished":
      return change(model, name, (worker) => become(worker, at, "finished"))
    case "failed":
      return {
        ...change(model, name, (worker) => become(worker, at, "failed")),
        failures: [...model.failures, `${name}: ${message.failure}`]
      }
  }
}

/** The model after a worker was killed. */
export const markKilled = (name: string, at: number) => (model: Model): Model =>
  change(model, name, (worker) => become(worker, Math.max(at, worker.toldUntil), "killed"))

/** The model after a worker ended by itself. When it did is not known: it counts as ended since it last told anything. */
export const markEnded = (name: string) => (model: Model): Model =>
  change(model, name, (worker) => become(worker, worker.toldUntil, "ended"))

/** What happened before this instant is known of all workers. */
export const knownUntil = (model: Model): number => Math.min(...model.workers.map(({ toldUntil }) => toldUntil))

const momentAt = (worker: Worker, at: number): Moment =>
  Option.getOrElse(
    Arr.findLast(worker.moments, (moment) => moment.at <= at),
    () => Arr.headNonEmpty(worker.moments)
  )

/** What all workers did at an instant. */
export const snapshotAt = (model: Model, at: number): Snapshot => ({
  at,
  tasksEach: model.tasksEach,
  workers: model.workers.map((worker) => ({ ...momentAt(worker, at), name: worker.name, pid: worker.pid }))
})

/** What all workers did at the latest instant at which it is known of each. */
export const snapshot = (model: Model): Snapshot => snapshotAt(model, knownUntil(model))

/** Those that were in their critical section. */
export const inside = (snapshot: Snapshot): Snapshot["workers"] =>
  snapshot.workers.filter(({ state }) => state === "inside")

/** When a worker entered its critical section. */
export interface Entry {
  readonly name: string
  readonly at: number
}

/** All entries up to the latest instant at which the state of each worker is known, in the order of their times. */
export const entries = (model: Model): ReadonlyArray<Entry> => {
  const until = knownUntil(model)
  return model.workers
    .flatMap(({ moments, name }) =>
      moments.filter(({ at, state }) => state === "inside" && at <= until).map(({ at }) => ({ name, at }))
    )
    .sort((a, b) => a.at - b.at)
}

/** How many were in their critical section at once, when most were. */
export const mostInside = (model: Model): number =>
  entries(model).reduce((most, { at }) => Math.max(most, inside(snapshotAt(model, at)).length), 0)

/** How many tasks the workers say they have added. */
export const acknowledged = (model: Model): number =>
  model.workers.reduce((sum, worker) => sum + worker.added.length, 0)

/** Whether this worker lingers in its critical section. */
export const lingers = (model: Model, name: string): boolean =>
  model.workers.some((worker) => worker.name === name && worker.lingers)

/** Whether this worker has ended. */
export const isOverFor = (model: Model, name: string): boolean =>
  model.workers.some((worker) => worker.name === name && hasEnded(worker))

/** Whether all workers have ended. */
export const isOver = (model: Model): boolean => model.workers.every(hasEnded)

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
