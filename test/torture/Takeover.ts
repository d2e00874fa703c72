/**
 * A holder is killed and many processes want the lock at once, round after round.
 *
 * Lock files fail when several processes see the same dead owner: one removes the dead owner's file, another one removes what the first
 * has put in its place.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import { fileURLToPath } from "node:url"
import * as Analysis from "./Analysis.js"
import * as Arena from "./Arena.js"
import * as Bundle from "./Bundle.js"
import * as ChildProcess from "./ChildProcess.js"
import * as EventLog from "./EventLog.js"
import * as Process from "./Process.js"
import * as Messages from "./takeoverMessages.js"
import * as TemporaryDirectory from "./TemporaryDirectory.js"

/** What holds the lock when it is killed: a process, one in a pid namespace of its own, or a worker thread. */
export const holders = ["process", "namespace", "thread"] as const

/** One of them. */
export type Holder = typeof holders[number]

/** What to do. */
export interface Options {
  readonly holder: Holder
  readonly rounds: number
  /** How many want the lock. */
  readonly processes: number
  readonly seed: number
  readonly onRound: (round: number) => Effect.Effect<void>
}

/** What was seen; times are milliseconds. */
export interface Report {
  readonly events: ReadonlyArray<EventLog.Event>
  readonly rounds: number
  /** From SIGKILL to the next holder, where all were waiting when it came. */
  readonly waiting: ReadonlyArray<number>
  /** From the first that asks to the first that holds, where the lock was already dead. */
  readonly stale: ReadonlyArray<number>
  /** From SIGKILL (or the first that asks) until all had been in the critical section. */
  readonly everyone: ReadonlyArray<number>
  readonly overlaps: ReadonlyArray<Analysis.Overlap>
  readonly counter: Analysis.Reconciliation
  /** Rounds in which a process did not get the lock. */
  readonly unserved: number
  /** What lay beside the guarded file after a round, and how often. */
  readonly leftovers: ReadonlyMap<string, number>
  readonly failures: ReadonlyArray<string>
  /** What must not happen and did, in sentences. */
  readonly violations: ReadonlyArray<string>
}

type Worker = ChildProcess.Child<typeof Messages.Command.Type, Messages.Message> & { readonly incarnation: number }

const workerSource = fileURLToPath(new URL("./takeoverWorker.ts", import.meta.url))

const is = ChildProcess.isOf<Messages.Message>()

