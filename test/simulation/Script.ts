/**
 * Worlds in which nothing is left to chance: for what went wrong once.
 */
import type { Parked } from "./Kernel.js"
import * as Plan from "./Plan.js"
import type { Player } from "./Player.js"
import { changes } from "./Watcher.js"
import { World } from "./World.js"

/** A world without any trouble but what is done to it. */
export const makeWorld = (options?: Partial<Plan.Plan>, trace?: (line: string) => void): World =>
  new World({ ...Plan.make(0), kind: "host", lease: 3_000, troubles: new Set(), clockSteps: 0, ...options }, trace)

/** Lets everybody go on, first come, first served, until somebody is where he is waited for; `undefined` if nobody ever is. */
export const playUntil = (
  world: World,
  isThere: (parked: Parked<Player>) => boolean,
  limit = 300e9
): Parked<Player> | undefined => {
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
    world.note(() => `${next.who} ${method}: ${syscall} ${path}`)
    watcher.before(next)
    kernel.go(next)
    watcher.after(next)
    if (changes(next.step)) world.note(() => `   now ${watcher.describe(path)}`)
  }
  return undefined
}

/** Lets everybody go on until nothing is left to do. */
export const playToTheEnd = (world: World): void => {
  playUntil(world, () => false)
}
