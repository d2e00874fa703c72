/**
 * The seam between this package and Effect's runtime. Whatever reaches below the public combinators (fibers, their references,
 * runtimes, the clock without an effect) stands here and nowhere else.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import type * as MetricLabel from "effect/MetricLabel"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import * as Scheduler from "effect/Scheduler"
import * as Tracer from "effect/Tracer"

/** Any fiber. */
export type RuntimeFiber = Fiber.RuntimeFiber<unknown, unknown>

/** Gives a region its caller's interruptibility back. */
export type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** The fiber that runs now. */
export const current = (): RuntimeFiber | undefined => Option.getOrUndefined(Fiber.getCurrentFiber())

const defaultClock = Context.get(DefaultServices.liveServices, Clock.Clock)

/** The clock of a fiber. */
export const clockOf = (fiber: RuntimeFiber): Clock.Clock => Context.get(fiber.currentDefaultServices, Clock.Clock)

/** Milliseconds, with fractions, on the monotonic clock of a fiber. */
export const monotonic = (fiber: RuntimeFiber): number => monotonicOf(clockOf(fiber))

/** Milliseconds, with fractions, on a monotonic clock. */
export const monotonicOf = (clock: Clock.Clock): number =>
  // eslint-disable-next-line no-restricted-globals -- the clock itself makes a bigint of it, and that takes longer
  clock === defaultClock ? performance.now() : Number(clock.unsafeCurrentTimeNanos()) / 1e6

/** Milliseconds, with fractions, on the monotonic clock of the fiber that asks. */
export const now: Effect.Effect<number> = Effect.withFiberRuntime((fiber) => Exit.succeed(monotonic(fiber)))

/** Milliseconds since 1970 on the wall clock of a fiber. */
export const wallClock = (fiber: RuntimeFiber): number => wallClockOf(clockOf(fiber))

/** Milliseconds since 1970 on a wall clock. */
export const wallClockOf = (clock: Clock.Clock): number => clock.unsafeCurrentTimeMillis()

/** Whether a clock is the one that Effect's programs go by unless they are told otherwise. */
export const isSystemClock = (clock: Clock.Clock): boolean => clock === defaultClock

/** What calls a function after some time. */
export interface Sleeper {
  readonly stop: () => void
  /** Keeps the process alive only while it is wanted. `undefined` if it does in any case. */
  readonly rest: ((isWanted: boolean) => void) | undefined
  /** The timers of the system are other ones by now, as in a test that plays with them: it may never wake up. */
  readonly isStale: () => boolean
}

/** A sleep on that clock, without a fiber. */
export const systemSleep = (_: RuntimeFiber, millis: number, wake: () => void): Sleeper => {
  const { setTimeout } = globalThis
  const timeout = setTimeout(wake, millis)
  return {
    isStale: () => globalThis.setTimeout !== setTimeout,
    stop: () => clearTimeout(timeout),
    rest: typeof timeout === "object" ? (isWanted) => void (isWanted ? timeout.ref() : timeout.unref()) : undefined
  }
}

/** The labels that a fiber gives its metrics. */
export const metricLabels = (fiber: RuntimeFiber): ReadonlyArray<MetricLabel.MetricLabel> =>
  fiber.getFiberRef(FiberRef.currentMetricLabels)

const defaultTracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** Whether a tracer was provided that could see a span. */
export const isTraced = (fiber: RuntimeFiber): boolean => fiber.currentTracer !== defaultTracer

const drops = [FiberRefs.delete(FiberRef.interruptedCause)]

/** The value of a reference is not for the daemons that a fiber starts: they may live long, and would keep what it refers to. */
export const keepFromDaemons = <A>(ref: FiberRef.FiberRef<A>): FiberRef.FiberRef<A> => {
  drops.push(FiberRefs.delete(ref))
  return ref
}

/**
 * Starts a daemon with the services, references and loggers of `parent`, but not its interruption. It runs at once, up to where it
 * first suspends.
 */
