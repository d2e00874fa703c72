import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import type { LockLostError } from "../../LockError.js"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"
import type { HeldLock } from "./heldLock.js"
import type { WaitQueues } from "./waitQueue.js"

// ---------------------------------------------------------------------------------------------
// the sections that a fiber is in
// ---------------------------------------------------------------------------------------------

/** What is in a list of sections, so that another list is joined with it without looking through it. */
interface Contents {
  /** Also of the lists that were joined with it. What is behind one of these is in the list, too. */
  readonly known: Set<Inside>
  readonly byPath: Map<string, HeldLock>
}

/** A section that a fiber is in, or was in, and those that it was in before. */
class Inside {
  /** Of the list that begins here; made by a join, and taken on by the next one, which has a longer list. */
  contents: Contents | undefined
  /** How many there are in the list; more than there are by now, where some have been dropped behind this one. */
  private readonly size: number
  /** When the list is as long, those that are over are dropped from it: a fiber may take one lock after the other without an end. */
  private readonly dropsAt: number

  constructor(readonly held: HeldLock, public outer: Inside | undefined) {
    let size = outer === undefined ? 1 : outer.size + 1
    let dropsAt = outer === undefined ? leastDrop : outer.dropsAt
    if (size >= dropsAt) {
      size = 1
      for (let inside = this.dropBehind(); inside !== undefined; inside = inside.dropBehind()) {
        size += 1
        inside.contents = undefined
      }
      dropsAt = 2 * size + leastDrop
    }
    this.size = size
    this.dropsAt = dropsAt
  }

  /** The next section that is not over. Those between are dropped. */
  private dropBehind(): Inside | undefined {
    this.outer = openOf(this.outer)
    return this.outer
  }
}

const leastDrop = 32

const contentsOf = (list: Inside): Contents => {
  const front: Array<Inside> = []
  let inside: Inside | undefined = list
  while (inside !== undefined && inside.contents === undefined) {
    front.push(inside)
    inside = openOf(inside.outer)
  }
  const contents = inside?.contents ?? { known: new Set(), byPath: new Map() }
  if (inside !== undefined) {
    inside.contents = undefined
  }
  // The innermost one counts.
  for (const inside of front.reverse()) {
    contents.known.add(inside)
    contents.byPath.set(inside.held.key.lockPath, inside.held)
  }
  list.contents = contents
  return contents
}

/** The innermost section that is not over. */
const openOf = (inside: Inside | undefined): Inside | undefined => {
  let open = inside
  while (open !== undefined && !open.held.open) {
    open = open.outer
  }
  return open
}

const findIn = (inside: Inside | undefined, queues: WaitQueues | undefined, lockPath: string): HeldLock | undefined => {
  let open = openOf(inside)
  while (open !== undefined && (open.held.key.lockPath !== lockPath || open.held.registry !== queues)) {
    open = openOf(open.outer)
  }
  return open?.held
}

/** A section that is over stays until the next one is entered: nobody finds it. */
const current: FiberRef.FiberRef<Inside | undefined> = Runtime.keepFromDaemons(globalValue(
  "effect-filelock/sections",
  () =>
    FiberRef.unsafeMake<Inside | undefined>(undefined, {
      // A fiber that waits for several others must not forget what it, or the others, hold.
      join: (own, theirs) => {
        let all = openOf(own)
        let inside = openOf(theirs)
        if (all === undefined || inside === undefined) {
          return all ?? inside
        }
        for (; inside !== undefined && !contentsOf(all).known.has(inside); inside = openOf(inside.outer)) {
          const { held }: Inside = inside
          const last = contentsOf(all).byPath.get(held.key.lockPath)
          if (last === undefined || findIn(all, held.registry, held.key.lockPath) === undefined) {
            all = new Inside(held, all)
            contentsOf(all).known.add(inside)
          }
        }
        return all
      }
    })
))

/** Puts a fiber inside a section, until that is closed. */
export const enter = (fiber: Runtime.RuntimeFiber, held: HeldLock): void => {
  const outer = openOf(fiber.getFiberRef(current))
  held.fiberId = fiber.id()
  Runtime.setRef(fiber, current, new Inside(held, outer))
}

