/**
 * What the fibers of a simulated process do with the lock.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as FileLock from "../../src/FileLock.js"
import * as Locks from "../../src/internal/lock/fileLock.js"
import { cleanupTimeout } from "../../src/internal/lock/waitQueue.js"
import type { LockAcquisitionError, LockDirectoryError, LockLostError } from "../../src/LockError.js"
import * as Plan from "./Plan.js"
import * as Processes from "./SimulatedProcess.js"
import type { SimulatedProcess } from "./SimulatedProcess.js"
import { lockPath, valuePath, type World } from "./World.js"

type Service = Context.Tag.Service<FileLock.FileLock>

type Failure = LockAcquisitionError | LockDirectoryError | LockLostError

/** One fiber of one process. */
interface Caller {
  readonly world: World
  readonly process: SimulatedProcess
  readonly label: string
  readonly fs: FileSystem.FileSystem
}

const step = ({ process, world }: Caller, name: string) =>
  Processes.park(world.kernel, process, { method: "section", syscall: name, path: lockPath })

/** Milliseconds inside, most often none. */
const work = ({ world }: Caller): Effect.Effect<void> => {
  const { random, plan } = world
  const most = plan.faults.has("longHolds") && random.chance(0.3) ? plan.lease * 1.5 : 5
  return random.chance(0.6) ? Effect.void : Effect.sleep(Duration.millis(random.real(Math.min(most, 12_000))))
}

const shared = { mode: "shared" } as const

/** Runs a section that is told by which token it shares the lock. */
export const withSharedLock = (
  locks: Service,
  section: (token: string) => Effect.Effect<void, Failure>,
  options: Omit<FileLock.LockOptions, "mode">
): Effect.Effect<void, Failure> => {
  const internals = Locks.internalsOf(locks)
  return internals === undefined
    ? Effect.dieMessage("a service that was not made here")
    : internals.withHeld(({ grant }) => section(grant.holder.token), valuePath, { ...options, ...shared })
}

/** A critical section: reads the register and writes something new. */
const section = (
  caller: Caller,
  inTheMiddle: Effect.Effect<void, LockLostError>,
  labor = work(caller)
): Effect.Effect<void, LockLostError> =>
  Effect.zipRight(
    step(caller, "enter"),
    Effect.suspend(() => {
      const { fs, label, process, world } = caller
      const entered = world.watcher.enter(process, label)
      world.waiting.delete(label)
      const entry = world.section(entered)
      return Effect.gen(function*() {
        entry.read = yield* Effect.orDie(fs.readFileString(valuePath))
        yield* labor
        yield* inTheMiddle
        const value = world.newValue()
        entry.wrote = value
        yield* Effect.orDie(fs.writeFileString(valuePath, value, { flag: "r+" }))
        world.note(() => `${label} reads ${entry.read}, writes ${value}`)
        entry.responded = world.kernel.steps
      }).pipe(Effect.ensuring(Effect.sync(() => world.watcher.leave(entered))))
    })
  )

/** A critical section of a reader: reads the register at its beginning and at its end. */
const reading = (
  caller: Caller,
  token: string,
  inTheMiddle: Effect.Effect<void, LockLostError> = Effect.void
): Effect.Effect<void, LockLostError> =>
  Effect.zipRight(
    step(caller, "enter"),
    Effect.suspend(() => {
      const { fs, label, process, world } = caller
      const entered = world.watcher.enter(process, label, token)
      world.waiting.delete(label)
      const entry = world.section(entered)
      return Effect.gen(function*() {
        const first = yield* Effect.orDie(fs.readFileString(valuePath))
        yield* work(caller)
        yield* inTheMiddle
        const last = yield* Effect.orDie(fs.readFileString(valuePath))
        // Nothing explains a reader that has read two values.
        entry.read = first === last ? first : `${first}, then ${last}`
        world.note(() => `${label} reads ${entry.read}`)
        entry.responded = world.kernel.steps
      }).pipe(Effect.ensuring(Effect.sync(() => world.watcher.leave(entered))))
    })
  )

/** A lock that a fiber shares is shared by what it starts, whoever waits for it. */
const nestedReaders = (
  caller: Caller,
  locks: Service,
  options: Omit<FileLock.LockOptions, "mode">
): Effect.Effect<void, Failure> => {
  const again = (token: string): Effect.Effect<void, Failure> => {
    const inner = withSharedLock(locks, (inner) => {
      if (inner !== token) caller.world.watcher.fail("not shared", `${caller.label} has two files within one section`)
      return reading(caller, inner)
    }, options)
    return Effect.all([inner, inner], { concurrency: "unbounded", discard: true })
  }
  return withSharedLock(locks, (token) => Effect.zipRight(reading(caller, token), again(token)), options)
}