export const start = <A, E>(
  parent: RuntimeFiber,
  effect: Effect.Effect<A, E>,
  runtimeFlags = Runtime.defaultRuntimeFlags
): Fiber.RuntimeFiber<A, E> =>
  // eslint-disable-next-line no-restricted-properties -- a fiber that starts at once, as a part of what is described
  Runtime.runFork(
    Runtime.make({
      context: parent.currentContext,
      runtimeFlags,
      fiberRefs: inherited(parent)
    })
  )(effect)

const inherited = (parent: RuntimeFiber): FiberRefs.FiberRefs =>
  drops.reduce((refs, drop) => drop(refs), parent.getFiberRefs())

const uninterruptible = RuntimeFlags.disable(Runtime.defaultRuntimeFlags, RuntimeFlags.Interruption)

/**
 * Starts a daemon that can be interrupted in its `Effect.interruptible` parts only. Unlike that of an uninterruptible effect in an
 * interruptible fiber, its result is never lost to an interruption.
 */
export const startUninterruptible = <A, E>(parent: RuntimeFiber, effect: Effect.Effect<A, E>) =>
  start(parent, effect, uninterruptible)

/** Runs a function once the fibers that are about to run have run. */
export const soon = (fiber: RuntimeFiber, run: () => void): void => fiber.currentScheduler.scheduleTask(run, 0)

/** Also where a test plays with the timers: no time passes, it is the end of the turn that is waited for. */
const endOfTurn: ((run: () => void) => unknown) | undefined = globalThis.setImmediate

/**
 * Runs a function at the end of the current turn of the event loop, where there is one and the fiber is run by it: once what the fibers
 * do without waiting has been done, and what follows in promises.
 */
export const afterTurn = (fiber: RuntimeFiber, run: () => void): void =>
  isEventLoop(fiber.currentScheduler) && endOfTurn !== undefined ? void endOfTurn(run) : soon(fiber, run)

const atExit = new Set<() => void>()

let exits: "unheard" | "heard of" | "now" = "unheard"

/**
 * Runs a function at the end of the current turn of the event loop, as `afterTurn`, or when the process, or the worker thread, ends by
 * itself within that turn. `again` puts it off for one more turn.
 */
export const afterTurnOrExit = (fiber: RuntimeFiber, run: () => void, again: () => boolean): void => {
  const end = () => {
    atExit.delete(run)
    run()
  }
  if (exits === "now") {
    return run()
  }
  if (isEventLoop(fiber.currentScheduler)) {
    if (exits === "unheard") {
      exits = "heard of"
      globalThis.process?.once?.("exit", () => {
        exits = "now"
        atExit.forEach((run) => run())
      })
    }
    atExit.add(run)
  }
  afterTurn(fiber, () => again() ? afterTurn(fiber, end) : end())
}

/** Whether a fiber has to end without waiting for anything, as with `Effect.runSync`. */
export const isSynchronous = ({ currentScheduler }: RuntimeFiber): boolean =>
  currentScheduler instanceof Scheduler.SyncScheduler && !currentScheduler.deferred

/** A managed runtime has the scheduler that it was built with, which schedules as the default one from then on. */
const isEventLoop = (scheduler: Scheduler.Scheduler): boolean =>
  scheduler instanceof Scheduler.MixedScheduler || scheduler instanceof Scheduler.SyncScheduler

/** Whether what is restored can be interrupted. `false` where that is not known. */
export const isInterruptible = (restore: Restore): boolean => restore === Effect.interruptible

/** Interrupts a fiber without waiting for it. */
export const interrupt = (fiber: Fiber.RuntimeFiber<unknown, unknown>): void =>
  fiber.unsafeInterruptAsFork(FiberId.none)

/** What Effect's fibers have and do not declare. */
interface Undeclared {
  readonly setFiberRef: <A>(fiberRef: FiberRef.FiberRef<A>, value: A) => void
  /** The fibers that end with this one. */
  _children?: Set<RuntimeFiber> | null
}

