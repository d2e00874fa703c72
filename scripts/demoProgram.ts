/**
 * The demonstration itself, once it is loaded: four processes add tasks to one file, first without a lock, then with it, where
 * one of them is killed while it holds it.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as FileSystem from "@effect/platform/FileSystem"
import type { Teardown } from "@effect/platform/Runtime"
import { defaultTeardown } from "@effect/platform/Runtime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as FileLock from "../src/FileLock.js"
import * as NodeFileLock from "../src/NodeFileLock.js"
import * as ChildProcess from "../test/torture/ChildProcess.js"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Platform from "../test/torture/Platform.js"
import * as Statistics from "../test/torture/Statistics.js"
import * as Messages from "./demoMessages.js"
import * as DemoModel from "./demoModel.js"
import * as DemoOutput from "./demoOutput.js"
import { names, tasksEach, victimName } from "./demoPlan.js"
import * as DemoView from "./demoView.js"

const view = DemoView.make(DemoOutput.standard)

type Worker = ChildProcess.Child<typeof Messages.Command.Type, Messages.Message> & { readonly name: string }

/** What a part came to. */
interface Outcome {
  readonly acknowledged: number
  readonly lost: number
  /** How many were in their critical section at once. */
  readonly mostInside: number
  readonly failed: number
  /** The time from the death of a holder until the next worker was inside, in milliseconds. */
  readonly takeover: Option.Option<number>
}

const start = (script: string) =>
  Effect.forEach(names, (name) =>
    Effect.gen(function*() {
      const child = yield* ChildProcess.spawn({
        script,
        argument: JSON.stringify({ name }),
        commands: Messages.Command,
        messages: Messages.Message
      })
      yield* ChildProcess.receive(child, (message): message is Messages.Message => message._tag === "ready")
      const worker: Worker = { ...child, name }
      return worker
    }), { concurrency: "unbounded" })

type State = SubscriptionRef.SubscriptionRef<DemoModel.Model>

const when = (model: State, condition: (model: DemoModel.Model) => boolean) =>
  Stream.runHead(Stream.filter(model.changes, condition))

/** Kills the victim between its reading and its writing; returns the time until the next worker is inside. */
const killHolder = (file: string, workers: ReadonlyArray<Worker>, model: State) =>
  Effect.gen(function*() {
    const victim = yield* Effect.fromNullable(workers.find(({ name }) => name === victimName))
    const isOver = (current: DemoModel.Model) => DemoModel.isOverFor(current, victimName)
    yield* when(
      model,
      (current) => isOver(current) || DemoModel.acknowledged(current) >= 0.4 * names.length * tasksEach
    )
    yield* victim.send({ _tag: "linger" })
    yield* when(model, (current) => isOver(current) || DemoModel.lingers(current, victimName))
    yield* Effect.sleep("300 millis")
    const status = yield* FileLock.inspect(file)
    if (isOver(yield* model)) {
      yield* view.say(`  ${victim.name} ended before it could be killed`)
      return Option.none<number>()
    }
    const holder = Option.flatMapNullable(status, ({ holders }) => holders[0]?.pid)
    if (!Option.contains(holder, victim.pid)) {
      return yield* Effect.dieMessage(`${victim.name} is inside, but the lock file says ${JSON.stringify(status)}`)
    }
    const waiters = Option.match(status, { onNone: () => 0, onSome: ({ waiters }) => waiters.length })
    yield* view.say(`  the lock file names pid ${victim.pid} (${victim.name}), and ${waiters} processes that wait`)
    const killedAt = Monotonic.millis()
    victim.signal("SIGKILL")
    yield* SubscriptionRef.update(model, DemoModel.markKilled(victimName, killedAt))
    const successor = (current: DemoModel.Model) => DemoModel.entries(current).find(({ at }) => at > killedAt)
    yield* when(model, (current) => DemoModel.isOver(current) || successor(current) !== undefined)
    const next = successor(yield* model)
    if (next === undefined) {
      yield* view.say("  no other process was there to take the lock over")
      return Option.none()
    }
    const millis = next.at - killedAt
    yield* view.say(
      `  ${victim.name} was killed inside its critical section; ${next.name} was inside ${
        Statistics.formatMillis(millis)
      } later`
    )
    return Option.some(millis)
  })

/** Ends the workers, so that they write no more. */
const end = (workers: ReadonlyArray<Worker>) =>
  Effect.forEach(workers, (worker) => worker.signal("SIGKILL") ? worker.exit : Effect.void, { discard: true })