/** Fibers that re-enter side by side exclude one another. */
const reentered = (caller: Caller, locks: Service, mode: "shared" | "exclusive"): Effect.Effect<void, Failure> => {
  let within = 0
  const inner = locks.withLock(
    Effect.gen(function*() {
      within += 1
      if (within > 1) caller.world.watcher.fail("two inside", `${caller.label} re-entered beside itself`)
      yield* step(caller, "re-enter")
    }).pipe(Effect.ensuring(Effect.sync(() => {
      within -= 1
    }))),
    valuePath,
    { timeout: "infinity", mode }
  )
  return Effect.all([inner, inner], { concurrency: "unbounded", discard: true })
}

const entering = (caller: Caller, locks: Service): Effect.Effect<void, Failure> => {
  const { random } = caller.world
  // A lock is handed off only to a waiter with the same label.
  const label = caller.world.plan.handoff === 0 ? caller.label : undefined
  const options = { timeout: "infinity", label } as const
  const limited = { timeout: random.real(3_000), label }
  const { faults, readers } = caller.world.plan
  const reads = faults.has("readers") && random.chance(readers)
  const plain = section(caller, Effect.void)
  const plainly = (options: Omit<FileLock.LockOptions, "mode">): Effect.Effect<void, Failure> =>
    reads
      ? withSharedLock(locks, (token) => reading(caller, token), options)
      : locks.withLock(plain, valuePath, options)
  const way = random.weighted(
    [
      [5, "withLock"],
      [2, "acquire"],
      [1, "ifAvailable"],
      [1, "limited"],
      [1, "nested"],
      [faults.has("impatience") ? 5 : 0, "interrupted"]
    ] as const
  )
  caller.world.note(() => `${caller.label} calls for the lock (${way}${reads ? ", shared" : ""})`)
  if (way !== "ifAvailable" && way !== "limited" && way !== "interrupted") {
    caller.world.waiting.set(caller.label, caller.world.kernel.now)
  }
  switch (way) {
    case "withLock":
      return plainly(options)
    case "acquire":
      return Effect.scoped(
        Effect.flatMap(
          locks.acquire(valuePath, reads ? { ...options, ...shared } : options),
          (lock) =>
            Effect.raceFirst(
              reads ? reading(caller, lock.holder.token, lock.verify) : section(caller, lock.verify),
              lock.lost
            )
        )
      )
    case "ifAvailable":
      return reads
        ? Effect.scoped(Effect.flatMap(
          locks.acquireIfAvailable(valuePath, shared),
          Option.match({
            onNone: () => Effect.void,
            onSome: (lock) => Effect.raceFirst(reading(caller, lock.holder.token), lock.lost)
          })
        ))
        : locks.withLockIfAvailable(plain, valuePath)
    case "limited":
      return inTime(caller, limited.timeout, plainly(limited))
    case "nested":
      return reads
        ? nestedReaders(caller, locks, options)
        : locks.withLock(
          Effect.zipRight(
            plain,
            reentered(caller, locks, faults.has("readers") && random.chance(0.5) ? "shared" : "exclusive")
          ),
          valuePath,
          options
        )
    case "interrupted":
      return Effect.gen(function*() {
        const fiber = yield* Effect.fork(
          Effect.ensuring(
            plainly(options),
            Effect.sync(() => caller.process.calls.delete(caller.label))
          )
        )
        yield* Effect.sleep(Duration.millis(random.chance(0.5) ? random.real(20) : random.real(3_000)))
        yield* inTime(caller, 0, Effect.asVoid(Fiber.interrupt(fiber)))
      })
  }
}

/** What the library may take beyond a deadline, in milliseconds: the clean-up timeout for a step under way, and a little. */
const allowance = cleanupTimeout + 200

/** A caller that has a deadline, or was interrupted, comes back in time unless its process paused or its storage was slow. */
const inTime = <E>(caller: Caller, millis: number, wait: Effect.Effect<unknown, E>): Effect.Effect<void, E> =>
  Effect.suspend(() => {
    const { label, process, world } = caller
    const since = world.kernel.now
    const check = Effect.sync(() => {
      const took = (world.kernel.now - since) / 1e6
      const inside = world.history.some(({ invoked, name }) => name === label && invoked > stepsBefore)
      if (process.alive && !inside && process.lastPauseEnd < since && took > (millis + allowance) * 1.05) {
        world.watcher.fail(
          "late",
          `${label} waited for ${Math.round(took)} ms, and wanted to for ${Math.round(millis)} ms`
        )
      }
    })
    const stepsBefore = world.kernel.steps
    return Effect.asVoid(Effect.ensuring(wait, check))
  })

