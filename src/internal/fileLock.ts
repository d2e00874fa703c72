import { isPlatformError } from "@effect/platform/Error"
import * as Array from "effect/Array"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { pipe } from "effect/Function"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type * as FileLock from "../FileLock.js"
import type { LockBackend, LockName, Refused } from "../LockBackend.js"
import { LockAcquisitionError, type LockDirectoryError, LockLostError } from "../LockError.js"
import * as Acquisition from "./acquisition.js"
import * as Body from "./body.js"
import { nanosOf } from "./clock.js"
import { codeOf } from "./errno.js"
import { Flights } from "./flights.js"
import * as Hold from "./hold.js"
import { Lines } from "./line.js"
import * as Sections from "./sections.js"
import * as Tenure from "./tenure.js"
import type * as Wait from "./wait.js"

type Failure = LockAcquisitionError | LockDirectoryError

/** One lock that is wished for, by its canonical name. */
interface Target {
  readonly wish: Wait.Wish
  readonly name: LockName
}

const byLockPath: Order.Order<Target> = Order.mapInput(Order.string, ({ name }: Target) => name.lockPath)

/** Every contender takes several locks in one order, so that no two can wait for each other. */
const inOrder = (targets: Iterable<Target>): ReadonlyArray<Target> =>
  pipe(
    Array.sort(targets, byLockPath),
    Array.dedupeAdjacentWith((left, right) => left.name.lockPath === right.name.lockPath)
  )

const isOneShot = (paths: Iterable<string>): boolean => Object.is(paths[Symbol.iterator](), paths)

const seen = new WeakMap<Iterable<string>, ReadonlyArray<string>>()

/**
 * The paths, once and for all: an effect may run several times, and an iterator that is used up would then lock nothing. One
 * string is one path, although it is an iterable of strings as well.
 */
const toPaths = (paths: Iterable<string>): ReadonlyArray<string> => {
  if (typeof paths === "string") {
    return [paths]
  }
  const known = seen.get(paths)
  if (known !== undefined) {
    return known
  }
  const all = Array.fromIterable(paths)
  if (isOneShot(paths)) {
    seen.set(paths, all)
  }
  return all
}

/** Capped exponential with full jitter. */
const defaultSchedule = (cap: Duration.Duration): Schedule.Schedule<unknown> =>
  Schedule.exponential(Duration.millis(2)).pipe(
    Schedule.union(Schedule.spaced(cap)),
    Schedule.jitteredWith({ min: 0, max: 1 })
  )

/** How a span says what became of an acquisition. */
const outcomeOf = (exit: Exit.Exit<unknown, Failure>): string =>
  Exit.match(exit, {
    onSuccess: () => "acquired",
    onFailure: (cause) =>
      Option.match(Cause.failureOption(cause), {
        onNone: () => Cause.isInterrupted(cause) ? "interrupted" : "defect",
        onSome: (error) => error._tag === "LockDirectoryError" ? "Directory" : error.reason
      })
  })

const nobodyLooks = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** With a span, if there is a tracer to see it: no code of the user runs inside. */
const traced = <A>(wish: Wait.Wish, acquisition: Effect.Effect<A, Failure>): Effect.Effect<A, Failure> =>
  Effect.withFiberRuntime((fiber) =>
    fiber.currentTracer === nobodyLooks ? acquisition : acquisition.pipe(
      Effect.onExit((exit) => Effect.annotateCurrentSpan("outcome", outcomeOf(exit))),
      Effect.withSpan("FileLock.acquire", { attributes: { path: wish.path }, captureStackTrace: false })
    )
  )