/** Runs the rounds; everything it started has ended when it returns. */
export const run = (options: Options): Effect.Effect<Report, ChildProcess.UnexpectedExit> =>
  Effect.scoped(Effect.gen(function*() {
    if (!Process.isSupported()) return yield* Effect.dieMessage("the takeover rounds need /proc")
    const root = yield* TemporaryDirectory.make("takeover")
    const script = yield* Bundle.make(workerSource, root)
    const arena = Arena.make(root)
    Arena.prepare(arena)
    const log = EventLog.open(arena.log, 0)
    const random = Random.make(options.seed)
    const failures: Array<string> = []
    const leftovers = new Map<string, number>()
    let incarnations = 0
    let unserved = 0

    const spawn = (prefix: ReadonlyArray<string> = []) =>
      Effect.gen(function*() {
        const incarnation = ++incarnations
        const child = yield* ChildProcess.spawn({
          script,
          argument: JSON.stringify({ root, incarnation }),
          prefix,
          commands: Messages.Command,
          messages: Messages.Message
        })
        yield* ChildProcess.receive(child, is("ready"))
        const worker: Worker = { ...child, incarnation }
        return worker
      })

    const startHolder = spawn(options.holder === "namespace" ? ChildProcess.newPidNamespace : [])

    const kill = (worker: Worker): Effect.Effect<void, ChildProcess.UnexpectedExit> =>
      Effect.suspend(() => {
        log.writeFor(worker.incarnation, "kill")
        if (options.holder === "thread") {
          return Effect.zipRight(worker.send("terminate"), ChildProcess.receive(worker, is("terminated")))
        }
        worker.signal("SIGKILL")
        return Effect.asVoid(worker.exit)
      })

    const ask = (worker: Worker) =>
      Effect.zipRight(worker.send("compete"), ChildProcess.receive(worker, is("waiting", "failed")))

    const served = (worker: Worker) =>
      Effect.tap(ChildProcess.receive(worker, is("served", "failed")), (message) => {
        if (message._tag === "failed") failures.push(`process ${worker.incarnation}: ${message.failure}`)
      })

    const competitors = yield* Effect.replicateEffect(spawn(), options.processes, { concurrency: 2 })
    const forAll = <A, E>(f: (worker: Worker) => Effect.Effect<A, E>) =>
      Effect.forEach(competitors, f, { concurrency: "unbounded", discard: true })

    const round = (holder: Worker, stale: boolean) =>
      Effect.gen(function*() {
        yield* holder.send(options.holder === "thread" ? "holdInThread" : "hold")
        const message = yield* ChildProcess.receive(holder, is("holding", "failed"))
        if (message._tag === "failed") failures.push(`process ${holder.incarnation}: ${message.failure}`)
        if (stale) {
          yield* kill(holder)
          yield* forAll(ask)
        } else {
          yield* forAll(ask)
          yield* Effect.sleep(yield* random.nextRange(0, 40))
          yield* kill(holder)
        }
        yield* forAll(served)
      }).pipe(
        Effect.timeoutOption("20 seconds"),
        Effect.map(Option.isSome)
      )

    let completed = 0
    // The next holder starts while nothing is measured.
    let next = yield* startHolder
    while (completed < options.rounds && unserved === 0) {
      completed++
      if (!(yield* round(next, completed % 2 === 0))) unserved++
      for (const name of Arena.lockFiles(arena)) leftovers.set(name, (leftovers.get(name) ?? 0) + 1)
      yield* options.onRound(completed)
      next.signal("SIGKILL")
      next = yield* startHolder
    }

    const events = EventLog.read(arena.log)
    const overlaps = Analysis.overlaps(events)
    const counter = Analysis.reconcile(events, Arena.readCounter(arena) ?? 0)
    const expected = completed * options.processes
    const times = roundTimes(events)
    const violations: Array<string> = []
    if (overlaps.length > 0) {
      violations.push(`${overlaps.length} times two processes were in the critical section at once`)
    }
    if (counter.lost > 0) violations.push(`${counter.lost} acknowledged updates are lost`)
    if (unserved > 0) violations.push("a process did not get the lock within 20 s")
    else if (counter.acknowledged !== expected) {
      violations.push(`${counter.acknowledged} updates were acknowledged instead of ${expected}`)
    }
    if (failures.length > 0) violations.push(`the lock failed ${failures.length} times`)
    if (leftovers.size > 0) violations.push(`left beside the file: ${[...leftovers.keys()].slice(0, 5).join(", ")}`)

    return { events, rounds: completed, ...times, overlaps, counter, unserved, leftovers, failures, violations }
  }))

/** A round is what lies between two kills. */
const roundTimes = (events: ReadonlyArray<EventLog.Event>) => {
  const waiting: Array<number> = []
  const stale: Array<number> = []
  const everyone: Array<number> = []
  const kills = events.flatMap((event, index) => event.kind === "kill" ? [index] : [])
  for (const [round, index] of kills.entries()) {
    const killed = events[index]
    if (killed === undefined) continue
    const after = events.slice(index + 1, kills[round + 1])
    const asked = after.find(({ kind }) => kind === "waiting")
    const entered = after.find(({ kind }) => kind === "enterExclusive")
    const released = after.filter(({ kind }) => kind === "leave").at(-1)
    if (entered === undefined || released === undefined) continue
    // Where the holder was dead already, what counts is how long the competitors are delayed.
    const from = asked !== undefined && asked.at < entered.at ? asked : killed
    ;(from === asked ? stale : waiting).push(Number(entered.at - from.at) / 1e6)
    everyone.push(Number(released.at - from.at) / 1e6)
  }
  return { waiting, stale, everyone }
}
