/**
 * Many processes on one lock, killed and stopped at random. The verdict comes from their event log alone.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import type * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { fileURLToPath } from "node:url"
import * as Analysis from "./Analysis.js"
import * as Arena from "./Arena.js"
import * as Bundle from "./Bundle.js"
import * as ChildProcess from "./ChildProcess.js"
import * as Engines from "./Engines.js"
import * as EventLog from "./EventLog.js"
import * as Process from "./Process.js"
import * as Standstill from "./Standstill.js"
import * as TemporaryDirectory from "./TemporaryDirectory.js"
import * as Messages from "./tortureMessages.js"

/** What to do; durations are milliseconds. */
export interface Options {
  readonly processes: number
  readonly duration: number
  /** 0 never kills. */
  readonly killEvery: number
  /** The longest time for which a process is stopped; 0 never stops one. */
  readonly stopFor: number
  readonly seed: number
  readonly fibers: number
  readonly readers: number
  readonly work: number
  readonly lease: number | undefined
  readonly locked: boolean
  /** How the guarded file is written: by the harness, which replaces it; through `LockedFile`; or by the harness over the old content. */
  readonly writes: "rename" | "LockedFile" | "inPlace"
  /** What keeps the locks of the processes, in turn. */
  readonly engines: ReadonlyArray<Engines.Settings>
  /** Called about once a second. */
  readonly onProgress: (progress: Progress) => Effect.Effect<void>
}

/** How far it is. */
export interface Progress {
  readonly elapsed: number
  readonly kills: number
  readonly stops: number
}

/** What was seen. */
export interface Report {
  readonly events: ReadonlyArray<EventLog.Event>
  readonly seconds: number
  readonly acquisitions: number
  readonly kills: number
  readonly killedInside: number
  readonly killedOwner: number
  readonly stops: number
  readonly stoppedOwner: number
  readonly overlaps: ReadonlyArray<Analysis.Overlap>
  readonly counter: Analysis.Reconciliation
  /** Grants with a fencing number. */
  readonly fences: number
  /** Those that were not larger than the one before. */
  readonly fencesBack: number
  /** Reads, and how many of them found a content that was not whole, or an old one. */
  readonly reads: number
  readonly torn: number
  readonly stale: ReadonlyArray<Analysis.Stale>
  readonly standstill: Standstill.Longest
  readonly takeovers: ReadonlyArray<number>
  /** Beside the guarded file after every process had been killed. */
  readonly leftovers: ReadonlyArray<string>
  /** The same after one more process had taken the lock once, which took it `recovery` milliseconds; without empty files. */
  readonly leftoversAfter: ReadonlyArray<string>
  readonly recovery: number
  readonly failures: ReadonlyArray<string>
  /** What must not happen and did, in sentences. */
  readonly violations: ReadonlyArray<string>
}

type Settings = Schema.Schema.Type<typeof Messages.Settings>

type Worker = ChildProcess.Child<"begin", Messages.Message> & { readonly incarnation: number }

/** So many processes wait, already loaded, to replace those that are killed. */
const spares = 2

/** No standstill may be longer: a waiter probes its holder every 50 ms, and the rest is for a busy machine. In milliseconds. */
const longestStandstill = 2_000

/**
 * A server cannot tell a process that is stopped from one that works, and a lease has to end before the lock of a dead process is free; in
 * milliseconds.
 */
const allowance = ({ engines, lease = 0, stopFor }: Options): number =>
  engines.some(({ _tag }) => _tag === "redis") ? stopFor + lease : engines.some(Engines.hasFences) ? stopFor : 0

const workerSource = fileURLToPath(new URL("./tortureWorker.ts", import.meta.url))

