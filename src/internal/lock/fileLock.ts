import * as Array from "effect/Array"
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import { pipe } from "effect/Function"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Scope from "effect/Scope"
import type * as FileLock from "../../FileLock.js"
import type { BackendError, LockBackend, LockKey } from "../../LockBackend.js"
import type { LockAcquisitionError, LockLostError } from "../../LockError.js"
import { codeOf, isUnanswered } from "../errno.js"
import * as Immediate from "../immediate.js"
import type { Files } from "../lockedFile/files.js"
import { defaultSchedule } from "../polling.js"
import * as Runtime from "../runtime.js"
import type { Settings } from "../settings.js"
import * as Acquisition from "./acquisition.js"
import * as CriticalSection from "./criticalSection.js"
import type { HeldLock } from "./heldLock.js"
import { type Call, Waiter, type WaitQueues } from "./waitQueue.js"

type Failure = Acquisition.Failure

type Service = Context.Tag.Service<FileLock.FileLock>

/** What is asked for at `timeout: 0`. */
type Once = Omit<FileLock.LockOptions, "timeout" | "schedule">

/** One of several locks that are wanted together. */
interface Target {
  readonly call: Call
  readonly key: LockKey
}

/** Everyone takes several locks in one order, so that no two can wait for each other. */
const inOrder = (targets: Iterable<Target>): ReadonlyArray<Target> =>
  pipe(
    Array.sort(targets, Order.mapInput(Order.string, ({ key }: Target) => key.lockPath)),
    Array.dedupeAdjacentWith((left, right) => left.key.lockPath === right.key.lockPath)
  )

const usedUp = new WeakMap<Iterable<string>, ReadonlyArray<string>>()

/**
 * The paths, once and for all: an effect may run several times, and an iterator that is used up would then lock nothing. One
 * string is one path, although it is an iterable of strings as well.
 */
const toPaths = (paths: Iterable<string>): ReadonlyArray<string> => {
  if (typeof paths === "string") {
    return [paths]
  }
  const known = usedUp.get(paths)
  if (known !== undefined) {
    return known
  }
  const all = Array.fromIterable(paths)
  if (Object.is(paths[Symbol.iterator](), paths)) {
    usedUp.set(paths, all)
  }
  return all
}

/** A timeout in milliseconds. */
export const toMillis = (timeout: Duration.DurationInput | "infinity" | undefined): number =>
  timeout === undefined ? 60_000 : timeout === "infinity" ? Infinity : Duration.toMillis(timeout)

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

/** With a span, where a tracer is there to see it. No code of the user runs inside. */
const traced = <A>(fiber: Runtime.RuntimeFiber, path: string, acquire: () => Effect.Effect<A, Failure>) =>
  Runtime.isTraced(fiber)
    ? Effect.suspend(acquire).pipe(
      Effect.onExit((exit) => Effect.annotateCurrentSpan("outcome", outcomeOf(exit))),
      Effect.withSpan("FileLock.acquire", { attributes: { path }, captureStackTrace: false })
    )
    : acquire()

/** Runs an effect in the critical section of a path, with what is known of that. */
export type WithHeld = <A, E, R>(
  use: (held: HeldLock) => Effect.Effect<A, E, R>,
  path: string,
  options?: FileLock.LockOptions
) => Effect.Effect<A, E | Failure | LockLostError, R>

/** What a service has beside its public functions. */
export interface Internals {
  readonly withHeld: WithHeld
  /** The files beside its locks; nothing for an engine without files. */
  readonly files: (() => Files) | undefined
}

const internals = new WeakMap<Service, Internals>()

/** `undefined` for a service that was not made here. */
export const internalsOf = (service: Service): Internals | undefined => internals.get(service)

