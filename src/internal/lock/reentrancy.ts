import * as Equal from "effect/Equal"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as Runtime from "../runtime.js"
import type { HeldLock } from "./heldLock.js"
import type { WaitQueues } from "./waitQueue.js"

/**
 * The critical sections that a fiber is in, the innermost of each lock; some may be over. An object of its own: a map would be compared
 * with its successor, entry by entry, whenever a fiber enters a section.
 */
interface Sections {
  readonly byLock: HashMap.HashMap<string, HeldLock>
}

const current: FiberRef.FiberRef<Sections> = globalValue(
  "effect-filelock/sections",
  () =>
    FiberRef.unsafeMake<Sections>({ byLock: HashMap.empty() }, {
      // A fiber that waits for several others must not forget what it, or the others, hold.
      join: (own, theirs) =>
        own === theirs ? own : {
          byLock: HashMap.reduce(
            theirs.byLock,
            own.byLock,
            (all, held, lockPath) => held.open && !HashMap.has(all, lockPath) ? HashMap.set(all, lockPath, held) : all
          )
        }
    })
)

const openOf = (held: HeldLock | undefined): HeldLock | undefined => {
  let open = held
  while (open !== undefined && !open.open) {
    open = open.outer
  }
  return open
}

const innermost = ({ byLock }: Sections, lockPath: string): HeldLock | undefined =>
  Option.getOrUndefined(HashMap.get(byLock, lockPath))

/** Puts a fiber inside a section. */
export const enter = (fiber: Runtime.RuntimeFiber, held: HeldLock): void => {
  const sections = fiber.getFiberRef(current)
  const { lockPath } = held.key
  held.fiberId = fiber.id()
  held.outer = openOf(innermost(sections, lockPath))
  Runtime.setRef(fiber, current, { byLock: HashMap.set(sections.byLock, lockPath, held) })
}

/** Takes a fiber out of a section, if it is in it. */
export const exit = (fiber: Runtime.RuntimeFiber, held: HeldLock): void => {
  const { byLock } = fiber.getFiberRef(current)
  const { lockPath } = held.key
  if (innermost({ byLock }, lockPath) === held) {
    const outer = openOf(held.outer)
    Runtime.setRef(fiber, current, {
      byLock: outer === undefined ? HashMap.remove(byLock, lockPath) : HashMap.set(byLock, lockPath, outer)
    })
  }
}

/** The innermost section on a lock that the fiber, or one that started it, is in. Locks of other queues are other locks. */
export const find = (fiber: Runtime.RuntimeFiber, queues: WaitQueues, lockPath: string): HeldLock | undefined => {
  let held = openOf(innermost(fiber.getFiberRef(current), lockPath))
  while (held !== undefined && held.registry !== queues) {
    held = openOf(held.outer)
  }
  return held
}

/** Whether this very fiber, and not only one that started it, is in a section. */
export const isOwn = (fiber: Runtime.RuntimeFiber, held: HeldLock): boolean => Equal.equals(held.fiberId, fiber.id())
