/**
 * One process that holds many locks, or waits for many.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as V8 from "node:v8"
import * as Vm from "node:vm"
import * as FileLock from "../src/FileLock.js"
import * as Ipc from "../test/torture/Ipc.js"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Platform from "../test/torture/Platform.js"
import * as Statistics from "../test/torture/Statistics.js"
import * as Messages from "./growthMessages.js"

const send = Ipc.send(Messages.Message)

// Asked for here and not on the command line, so that a process is started like any other.
V8.setFlagsFromString("--expose-gc")
const collectGarbage: () => void = Vm.runInNewContext("gc")

const memory = Effect.sync(() => {
  collectGarbage()
  collectGarbage()
  const { heapUsed, rss } = process.memoryUsage()
  return { heap: heapUsed, rss }
})

const pathsOf = (directory: string, count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, index) => `${directory}/${index}`)

const acquireAll = (paths: ReadonlyArray<string>, scope: Scope.Scope) =>
  Effect.forEach(paths, (path) => Scope.extend(FileLock.acquire(path, { timeout: "infinity" }), scope), {
    discard: true
  })

const locks = (directory: string, count: number, times: number) =>
  Effect.gen(function*() {
    const paths = pathsOf(directory, count)
    // A fixed number first, so that a single lock is not measured by a process that has yet to be compiled.
    yield* Effect.replicateEffect(FileLock.withLock(Effect.void, `${directory}/warm`), 1_000, { discard: true })
    const acquires: Array<number> = []
    const releases: Array<number> = []
    const before = yield* memory
    let holding = before
    for (let time = 0; time < times; time++) {
      const scope = yield* Scope.make()
      const from = Monotonic.millis()
      yield* acquireAll(paths, scope)
      acquires.push(Monotonic.millis() - from)
      if (time === 0) holding = yield* memory
      const held = Monotonic.millis()
      yield* Scope.close(scope, Exit.void)
      releases.push(Monotonic.millis() - held)
    }
    yield* send({
      _tag: "locked",
      acquire: Statistics.median(acquires) * 1_000 / count,
      release: Statistics.median(releases) * 1_000 / count,
      heap: (holding.heap - before.heap) / count,
      rss: (holding.rss - before.rss) / count
    })
  })

const wait = (directory: string, paths: number, fibers: number, settle: number, watch: number) =>
  Effect.gen(function*() {
    const all = pathsOf(directory, paths)
    yield* Effect.replicateEffect(FileLock.withLock(Effect.void, `${directory}/warm`), 200, { discard: true })
    const before = yield* memory
    const crowd = yield* Effect.forEach(
      Array.from({ length: fibers }, (_, index) => all[index % paths] ?? directory),
      (path) => FileLock.withLock(Effect.void, path, { timeout: "infinity" }),
      { concurrency: "unbounded", discard: true }
    ).pipe(Effect.fork)
    yield* Effect.sleep(settle)
    const cpu = process.cpuUsage()
    const from = Monotonic.millis()
    yield* Effect.sleep(watch)
    const { system, user } = process.cpuUsage(cpu)
    const share = (system + user) / 1_000 / (Monotonic.millis() - from)
    const waiting = yield* memory
    yield* send({
      _tag: "waiting",
      heap: (waiting.heap - before.heap) / fibers,
      rss: (waiting.rss - before.rss) / fibers,
      share
    })
    yield* Fiber.join(crowd)
    yield* send({ _tag: "served", at: Monotonic.millis() })
  })

const program = Effect.gen(function*() {
  const commands = yield* Ipc.commands(Messages.Command)
  const release = yield* Deferred.make<void>()

  const hold = (directory: string, count: number) =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* acquireAll(pathsOf(directory, count), scope)
      yield* send({ _tag: "holding" })
      yield* Deferred.await(release)
      const at = Monotonic.millis()
      yield* Scope.close(scope, Exit.void)
      yield* send({ _tag: "releasing", at })
    })

  const obey = (command: Messages.Command) => {
    switch (command._tag) {
      case "locks":
        return locks(command.directory, command.count, command.times)
      case "hold":
        return hold(command.directory, command.count)
      case "release":
        return Effect.asVoid(Deferred.succeed(release, undefined))
      case "wait":
        return wait(command.directory, command.paths, command.fibers, command.settle, command.watch)
    }
  }

  yield* send({ _tag: "ready" })
  yield* commands.take.pipe(
    Effect.flatMap((command) =>
      Effect.fork(
        Effect.catchAllCause(obey(command), (cause) =>
          send({ _tag: "failed", failure: Cause.pretty(cause, { renderErrorCause: true }) }))
      )
    ),
    Effect.forever
  )
})

program.pipe(
  Effect.provide(Layer.provide(FileLock.layer, Platform.layer)),
  NodeRuntime.runMain
)
