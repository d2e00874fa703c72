/**
 * A process that holds, or waits for, many locks of this package.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Scope from "effect/Scope"
import * as Fs from "node:fs"
import * as V8 from "node:v8"
import * as Vm from "node:vm"
import * as FileLock from "../src/FileLock.js"
import * as NodeFileLock from "../src/NodeFileLock.js"
import * as Ipc from "../test/torture/Ipc.js"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Statistics from "../test/torture/Statistics.js"
import * as Messages from "./locksMessages.js"
import * as Workload from "./workload.js"

type CommandOf<Tag extends Messages.Command["_tag"]> = Extract<Messages.Command, { readonly _tag: Tag }>

const settings = Ipc.argument(Messages.Settings)
const send = Ipc.send(Messages.Message)

/** Built by the first command that needs it, and kept: a process that runs jobs has no layer beside those of the jobs. */
const runtime = ManagedRuntime.make(
  settings.lease === undefined ? NodeFileLock.layer : NodeFileLock.layerWith({ lease: settings.lease })
)

// Set here and not on the command line, so that each process starts in the same way.
V8.setFlagsFromString("--expose-gc")
const collectGarbage: () => void = Vm.runInNewContext("gc")

const memory = Effect.sync(() => {
  collectGarbage()
  collectGarbage()
  const { heapUsed, rss } = process.memoryUsage()
  return { heap: heapUsed, rss }
})

/** Percent of a core during a sleep. */
const shareDuring = (millis: number) =>
  Effect.gen(function*() {
    const cpu = process.cpuUsage()
    const from = Monotonic.millis()
    yield* Effect.sleep(millis)
    return Workload.cpuSince(cpu) / 1_000 / (Monotonic.millis() - from) * 100
  })

const pathsOf = (directory: string, count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, index) => `${directory}/${index}`)

const acquireAll = (paths: ReadonlyArray<string>, scope: Scope.Scope) =>
  Effect.forEach(paths, (path) => Scope.extend(FileLock.acquire(path, { timeout: "infinity" }), scope))

/** Compiles the code and creates what the first lock creates once: neither belongs to the cost of one more lock. */
const warmUp = (directory: string) =>
  Effect.gen(function*() {
    const path = `${directory}/warm`
    yield* Effect.replicateEffect(FileLock.withLock(Effect.void, path), 1_000, { discard: true })
    yield* Effect.scoped(
      Effect.forEach(pathsOf(directory, 100), (path) => FileLock.acquire(path), { discard: true })
    )
    const fibers = Effect.replicateEffect(FileLock.withLock(Effect.void, path), 100, {
      concurrency: "unbounded",
      discard: true
    })
    yield* Effect.replicateEffect(fibers, 20, { discard: true })
  })

/** Creates and removes as many files without a lock; milliseconds. A new file takes longer on some parts of a disk than on others. */
const bareFiles = (paths: ReadonlyArray<string>) =>
  Effect.sync(() => {
    const from = Monotonic.millis()
    for (const path of paths) Fs.writeFileSync(`${path}.bare`, "a record", { flag: "wx" })
    const created = Monotonic.millis()
    for (const path of paths) Fs.unlinkSync(`${path}.bare`)
    return { create: created - from, remove: Monotonic.millis() - created }
  })

const cycle = ({ count, directory, times }: CommandOf<"cycle">) =>
  Effect.gen(function*() {
    const paths = pathsOf(directory, count)
    yield* warmUp(directory)
    const acquires: Array<number> = []
    const releases: Array<number> = []
    const creates: Array<number> = []
    const removes: Array<number> = []
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
      const bare = yield* bareFiles(paths)
      creates.push(bare.create)
      removes.push(bare.remove)
    }
    const each = (times: ReadonlyArray<number>): number => Statistics.median(times) * 1_000 / count
    yield* send({
      _tag: "cycled",
      acquire: each(acquires),
      release: each(releases),
      create: each(creates),
      remove: each(removes),
      heap: (holding.heap - before.heap) / count,
      rss: (holding.rss - before.rss) / count
    })
  })

/** Holds locks through a heartbeat, with a short lease: the first heartbeat compiles code, too. */
const warmUpHeartbeats = (directory: string) =>
  Effect.forEach(pathsOf(directory, 100), (path) => FileLock.acquire(path), { discard: true }).pipe(
    Effect.zipRight(Effect.sleep(2_000)),
    Effect.scoped,
    Effect.provide(NodeFileLock.layerWith({ lease: 3_000 }))
  )

