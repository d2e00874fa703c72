/**
 * `npm run simulate -- --seeds 20000`
 *
 * Plays worlds of simulated processes that compete for one lock, each by its seed, and holds every step against the promises
 * of the lock. See docs/simulation.md. Ends with 0 only if none was broken.
 */
import * as ChildProcess from "node:child_process"
import * as Os from "node:os"
import * as NodeUtil from "node:util"
import * as Plan from "../test/simulation/Plan.js"
import * as Shrink from "../test/simulation/Shrink.js"
import * as Simulation from "../test/simulation/Simulation.js"
import * as SmallWorld from "../test/simulation/SmallWorld.js"

const usage = `Usage: npm run simulate -- [options]

  --seeds N        how many worlds (1000)
  --from N         the first seed (0)
  --jobs N         how many processes play them (as many as there are cores)
  --seed S         plays this one world, with its trace
  --exhaustive     plays the smallest worlds in every order of their steps; with --short, those that take less than a minute
  --processes N, --fibers N, --rounds N, --salt N, --without crashes,stalls,…
                   change the worlds; a failure prints the ones it needs`

const { values } = NodeUtil.parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "0" },
    jobs: { type: "string", default: String(Os.availableParallelism()) },
    seed: { type: "string" },
    salt: { type: "string" },
    exhaustive: { type: "boolean", default: false },
    short: { type: "boolean", default: false },
    processes: { type: "string" },
    fibers: { type: "string" },
    rounds: { type: "string" },
    without: { type: "string" },
    help: { type: "boolean", default: false }
  }
})

const numberOf = (text: string | undefined): number | undefined => text === undefined ? undefined : Number(text)

const overrides: Plan.Overrides = {
  salt: numberOf(values.salt),
  processes: numberOf(values.processes),
  fibers: numberOf(values.fibers),
  rounds: numberOf(values.rounds),
  without: Plan.faults.filter((fault) => values.without?.split(",").includes(fault))
}

const jobs = Number(values.jobs)
const first = Number(values.from)
const end = first + Number(values.seeds)

/** How many worlds a process plays. */
const part = Math.ceil(Number(values.seeds) / jobs)

/** What one process has played; the children tell their parent in this form. */
interface Sum {
  worlds: number
  steps: number
  sections: number
  /** Seconds of simulated time. */
  time: number
  readonly kinds: Record<string, number>
  readonly failures: Array<{ readonly seed: number; readonly kind: string; readonly message: string }>
}

const emptySum = (): Sum => ({ worlds: 0, steps: 0, sections: 0, time: 0, kinds: {}, failures: [] })

const add = (sum: Sum, other: Sum): void => {
  sum.worlds += other.worlds
  sum.steps += other.steps
  sum.sections += other.sections
  sum.time += other.time
  for (const [kind, count] of Object.entries(other.kinds)) sum.kinds[kind] = (sum.kinds[kind] ?? 0) + count
  for (const failure of other.failures) sum.failures.push(failure)
}

const play = (from: number, until: number, report: (sum: Sum) => void): void => {
  let sum = emptySum()
  for (let seed = from; seed < until; seed++) {
    const { plan, sections, steps, time, violation } = Simulation.run(Plan.make(seed, overrides))
    add(sum, {
      worlds: 1,
      steps,
      sections,
      time: time / 1e9,
      kinds: { [plan.kind]: 1 },
      failures: violation === undefined ? [] : [{ seed, kind: violation.kind, message: violation.message }]
    })
    if (sum.worlds === 50 || violation !== undefined || seed + 1 === until) {
      report(sum)
      sum = emptySum()
    }
  }
}

const write = (line: string): void => void process.stdout.write(`${line}\n`)

const options = (changes: Plan.Overrides): string =>
  [
    ...(["salt", "processes", "fibers", "rounds"] as const).flatMap((name) =>
      changes[name] === undefined ? [] : [`--${name} ${changes[name]}`]
    ),
    ...(changes.without === undefined || changes.without.length === 0 ? [] : [`--without ${changes.without.join(",")}`])
  ].join(" ")

