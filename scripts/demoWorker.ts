/**
 * A worker of the demonstration: adds tasks to a JSON file by reading it, changing it and writing it back.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as FileSystem from "@effect/platform/FileSystem"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as LockedFile from "../src/LockedFile.js"
import * as NodeFileLock from "../src/NodeFileLock.js"
import * as Ipc from "../test/torture/Ipc.js"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Platform from "../test/torture/Platform.js"
import * as Messages from "./demoMessages.js"

const { name } = Ipc.argument(Messages.Settings)
const sendLazy = Ipc.sendLazy(Messages.Message)

let lingers = false

/** `message` is given the time at which it is sent. */
const send = (message: (at: number) => Messages.Message): Effect.Effect<void> =>
  sendLazy(() => message(Monotonic.millis()))

const Tasks = LockedFile.json(Messages.Tasks)
const TasksText = Schema.parseJson(Messages.Tasks)

/** What takes some time between reading and writing. */
const withTask = (tasks: typeof Messages.Tasks.Type, number: number) =>
  Effect.gen(function*() {
    // Asked once: the command may come after the message.
    const stays = lingers
    yield* send((at) => ({ _tag: "inside", at, lingers: stays }))
    yield* stays ? Effect.never : Effect.sleep("10 millis")
    return [...tasks, { worker: name, number }]
  }).pipe(Effect.ensuring(send((at) => ({ _tag: "left", at }))))

const addTask = (file: string, number: number) =>
  Tasks.update(file, (tasks) => withTask(Option.getOrElse(tasks, () => []), number), { label: name })

/** Another process may write between the read and the write. */
const addTaskWithoutLock = (file: string, number: number) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const tasks = yield* Schema.decode(TasksText)(yield* fs.readFileString(file))
    const content = yield* Schema.encode(TasksText)(yield* withTask(tasks, number))
    // Written beside it and renamed, so that no process reads half a file: an update is lost to a race only.
    yield* fs.writeFileString(`${file}.${name}`, content)
    yield* fs.rename(`${file}.${name}`, file)
  })

const program = Effect.gen(function*() {
  const commands = yield* Ipc.commands(Messages.Command)

  const work = (file: string, tasks: number, locked: boolean) =>
    Effect.gen(function*() {
      for (let number = 1; number <= tasks; number++) {
        yield* send((at) => ({ _tag: "waiting", at }))
        yield* locked ? addTask(file, number) : addTaskWithoutLock(file, number)
        // A task counts as added once it is in the file.
        yield* send((at) => ({ _tag: "added", at, number }))
      }
      yield* send((at) => ({ _tag: "finished", at }))
    }).pipe(
      Effect.catchAllCause((cause) =>
        send((at) => ({ _tag: "failed", at, failure: Cause.pretty(cause, { renderErrorCause: true }) }))
      )
    )

  yield* send((at) => ({ _tag: "ready", at }))
  yield* Effect.fork(Effect.repeat(send((at) => ({ _tag: "alive", at })), Schedule.spaced("20 millis")))
  yield* commands.take.pipe(
    Effect.flatMap((command) =>
      command._tag === "work"
        ? Effect.asVoid(Effect.fork(work(command.file, command.tasks, command.locked)))
        : Effect.sync(() => {
          lingers = true
        })
    ),
    Effect.forever
  )
})

program.pipe(
  Effect.provide(Layer.merge(NodeFileLock.layer, Platform.layer)),
  NodeRuntime.runMain
)