/** Runs the torture; everything it started has ended when it returns. */
export const run = (options: Options): Effect.Effect<Report, ChildProcess.UnexpectedExit> =>
  Effect.scoped(Effect.gen(function*() {
    if (!Process.isSupported()) return yield* Effect.dieMessage("the torture needs /proc")
    const root = yield* TemporaryDirectory.make("torture")
    const script = yield* Bundle.make(workerSource, root)
    const arena = Arena.make(root)
    Arena.prepare(arena)
    const log = EventLog.open(arena.log, 0)
    const random = Random.make(options.seed)
    const workers = new Map<number, Worker>()
    const stopped = new Set<number>()
    const failures: Array<string> = []
    const counts = { incarnations: 0, kills: 0, killedOwner: 0, stops: 0 }

    const spawn = (overrides: Partial<Settings>): Effect.Effect<Worker, ChildProcess.UnexpectedExit, Scope.Scope> =>
      Effect.gen(function*() {
        const incarnation = ++counts.incarnations
        const settings: Settings = {
          root,
          incarnation,
          seed: options.seed,
          fibers: options.fibers,
          readers: options.readers,
          work: options.work,
          sections: null,
          lease: options.lease ?? null,
          locked: options.locked,
          writes: options.writes,
          engine: options.engines[incarnation % options.engines.length] ?? { _tag: "lockFiles" },
          ...overrides
        }
        const child = yield* ChildProcess.spawn({
          script,
          argument: JSON.stringify(settings),
          commands: Messages.Command,
          messages: Messages.Message
        })
        yield* ChildProcess.receive(child, (message): message is Messages.Message => message._tag === "ready")
        const worker: Worker = { ...child, incarnation }
        return worker
      })

    /** From now on it competes, and may be killed and stopped. */
    const begin = (worker: Worker): Effect.Effect<void, never, Scope.Scope> =>
      Effect.gen(function*() {
        const { incarnation } = worker
        workers.set(incarnation, worker)
        yield* Effect.forkScoped(Effect.forever(Effect.tap(worker.messages.take, (message) => {
          if (message._tag === "failed") failures.push(`process ${incarnation}: ${message.failure}`)
        })))
        yield* Effect.forkScoped(Effect.tap(worker.exit, ({ code, signal }) => {
          log.writeFor(incarnation, "exit")
          workers.delete(incarnation)
          stopped.delete(incarnation)
          if (signal === null && code !== 0) failures.push(`process ${incarnation} ended: ${worker.output()}`)
        }))
        yield* worker.send("begin")
      })

    const ready = yield* Queue.bounded<Worker>(spares)
    const supplyOne = Effect.flatMap(spawn({}), (worker) => Queue.offer(ready, worker))
    const supply = Effect.replicateEffect(Effect.forever(supplyOne), spares, { concurrency: "unbounded" })

    /** Keeps one place filled: a process that dies is replaced at once. */
    const place = Effect.forever(Effect.gen(function*() {
      const worker = yield* Queue.take(ready)
      yield* begin(worker)
      yield* worker.exit
    }))

    /** Those that have the lock, or share it. */
    const ownersNow = (): ReadonlyArray<Worker> => {
      const names = [Arena.lockName(arena), ...Arena.readerNames(arena)]
      const pids = names.map((name) => Arena.ownerOf(arena, name))
      return [...workers.values()].filter(({ pid }) => pids.includes(pid))
    }

    const pick = (candidates: ReadonlyArray<Worker>) =>
      Effect.map(random.nextIntBetween(0, Math.max(candidates.length, 1)), (index) => candidates[index])

    const kill = (worker: Worker): void => {
      if (ownersNow().includes(worker)) counts.killedOwner++
      counts.kills++
      log.writeFor(worker.incarnation, "kill")
      worker.signal("SIGKILL")
    }

    // Half of the signals go to an owner of the lock, to hit releases and takeovers.
    const chooseVictim = (candidates: ReadonlyArray<Worker>) =>
      Effect.gen(function*() {
        const atRandom = yield* pick(candidates)
        const owner = yield* pick(ownersNow().filter((worker) => candidates.includes(worker)))
        return (yield* random.nextBoolean) && owner !== undefined ? owner : atRandom
      })

    const killer = Effect.gen(function*() {
      yield* Effect.sleep(options.killEvery)
      // A slow machine cannot replace them as fast; without competitors there would be nothing to see.
      if (workers.size <= options.processes / 2) return
      const worker = yield* chooseVictim([...workers.values()])
      if (worker !== undefined) kill(worker)
    })

    const stopper = Effect.gen(function*() {
      yield* Effect.sleep(yield* random.nextRange(0, 400))
      const candidates = [...workers.values()].filter((worker) => !stopped.has(worker.incarnation))
      // Two processes at least keep running.
      if (candidates.length < 3) return
      const worker = yield* chooseVictim(candidates)
      if (worker === undefined) return
      counts.stops++
      stopped.add(worker.incarnation)
      log.writeFor(worker.incarnation, "stop")
      worker.signal("SIGSTOP")
      yield* Effect.fork(Effect.gen(function*() {
        // Its threads stop one after the other; afterwards what it owns cannot change.
        yield* Effect.sleep(5)
        const owned = [...Arena.lockFiles(arena), ...Arena.readerNames(arena)].some((name) =>
          Arena.isOwned(name) && Arena.ownerOf(arena, name) === worker.pid
        )
        if (worker.isRunning()) {
          if (owned) log.writeFor(worker.incarnation, "stoppedOwner")
        }
        yield* Effect.sleep(yield* random.nextRange(0, options.stopFor))
        if (!worker.isRunning()) return
        log.writeFor(worker.incarnation, "resume")
        worker.signal("SIGCONT")
        stopped.delete(worker.incarnation)
      }))
    })

    const first = yield* Effect.replicateEffect(spawn({}), options.processes, { concurrency: 2 })
    const started = yield* Clock.currentTimeMillis
    yield* Effect.forEach(first, begin)
    const supplying = yield* Effect.forkScoped(supply)
    const places = yield* Effect.forEach(first, (worker) => Effect.forkScoped(Effect.zipRight(worker.exit, place)))
    const disturbances = yield* Effect.fork(Effect.all([
      options.killEvery > 0 ? Effect.forever(killer) : Effect.void,
      options.stopFor > 0 ? Effect.forever(stopper) : Effect.void,
      Effect.gen(function*() {
        yield* Effect.sleep(1_000)
        const elapsed = (yield* Clock.currentTimeMillis) - started
        yield* options.onProgress({ elapsed, kills: counts.kills, stops: counts.stops })
      }).pipe(Effect.forever)
    ], { concurrency: "unbounded" }))

    yield* Effect.raceFirst(Effect.sleep(options.duration), Fiber.join(supplying))
    yield* Fiber.interruptAll([disturbances, supplying, ...places])
    const finish = EventLog.read(arena.log).at(-1)?.at ?? 0n
    const last = [...workers.values()]
    for (const worker of last) kill(worker)
    yield* Effect.forEach(last, (worker) => worker.exit, { discard: true })
    const leftovers = Arena.lockFiles(arena)

    const asked = yield* Clock.currentTimeMillis
    const fresh = yield* spawn({
      sections: 1,
      fibers: 1,
      readers: 0,
      engine: options.engines[0] ?? { _tag: "lockFiles" }
    })
    yield* begin(fresh)
    const finished = yield* Effect.timeoutOption(fresh.exit, "20 seconds")
    const recovery = (yield* Clock.currentTimeMillis) - asked
    const leftoversAfter = Arena.lockFiles(arena).filter((name) => !Arena.isEmpty(arena, name))

    const events = EventLog.read(arena.log)
    const begun = events[0]?.at ?? 0n
    const found = Analysis.overlaps(events)
    const atEnd = Arena.readCounter(arena)
    const counter = Analysis.reconcile(events, atEnd ?? 0)
    const torn = events.filter(({ kind }) => kind === "torn").length
    const stale = Analysis.staleReads(events)
    // At the end all are killed at once: only the recovery by the last process counts there.
    const standstill = Standstill.longest(events.filter((event) => event.at <= finish))
    const all = Analysis.sections(events)
    const fencesBack = Analysis.fencesBack(events)

    const violations: Array<string> = []
    if (found.length > 0) violations.push(`${found.length} times two processes were in the critical section at once`)
    if (torn > 0) violations.push(`${torn} times the content of the file was not whole`)
    if (atEnd === undefined) violations.push("the content of the file is not whole at the end")
    if (stale.length > 0) violations.push(`${stale.length} times a reader missed an acknowledged update`)
    if (counter.lost > 0) violations.push(`${counter.lost} acknowledged updates are lost`)
    if (counter.unexplained > 0) {
      violations.push(`${counter.unexplained} values of the counter were written by no process`)
    }
    if (fencesBack.length > 0) {
      violations.push(`${fencesBack.length} fencing numbers were not larger than the one before`)
    }
    if (standstill.ofOne.millis > longestStandstill + allowance(options)) {
      violations.push(`a process waited and none entered for ${Math.round(standstill.ofOne.millis)} ms`)
    }
    if (failures.length > 0) violations.push(`the lock failed ${failures.length} times`)
    if (finished._tag === "None") violations.push("a fresh process could not take the lock within 20 s at the end")
    if (leftoversAfter.length > 0) violations.push(`left beside the file for good: ${leftoversAfter.join(", ")}`)

    return {
      events,
      seconds: Number(finish - begun) / 1e9,
      acquisitions: all.length,
      kills: counts.kills,
      killedInside: all.filter((section) => section.killed).length,
      killedOwner: counts.killedOwner,
      stops: counts.stops,
      stoppedOwner: events.filter((event) => event.kind === "stoppedOwner").length,
      overlaps: found,
      counter,
      fencesBack: fencesBack.length,
      fences: events.filter(({ kind }) => kind === "fence").length,
      reads: events.filter(({ kind }) => kind === "observed").length + torn,
      torn,
      stale,
      standstill,
      takeovers: Analysis.takeovers(events),
      leftovers,
      leftoversAfter,
      recovery,
      failures,
      violations
    }
  }))