/** The innermost section on a lock that the fiber, or one that started it, is in. Locks of other queues are other locks. */
export const find = (fiber: Runtime.RuntimeFiber, queues: WaitQueues, lockPath: string): HeldLock | undefined =>
  // A fiber may be in thousands of sections: they are looked through only where the lock is held.
  queues.has(lockPath) ? findIn(fiber.getFiberRef(current), queues, lockPath) : undefined

/** Whether the fiber, or one that started it, is in a section of any lock. */
export const isInside = (fiber: Runtime.RuntimeFiber): boolean => openOf(fiber.getFiberRef(current)) !== undefined

/** Whether this very fiber, and not only one that started it, is in a section. */
export const isOwn = (fiber: Runtime.RuntimeFiber, held: HeldLock): boolean => Equal.equals(held.fiberId, fiber.id())

/**
 * The section of this very fiber whose lock others see by this token, whatever path it was acquired by: a fiber that waited for it would wait
 * for itself.
 */
export const findOwn = (
  fiber: Runtime.RuntimeFiber,
  queues: WaitQueues | undefined,
  token: string
): HeldLock | undefined => {
  const isFound = (held: HeldLock) =>
    held.registry === queues && isOwn(fiber, held) && held.grant.holder.token === token
  let open = openOf(fiber.getFiberRef(current))
  while (open !== undefined && !isFound(open.held)) {
    open = openOf(open.outer)
  }
  return open?.held
}

// ---------------------------------------------------------------------------------------------
// running a body
// ---------------------------------------------------------------------------------------------

/** How a span says what became of a critical section. */
export const outcomeOf = ({ loss }: HeldLock, exit: Exit.Exit<unknown, unknown>): string =>
  loss !== undefined
    ? "lost"
    : Exit.isSuccess(exit)
    ? "succeeded"
    : Cause.isInterruptedOnly(exit.cause)
    ? "interrupted"
    : "failed"

/**
 * Runs a body inside a critical section, in the caller's own fiber, and closes the section. To be run uninterruptibly, with `restore`
 * for the body.
 *
 * A loss interrupts the body and fails with `LockLostError`, also where only the release finds it. The body's own failure is kept.
 */
export const run = <A, E, R>(
  fiber: Runtime.RuntimeFiber,
  held: HeldLock,
  self: Effect.Effect<A, E, R>,
  restore: Runtime.Restore
): Effect.Effect<A, E | LockLostError, R> => {
  const body = new Runtime.Body(fiber)
  enter(fiber, held)
  held.addListener(body.interrupt)
  const leave = (exit: Exit.Exit<A, E>): Effect.Effect<A, E | LockLostError> => {
    held.removeListener(body.interrupt)
    return Immediate.flatMap(body.end(), () =>
      Immediate.matchCauseEffect(held.close(), {
        onSuccess: () => conclude(held, exit),
        onFailure: (cause): Effect.Effect<A, E> =>
          Exit.failCause(Exit.isSuccess(exit) ? cause : Cause.sequential(exit.cause, cause))
      }))
  }
  return Effect.matchCauseEffect(restore(Runtime.isTraced(fiber) ? traced(held, self) : self), {
    onSuccess: (value) => leave(Exit.succeed(value)),
    onFailure: (cause) => leave(Exit.failCause(cause))
  })
}

const conclude = <A, E>({ loss }: HeldLock, exit: Exit.Exit<A, E>): Effect.Effect<A, E | LockLostError> =>
  loss !== undefined && (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause)) ? Exit.fail(loss) : exit

const traced = <A, E, R>(held: HeldLock, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.useSpan(
    "FileLock.hold",
    { attributes: { path: held.key.path }, captureStackTrace: false },
    (span) =>
      Effect.onExit(Effect.withParentSpan(self, span), (exit) =>
        Effect.sync(() => span.attribute("outcome", outcomeOf(held, exit))))
  )
