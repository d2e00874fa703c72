/**
 * Finds two processes inside one critical section, independently of the lock.
 *
 * A process that enters creates a mark and then reads all marks: of two that are inside at once, the later one sees the
 * other's. A mark may stay behind only if its owner was killed, which the kernel can tell exactly at that moment; the time
 * at which a parent hears of the death is too late for that, since others may rightly have entered before.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Process from "./Process.js"

/** A mark of another section. */
export interface Other {
  readonly incarnation: number
  readonly section: number
  readonly alive: boolean
}

/** One process's way in and out. */
export interface Presence {
  /** Leaves the mark and returns those that exclude us; marks of the dead are removed and returned once. */
  readonly enter: (section: number, mode: "exclusive" | "shared") => ReadonlyArray<Other>
  readonly leave: (section: number, mode: "exclusive" | "shared") => void
}

/** `directory` exists, and nothing but marks is in it. */
export const make = (directory: string, incarnation: number): Presence => {
  const startTime = Process.entry(process.pid)?.startTime ?? ""
  const nameOf = (section: number, mode: "exclusive" | "shared"): string =>
    [mode, incarnation, section, process.pid, startTime].join("-")
  return {
    enter: (section, mode) => {
      const own = nameOf(section, mode)
      Fs.closeSync(Fs.openSync(Path.join(directory, own), "wx"))
      const others: Array<Other> = []
      for (const name of Fs.readdirSync(directory)) {
        if (name === own) continue
        const [otherMode, other, otherSection, pid, started = ""] = name.split("-")
        if (mode === "shared" && otherMode === "shared") continue
        const alive = Process.isAlive(Number(pid), started)
        if (!alive) {
          try {
            Fs.unlinkSync(Path.join(directory, name))
          } catch {
            // Another reader was quicker to remove it, and reports it.
            continue
          }
        }
        others.push({ incarnation: Number(other), section: Number(otherSection), alive })
      }
      return others
    },
    leave: (section, mode) => Fs.unlinkSync(Path.join(directory, nameOf(section, mode)))
  }
}
