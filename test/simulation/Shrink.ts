/**
 * Looks for a smaller world that fails in the same way, with few tries.
 */
import * as Plan from "./Plan.js"
import * as Simulation from "./Simulation.js"

/** How many worlds that differ in nothing but their random are tried for each smaller one. */
const salts = 12

const fails = (seed: number, overrides: Plan.Overrides, kind: string): boolean =>
  Simulation.run(Plan.make(seed, overrides)).violation?.kind === kind

/** Fewer processes, fibers, rounds and faults, as long as the kind of failure stays. */
export const shrink = (seed: number, given: Plan.Overrides, kind: string): Plan.Overrides => {
  let best = given
  const attempt = (changes: Plan.Overrides): boolean => {
    for (let salt = 0; salt < salts; salt++) {
      const smaller = { ...best, ...changes, salt }
      if (fails(seed, smaller, kind)) {
        best = smaller
        return true
      }
    }
    return false
  }
  const fewer = (name: "processes" | "fibers" | "rounds", least: number): void => {
    for (let count = least; count < Plan.make(seed, best)[name]; count++) {
      if (attempt({ [name]: count })) return
    }
  }
  fewer("rounds", 1)
  fewer("fibers", 1)
  fewer("processes", 1)
  for (const fault of Plan.make(seed, best).faults) {
    attempt({ without: [...(best.without ?? []), fault] })
  }
  return best
}