const keep = ({ count, directory, millis }: CommandOf<"keep">) =>
  Effect.gen(function*() {
    yield* warmUp(directory)
    yield* warmUpHeartbeats(directory)
    const before = yield* memory
    const scope = yield* Scope.make()
    const from = Monotonic.millis()
    const handles = yield* acquireAll(pathsOf(directory, count), scope)
    const acquired = Monotonic.millis()
    yield* send({ _tag: "holding" })
    const share = yield* shareDuring(millis)
    const holding = yield* memory
    const verified = yield* Effect.forEach(handles, ({ verify }) => Effect.exit(verify))
    const released = Monotonic.millis()
    yield* Scope.close(scope, Exit.void)
    yield* send({
      _tag: "kept",
      share,
      heap: (holding.heap - before.heap) / count,
      lost: verified.filter(Exit.isFailure).length,
      acquire: acquired - from,
      release: Monotonic.millis() - released
    })
  })

const wait = ({ directory, fibers, paths, settle, watch }: CommandOf<"wait">) =>
  Effect.gen(function*() {
    const all = pathsOf(directory, paths)
    const before = yield* memory
    let first = Infinity
    let last = 0
    const body = Effect.sync(() => {
      last = Monotonic.millis()
      first = Math.min(first, last)
    })
    const waiters = yield* Effect.forEach(
      Array.from({ length: fibers }, (_, index) => all[index % paths] ?? directory),
      (path) => FileLock.withLock(body, path, { timeout: "infinity" }),
      { concurrency: "unbounded", discard: true }
    ).pipe(Effect.fork)
    yield* Effect.sleep(settle)
    const share = yield* shareDuring(watch)
    const waiting = yield* memory
    yield* send({
      _tag: "waiting",
      heap: (waiting.heap - before.heap) / fibers,
      rss: (waiting.rss - before.rss) / fibers,
      share
    })
    yield* Fiber.join(waiters)
    yield* send({ _tag: "acquired", first, last })
  })

const layers: Readonly<Record<Messages.LayerName, Layer.Layer<FileLock.FileLock>>> = {
  "NodeFileLock.layer": NodeFileLock.layer,
  "FileLock.layer, NodeContext": Layer.provide(FileLock.layer, NodeContext.layer)
}

const runJobs = ({ directory, each, jobs, layer, paths, times }: CommandOf<"jobs">) =>
  Effect.gen(function*() {
    const all = pathsOf(directory, paths)
    const provide = Effect.provide(layers[layer])
    // Yields, so that the jobs overlap.
    const job = (path: string) =>
      Effect.replicateEffect(FileLock.withLock(Effect.yieldNow(), path, { timeout: "infinity" }), times, {
        discard: true
      })
    const run = <E, R>(job: (path: string) => Effect.Effect<void, E, R>) =>
      Effect.forEach(
        Array.from({ length: jobs }, (_, index) => all[index % paths] ?? directory),
        job,
        { concurrency: "unbounded", discard: true }
      )
    const from = Monotonic.millis()
    yield* (each ? run((path) => provide(job(path))) : provide(run(job)))
    yield* send({ _tag: "done", millis: Monotonic.millis() - from })
  })

const program = Effect.gen(function*() {
  const commands = yield* Ipc.commands(Messages.Command)
  let release = yield* Deferred.make<void>()

  const hold = ({ count, directory }: CommandOf<"hold">) =>
    Effect.gen(function*() {
      release = yield* Deferred.make<void>()
      const scope = yield* Scope.make()
      yield* acquireAll(pathsOf(directory, count), scope)
      yield* send({ _tag: "holding" })
      yield* Deferred.await(release)
      const at = Monotonic.millis()
      yield* Scope.close(scope, Exit.void)
      yield* send({ _tag: "released", at })
    })

  const handle = (command: Messages.Command) => {
    switch (command._tag) {
      case "cycle":
        return Effect.provide(cycle(command), runtime)
      case "hold":
        return Effect.provide(hold(command), runtime)
      case "release":
        return Effect.asVoid(Deferred.succeed(release, undefined))
      case "keep":
        return Effect.provide(keep(command), runtime)
      case "wait":
        return Effect.provide(wait(command), runtime)
      case "jobs":
        return runJobs(command)
    }
  }

  yield* send({ _tag: "ready" })
  yield* commands.take.pipe(
    Effect.flatMap((command) =>
      Effect.fork(
        Effect.catchAllCause(handle(command), (cause) =>
          send({ _tag: "failed", failure: Cause.pretty(cause, { renderErrorCause: true }) }))
      )
    ),
    Effect.forever
  )
})

NodeRuntime.runMain(program)
