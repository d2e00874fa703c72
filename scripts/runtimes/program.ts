/**
 * What each runtime has to do for `check-runtimes.ts`, which makes an ES module and a CommonJS module of this file and puts both beside an
 * installed package. `check` prints a line of JSON for each check. The other commands are those of the processes that it starts.
 */
import * as Path from "@effect/platform/Path"
import { FileLock, LockedFile, MemoryFileSystem, NodeFileLock, ProcessIdentity } from "effect-filelock"
import * as FlockBackend from "effect-filelock/FlockBackend"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as NodePath from "node:path"

const engines = {
  lockFiles: NodeFileLock.layer,
  flock: Layer.provide(FileLock.layerBackend(), FlockBackend.layer)
}

const engineOf = (name: string | undefined) => name === "flock" ? engines.flock : engines.lockFiles

/** Reads and writes in two steps, with a pause between them: two processes that are inside at once lose an update. */
const addOne = (file: string) =>
  Effect.gen(function*() {
    const count = Fs.existsSync(file) ? Number(Fs.readFileSync(file, "utf8")) : 0
    yield* Effect.sleep("1 millis")
    Fs.writeFileSync(file, String(count + 1))
  })

const plusOne = (text: Option.Option<string>): string => String(Number(Option.getOrElse(text, () => "0")) + 1)

const fail = (message: string) => Effect.dieMessage(message)

// ---------------------------------------------------------------------------------------------
// the processes that a check starts
// ---------------------------------------------------------------------------------------------

const start = (...args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = ChildProcess.spawn(process.execPath, [process.argv[1] ?? "", ...args], {
        stdio: ["pipe", "pipe", "inherit"]
      })
      const ended = new Promise<number | null>((resolve) => child.on("close", resolve))
      const held = new Promise<void>((resolve) => child.stdout.once("data", () => resolve()))
      return { child, ended, held }
    }),
    ({ child }) => Effect.sync(() => child.kill("SIGKILL"))
  )

/** Starts a process, and waits until it has the lock. */
const startHolder = (file: string, engine: string) =>
  Effect.gen(function*() {
    const holder = yield* start("hold", file, engine)
    yield* Effect.promise(() => Promise.race([holder.held, holder.ended]))
    return holder
  })

/** Runs some processes of one kind side by side, and fails unless each of them ends well. */
const runProcesses = (processes: number, ...args: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const started = yield* Effect.replicateEffect(start(...args), processes)
    const codes = yield* Effect.promise(() => Promise.all(started.map(({ ended }) => ended)))
    if (codes.some((code) => code !== 0)) return yield* fail(`the processes ended with ${codes.join(", ")}`)
  })

const expectCount = (file: string, expected: number) =>
  Effect.gen(function*() {
    const count = Fs.readFileSync(file, "utf8")
    if (count !== String(expected)) return yield* fail(`${count} of ${expected} updates are there`)
  })

const expectNothingLeft = (file: string) =>
  Effect.gen(function*() {
    const name = NodePath.basename(file)
    const left = Fs.readdirSync(NodePath.dirname(file)).filter((other) => other !== name && other.startsWith(name))
    if (left.length > 0) return yield* fail(`${left.join(", ")} is left`)
  })

// ---------------------------------------------------------------------------------------------
// the checks
// ---------------------------------------------------------------------------------------------

const counter = (file: string, engine: string) =>
  Effect.gen(function*() {
    yield* runProcesses(8, "count", file, engine, "20")
    yield* expectCount(file, 160)
    if (engine !== "flock") yield* expectNothingLeft(file)
    return "160 of 160"
  })

/** The time is much shorter than the lease, 30 seconds: the death of the holder was noticed. */
const takeover = (file: string, engine: string) =>
  Effect.gen(function*() {
    const holder = yield* startHolder(file, engine)
    const waiter = yield* FileLock.withLock(Effect.sync(() => performance.now()), file, { timeout: "20 seconds" }).pipe(
      Effect.fork
    )
    yield* Effect.sleep("300 millis")
    const killed = performance.now()
    holder.child.kill("SIGKILL")
    const taken = yield* Fiber.join(waiter)
    if (taken < killed) return yield* fail("the lock was taken from a live holder")
    if (taken - killed > 10_000) return yield* fail(`taken over after ${Math.round(taken - killed)} ms`)
    return `${Math.ceil(taken - killed)} ms`
  }).pipe(Effect.provide(engineOf(engine)))

