/**
 * What the fibers of a simulated process do with the lock.
 */
import type * as FileSystem from "@effect/platform/FileSystem"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as FileLock from "../../src/FileLock.js"
import type { LockAcquisitionError, LockDirectoryError, LockLostError } from "../../src/LockError.js"
import * as Plan from "./Plan.js"
import * as Players from "./Player.js"
import type { Player } from "./Player.js"
import { lockPath, valuePath, type World } from "./World.js"

type Failure = LockAcquisitionError | LockDirectoryError | LockLostError

/** One fiber of one process. */
interface Actor {
  readonly world: World
  readonly player: Player
  readonly label: string
  readonly fs: FileSystem.FileSystem
}

const step = ({ player, world }: Actor, name: string) =>
  Players.park(world.kernel, player, { method: "section", syscall: name, path: lockPath })

/** Milliseconds inside, most often none. */
const work = ({ world }: Actor): Effect.Effect<void> => {
  const { dice, plan } = world
  const most = plan.troubles.has("longHolds") && dice.chance(0.3) ? plan.lease * 1.5 : 5
  return dice.chance(0.6) ? Effect.void : Effect.sleep(Duration.millis(dice.real(Math.min(most, 12_000))))
}

/** A critical section: reads the register and writes something new. */
const section = (
  actor: Actor,
  inTheMiddle: Effect.Effect<void, LockLostError>,
  labor = work(actor)
): Effect.Effect<void, LockLostError> =>
  Effect.zipRight(
    step(actor, "enter"),
    Effect.suspend(() => {
      const { fs, label, player, world } = actor
      const entered = world.watcher.enter(player, label)
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

/** Fibers that re-enter side by side exclude one another. */
const reentered = (actor: Actor, locks: FileLock.FileLock): Effect.Effect<void, Failure> => {
  let within = 0
  const inner = locks.withLock(
    Effect.gen(function*() {
      within += 1
      if (within > 1) actor.world.watcher.fail("two inside", `${actor.label} re-entered beside itself`)
      yield* step(actor, "re-enter")
    }).pipe(Effect.ensuring(Effect.sync(() => {
      within -= 1
    }))),
    valuePath,
    { timeout: "infinity" }
  )
  return Effect.all([inner, inner], { concurrency: "unbounded", discard: true })
}

const entering = (actor: Actor, locks: FileLock.FileLock): Effect.Effect<void, Failure> => {
  const { dice } = actor.world
  // A lock is passed on only to whom its label suits.
  const label = actor.world.plan.handoff === 0 ? actor.label : undefined
  const options = { timeout: "infinity", label } as const
  const limited = { timeout: dice.real(3_000), label }
  const plain = section(actor, Effect.void)
  const way = dice.weighted(
    [
      [5, "withLock"],
      [2, "acquire"],
      [1, "ifAvailable"],
      [1, "limited"],
      [1, "nested"],
      [actor.world.plan.troubles.has("impatience") ? 5 : 0, "interrupted"]
    ] as const
  )
  actor.world.note(() => `${actor.label} calls for the lock (${way})`)
  if (way !== "ifAvailable" && way !== "limited" && way !== "interrupted") {
    actor.world.waiting.set(actor.label, actor.world.kernel.now)
  }
  switch (way) {
    case "withLock":
      return locks.withLock(plain, valuePath, options)
    case "acquire":
      return Effect.scoped(
        Effect.flatMap(
          locks.acquire(valuePath, options),
          (lock) => Effect.raceFirst(section(actor, lock.verify), lock.lost)
        )
      )
    case "ifAvailable":
      return locks.withLockIfAvailable(plain, valuePath)
    case "limited":
      return inTime(actor, limited.timeout, locks.withLock(plain, valuePath, limited))
    case "nested":
      return locks.withLock(Effect.zipRight(plain, reentered(actor, locks)), valuePath, options)
    case "interrupted":
      return Effect.gen(function*() {
        const fiber = yield* Effect.fork(
          Effect.ensuring(
            locks.withLock(plain, valuePath, options),
            Effect.sync(() => actor.player.calls.delete(actor.label))
          )
        )
        yield* Effect.sleep(Duration.millis(dice.chance(0.5) ? dice.real(20) : dice.real(3_000)))
        yield* inTime(actor, 0, Effect.asVoid(Fiber.interrupt(fiber)))
      })
  }
}

/** What the library may take beyond a deadline: its patience with a step under way, and a little. */
const patience = 1_200

/** Whoever has a deadline, or was interrupted, comes back in time unless it paused or its storage was slow. */
const inTime = <E>(actor: Actor, millis: number, wait: Effect.Effect<unknown, E>): Effect.Effect<void, E> =>
  Effect.suspend(() => {
    const { label, player, world } = actor
    const since = world.kernel.now
    const check = Effect.sync(() => {
      const took = (world.kernel.now - since) / 1e6
      const inside = world.history.some(({ invoked, name }) => name === label && invoked > stepsBefore)
      if (!inside && player.lastPauseEnd < since && took > (millis + patience) * 1.05) {
        world.watcher.fail(
          "late",
          `${label} waited for ${Math.round(took)} ms, and wanted to for ${Math.round(millis)} ms`
        )
      }
    })
    const stepsBefore = world.kernel.steps
    return Effect.asVoid(Effect.ensuring(wait, check))
  })

/** Whether a failure is one that this world can explain. */
const settle = (actor: Actor, error: Failure): void => {
  const { label, player, world } = actor
  const { plan, watcher } = world
  world.note(() => `${label} is told: ${error.message}`)
  const faults = plan.troubles.has("faults")
  switch (error._tag) {
    case "LockDirectoryError":
      return faults ? undefined : watcher.fail("failure", `${label}: ${error.message}`)
    case "LockAcquisitionError": {
      const explained = faults || error.reason === "Timeout" ||
        (error.reason === "Foreign" && plan.troubles.has("foreign"))
      return explained ? undefined : watcher.fail("failure", `${label}: ${error.message}`)
    }
    case "LockLostError": {
      const strayed = player.strayedUntil > world.kernel.now
      // After a pause, or when the clock was set, a beat needs the claim, which somebody dead may be in the way of; whoever cannot be
      // sure in time gives up, though nobody may have acted.
      const gaveUp = error.reason === "LeaseExpired" && (player.lastPauseEnd > 0 || plan.troubles.has("clockSet"))
      return faults || strayed || gaveUp ? undefined : watcher.fail("lost", `${label}: ${error.message}`)
    }
  }
}

const round = (actor: Actor, locks: FileLock.FileLock): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { label, player, world } = actor
    yield* Effect.sleep(Duration.millis(world.dice.chance(0.5) ? 0 : world.dice.real(20)))
    player.calls.set(label, { who: label, calledAt: world.kernel.steps, steps: 0, lastStep: 0 })
    yield* Effect.catchAll(entering(actor, locks), (error) => Effect.sync(() => settle(actor, error)))
    player.calls.delete(label)
    world.waiting.delete(label)
    if (world.dice.chance(0.15)) yield* tidy(actor, locks)
  })

/** A person who looks, and breaks what is abandoned; a vandal breaks the rest as well. */
const tidy = (actor: Actor, locks: FileLock.FileLock): Effect.Effect<void> =>
  Effect.gen(function*() {
    const { label, world } = actor
    const status = Option.getOrUndefined(yield* locks.inspect(valuePath))
    const holder = status?.holders[0]
    world.note(() => `${label} inspects: ${status?.state ?? "free"}`)
    const vandal = world.plan.troubles.has("vandal") && !world.quiet && world.dice.chance(0.5)
    if (holder === undefined || (status?.state !== "abandoned" && !vandal)) return
    if (status?.state !== "abandoned") world.watcher.permitted.add(holder.token)
    if (status?.state !== "abandoned") world.watcher.breaking.add(label)
    yield* Effect.ensuring(
      locks.breakLock(valuePath, holder),
      Effect.sync(() => world.watcher.breaking.delete(label))
    )
  }).pipe(Effect.catchAll((error) =>
    // Whoever is in the way, or we, may pause for longer than the breaking of a lock waits, or has to be silent for a lease first.
    Effect.sync(() =>
      Plan.needsLease(actor.world.plan) || actor.world.watcher.players.some(({ lastPauseEnd }) => lastPauseEnd > 0)
        ? undefined
        : settle(actor, error)
    )
  ))

/** The program of one process. */
export const make =
  (world: World, player: Player, options: { readonly fibers: number; readonly rounds: number }) =>
  (fs: FileSystem.FileSystem): Effect.Effect<void, never, FileLock.FileLock | Scope.Scope> =>
    Effect.flatMap(FileLock.FileLock, (locks) =>
      Effect.forEach(
        Array.from({ length: options.fibers }, (_, index) => `${player.name}.${index}`),
        (label) =>
          Effect.locally(
            Effect.repeatN(Effect.suspend(() => round({ world, player, label, fs }, locks)), options.rounds - 1),
            Players.who,
            label
          ),
        { concurrency: "unbounded", discard: true }
      ))

/** The last process of a world: acquires once more, and stays until what the dead have left must be gone. */
export const last =
  (world: World, player: Player, stay: number) =>
  (fs: FileSystem.FileSystem): Effect.Effect<void, never, FileLock.FileLock | Scope.Scope> =>
    Effect.gen(function*() {
      const locks = yield* FileLock.FileLock
      const actor = { world, player, label: `${player.name}.0`, fs }
      world.waiting.set(actor.label, world.kernel.now)
      yield* locks.withLock(section(actor, Effect.void, Effect.void), valuePath, { timeout: "infinity" }).pipe(
        Effect.catchAll((error) => Effect.sync(() => settle(actor, error))),
        Effect.locally(Players.who, actor.label)
      )
      const until = (yield* Clock.currentTimeMillis) + stay
      yield* Effect.sleep(Duration.millis(Math.max(0, until - (yield* Clock.currentTimeMillis))))
    })