/** Checks that a failure is one that this world can explain. */
const settle = (caller: Caller, error: Failure): void => {
  const { label, process, world } = caller
  const { plan, watcher } = world
  if (!process.alive) {
    return
  }
  world.note(() => `${label} is told: ${error.message}`)
  const hasFileFaults = Plan.hasFileFaults(plan)
  switch (error._tag) {
    case "LockDirectoryError":
      return hasFileFaults ? undefined : watcher.fail("failure", `${label}: ${error.message}`)
    case "LockAcquisitionError": {
      // Without hard links a lock file is foreign until it is written.
      const mayBeForeign = plan.faults.has("foreign") || plan.faults.has("noLinks")
      const explained = hasFileFaults || error.reason === "Timeout" || (error.reason === "Foreign" && mayBeForeign)
      return explained ? undefined : watcher.fail("failure", `${label}: ${error.message}`)
    }
    case "LockLostError": {
      const strayed = process.strayedUntil > world.kernel.now
      // After a pause, or when the clock was set, a heartbeat needs the claim, which a dead process may have left; a holder that cannot be
      // sure in time gives up, although no process may have acted.
      const gaveUp = error.reason === "LeaseExpired" && (process.lastPauseEnd > 0 || plan.faults.has("clockSet"))
      // Another fiber of the process breaks the lock of a live one: if that releases just then, its successor's is broken.
      const broken = [...watcher.breaking].some((who) => who.startsWith(`${process.name}.`))
      return hasFileFaults || strayed || gaveUp || broken
        ? undefined
        : watcher.fail("lost", `${label}: ${error.message}`)
    }
  }
}

const round = (caller: Caller, locks: Service): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { label, process, world } = caller
    yield* Effect.sleep(Duration.millis(world.random.chance(0.5) ? 0 : world.random.real(20)))
    process.calls.set(label, { who: label, calledAt: world.kernel.steps, steps: 0, lastStep: 0 })
    yield* Effect.catchAll(entering(caller, locks), (error) => Effect.sync(() => settle(caller, error)))
    process.calls.delete(label)
    world.waiting.delete(label)
    if (world.random.chance(0.15)) yield* tidy(caller, locks)
  })

/** A person inspects the lock, and breaks what is abandoned; a vandal breaks the rest as well. */
const tidy = (caller: Caller, locks: Service): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { label, world } = caller
    const status = Option.getOrUndefined(yield* locks.inspect(valuePath))
    const holder = status?.holders[0]
    world.note(() => `${label} inspects: ${status?.state ?? "free"}`)
    const vandal = world.plan.faults.has("vandal") && !world.quiet && world.random.chance(0.5)
    if (holder === undefined || (status?.state !== "abandoned" && !vandal)) return
    if (status?.state !== "abandoned") world.watcher.permitted.add(holder.token)
    if (status?.state !== "abandoned") world.watcher.breaking.add(label)
    yield* Effect.ensuring(
      locks.breakLock(valuePath, holder),
      Effect.sync(() => world.watcher.breaking.delete(label))
    )
  }).pipe(Effect.catchAll((error) =>
    // A process in the way, or this one, may pause for longer than the breaking of a lock waits, or has to be silent for a lease first.
    Effect.sync(() =>
      Plan.needsLease(caller.world.plan) || caller.world.watcher.processes.some(({ lastPauseEnd }) => lastPauseEnd > 0)
        ? undefined
        : settle(caller, error)
    )
  ))

/** The program of one process. */
export const make =
  (world: World, process: SimulatedProcess, options: { readonly fibers: number; readonly rounds: number }) =>
  (fs: FileSystem.FileSystem): Effect.Effect<void, never, FileLock.FileLock | Scope.Scope> =>
    Effect.flatMap(FileLock.FileLock, (locks) =>
      Effect.forEach(
        Array.from({ length: options.fibers }, (_, index) => `${process.name}.${index}`),
        (label) =>
          Effect.locally(
            Effect.repeatN(Effect.suspend(() => round({ world, process, label, fs }, locks)), options.rounds - 1),
            Processes.who,
            label
          ),
        { concurrency: "unbounded", discard: true }
      ))

/** The last process of a world: acquires once more, and stays until what dead processes have left must be gone. */
export const last =
  (world: World, process: SimulatedProcess, stay: number) =>
  (fs: FileSystem.FileSystem): Effect.Effect<void, never, FileLock.FileLock | Scope.Scope> =>
    Effect.gen(function*() {
      const locks = yield* FileLock.FileLock
      const caller = { world, process, label: `${process.name}.0`, fs }
      world.waiting.set(caller.label, world.kernel.now)
      yield* locks.withLock(section(caller, Effect.void, Effect.void), valuePath, { timeout: "infinity" }).pipe(
        Effect.catchAll((error) => Effect.sync(() => settle(caller, error))),
        Effect.locally(Processes.who, caller.label)
      )
      const until = (yield* Clock.currentTimeMillis) + stay
      yield* Effect.sleep(Duration.millis(Math.max(0, until - (yield* Clock.currentTimeMillis))))
    })
