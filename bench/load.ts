/**
 * What a process does to its contestant, and what it notes meanwhile.
 */
import * as Fs from "node:fs"
import * as Timers from "node:timers/promises"
import * as Monotonic from "../test/torture/Monotonic.js"
import type { Contestant } from "./Contestant.js"

const cpuSince = (start: NodeJS.CpuUsage): number => {
  const { system, user } = process.cpuUsage(start)
  return system + user
}

/** How long it takes, and how much of the processors. */
export const measure = async (act: () => Promise<void>): Promise<{ readonly millis: number; readonly cpu: number }> => {
  const cpu = process.cpuUsage()
  const from = Monotonic.millis()
  await act()
  return { millis: Monotonic.millis() - from, cpu: cpuSince(cpu) }
}

/** Waits for its turn and lets go at once. */
export const take = async (
  contestant: Contestant,
  path: string
): Promise<{ readonly at: number; readonly waited: number; readonly cpu: number }> => {
  const start = process.cpuUsage()
  const asked = Monotonic.millis()
  let at = 0
  let cpu = 0
  await contestant.exclusively(path, async () => {
    at = Monotonic.millis()
    cpu = cpuSince(start)
  })
  return { at, waited: at - asked, cpu }
}

/** Raises the counter until the time is over: reads it, works, writes it. Whoever was inside meanwhile is undone by that. */
export const contend = async (
  contestant: Contestant,
  window: { readonly path: string; readonly from: number; readonly until: number; readonly work: number }
) => {
  const asked: Array<number> = []
  const entered: Array<number> = []
  const left: Array<number> = []
  let failures = 0
  // All begin together, however long each took to start.
  await Timers.setTimeout(Math.max(0, window.from - Monotonic.millis()))
  const start = process.cpuUsage()
  for (let now = Monotonic.millis(); now < window.until; now = Monotonic.millis()) {
    try {
      await contestant.exclusively(window.path, async () => {
        asked.push(now)
        entered.push(Monotonic.millis())
        const count = Number(Fs.readFileSync(window.path, "utf8"))
        await Timers.setTimeout(window.work)
        Fs.writeFileSync(window.path, String(count + 1))
        left.push(Monotonic.millis())
      })
    } catch {
      // A peer that gives up is not one that excludes badly; it is counted and tried again.
      failures++
      await Timers.setTimeout(1)
    }
  }
  return { asked, entered, left, failures, cpu: cpuSince(start) }
}