export const make = (
  backend: LockBackend,
  settings: FileLock.Settings,
  typeId: FileLock.TypeId
): FileLock.FileLock => {
  const lines = new Lines()
  const names = new Flights(backend.resolve)
  const schedule = defaultSchedule(Duration.decode(settings.pollInterval ?? "100 millis"))
  const handoff = Duration.decode(settings.handoff ?? "10 millis")
  let arrivals = 0

  const makeWish = (path: string, options: FileLock.LockOptions): Effect.Effect<Wait.Wish> =>
    Effect.withFiberRuntime<Wait.Wish>((fiber) =>
      Effect.succeed({
        path,
        mode: backend.capabilities.shared ? options.mode ?? "exclusive" : "exclusive",
        label: options.label,
        schedule: options.schedule ?? schedule,
        timeout: options.timeout === "infinity" ? Duration.infinity : Duration.decode(options.timeout ?? "60 seconds"),
        since: nanosOf(fiber),
        handoff,
        arrival: arrivals++
      })
    )

  /** Several paths have one deadline and come in one order. */
  const toTargets = (paths: ReadonlyArray<string>, options: FileLock.LockOptions) =>
    Effect.gen(function*() {
      const first = yield* makeWish("", options)
      const targets = yield* Effect.forEach(paths, (path) => {
        const wish = { ...first, path }
        return Effect.map(
          Effect.uninterruptibleMask((restore) =>
            Acquisition.run(wish, (wait) => Acquisition.resolve(wait, names, restore))
          ),
          (name): Target => ({ name, wish })
        )
      })
      return inOrder(targets)
    })

  /** Runs one acquisition up to what `use` makes of its canonical name. */
  const acquisition = <A>(
    wish: Wait.Wish,
    known: LockName | undefined,
    restore: Wait.Restore,
    use: (wait: Wait.Wait, name: LockName) => Effect.Effect<A, Failure | Refused>
  ): Effect.Effect<A, Failure> =>
    traced(
      wish,
      Acquisition.run(wish, (wait) =>
        Effect.flatMap(
          known === undefined ? Acquisition.resolve(wait, names, restore) : Effect.sync(() => wait.name(known)),
          (name) => use(wait, name)
        ))
    )

  // ---------------------------------------------------------------------------------------------
  // critical sections
  // ---------------------------------------------------------------------------------------------

  /** Enters a critical section, by re-entry where the fiber is in one already. */
  const enter =
    (restore: Wait.Restore) => (wait: Wait.Wait, name: LockName): Effect.Effect<Sections.Section, Failure | Refused> =>
      Effect.withFiberRuntime((fiber) => {
        const outer = Sections.find(fiber.getFiberRef(Sections.current), backend, name.lockPath)
        if (outer === undefined) {
          return Effect.map(
            Acquisition.obtain(wait, backend, lines, name, restore),
            (hold) => Sections.open(backend, hold, Hold.release(hold))
          )
        }
        return Effect.flatMap(
          Acquisition.reenter(wait, outer, restore),
          (turn) =>
            Option.isSome(turn) ? Effect.succeed(Sections.openInside(outer, turn.value)) : enter(restore)(wait, name)
        )
      })

  const withTarget = <A, E, R>(self: Effect.Effect<A, E, R>, wish: Wait.Wish, known: LockName | undefined) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(
        acquisition(wish, known, restore, enter(restore)),
        (section) => Body.run(section, self, restore)
      )
    )

  const withLock = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    path: string,
    options: FileLock.LockOptions = {}
  ): Effect.Effect<A, E | Failure | LockLostError, R> =>
    Effect.flatMap(makeWish(path, options), (wish) => withTarget(self, wish, undefined))

  const withLocks = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    paths: Iterable<string>,
    options: FileLock.LockOptions = {}
  ): Effect.Effect<A, E | Failure | LockLostError, R> =>
    Effect.flatMap(toTargets(toPaths(paths), options), (targets) => {
      const body: Effect.Effect<A, E | Failure | LockLostError, R> = self
      return Array.reduceRight(targets, body, (body, { name, wish }) => withTarget(body, wish, name))
    })

  const withLockIfAvailable = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    path: string,
    options: Omit<FileLock.LockOptions, "timeout" | "schedule"> = {}
  ): Effect.Effect<Option.Option<A>, E | Failure | LockLostError, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const wish = yield* makeWish(path, { ...options, timeout: 0 })
        const entered = yield* ifAvailable(acquisition(wish, undefined, restore, enter(restore)))
        return Option.isNone(entered)
          ? Option.none()
          : Option.some(yield* Body.run(entered.value, self, restore))
      })
    )

  // ---------------------------------------------------------------------------------------------
  // handles
  // ---------------------------------------------------------------------------------------------

  const toHandle = (section: Sections.Section): FileLock.LockHandle => {
    const { mode, name, tenure } = section.hold
    return {
      path: name.path,
      lockPath: name.lockPath,
      mode,
      holder: tenure.grant.holder,
      fence: tenure.grant.fence,
      isHeld: Effect.sync(() => section.open && tenure.loss === undefined),
      verify: Effect.suspend(() =>
        section.open ? Tenure.verify(tenure) : new LockLostError({ ...name, reason: "Removed" })
      ),
      lost: Deferred.await(tenure.lost)
    }
  }

  /** A handle is a claim of its own and never re-enters: the fiber that holds the lock would wait for itself. */
  const obtain = (restore: Wait.Restore) => (wait: Wait.Wait, name: LockName) =>
    Effect.gen(function*() {
      const outer = Sections.find(yield* FiberRef.get(Sections.current), backend, name.lockPath)
      if (outer !== undefined && !wait.expired && (yield* Sections.isOwn(outer))) {
        return yield* wait.fail("Deadlock")
      }
      const hold = yield* Acquisition.obtain(wait, backend, lines, name, restore)
      // Whoever was interrupted meanwhile must not come to own it.
      yield* Effect.onInterrupt(restore(Effect.void), () => Hold.release(hold))
      return hold
    })

  const acquireTarget = (wish: Wait.Wish, known: LockName | undefined) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const hold = yield* acquisition(wish, known, restore, obtain(restore))
        const section = Sections.open(backend, hold, Hold.release(hold))
        yield* Effect.addFinalizer(() => Effect.zipRight(Sections.forget(section), Sections.close(section)))
        const span = yield* Effect.makeSpanScoped("FileLock.hold", { attributes: { path: hold.name.path } })
        yield* Effect.addFinalizer((exit) => Effect.sync(() => span.attribute("outcome", Body.outcomeOf(hold, exit))))
        yield* Sections.stay(section)
        return toHandle(section)
      })
    )

  const acquire = (path: string, options: FileLock.LockOptions = {}) =>
    Effect.flatMap(makeWish(path, options), (wish) => acquireTarget(wish, undefined))

  const acquireAll = (paths: Iterable<string>, options: FileLock.LockOptions = {}) => {
    const targets = toTargets(toPaths(paths), options)
    return Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
        return yield* targets.pipe(
          Effect.flatMap(Effect.forEach(({ name, wish }) => acquireTarget(wish, name))),
          Scope.extend(scope),
          restore,
          Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
        )
      })
    )
  }

  // ---------------------------------------------------------------------------------------------
  // inspection
  // ---------------------------------------------------------------------------------------------

  const ask = <A>(path: string, question: (name: LockName) => Effect.Effect<A, Refused>) =>
    Effect.flatMap(
      makeWish(path, {}),
      (wish) =>
        Effect.uninterruptibleMask((restore) =>
          Acquisition.run(wish, (wait) =>
            Effect.flatMap(Acquisition.resolve(wait, names, restore), (name) => restore(question(name))))
        )
    ).pipe(
      Effect.catchTag("LockDirectoryError", ({ cause, lockPath, path }) =>
        new LockAcquisitionError({
          path,
          lockPath,
          reason: isPlatformError(cause) && codeOf(cause) === "EACCES" ? "PermissionDenied" : "SystemError",
          waited: 0,
          timeout: 0,
          cause
        }))
    )

  return {
    [typeId]: typeId,
    acquire,
    acquireIfAvailable: (path, options = {}) => ifAvailable(acquire(path, { ...options, timeout: 0 })),
    acquireAll,
    withLock,
    withLocks,
    withLockIfAvailable,
    inspect: (path) => ask(path, backend.inspect),
    breakLock: (path, holder) => ask(path, (name) => backend.breakLock(name, holder))
  }
}

const ifAvailable = <A, R>(acquisition: Effect.Effect<A, Failure, R>): Effect.Effect<Option.Option<A>, Failure, R> =>
  Effect.asSome(acquisition).pipe(
    Effect.catchIf(
      // With a cause, it is the storage that did not answer.
      (error) => error._tag === "LockAcquisitionError" && error.reason === "Timeout" && error.cause === undefined,
      () => Effect.succeedNone
    )
  )
