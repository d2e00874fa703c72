/**
 * What a simulated world is like: all of it follows from a seed.
 */
import { Dice } from "./Dice.js"

/** Where the processes are: what they can know of one another. */
export type Kind = "host" | "containers" | "threads" | "hosts"

/** What can go wrong in a world. Each can be switched off to find out what a failure needs. */
export const troubles = [
  "crashes",
  "stalls",
  "longStalls",
  "slowStorage",
  "faults",
  "foreign",
  "vandal",
  "reboot",
  "suspend",
  "clockSet",
  "leftovers",
  "longHolds",
  "impatience",
  "badHints"
] as const

export type Trouble = typeof troubles[number]

export interface Plan {
  readonly seed: number
  readonly salt: number
  readonly kind: Kind
  readonly processes: number
  readonly fibers: number
  readonly rounds: number
  /** Milliseconds. */
  readonly lease: number
  readonly troubles: ReadonlySet<Trouble>
  /** Whether a freed inode number is given out again at once. */
  readonly reuseInodes: boolean
  /** How likely the process that just ran goes on. */
  readonly stickiness: number
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
  /** How many of the events of a watch get lost, and for how many milliseconds at most the others are on their way. */
  readonly lostEvents: number
  readonly lateEvents: number
}

/** What a person, or the search for a smaller failure, wants to be different. */
export interface Overrides {
  readonly salt?: number | undefined
  readonly processes?: number | undefined
  readonly fibers?: number | undefined
  readonly rounds?: number | undefined
  readonly without?: ReadonlyArray<Trouble> | undefined
}

/** Whether owners exist that others cannot check, so that the lease decides about them. */
export const needsLease = (plan: Plan): boolean => plan.kind !== "host" || plan.troubles.has("reboot")

/** Whether the assumption of leases is kept: nobody pauses for longer than a part of it. */
export const keepsLease = (plan: Plan): boolean => !plan.troubles.has("longStalls") && !plan.troubles.has("suspend")

/** What nobody may pause for longer, as a share of the lease, if the lease is to hold. */
export const allowedPause = 0.45

const likely: ReadonlyArray<readonly [probability: number, trouble: Trouble]> = [
  [0.6, "crashes"],
  [0.6, "stalls"],
  [0.2, "longStalls"],
  [0.15, "slowStorage"],
  [0.2, "faults"],
  [0.08, "foreign"],
  [0.08, "vandal"],
  [0.08, "reboot"],
  [0.08, "suspend"],
  [0.1, "clockSet"],
  [0.4, "leftovers"],
  [0.3, "longHolds"],
  [0.3, "impatience"],
  [0.4, "badHints"]
]

export const make = (seed: number, overrides: Overrides = {}): Plan => {
  const dice = new Dice(seed)
  const kind = dice.weighted<Kind>([[5, "host"], [2, "containers"], [1, "threads"], [3, "hosts"]])
  const troubles = new Set<Trouble>()
  for (const [probability, trouble] of likely) {
    if (dice.chance(probability)) troubles.add(trouble)
  }
  // A pause of one process is nothing to others that can check it: on one machine all pauses are long ones.
  if (kind === "host" && troubles.delete("longStalls")) troubles.add("stalls")
  const plan: Plan = {
    seed,
    salt: overrides.salt ?? 0,
    kind,
    processes: dice.weighted([[5, 2], [4, 3], [2, 4], [1, 5]]),
    fibers: dice.weighted([[5, 1], [3, 2], [1, 3]]),
    rounds: dice.weighted([[3, 1], [2, 2], [1, 4]]),
    lease: dice.weighted(kind === "host" ? [[1, 30_000], [3, 1_200]] : [[2, 1_200], [2, 3_000], [1, 8_000]]),
    troubles,
    reuseInodes: dice.chance(0.7),
    stickiness: dice.pick([0, 0.5, 0.9]),
    stepCost: dice.pick([5_000, 100_000, 1_000_000]),
    pollInterval: dice.weighted([[1, 100], [3, 1_000]]),
    spread: dice.pick([0, 1, 50]),
    clockSteps: 0.125,
    crashes: dice.integer(1, 4),
    stalls: dice.integer(1, 5),
    handoff: dice.pick([0, 10, 10, 1_000]),
    lostEvents: 0,
    lateEvents: 0.2
  }
  const hints = { lostEvents: dice.pick([0, 0.3, 1]), lateEvents: dice.pick([0.2, 5, 500]) }
  for (const trouble of overrides.without ?? []) troubles.delete(trouble)
  return {
    ...plan,
    ...(troubles.has("badHints") ? hints : {}),
    processes: overrides.processes ?? plan.processes,
    fibers: overrides.fibers ?? plan.fibers,
    rounds: overrides.rounds ?? plan.rounds
  }
}

/** In one line, for the head of a trace. */
export const format = (plan: Plan): string =>
  `seed ${plan.seed}${plan.salt === 0 ? "" : `.${plan.salt}`}: ${plan.kind}, ${plan.processes} processes of ` +
  `${plan.fibers} fibers, ${plan.rounds} rounds, lease ${plan.lease} ms, ${
    [...plan.troubles].join(" ") || "no trouble"
  }`
