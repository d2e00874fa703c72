/**
 * Processes hand a lock to each other while an attacker, who may not write in its directory, says all that it can to them.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import { fileURLToPath } from "node:url"
import * as Analysis from "./Analysis.js"
import * as Arena from "./Arena.js"
import * as Bundle from "./Bundle.js"
import * as ChildProcess from "./ChildProcess.js"
import * as EventLog from "./EventLog.js"
import * as FloodMessages from "./floodMessages.js"
import * as Monotonic from "./Monotonic.js"
import * as Process from "./Process.js"
import * as Statistics from "./Statistics.js"
import * as TakeoverMessages from "./takeoverMessages.js"
import * as TemporaryDirectory from "./TemporaryDirectory.js"

/** What to do. */
export interface Options {
  /** How many want the lock. */
  readonly processes: number
  /** How many connections the attacker has. */
  readonly connections: number
  /** How long it goes on, and how long it is quiet before; in milliseconds. */
  readonly duration: number
}

/** What was seen. */
export interface Report {
  /** From the end of a section to the begin of the next one in another process, in milliseconds. */
  readonly quiet: ReadonlyArray<number>
  readonly flooded: ReadonlyArray<number>
  /** The most memory that one of the processes had, in bytes. */
  readonly memoryQuiet: number
  readonly memoryFlooded: number
  readonly attack: Extract<FloodMessages.Message, { readonly _tag: "done" }>
  readonly overlaps: ReadonlyArray<Analysis.Overlap>
  readonly counter: Analysis.Reconciliation
  readonly leftovers: ReadonlyArray<string>
  readonly failures: ReadonlyArray<string>
  /** What must not happen and did, in sentences. */
  readonly violations: ReadonlyArray<string>
}

/** Any user who may not write in the directory. */
const attacker = process.getuid?.() === 0 ? 65_534 : undefined

const sourceOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

const ofCompetitor = ChildProcess.isOf<TakeoverMessages.Message>()
const ofAttacker = ChildProcess.isOf<FloodMessages.Message>()

/** Runs it; everything it started has ended when it returns. */
export const run = (options: Options): Effect.Effect<Report, ChildProcess.UnexpectedExit> =>
  Effect.scoped(Effect.gen(function*() {
    if (!Process.isSupported()) return yield* Effect.dieMessage("the flood needs /proc")
    const root = yield* TemporaryDirectory.make("flood")
    const arena = Arena.make(root)
    Arena.prepare(arena)
    const failures: Array<string> = []

    const competitorScript = yield* Bundle.make(sourceOf("./takeoverWorker.ts"), root)
    const competitors = yield* Effect.forEach(
      Array.from({ length: options.processes }).keys(),
      (index) =>
        ChildProcess.spawn({
          script: competitorScript,
          argument: JSON.stringify({ root, incarnation: index + 1 }),
          commands: TakeoverMessages.Command,
          messages: TakeoverMessages.Message
        })
    )
    const flooder = yield* ChildProcess.spawn({
      script: yield* Bundle.make(sourceOf("./floodWorker.ts"), root),
      argument: JSON.stringify({ directory: arena.locked, connections: options.connections }),
      uid: attacker,
      commands: FloodMessages.Command,
      messages: FloodMessages.Message
    })
    yield* Effect.forEach(competitors, (child) => ChildProcess.receive(child, ofCompetitor("ready")))
    yield* ChildProcess.receive(flooder, ofAttacker("ready"))

    const isOver = yield* Ref.make(false)
    const competing = yield* Effect.forkScoped(Effect.forEach(competitors, (child) =>
      Effect.gen(function*() {
        yield* child.send("compete")
        const message = yield* ChildProcess.receive(child, ofCompetitor("served", "failed"))
        if (message._tag === "failed") failures.push(message.failure)
      }).pipe(Effect.repeat({ until: () => Ref.get(isOver) })), { concurrency: "unbounded", discard: true }))

    /** The most memory that a process has for so long. */
    const memory = Effect.gen(function*() {
      let most = 0
      yield* Effect.sync(() => {
        for (const { pid } of competitors) most = Math.max(most, Process.residentMemory(pid))
      }).pipe(
        Effect.repeat(Schedule.spaced("100 millis")),
        Effect.timeoutOption(options.duration)
      )
      return most
    })

    const memoryQuiet = yield* memory
    const attacked = Monotonic.nanos()
    yield* flooder.send("attack")
    const memoryFlooded = yield* memory
    yield* flooder.send("end")
    const attack = yield* ChildProcess.receive(flooder, ofAttacker("done"))
    yield* Ref.set(isOver, true)
    const ended = yield* Effect.timeoutOption(Fiber.join(competing), "20 seconds")

    const events = EventLog.read(arena.log)
    const overlaps = Analysis.overlaps(events)
    const counter = Analysis.reconcile(events, Arena.readCounter(arena) ?? 0)
    const leftovers = Arena.lockFiles(arena)
    const handOvers = Analysis.handOvers(events)
    const timesOf = (wanted: (handOver: Analysis.HandOver) => boolean) =>
      handOvers.filter(wanted).map(({ from, to }) => Number(to - from) / 1e6)
    const violations: Array<string> = []
    if (overlaps.length > 0) {
      violations.push(`${overlaps.length} times two processes were in the critical section at once`)
    }
    const quiet = timesOf(({ from }) => from < attacked)
    const flooded = timesOf(({ from }) => from >= attacked)
    if (Option.isNone(ended)) violations.push("a process did not get the lock within 20 s")
    if (Math.max(...quiet, ...flooded) > maxStandstill) {
      violations.push(
        `the lock was free for ${Statistics.formatMillis(Math.max(...quiet, ...flooded))} while processes waited`
      )
    }
    if (quiet.length === 0 || flooded.length === 0) violations.push("the lock did not go from process to process")
    if (attack.open < 0.9 * options.connections || attack.sent === 0) {
      violations.push(`it was no attack: ${attack.open} connections at once, ${attack.sent} bytes sent`)
    }
    if (counter.unexplained + counter.unacknowledged > 0) {
      violations.push("the counter has updates that nobody has made")
    }
    if (counter.lost > 0) violations.push(`${counter.lost} acknowledged updates are lost`)
    if (failures.length > 0) violations.push(`the lock failed ${failures.length} times`)
    if (leftovers.length > 0) violations.push(`left beside the file: ${leftovers.slice(0, 5).join(", ")}`)
    if (memoryFlooded > memoryQuiet + maxGrowth) {
      violations.push(`a process grew by ${Math.round((memoryFlooded - memoryQuiet) / 2 ** 20)} MiB`)
    }
    return {
      quiet,
      flooded,
      memoryQuiet,
      memoryFlooded,
      attack,
      overlaps,
      counter,
      leftovers,
      failures,
      violations
    }
  }))

/** By how much the attacked may grow, in bytes: 1,024 connections with a line of 64 KiB each, and as much that was not read yet. */
const maxGrowth = 2 * 1_024 * 65_536

/** How long the lock may be free while processes wait, in milliseconds. */
const maxStandstill = 1_000