const timeout = (file: string) =>
  Effect.gen(function*() {
    const holder = yield* startHolder(file, "lockFiles")
    const error = yield* FileLock.withLock(Effect.void, file, { timeout: "300 millis" }).pipe(Effect.flip)
    if (error._tag !== "LockAcquisitionError" || error.reason !== "Timeout") {
      return yield* fail(`failed with ${error.message}`)
    }
    if (error.holder?.pid !== holder.child.pid) return yield* fail("the error does not name the holder")
    return error.reason
  }).pipe(Effect.provide(NodeFileLock.layer))

const lockedFile = (file: string) =>
  Effect.gen(function*() {
    yield* runProcesses(4, "update", file, "lockFiles", "10")
    yield* expectCount(file, 40)
    yield* expectNothingLeft(file)
    return "40 of 40"
  })

/** Two simulated processes over one file system in memory, of which one is killed while it has the lock. */
const memory = () =>
  Effect.gen(function*() {
    const machine = yield* ProcessIdentity.makeMachine()
    const locksOf = (identity: ProcessIdentity.ProcessIdentity) =>
      Layer.provide(FileLock.layer, Layer.succeed(ProcessIdentity.ProcessIdentity, identity))
    const [first, second] = yield* Effect.all([machine.spawn(), machine.spawn()])
    yield* FileLock.acquire("/tmp/count").pipe(
      Scope.extend(yield* Scope.make()),
      Effect.provide(locksOf(first))
    )
    yield* machine.kill(first)
    const updates = yield* Effect.replicateEffect(LockedFile.updateString("/tmp/count", plusOne), 10, {
      concurrency: "unbounded"
    }).pipe(Effect.provide(locksOf(second)))
    if (!updates.includes("10")) return yield* fail(`the updates made ${updates.join(", ")}`)
    return "10 of 10"
  }).pipe(Effect.provide(Layer.merge(MemoryFileSystem.layer, Path.layer)))

const check = (directory: string) =>
  Effect.gen(function*() {
    const file = (name: string): string => NodePath.join(directory, name)
    const checks: Readonly<Record<string, Effect.Effect<string, unknown, Scope.Scope>>> = {
      counter: counter(file("counter"), "lockFiles"),
      takeover: takeover(file("takeover"), "lockFiles"),
      timeout: timeout(file("timeout")),
      LockedFile: lockedFile(file("locked")),
      MemoryFileSystem: memory(),
      "flock counter": counter(file("flock-counter"), "flock"),
      "flock takeover": takeover(file("flock-takeover"), "flock")
    }
    for (const [name, run] of Object.entries(checks)) {
      const exit = yield* run.pipe(
        Effect.timeoutFail({ duration: "60 seconds", onTimeout: () => new Error("not done after 60 s") }),
        Effect.scoped,
        Effect.exit
      )
      const result = Exit.match(exit, {
        onSuccess: (says) => ({ check: name, passed: true, says }),
        onFailure: (cause) => ({ check: name, passed: false, says: Cause.pretty(cause) })
      })
      console.log(JSON.stringify(result))
    }
  })

// ---------------------------------------------------------------------------------------------
// commands
// ---------------------------------------------------------------------------------------------

const many = <E, R>(times: string | undefined, effect: Effect.Effect<unknown, E, R>) =>
  Effect.replicateEffect(effect, Number(times), { discard: true })

const commands = (
  file: string,
  engine: string | undefined,
  times: string | undefined
): Readonly<Record<string, Effect.Effect<void, unknown>>> => ({
  check: check(file),
  count: many(times, FileLock.withLock(addOne(file), file)).pipe(Effect.provide(engineOf(engine))),
  update: many(times, LockedFile.updateString(file, plusOne)).pipe(Effect.provide(engineOf(engine))),
  hold: Effect.sync(() => console.log("held")).pipe(
    Effect.zipRight(Effect.sleep(Duration.minutes(5))),
    FileLock.withLock(file),
    Effect.provide(engineOf(engine))
  )
})

const [, , command = "", path = "", engine, times] = process.argv
const chosen = commands(path, engine, times)[command] ?? fail(`no command ${command}`)

if (command !== "check") {
  // Nothing stays when the process that started this one is gone.
  process.stdin.on("end", () => process.exit(3)).resume()
}

Effect.runPromise(chosen).then(
  () => process.exit(0),
  (error) => {
    console.error(error)
    process.exit(1)
  }
)