const trace = (seed: number, changes: Plan.Overrides): boolean => {
  const plan = Plan.make(seed, changes)
  write(Plan.format(plan))
  const { violation } = Simulation.run(plan, write)
  write(violation === undefined ? "No violation." : `VIOLATED: ${violation.kind}: ${violation.message}`)
  write(`Replay: npm run simulate -- --seed ${seed} ${options(changes)}`)
  return violation === undefined
}

const playAll = async (): Promise<boolean> => {
  const started = process.hrtime.bigint()
  const total = emptySum()
  let shown = started
  const seconds = () => Number(process.hrtime.bigint() - started) / 1e9
  const receive = (sum: Sum): void => {
    add(total, sum)
    for (const { kind, message, seed } of sum.failures) write(`seed ${seed}: ${kind}: ${message}`)
    if (process.hrtime.bigint() - shown > 10_000_000_000n) {
      shown = process.hrtime.bigint()
      write(`${total.worlds} worlds, ${Math.round(total.steps / seconds())} operations a second`)
    }
  }
  const playPart = (from: number): Promise<void> =>
    new Promise<void>((resolve, reject) => {
      const child = ChildProcess.fork(process.argv[1] ?? "", process.argv.slice(2), {
        env: { ...process.env, SIMULATE_FROM: String(from) },
        execArgv: process.execArgv
      })
      child.on("message", (message: Sum) => receive(message))
      child.on("error", reject)
      child.on("exit", (code) => code === 0 ? resolve() : reject(new Error(`a job ended with ${code}`)))
    })
  await Promise.all(Array.from({ length: jobs }, (_, job) => playPart(first + job * part)))
  write(
    `${total.worlds} worlds (${Object.entries(total.kinds).map(([kind, count]) => `${count} ${kind}`).join(", ")}), ` +
      `${total.sections} critical sections, ${total.steps} operations, ${
        Math.round(total.time)
      } s of simulated time in ` +
      `${Math.round(seconds())} s: ${Math.round(total.steps / seconds())} operations a second`
  )
  write(`Violations: ${total.failures.length}`)
  const failure = total.failures.sort((left, right) => left.seed - right.seed)[0]
  if (failure !== undefined) {
    trace(failure.seed, Shrink.shrink(failure.seed, overrides, failure.kind))
  }
  return failure === undefined
}

const exhaust = (): boolean =>
  SmallWorld.worlds.filter(({ quick }) => quick || !values.short).every((small) => {
    const started = process.hrtime.bigint()
    const { ends, executions, longest, pruned, steps, trace, violation } = SmallWorld.run(small)
    write(
      `${small.scene}, ${small.processes} processes${
        small.readers === 0
          ? ""
          : `, readers ${small.readers} of them${small.removal === "one step" ? "" : " over any file system"}${
            small.leaves ? "" : " that leave in one order"
          },`
      }${small.waits ? " that wait" : ""}, ` +
        `${small.crashes === 0 ? "no crash" : "at most one crash"}${
          small.withdrawals === 0 ? "" : " and one withdrawal"
        }: ` +
        `${executions} interleavings (${pruned} more given up as equal to one of them), ${steps} steps, the longest ${longest}, ` +
        `${ends} different ends, ${Math.round(Number(process.hrtime.bigint() - started) / 1e9)} s`
    )
    if (violation !== undefined) {
      for (const line of trace) write(line)
      write(`VIOLATED: ${violation.kind}: ${violation.message}`)
    }
    return violation === undefined
  })

const main = async (): Promise<boolean> => {
  const from = numberOf(process.env["SIMULATE_FROM"])
  if (from !== undefined) {
    play(from, Math.min(from + part, end), (sum) => process.send?.(sum))
    process.disconnect()
    return true
  }
  if (values.help) {
    write(usage)
    return true
  }
  return values.exhaustive ? exhaust() : values.seed === undefined ? playAll() : trace(Number(values.seed), overrides)
}

process.exitCode = await main() ? 0 : 1
