/**
 * Who is alive, asked of the kernel and not of the library: the check must not share an error with what it checks.
 */
import * as Fs from "node:fs"

/** What the process table says of one process. */
export interface Entry {
  /** Field 3 of `/proc/<pid>/stat`: R, S, D, T, Z, … */
  readonly state: string
  /** How many threads it still has, its first one included. */
  readonly threads: number
  /** Field 22: in clock ticks since boot; tells apart two processes that had the same pid. */
  readonly startTime: string
}

/** The entry of a process, `undefined` where there is none. */
export const entry = (pid: number): Entry | undefined => {
  let stat: string
  try {
    stat = Fs.readFileSync(`/proc/${pid}/stat`, "utf8")
  } catch {
    return undefined
  }
  // The command's name may contain spaces and parentheses, so count from the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ")
  return { state: fields[0] ?? "", threads: Number(fields[17]), startTime: fields[19] ?? "" }
}

/**
 * Whether that very process can still do something. While it ends, each of its threads leaves its system call, then its memory, then its
 * open files, whose locks the kernel frees: only a thread that has memory can still write.
 */
export const isAlive = (pid: number, startTime: string): boolean => {
  const found = entry(pid)
  if (found === undefined || found.startTime !== startTime) return false
  try {
    return Fs.readdirSync(`/proc/${pid}/task`).some((thread) => hasMemory(`/proc/${pid}/task/${thread}/stat`))
  } catch {
    return false
  }
}

/** Field 23, the size of the memory. */
const hasMemory = (stat: string): boolean => {
  try {
    const text = Fs.readFileSync(stat, "utf8")
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[20] !== "0"
  } catch {
    return false
  }
}

/** The memory of a process that is in use, in bytes; 0 where there is no such process. */
export const residentMemory = (pid: number): number => {
  try {
    return 1_024 * Number(/^VmRSS:\s+(\d+) kB$/m.exec(Fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0)
  } catch {
    return 0
  }
}

/** Whether this machine has the process table that the checks need. */
export const isSupported = (): boolean => entry(process.pid) !== undefined