const part = (directory: string, workers: ReadonlyArray<Worker>, locked: boolean) =>
  Effect.scoped(Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const file = `${directory}/${locked ? "with" : "without"}-lock.json`
    yield* fs.writeFileString(file, "[]")
    const model = yield* SubscriptionRef.make(DemoModel.begin(workers, tasksEach))
    for (const worker of workers) {
      const receive = Effect.flatMap(
        worker.messages.take,
        (message) => SubscriptionRef.update(model, DemoModel.update(worker.name, message))
      )
      yield* Effect.forkScoped(Effect.forever(receive))
      yield* Effect.forkScoped(
        Effect.zipRight(worker.exit, SubscriptionRef.update(model, DemoModel.markEnded(worker.name)))
      )
    }
    const work = Effect.scoped(Effect.gen(function*() {
      yield* view.follow(Effect.map(model, DemoModel.snapshot))
      for (const worker of workers) yield* worker.send({ _tag: "work", file, tasks: tasksEach, locked })
      const measured = locked ? yield* killHolder(file, workers, model) : Option.none()
      yield* when(model, DemoModel.isOver)
      return measured
    }))
    /** Compares what the workers say with what is in the file. */
    const count = Effect.gen(function*() {
      const current = yield* model
      for (const failure of current.failures) yield* view.say(`  ${failure}`)
      const tasks = yield* Schema.decode(Schema.parseJson(Messages.Tasks))(yield* fs.readFileString(file))
      const acknowledged = DemoModel.acknowledged(current)
      const lost = DemoModel.missing(current, tasks)
      const updates = acknowledged === 1 ? "1 update" : `${acknowledged} updates`
      yield* view.say(`  ${updates}, ${acknowledged - lost} of them in the file: ${lost} lost`)
      return {
        acknowledged,
        lost,
        mostInside: DemoModel.mostInside(current),
        failed: current.failures.length
      }
    })
    const takeover = yield* Effect.onInterrupt(work, () =>
      end(workers).pipe(
        Effect.zipRight(view.say("\n  stopped; what was done by then:")),
        Effect.zipRight(count),
        Effect.orDie
      ))
    const outcome: Outcome = { ...yield* count, takeover }
    return outcome
  }))

/** What a part came to, in one line. */
const describe = ({ acknowledged, lost, mostInside, takeover }: Outcome): string =>
  [
    `${lost} of ${acknowledged} updates lost`,
    mostInside <= 1 ? "never two processes inside at once" : `up to ${mostInside} processes inside at once`,
    ...Option.match(takeover, {
      onNone: () => [],
      onSome: (millis) => [`a killed holder was replaced after ${Statistics.formatMillis(millis)}`]
    })
  ].join(", ")

const program = (directory: string, workerScript: string) =>
  Effect.scoped(Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    yield* Effect.addFinalizer(() => Effect.orDie(fs.remove(directory, { recursive: true, force: true })))
    const workers = yield* start(workerScript)
    yield* view.say("\nWithout the lock")
    const without = yield* part(directory, workers, false)
    yield* view.say(`\nWith the lock, and ${victimName} will be killed while it holds it`)
    const guarded = yield* part(directory, workers, true)
    const verdict = guarded.lost === 0 && guarded.failed === 0 && guarded.mostInside <= 1 ? "0 lost" : "VIOLATED"
    yield* view.say(`\nVerdict: ${verdict} (${process.uptime().toFixed(1)} s)`)
    yield* view.say(`  Without the lock: ${describe(without)}`)
    yield* view.say(`  With the lock: ${describe(guarded)}`)
    if (verdict !== "0 lost") {
      yield* Effect.sync(() => {
        process.exitCode = 1
      })
    }
  })).pipe(
    Effect.onInterrupt(() =>
      view.say("\nStopped. Nothing is left: all processes have ended, and their files are removed.")
    )
  )

/** Interrupts when the output is read no longer, as by `| head`. */
const outputClosed = Effect.async<never>((resume) => {
  process.stdout.on("error", () => resume(Effect.interrupt))
})

/** The exit code of a program that was stopped by Ctrl-C is 130, as a shell expects. */
const teardown: Teardown = (exit, onExit) =>
  Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause) ? onExit(130) : defaultTeardown(exit, onExit)

/** Runs it, with its files in `directory`. Ends with 0 only if nothing was lost under the lock, and no two were inside at once. */
export const run = (directory: string, workerScript: string): void =>
  program(directory, workerScript).pipe(
    // A demonstration that takes longer hangs.
    Effect.timeout("60 seconds"),
    Effect.raceFirst(outputClosed),
    Effect.provide(Layer.merge(NodeFileLock.layer, Platform.layer)),
    NodeRuntime.runMain({ teardown })
  )
