import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import type { LockBackend } from "../LockBackend.js"
import type { Hold } from "./hold.js"
import { Line } from "./line.js"

/**
 * A critical section that a fiber is in, and that it and the fibers it starts may re-enter. Those that re-enter at the same time
 * exclude one another through `line`.
 */
export interface Section {
  readonly backend: LockBackend
  readonly hold: Hold
  readonly line: Line
  /** What to do when this section and all that have re-entered it are over. */
  readonly end: Effect.Effect<void>
  /** The fiber whose body it is. */
  openedBy: FiberId.FiberId
  /** Another section on a lock of this name that the fiber was in before. */
  around: Section | undefined
  /** Whether it may be re-entered. */
  open: boolean
  /** Itself, while it is open, and those that have re-entered it. */
  users: number
}

/** Opens a section. */
export const open = (backend: LockBackend, hold: Hold, end: Effect.Effect<void>): Section => ({
  backend,
  hold,
  line: new Line(),
  end,
  openedBy: FiberId.none,
  around: undefined,
  open: true,
  users: 1
})

/** Opens a section inside another one, whose line it is in. */
export const openInside = (outer: Section, giveBack: Effect.Effect<void>): Section => {
  outer.users += 1
  return open(outer.backend, outer.hold, Effect.zipRight(giveBack, Effect.suspend(() => drop(outer))))
}

/** Ends a section for whoever opened it; those that have re-entered it may still be inside. */
export const close = (section: Section): Effect.Effect<void> =>
  Effect.suspend(() => {
    section.open = false
    return drop(section)
  })

const drop = (section: Section): Effect.Effect<void> => {
  section.users -= 1
  return section.users > 0 ? Effect.void : section.end
}

/**
 * By the names of their locks, the innermost of each. An object of its own: a map would be compared with its successor, entry by
 * entry, whenever a fiber enters a section.
 */
interface Sections {
  readonly byName: HashMap.HashMap<string, Section>
}

/** The sections that a fiber is in; some may be over. */
export const current: FiberRef.FiberRef<Sections> = globalValue(
  "effect-filelock/sections",
  () =>
    FiberRef.unsafeMake<Sections>({ byName: HashMap.empty() }, {
      // A fiber that waits for several others must not forget what it, or the others, hold.
      join: (ours, theirs) =>
        ours === theirs ? ours : {
          byName: HashMap.reduce(
            theirs.byName,
            ours.byName,
            (all, section, name) => section.open && !HashMap.has(all, name) ? HashMap.set(all, name, section) : all
          )
        }
    })
)

const openOf = (section: Section | undefined): Section | undefined => {
  let open = section
  while (open !== undefined && !open.open) {
    open = open.around
  }
  return open
}

const innermost = ({ byName }: Sections, lockPath: string): Section | undefined =>
  Option.getOrUndefined(HashMap.get(byName, lockPath))

/** The sections of a fiber that enters one more. */
export const enter = (sections: Sections, section: Section, fiber: FiberId.FiberId): Sections => {
  section.openedBy = fiber
  const name = section.hold.name.lockPath
  section.around = openOf(innermost(sections, name))
  return { byName: HashMap.set(sections.byName, name, section) }
}

/** Puts the current fiber inside a section that ends elsewhere. */
export const stay = (section: Section): Effect.Effect<void> =>
  Effect.flatMap(Effect.fiberId, (fiber) => FiberRef.update(current, (sections) => enter(sections, section, fiber)))

/** Forgets what is over, where the current fiber is the one that entered it. */
export const forget = (section: Section): Effect.Effect<void> =>
  FiberRef.update(current, (sections) => {
    const name = section.hold.name.lockPath
    if (innermost(sections, name) !== section) {
      return sections
    }
    const { byName } = sections
    const around = openOf(section.around)
    return { byName: around === undefined ? HashMap.remove(byName, name) : HashMap.set(byName, name, around) }
  })

/** The innermost section on a lock that is still open. */
export const find = (sections: Sections, backend: LockBackend, lockPath: string): Section | undefined => {
  let section = openOf(innermost(sections, lockPath))
  while (section !== undefined && section.backend !== backend) {
    section = openOf(section.around)
  }
  return section
}

/** Whether this very fiber, and not only one that started it, is in a section. */
export const isOwn = (section: Section): Effect.Effect<boolean> =>
  Effect.map(Effect.fiberId, (fiber) => Equal.equals(section.openedBy, fiber))
