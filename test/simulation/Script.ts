/**
 * Worlds in which nothing is left to chance: for what went wrong once.
 */
import type { Parked } from "./Kernel.js"
import * as Plan from "./Plan.js"
import type { SimulatedProcess } from "./SimulatedProcess.js"
import { World } from "./World.js"

/** A world without any fault but what is done to it. */
export const makeWorld = (options?: Partial<Plan.Plan>, trace?: (line: string) => void): World =>
  new World({
    ...Plan.make(0),
    kind: "host",
    synchronous: 0,
    lease: 3_000,
    faults: new Set(),
    clockSteps: 0,
    ...options
  }, trace)

/** Lets everybody go on, first come, first served, until somebody is where he is waited for; `undefined` if nobody ever is. */
export const playUntil = (
  world: World,
  isThere: (parked: Parked<SimulatedProcess>) => boolean,
  limit = 300e9
): Parked<SimulatedProcess> | undefined => {
  const { kernel, watcher } = world
  kernel.drain()
  while (kernel.now < limit) {
    const there = kernel.runnable().find(isThere)
    const next = there ?? kernel.runnable()[0]
    if (there !== undefined || (next === undefined && kernel.nextAlarm() === undefined)) {
      return there
    }
    if (next === undefined) {
      kernel.ring()
      continue
    }
    const { method, path, syscall } = next.step
    world.note(() => `${next.who} ${method}: ${syscall} ${watcher.show(path)}`)
    const after = watcher.before(next, kernel.steps + 1)
    kernel.go(next)
    after()
    world.noteChange(next.step)
  }
  return undefined
}

/** Lets everybody go on until nothing is left to do. */
export const playToTheEnd = (world: World): void => {
  playUntil(world, () => false)
}
