/**
 * What a process does with its competitor, and what it records.
 */
import * as Fs from "node:fs"
import * as Timers from "node:timers/promises"
import * as Monotonic from "../test/torture/Monotonic.js"
import type { Competitor } from "./Competitor.js"
import type * as Messages from "./messages.js"

/** Microseconds of processor time since `start`. */
export const cpuSince = (start: NodeJS.CpuUsage): number => {
  const { system, user } = process.cpuUsage(start)
  return system + user
}

/** Elapsed time and processor time of an action. */
export const measure = async (
  action: () => Promise<void>
): Promise<{ readonly millis: number; readonly cpu: number }> => {
  const cpu = process.cpuUsage()
  const from = Monotonic.millis()
  await action()
  return { millis: Monotonic.millis() - from, cpu: cpuSince(cpu) }
}

/** Acquires and releases `times` times. */
export const cycle = (competitor: Competitor, path: string, times: number): Promise<void> => {
  let done = 0
  return competitor.loop(path, () => done++ < times, () => {})
}

/** Waits for the lock and releases it at once. */
export const acquire = async (
  competitor: Competitor,
  path: string
): Promise<{ readonly at: number; readonly waited: number; readonly cpu: number }> => {
  const start = process.cpuUsage()
  const requested = Monotonic.millis()
  let at = 0
  let cpu = 0
  await competitor.exclusively(path, async () => {
    at = Monotonic.millis()
    cpu = cpuSince(start)
  })
  return { at, waited: at - requested, cpu }
}

/** Acquires and releases until `until`. The body `increment` reads the counter, sleeps for 1 ms, and writes the counter. */
export const contend = async (
  competitor: Competitor,
  options: { readonly path: string; readonly from: number; readonly until: number; readonly body: Messages.Body }
) => {
  const { body, from, path, until } = options
  const requested: Array<number> = []
  const acquired: Array<number> = []
  const released: Array<number> = []
  let failures = 0
  let now = 0
  const next = (): boolean => {
    now = Monotonic.millis()
    return now < until
  }
  const enter = (): void => {
    requested.push(now)
    acquired.push(Monotonic.millis())
  }
  const increment = async (): Promise<void> => {
    enter()
    const count = Number(Fs.readFileSync(path, "utf8"))
    await Timers.setTimeout(1)
    Fs.writeFileSync(path, String(count + 1))
    released.push(Monotonic.millis())
  }
  // All processes begin at the same instant, however long each took to start.
  await Timers.setTimeout(Math.max(0, from - Monotonic.millis()))
  const start = process.cpuUsage()
  while (next()) {
    try {
      await (body === "empty" ? competitor.loop(path, next, enter) : competitor.exclusively(path, increment))
    } catch {
      // A peer that gives up still excludes: the failure is counted, and the peer tries again.
      failures++
      await Timers.setTimeout(1)
    }
  }
  return { requested, acquired, released, failures, cpu: cpuSince(start) }
}
