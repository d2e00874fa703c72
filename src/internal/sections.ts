import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import type * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import { globalValue } from "effect/GlobalValue"
import * as Option from "effect/Option"
import type { LockBackend, Mode } from "../LockBackend.js"
import type { Hold } from "./hold.js"
import { Line } from "./line.js"

/**
 * A critical section that a fiber is in, and that it and the fibers it starts may re-enter. Those that re-enter at the same time
 * exclude one another through `line`.
 */
export interface Section {
  readonly backend: LockBackend
  readonly lockPath: string
  readonly mode: Mode
  readonly openedBy: FiberId.FiberId
  readonly hold: Hold
  readonly line: Line
  open: boolean
}

export const open = (section: Omit<Section, "line" | "open">): Section => ({ ...section, line: new Line(), open: true })

const current: FiberRef.FiberRef<ReadonlyArray<Section>> = globalValue(
  "effect-filelock/sections",
  () =>
    FiberRef.unsafeMake<ReadonlyArray<Section>>([], {
      // A fiber that waits for several others must not forget what it, or the others, hold.
      join: (ours, theirs) => [...ours, ...theirs.filter((section) => section.open && !ours.includes(section))]
    })
)

/** The sections that the current fiber is in, outermost first; some may be over. */
export const get = FiberRef.get(current)

/** Runs an effect inside one more section. */
export const within = (section: Section) => Effect.locallyWith(current, (sections) => [...sections, section])

/** Puts the current fiber inside a section that ends elsewhere. */
export const enter = (section: Section) =>
  FiberRef.update(current, (sections) => [...sections.filter((known) => known.open), section])

/** The innermost section on a lock that is still open. */
export const find = (
  sections: ReadonlyArray<Section>,
  backend: LockBackend,
  lockPath: string
): Section | undefined =>
  Option.getOrUndefined(Array.findLast(
    sections,
    (section) => section.open && section.backend === backend && section.lockPath === lockPath
  ))
