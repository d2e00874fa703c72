/**
 * A process that dies in a simulated world leaves fibers that never end, and Effect keeps every fiber without a parent until it ends.
 */
import { globalValue } from "effect/GlobalValue"

/** What Effect keeps such fibers in. */
const roots = (): Set<unknown> =>
  globalValue<{ readonly roots: Set<unknown> }>(Symbol.for("effect/FiberScope/Global"), () => {
    throw new Error("this version of Effect keeps its fibers elsewhere")
  }).roots

/** What it answers with forgets all fibers that were started since. */
export const remember = (): () => void => {
  const before = new Set(roots())
  return () => {
    for (const fiber of roots()) {
      if (!before.has(fiber)) roots().delete(fiber)
    }
  }
}
