/**
 * One of the processes that transform a file: it checks the content and replaces it, again and again.
 */
import * as FileSystem from "@effect/platform/FileSystem"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as FileLock from "../../src/FileLock.js"
import * as LockedFile from "../../src/LockedFile.js"
import * as NodeFileLock from "../../src/NodeFileLock.js"
import * as Ipc from "./Ipc.js"
import * as Platform from "./Platform.js"
import * as Messages from "./transformMessages.js"
import * as Words from "./Words.js"

const settings = Ipc.argument(Messages.Settings)
const random = Random.make(`${settings.seed}/${settings.incarnation}`)
const send = Ipc.send(Messages.Message)

const problems: Array<string> = []

const check = (content: Uint8Array): void => {
  const problem = Words.problemOf(content)
  if (problem !== undefined) problems.push(problem)
}

const once = Effect.gen(function*() {
  yield* Effect.sleep((yield* random.next) / 10)
  const next = yield* Words.random(random)
  if (!settings.locked) {
    const fs = yield* FileSystem.FileSystem
    check(yield* fs.readFile(settings.path))
    return yield* fs.writeFile(settings.path, next)
  }
  const kind = yield* random.nextIntBetween(0, 4)
  const options = { fsync: yield* random.nextBoolean, timeout: "infinity" } as const
  if (kind === 0) check(yield* LockedFile.read(settings.path, options))
  yield* LockedFile.update(settings.path, (current) => {
    check(Option.getOrThrow(current))
    return kind === 1 ? Effect.delay(Effect.succeed(next), "1 millis") : next
  }, options)
})

const program = Effect.gen(function*() {
  const commands = yield* Ipc.commands(Messages.Command)
  yield* send({ _tag: "ready" })
  yield* Queue.take(commands)
  yield* Effect.replicateEffect(once, settings.runs, { concurrency: settings.fibers, discard: true })
  yield* send({ _tag: "done", runs: settings.runs, problems })
})

const locks = settings.platform ? Layer.provide(FileLock.layer, Platform.layer) : NodeFileLock.layer

void Effect.runPromise(Effect.provide(program, Layer.merge(locks, Platform.layer))).then(() => process.disconnect())
