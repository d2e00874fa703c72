/**
 * `npm run demo`
 *
 * Four processes add tasks to one file: first without a lock, then with it, where one of them is killed while it holds it.
 * Ends with 0 only if nothing was lost under the lock.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { fileURLToPath } from "node:url"
import * as FileLock from "../src/FileLock.js"
import * as NodeFileLock from "../src/NodeFileLock.js"
import * as Bundle from "../test/torture/Bundle.js"
import * as ChildProcess from "../test/torture/ChildProcess.js"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Statistics from "../test/torture/Statistics.js"
import * as TemporaryDirectory from "../test/torture/TemporaryDirectory.js"
import * as Messages from "./demoMessages.js"
import * as DemoModel from "./demoModel.js"
import { view } from "./demoView.js"

const names = ["worker-1", "worker-2", "worker-3", "worker-4"]
const tasksEach = 25
const victimName = "worker-2"

type Worker = ChildProcess.Child<typeof Messages.Command.Type, Messages.Message> & { readonly name: string }

/** What a part came to. */
interface Outcome {
  readonly acknowledged: number
  readonly lost: number
}

const start = (directory: string) =>
  Effect.gen(function*() {
    const script = yield* Bundle.make(fileURLToPath(new URL("./demoWorker.ts", import.meta.url)), directory)
    return yield* Effect.forEach(names, (name) =>
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
  })

/** Kills the victim between its reading and its writing; returns the time until the next worker is inside. */
const killHolder = (
  file: string,
  workers: ReadonlyArray<Worker>,
  model: SubscriptionRef.SubscriptionRef<DemoModel.Model>
) =>
  Effect.gen(function*() {
    const victim = yield* Effect.fromNullable(workers.find(({ name }) => name === victimName))
    const when = (condition: (model: DemoModel.Model) => boolean) =>
      Stream.runHead(Stream.filter(model.changes, condition))
    yield* when((current) => DemoModel.acknowledged(current) >= 0.4 * names.length * tasksEach)
    yield* victim.send({ _tag: "linger" })
    yield* when((current) => current.workers.some(({ lingers }) => lingers))
    const status = yield* FileLock.inspect(file)
    const holder = Option.flatMapNullable(status, ({ holders }) => holders[0]?.pid)
    if (!Option.contains(holder, victim.pid)) {
      return yield* Effect.dieMessage(`${victim.name} is inside, but the lock file says ${JSON.stringify(status)}`)
    }
    yield* Effect.sleep("300 millis")
    const killedAt = Monotonic.millis()
    victim.signal("SIGKILL")
    const after = ({ at, name }: { readonly at: number; readonly name: string }) => name !== victimName && at > killedAt
    const changed = yield* when((current) => current.entered.some(after))
    const next = Option.flatMapNullable(changed, ({ entered }) => entered.find(after))
    yield* SubscriptionRef.update(model, DemoModel.markKilled(victimName))
    const { at, name } = yield* next
    yield* view.say(
      `  ${victim.name} (pid ${victim.pid}) was killed inside its critical section; ${name} was inside ${
        Statistics.formatMillis(at - killedAt)
      } later`
    )
    return at - killedAt
  })

/** The state of the lock, as its file says it. */
const describeLock = (file: string, model: SubscriptionRef.SubscriptionRef<DemoModel.Model>) =>
  Effect.gen(function*() {
    const current = yield* model
    const waiting = current.workers.filter(({ state }) => state === "waiting").length
    const status = yield* Effect.orElseSucceed(FileLock.inspect(file), Option.none)
    const now = yield* DateTime.now
    return Option.match(status, {
      onNone: () => `the lock is free; ${waiting} wait`,
      onSome: ({ holders, state }) => {
        const holder = holders[0]
        return holder === undefined
          ? `the lock is ${state}; ${waiting} wait`
          : `the lock is ${state} by pid ${holder.pid} (${holder.label ?? "no label"}) for ${
            DateTime.distance(holder.acquiredAt, now)
          } ms; ${waiting} wait`
      }
    })
  })

const part = (directory: string, workers: ReadonlyArray<Worker>, locked: boolean) =>
  Effect.scoped(Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const file = `${directory}/${locked ? "with" : "without"}-lock.json`
    yield* fs.writeFileString(file, "[]")
    const model = yield* SubscriptionRef.make(DemoModel.begin(workers, tasksEach))
    for (const worker of workers) {
      yield* Effect.forkScoped(
        Effect.forever(
          Effect.flatMap(
            worker.messages.take,
            (message) => SubscriptionRef.update(model, DemoModel.update(worker.name, message))
          )
        )
      )
    }
    const takeover = yield* Effect.scoped(Effect.gen(function*() {
      yield* view.follow(model, locked ? describeLock(file, model) : Effect.succeed("no lock is used"))
      for (const worker of workers) yield* worker.send({ _tag: "work", file, tasks: tasksEach, locked })
      const measured = locked ? Option.some(yield* killHolder(file, workers, model)) : Option.none()
      yield* Stream.runHead(Stream.filter(model.changes, DemoModel.isOver))
      return measured
    }))
    const current = yield* model
    for (const failure of current.failures) yield* view.say(`  ${failure}`)
    const tasks = yield* Schema.decode(Messages.Tasks)(yield* fs.readFileString(file))
    const outcome: Outcome = { acknowledged: DemoModel.acknowledged(current), lost: DemoModel.missing(current, tasks) }
    yield* view.say(`  ${outcome.acknowledged} updates, ${tasks.length} of them in the file: ${outcome.lost} lost`)
    return { ...outcome, takeover, failed: current.failures.length }
  }))

const program = Effect.scoped(Effect.gen(function*() {
  const begun = yield* Clock.currentTimeMillis
  const directory = yield* TemporaryDirectory.make("demo")
  const workers = yield* start(directory)
  yield* view.say(
    `${names.length} processes, ${tasksEach} tasks each, one JSON file: read it, add a task, write it back.`
  )
  yield* view.say("\nWithout the lock")
  const without = yield* part(directory, workers, false)
  yield* view.say(`\nWith the lock, and ${victimName} will be killed while it holds it`)
  const guarded = yield* part(directory, workers, true)
  const takeover = Option.match(guarded.takeover, {
    onNone: () => "",
    onSome: (millis) => `; a killed holder was replaced after ${Statistics.formatMillis(millis)}`
  })
  const seconds = ((yield* Clock.currentTimeMillis) - begun) / 1000
  const verdict = guarded.lost === 0 && guarded.failed === 0 ? "0 lost" : "VIOLATED"
  yield* view.say(
    `\nVerdict: ${verdict}. Without the lock: ${without.lost} of ${without.acknowledged} updates lost; with the lock: ` +
      `${guarded.lost} of ${guarded.acknowledged} lost${takeover} (${seconds.toFixed(1)} s)`
  )
  if (verdict !== "0 lost") {
    yield* Effect.sync(() => {
      process.exitCode = 1
    })
  }
}))

program.pipe(
  // A demonstration that takes longer hangs.
  Effect.timeout("60 seconds"),
  Effect.provide(Layer.merge(NodeFileLock.layer, NodeContext.layer)),
  NodeRuntime.runMain
)