/** The service over an engine. All services that share `queues` share the engine's locks. */
export const make = (
  backend: Context.Tag.Service<LockBackend>,
  settings: Settings,
  queues: WaitQueues,
  files?: () => Files
): Service => {
  const schedule = defaultSchedule(settings.pollInterval)
  const handoff = Duration.toMillis(settings.handoff)

  const makeCall = (fiber: Runtime.RuntimeFiber, path: string, options: FileLock.LockOptions | undefined): Call => ({
    path,
    mode: options?.mode ?? "exclusive",
    label: options?.label,
    schedule: options?.schedule ?? schedule,
    isDefaultSchedule: options?.schedule === undefined,
    timeout: toMillis(options?.timeout),
    requestedAt: Runtime.monotonic(fiber),
    sequence: queues.nextSequence(),
    handoff
  })

  /** Several paths have one deadline and come in one order. */
  const toTargets = (
    fiber: Runtime.RuntimeFiber,
    paths: ReadonlyArray<string>,
    options: FileLock.LockOptions | undefined,
    restore: Runtime.Restore
  ): Effect.Effect<ReadonlyArray<Target>, Failure> => {
    const shared = makeCall(fiber, "", options)
    return Effect.map(
      Effect.forEach(paths, (path) => {
        const call = { ...shared, path }
        return Effect.map(
          Acquisition.toKey(backend, new Waiter(call, fiber), restore),
          (key): Target => ({ call, key })
        )
      }),
      inOrder
    )
  }

  const keyOf = (waiter: Waiter, known: LockKey | undefined, restore: Runtime.Restore) => {
    if (known === undefined) {
      return Acquisition.toKey(backend, waiter, restore)
    }
    waiter.immediate = Option.isSome(backend.immediate?.(known.path) ?? Option.none())
    return Exit.succeed(known)
  }

  // ---------------------------------------------------------------------------------------------
  // critical sections
  // ---------------------------------------------------------------------------------------------

  /** Enters a critical section, by re-entry where the fiber is in one already. To be run uninterruptibly. */
  const enter = (
    fiber: Runtime.RuntimeFiber,
    call: Call,
    known: LockKey | undefined,
    restore: Runtime.Restore
  ): Effect.Effect<HeldLock, Failure> => {
    const waiter = new Waiter(call, fiber)
    const inside = (key: LockKey): Effect.Effect<HeldLock, Failure> => {
      const outer = CriticalSection.find(fiber, queues, key.lockPath)
      return outer === undefined
        ? Acquisition.obtain(backend, queues, waiter, key, restore)
        : Effect.flatMap(
          Acquisition.reenter(new Waiter(call, fiber), outer, restore),
          (held) => held === undefined ? inside(key) : Effect.succeed(held)
        )
    }
    return traced(fiber, call.path, () => Immediate.flatMap(keyOf(waiter, known, restore), inside))
  }

  const withKey = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    { call, key }: Target
  ): Effect.Effect<A, E | Failure | LockLostError, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime((fiber) =>
        Immediate.flatMap(enter(fiber, call, key, restore), (held) => CriticalSection.run(fiber, held, self, restore))
      )
    )

  const withHeld: WithHeld = (use, path, options) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime((fiber) =>
        Immediate.flatMap(
          enter(fiber, makeCall(fiber, path, options), undefined, restore),
          (held) => CriticalSection.run(fiber, held, use(held), restore)
        )
      )
    )

  const withLock = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    path: string,
    options?: FileLock.LockOptions
  ): Effect.Effect<A, E | Failure | LockLostError, R> => withHeld(() => self, path, options)

  const withLocks = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    paths: Iterable<string>,
    options?: FileLock.LockOptions
  ): Effect.Effect<A, E | Failure | LockLostError, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime((fiber) =>
        Effect.flatMap(toTargets(fiber, toPaths(paths), options, restore), (targets) => {
          const body: Effect.Effect<A, E | Failure | LockLostError, R> = self
          return restore(Array.reduceRight(targets, body, withKey))
        })
      )
    )

  const withLockIfAvailable = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    path: string,
    options?: Once
  ): Effect.Effect<Option.Option<A>, E | Failure | LockLostError, R> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime((fiber) =>
        Effect.flatMap(
          ifAvailable(enter(fiber, makeCall(fiber, path, { ...options, timeout: 0 }), undefined, restore)),
          (held) =>
            Option.isNone(held)
              ? Effect.succeedNone
              : Effect.asSome(CriticalSection.run(fiber, held.value, self, restore))
        )
      )
    )

  // ---------------------------------------------------------------------------------------------
  // handles
  // ---------------------------------------------------------------------------------------------

  /** A handle never re-enters: the fiber that holds the lock would wait for itself. */
  const obtain = (
    fiber: Runtime.RuntimeFiber,
    call: Call,
    known: LockKey | undefined,
    restore: Runtime.Restore
  ): Effect.Effect<HeldLock, Failure> => {
    const waiter = new Waiter(call, fiber)
    return traced(
      fiber,
      call.path,
      () =>
        Effect.flatMap(keyOf(waiter, known, restore), (key) => {
          const outer = CriticalSection.find(fiber, queues, key.lockPath)
          const joined = call.mode === "shared" ? outer?.join(waiter) : undefined
          return joined !== undefined
            ? Effect.succeed(joined)
            : outer !== undefined && call.timeout > 0 && CriticalSection.isOwn(fiber, outer)
            ? outer.shared === undefined
              ? Acquisition.fail(waiter, key.lockPath, "Deadlock")
              : Acquisition.failShared(waiter, key.lockPath)
            : Acquisition.obtain(backend, queues, waiter, key, restore)
        })
    )
  }

  const acquireKey = (
    fiber: Runtime.RuntimeFiber,
    call: Call,
    known: LockKey | undefined,
    restore: Runtime.Restore
  ): Effect.Effect<FileLock.LockHandle, Failure, Scope.Scope> =>
    Effect.gen(function*() {
      const held = yield* obtain(fiber, call, known, restore)
      // A fiber that was interrupted meanwhile must not come to own it.
      yield* Effect.onInterrupt(restore(Effect.void), () => Effect.suspend(() => held.close()))
      yield* Effect.addFinalizer(() => held.close())
      if (Runtime.isTraced(fiber)) {
        const span = yield* Effect.makeSpanScoped("FileLock.hold", { attributes: { path: held.key.path } })
        yield* Effect.addFinalizer((exit) =>
          Effect.sync(() => span.attribute("outcome", CriticalSection.outcomeOf(held, exit)))
        )
      }
      CriticalSection.enter(fiber, held)
      const { grant, key } = held
      return {
        path: key.path,
        lockPath: key.lockPath,
        mode: grant.mode,
        holder: grant.holder,
        fence: held.fence,
        isHeld: Effect.sync(() => held.open && held.loss === undefined),
        verify: held.verify,
        lost: held.lost
      }
    })

  const acquire = (path: string, options?: FileLock.LockOptions) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime<FileLock.LockHandle, Failure, Scope.Scope>((fiber) =>
        acquireKey(fiber, makeCall(fiber, path, options), undefined, restore)
      )
    )

  const acquireAll = (paths: Iterable<string>, options?: FileLock.LockOptions) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime<ReadonlyArray<FileLock.LockHandle>, Failure, Scope.Scope>((fiber) =>
        Effect.gen(function*() {
          const targets = yield* toTargets(fiber, toPaths(paths), options, restore)
          const scope = yield* Scope.fork(yield* Effect.scope, ExecutionStrategy.sequential)
          return yield* Effect.forEach(targets, ({ call, key }) => acquireKey(fiber, call, key, restore)).pipe(
            Scope.extend(scope),
            Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
          )
        })
      )
    )

  // ---------------------------------------------------------------------------------------------
  // inspection
  // ---------------------------------------------------------------------------------------------

  /** Asks the engine something about a lock, under the default deadline. */
  const question = <A>(
    path: string,
    answer: (key: LockKey) => Effect.Effect<A, BackendError>
  ): Effect.Effect<A, LockAcquisitionError> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.withFiberRuntime<A, LockAcquisitionError>((fiber) => {
        const waiter = new Waiter(makeCall(fiber, path, undefined), fiber)
        return Effect.flatMap(Acquisition.toKey(backend, waiter, restore), (key) =>
          Effect.catchAll(restore(answer(key)), (error) =>
            Acquisition.fail(waiter, key.lockPath, error.reason, error))).pipe(
            Effect.catchTag("LockDirectoryError", ({ cause, lockPath }) =>
              Acquisition.fail(waiter, lockPath, codeOf(cause) === "EACCES" ? "PermissionDenied" : "SystemError", {
                cause
              }))
          )
      })
    )

  const service: Service = {
    acquire,
    acquireIfAvailable: (path, options) => ifAvailable(acquire(path, { ...options, timeout: 0 })),
    acquireAll,
    withLock,
    withLocks,
    withLockIfAvailable,
    inspect: (path) => question(path, backend.inspect),
    breakLock: (path, holder) => question(path, (key) => backend.breakLock(key, holder))
  }
  internals.set(service, { withHeld, files })
  return service
}

/** `None` where another holder has the lock, and nothing else is wrong. */
const ifAvailable = <A, R>(acquisition: Effect.Effect<A, Failure, R>): Effect.Effect<Option.Option<A>, Failure, R> =>
  Effect.catchIf(
    Effect.asSome(acquisition),
    (error) =>
      error._tag === "LockAcquisitionError" && error.reason === "Timeout" &&
      !isUnanswered(error.cause),
    () => Effect.succeedNone
  )
