/**
 * Bugs in what happens within a process: the queue, deadlines, critical sections, re-entry and losses.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type * as Acquisition from "../../src/internal/lock/acquisition.js"
import type * as Background from "../../src/internal/lock/background.js"
import type * as CriticalSection from "../../src/internal/lock/criticalSection.js"
import type * as FileLock from "../../src/internal/lock/fileLock.js"
import type * as HeldLock from "../../src/internal/lock/heldLock.js"
import type * as Timer from "../../src/internal/lock/timer.js"
import type * as WaitLog from "../../src/internal/lock/waitLog.js"
import type * as WaitQueue from "../../src/internal/lock/waitQueue.js"
import type * as Polling from "../../src/internal/polling.js"
import type * as Runtime from "../../src/internal/runtime.js"
import { type Mutant, mutant } from "./Mutant.js"

const waitQueue = { module: "internal/lock/waitQueue", noticedBy: ["internal/lock/waitQueue", "FileLock"] }
const heldLock = { module: "internal/lock/heldLock", noticedBy: ["internal/lock/criticalSection", "FileLock"] }
const kept = { module: "internal/lock/waitQueue", noticedBy: ["internal/lock/heldLock"] }
const reentry = { module: "internal/lock/criticalSection", noticedBy: ["FileLock"] }

export const lockMutants: ReadonlyArray<Mutant> = [
  // ---------------------------------------------------------------------------------------------
  // the queue
  // ---------------------------------------------------------------------------------------------
  mutant<typeof WaitQueue>()({
    ...waitQueue,
    name: "last-come-first-served",
    noticedBy: ["FileLock", "internal/lock/heldLock"],
    bug: "serves the waiter that came last",
    change: ({ WaitQueue }) => {
      WaitQueue.prototype.enqueue = function(waiter) {
        if (this["occupied"]) {
          this["link"](undefined, waiter, this["head"])
        } else {
          this["occupied"] = waiter.first = true
        }
      }
    }
  }),
  mutant<typeof WaitQueue>()({
    ...waitQueue,
    name: "order-of-arrival",
    bug: "serves waiters in the order in which their directories answered, and not in which they called",
    change: ({ WaitQueues }) => {
      WaitQueues.prototype.nextSequence = () => 0
    }
  }),
  mutant<typeof WaitQueue>()({
    ...waitQueue,
    name: "wake-ups-are-forgotten",
    bug: "forgets a wake-up that comes while the waiter does not wait",
    change: ({ Waiter }) => {
      const { notify } = Waiter.prototype
      Waiter.prototype.notify = function() {
        if (this["resume"] !== undefined) {
          notify.call(this)
        }
      }
    }
  }),
  mutant<typeof WaitQueue>()({
    ...waitQueue,
    name: "no-deadline",
    bug: "waits without end",
    change: ({ Waiter }) => {
      Waiter.prototype.startDeadline = () => {}
    }
  }),
  mutant<typeof WaitQueue>()({
    ...waitQueue,
    name: "no-hand-off",
    bug: "gives the lock back to the engine although another fiber waits for it",
    noticedBy: ["internal/lock/heldLock", "internal/lock/waitQueue", "FileLock"],
    change: ({ WaitQueue }) => {
      WaitQueue.prototype.handOff = () => false
    }
  }),
  mutant<typeof WaitQueue>()({
    ...waitQueue,
    name: "hands-off-under-another-label",
    bug: "hands the lock off to a waiter with another label than the one in the lock file",
    noticedBy: ["internal/lock/heldLock", "internal/lock/waitQueue", "FileLock"],
    change: ({ WaitQueue }) => {
      const { handOff } = WaitQueue.prototype
      WaitQueue.prototype.handOff = function(_, origin) {
        const next = this["head"]
        return next !== undefined && handOff.call(this, next, origin)
      }
    }
  }),
  mutant<typeof WaitQueue>()({
    ...waitQueue,
    name: "queues-stay",
    bug: "keeps the queue of each lock that was ever used",
    change: ({ WaitQueues }) => {
      WaitQueues.prototype.delete = () => {}
    }
  }),
  mutant<typeof FileLock>()({
    module: "internal/lock/fileLock",
    noticedBy: ["internal/lock/heldLock", "FileLock"],
    name: "hands-off-without-end",
    bug: "hands the lock off among its own fibers for as long as they want it",
    replaces: ["make"],
    change: ({ make }) => ({
      make: (backend, settings, queues) => make(backend, { ...settings, handoff: Duration.days(1) }, queues)
    })
  }),
  mutant<typeof FileLock>()({
    module: "internal/lock/fileLock",
    noticedBy: ["FileLock"],
    name: "locks-in-any-order",
    bug: "acquires several locks in the order in which they are named",
    replaces: ["make"],
    change: ({ make }) => ({
      make: (backend, settings, queues) => {
        const service = make(backend, settings, queues)
        return {
          ...service,
          acquireAll: (paths, options) => Effect.forEach(paths, (path) => service.acquire(path, options))
        }
      }
    })
  }),

  // ---------------------------------------------------------------------------------------------
  // acquisitions
  // ---------------------------------------------------------------------------------------------
  mutant<typeof Acquisition>()({
    module: "internal/lock/acquisition",
    noticedBy: ["internal/lock/waitLog", "simulation/interruption"],
    name: "waits-uninterruptibly",
    bug: "cannot be interrupted while it waits",
    replaces: ["obtain"],
    change: ({ obtain }) => ({
      obtain: (backend, queues, waiter, key) => obtain(backend, queues, waiter, key, identity)
    })
  }),
  mutant<typeof Background>()({
    module: "internal/lock/background",
    noticedBy: ["internal/lock/background"],
    name: "late-locks-are-kept",
    bug: "keeps a lock that came after its waiter had gone",
    important: true,
    replaces: ["attempt"],
    change: ({ attempt }) => ({
      attempt: <A, E>(waiter: WaitQueue.Waiter, restore: Runtime.Restore, step: Effect.Effect<A, E>) =>
        attempt(waiter, restore, step, () => Effect.void)
    })
  }),
  mutant<typeof Polling>()({
    module: "internal/polling",
    noticedBy: ["LockFileBackend", "FileLock"],
    name: "polls-once",
    bug: "looks once, and not again",
    replaces: ["make"],
    change: ({ make }) => ({
      make: (schedule) => ({ ...make(schedule), next: Effect.succeed(undefined) })
    })
  }),
  mutant<typeof Timer>()({
    module: "internal/lock/timer",
    noticedBy: ["internal/lock/timer"],
    name: "alarms-stay",
    bug: "keeps a timer for what was cancelled, and so a finished program alive",
    change: ({ Timer }) => {
      Timer.prototype.cancel = () => {}
    }
  }),
  mutant<typeof WaitLog>()({
    module: "internal/lock/waitLog",
    noticedBy: ["internal/lock/waitLog"],
    name: "waits-silently",
    bug: "does not say in the log what it waits for",
    change: ({ WaitLog }) => {
      WaitLog.prototype.add = () => {}
    }
  }),

  // ---------------------------------------------------------------------------------------------
  // a lock that is kept until the end of the turn, and waits in the fiber of the caller
  // ---------------------------------------------------------------------------------------------
  mutant<typeof WaitQueue>()({
    ...kept,
    name: "kept-locks-stay",
    bug: "keeps a lock that others wait for beyond the turn of the event loop",
    change: ({ WaitQueue }) => {
      WaitQueue.prototype.keep = function(kept) {
        this.kept = kept
      }
    }
  }),
  mutant<typeof WaitQueue>()({
    ...kept,
    name: "others-are-not-heard-first",
    bug: "hands a lock over after a long turn before it has read what others have said",
    change: ({ WaitQueue }) => {
      WaitQueue.prototype.isDeaf = () => false
    }
  }),
  mutant<typeof HeldLock>()({
    ...kept,
    module: "internal/lock/heldLock",
    name: "kept-locks-are-in-the-way",
    bug: "does not release a kept lock for a section that cannot have it",
    replaces: ["takeKept"],
    change: () => ({ takeKept: () => Effect.void })
  }),
  mutant<typeof WaitQueue>()({
    ...kept,
    name: "locks-are-always-kept",
    bug: "keeps a lock also where its process does something else first, which may need it",
    change: ({ WaitQueues }) => {
      WaitQueues.prototype.isWantedAgain = () => true
    }
  }),
  mutant<typeof Runtime>()({
    module: "internal/runtime",
    name: "interrupts-the-uninterruptible",
    bug: "ends the wait of a caller that may not be interrupted",
    noticedBy: ["internal/lock/acquisition"],
    replaces: ["isInterruptible"],
    change: () => ({ isInterruptible: () => true })
  }),
  mutant<typeof Runtime>()({
    module: "internal/runtime",
    name: "deadlines-are-interruptions",
    bug: "takes the end of a wait by its deadline for an interruption of the caller",
    noticedBy: ["internal/lock/acquisition"],
    change: ({ Body }) => {
      Body.prototype.isInterruptedBy = () => false
    }
  }),

  // ---------------------------------------------------------------------------------------------
  // critical sections
  // ---------------------------------------------------------------------------------------------
  mutant<typeof HeldLock>()({
    ...heldLock,
    name: "losses-do-not-interrupt",
    bug: "lets a body go on after its lock was lost",
    important: true,
    change: ({ HeldLock }) => {
      HeldLock.prototype.addListener = () => {}
      HeldLock.prototype.removeListener = () => {}
    }
  }),
  mutant<typeof HeldLock>()({
    ...heldLock,
    name: "leaves-re-entries-alone",
    bug: "gives the lock back when its owner leaves, although a re-entry is still inside",
    change: ({ HeldLock }) => {
      const { close } = HeldLock.prototype
      HeldLock.prototype.close = function() {
        this["users"] = 1
        return close.call(this)
      }
    }
  }),
  mutant<typeof HeldLock>()({
    ...heldLock,
    name: "re-enters-what-is-over",
    bug: "lets a fiber re-enter a critical section that its owner has left",
    change: ({ HeldLock }) => {
      HeldLock.prototype.close = function() {
        return this["leave"]()
      }
    }
  }),
  mutant<typeof Runtime>()({
    module: "internal/runtime",
    noticedBy: ["internal/lock/criticalSection", "FileLock"],
    name: "interruption-stays",
    bug: "leaves its caller interrupted after a loss",
    change: ({ Body }) => {
      Body.prototype.end = () => Effect.void
    }
  }),
  mutant<typeof Runtime>()({
    module: "internal/runtime",
    noticedBy: ["internal/lock/criticalSection", "FileLock"],
    name: "losses-interrupt-others",
    bug: "interrupts the fibers that its caller had forked before, when the lock is lost",
    replaces: ["Body"],
    change: ({ Body }) => ({
      Body: class extends Body {
        constructor(fiber: Runtime.RuntimeFiber) {
          super(fiber)
          Object.assign(this, { began: undefined })
        }
      }
    })
  }),

  // ---------------------------------------------------------------------------------------------
  // re-entry
  // ---------------------------------------------------------------------------------------------
  mutant<typeof CriticalSection>()({
    ...reentry,
    name: "no-re-entry",
    bug: "waits for itself where it nests",
    replaces: ["find"],
    change: () => ({ find: () => undefined })
  }),
  mutant<typeof CriticalSection>()({
    ...reentry,
    name: "children-deadlock",
    bug: "refuses a handle to a fiber because the fiber that started it is inside",
    replaces: ["isOwn"],
    change: () => ({ isOwn: () => true })
  })
]