const hasUndeclared = (fiber: RuntimeFiber): fiber is RuntimeFiber & Undeclared => "setFiberRef" in fiber

const undeclared = (fiber: RuntimeFiber): Undeclared => {
  if (hasUndeclared(fiber)) {
    return fiber
  }
  throw new Error("The fibers of this version of Effect are not those of Effect 3")
}

/** Sets a reference of a fiber, from within that fiber. */
export const setRef = <A>(fiber: RuntimeFiber, fiberRef: FiberRef.FiberRef<A>, value: A): void =>
  undeclared(fiber).setFiberRef(fiberRef, value)

/**
 * A body that runs in its caller's own fiber, and that can be interrupted without interrupting the caller.
 *
 * The interruption has an id of its own. It reaches the body as any other, and the fibers that the body has forked; fibers that
 * the caller forked before are left alone. `end` takes it back once the body has ended, and waits for the fibers that it has forked, as
 * the end of a fiber does.
 */
export class Body {
  /** Made before anything that the body forks, where the caller has forked something already. */
  private readonly began: FiberId.Runtime | undefined
  private id: FiberId.Runtime | undefined
  private before: ReadonlyArray<RuntimeFiber> = []

  constructor(private readonly fiber: RuntimeFiber) {
    this.began = (undeclared(fiber)._children?.size ?? 0) > 0 ? FiberId.unsafeMake() : undefined
  }

  readonly interrupt = (): void => {
    if (this.id !== undefined) {
      return
    }
    this.id = FiberId.unsafeMake()
    const { began, fiber } = this
    const children = undeclared(fiber)._children
    if (began !== undefined && children != null) {
      this.before = [...children].filter((child) => child.id().id < began.id)
      for (const child of this.before) {
        children.delete(child)
      }
    }
    fiber.unsafeInterruptAsFork(this.id)
  }

  /** Whether a body that has failed was stopped by `interrupt`, and by nothing else. */
  isInterruptedBy(cause: Cause.Cause<unknown>): boolean {
    const { id } = this
    return id !== undefined && Cause.isInterruptedOnly(cause) &&
      Array.from(Cause.interruptors(cause)).every((fiberId) => isSame(fiberId, id))
  }

  /** To be called in the caller's fiber, when the body has ended. What it answers with is to be run uninterruptibly. */
  end(): Effect.Effect<void> {
    const { began, before, fiber, id } = this
    if (id === undefined) {
      return Exit.void
    }
    setRef(fiber, FiberRef.interruptedCause, without(fiber.getFiberRef(FiberRef.interruptedCause), id))
    const children = [...undeclared(fiber)._children ?? []]
    // Another body within this one may have put them back.
    const forked = children.filter((child) => began === undefined || child.id().id > began.id)
    const alive = before.filter((child) => child.unsafePoll() === null)
    if (alive.length > 0) {
      undeclared(fiber)._children = new Set([...alive, ...children])
    }
    return forked.length === 0 ? Exit.void : Fiber.interruptAllAs(forked, id)
  }
}

/** A cause without one interruption. */
const without = (cause: Cause.Cause<never>, id: FiberId.Runtime): Cause.Cause<never> =>
  Cause.match(cause, {
    onEmpty: Cause.empty,
    onFail: Cause.fail,
    onDie: Cause.die,
    onInterrupt: (fiberId) => isSame(fiberId, id) ? Cause.empty : Cause.interrupt(fiberId),
    onSequential: (left, right) =>
      Cause.isEmpty(left) ? right : Cause.isEmpty(right) ? left : Cause.sequential(left, right),
    onParallel: (left, right) => Cause.isEmpty(left) ? right : Cause.isEmpty(right) ? left : Cause.parallel(left, right)
  })

const isSame = (left: FiberId.FiberId, right: FiberId.Runtime): boolean =>
  FiberId.isRuntime(left) && left.id === right.id
