/**
 * What a simulated world is like: all of it follows from a seed.
 */
import { RandomSource } from "./RandomSource.js"

/** Where the processes are: what they can know of one another. */
export type Kind = "host" | "containers" | "threads" | "hosts"

/** What can go wrong in a world, or makes it harder. Each can be switched off to find out what a failure needs. */
export const faults = [
  "crashes",
  "stalls",
  "longStalls",
  "slowStorage",
  "fileFaults",
  "lostAnswers",
  "foreign",
  "vandal",
  "reboot",
  "suspend",
  "clockSet",
  "leftovers",
  "longHolds",
  "impatience",
  "noLinks",
  "messages",
  "networks",
  "readers"
] as const

export type Fault = typeof faults[number]

export interface Plan {
  readonly seed: number
  readonly salt: number
  readonly kind: Kind
  /** How likely a process makes its calls synchronously, as `NodeFileLock` does. */
  readonly synchronous: number
  readonly processes: number
  readonly fibers: number
  readonly rounds: number
  /** Milliseconds. */
  readonly lease: number
  readonly faults: ReadonlySet<Fault>
  /** Whether a freed inode number is given out again at once. */
  readonly reuseInodes: boolean
  /** How likely the process that just ran goes on. */
  readonly stickiness: number
  /** How likely other processes run before a synchronous call. */
  readonly preemption: number
  /** What a system call takes, in nanoseconds, on the average. */
  readonly stepCost: number
  /** The longest pause between two looks, in milliseconds. */
  readonly pollInterval: number
  /** Within how many milliseconds the processes start. */
  readonly spread: number
  /** How likely a process may be preempted before it reads a clock. */
  readonly clockSteps: number
  readonly crashes: number
  readonly stalls: number
  /** For how many milliseconds a process passes the lock among its own fibers. */
  readonly handoff: number
  /** How likely a call is for the lock in shared mode, where there are readers. */
  readonly readers: number
}

/** What the command line, or the search for a smaller failure, changes. */
export interface Overrides {
  readonly salt?: number | undefined
  readonly processes?: number | undefined
  readonly fibers?: number | undefined
  readonly rounds?: number | undefined
  readonly without?: ReadonlyArray<Fault> | undefined
}

/** Whether owners exist that others cannot check, so that the lease decides about them. */
export const needsLease = (plan: Plan): boolean => plan.kind !== "host" || plan.faults.has("reboot")

/** Whether the assumption of leases is kept: no process pauses for longer than a part of it. */
export const keepsLease = (plan: Plan): boolean => !plan.faults.has("longStalls") && !plan.faults.has("suspend")

/** Whether calls on files fail, or answer wrongly. */
export const hasFileFaults = (plan: Plan): boolean => plan.faults.has("fileFaults") || plan.faults.has("lostAnswers")

/** The longest pause that leases allow, as a share of the lease. */
export const allowedPause = 0.45

const likely: ReadonlyArray<readonly [probability: number, fault: Fault]> = [
  [0.6, "crashes"],
  [0.6, "stalls"],
  [0.2, "longStalls"],
  [0.15, "slowStorage"],
  [0.2, "fileFaults"],
  [0.1, "lostAnswers"],
  [0.08, "foreign"],
  [0.08, "vandal"],
  [0.08, "reboot"],
  [0.08, "suspend"],
  [0.1, "clockSet"],
  [0.4, "leftovers"],
  [0.3, "longHolds"],
  [0.3, "impatience"],
  [0.1, "noLinks"],
  [0.3, "messages"],
  [0.3, "networks"]
]

export const make = (seed: number, overrides: Overrides = {}): Plan => {
  const random = new RandomSource(seed)
  const kind = random.weighted<Kind>([[5, "host"], [2, "containers"], [1, "threads"], [3, "hosts"]])
  const faults = new Set<Fault>()
  for (const [probability, fault] of likely) {
    if (random.chance(probability)) faults.add(fault)
  }
  // A pause of one process is nothing to others that can check it: on one machine all pauses are long ones.
  if (kind === "host" && faults.delete("longStalls")) faults.add("stalls")
  const synchronous = random.weighted([[5, 0], [2, 0.5], [3, 1]])
  const plan: Plan = {
    seed,
    salt: overrides.salt ?? 0,
    kind,
    synchronous,
    processes: random.weighted([[5, 2], [4, 3], [2, 4], [1, 5]]),
    fibers: random.weighted([[5, 1], [3, 2], [1, 3]]),
    rounds: random.weighted([[3, 1], [2, 2], [1, 4]]),
    lease: random.weighted(kind === "host" ? [[1, 30_000], [3, 1_200]] : [[2, 1_200], [2, 3_000], [1, 8_000]]),
    faults,
    reuseInodes: random.chance(0.7),
    stickiness: random.pick([0, 0.5, 0.9]),
    preemption: random.pick([0.05, 0.2, 0.5]),
    stepCost: random.pick([5_000, 100_000, 1_000_000]),
    pollInterval: random.weighted([[1, 100], [3, 1_000]]),
    spread: random.pick([0, 1, 50]),
    clockSteps: 0.125,
    crashes: random.integer(1, 4),
    stalls: random.integer(1, 5),
    handoff: random.pick([0, 5, 5, 1_000]),
    readers: random.pick([0.3, 0.6, 0.9])
  }
  if (random.chance(0.5)) faults.add("readers")
  for (const fault of overrides.without ?? []) faults.delete(fault)
  return {
    ...plan,
    processes: overrides.processes ?? plan.processes,
    fibers: overrides.fibers ?? plan.fibers,
    rounds: overrides.rounds ?? plan.rounds
  }
}

/** In one line, for the head of a trace. */
export const format = (plan: Plan): string =>
  `seed ${plan.seed}${plan.salt === 0 ? "" : `.${plan.salt}`}: ${plan.kind}${
    plan.synchronous === 0 ? "" : plan.synchronous === 1 ? ", synchronous calls" : ", some synchronous calls"
  }, ${plan.processes} processes of ${plan.fibers} fibers, ${plan.rounds} rounds, lease ${plan.lease} ms, ${
    [...plan.faults].join(" ") || "no fault"
  }`
