/**
 * `npm run torture -- --processes 6 --seconds 30 --seed 1 --kill-every 150`
 *
 * Processes compete for one lock while they are killed and stopped at random. Ends with 0 only if two processes were never inside
 * at once, no update was lost, no reader saw a part of one, no waiter stood still for long, and no file was left.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as NodeUtil from "node:util"
import * as Postgres from "../test/servers/postgres.js"
import * as Redis from "../test/servers/redis.js"
import type * as Engines from "../test/torture/Engines.js"
import * as EventLog from "../test/torture/EventLog.js"
import * as Statistics from "../test/torture/Statistics.js"
import * as Torture from "../test/torture/Torture.js"
import * as Transform from "../test/torture/Transform.js"

const usage = `Usage: npm run torture -- [options]

  --processes N    processes that compete (6)
  --seconds N      how long (30)
  --kill-every N   milliseconds between two SIGKILLs, 0 for none (150)
  --stop-for N     longest SIGSTOP in milliseconds, 0 for none (1000)
  --seed N         repeat the choices of an earlier run
  --fibers N       fibers that compete inside each process (1)
  --readers SHARE  share of shared acquisitions, 0 to 1 (0)
  --work N         longest work inside, in milliseconds (3)
  --lease N        the lease in milliseconds (the library's default)
  --locked-file    contents of up to 190 kB are read and written through LockedFile
  --transform N    instead: N updates of a file of numbers, each of which checks all of them; nobody is killed
  --engine NAME    what keeps the locks: lockFiles (the default), flock, postgres, redis; the processes use several in turn.
                   A server is started for the run; with redis the lease is 2 s unless given
  --mixed          every second process uses FileLock.layer over NodeContext
  --unlocked       do not lock at all: shows that the analysis finds violations
  --in-place       write over the old content: shows the same, of readers without a lock and of writers that are killed
  --trace          print what every process did around overlaps and long standstills`

const { values } = NodeUtil.parseArgs({
  options: {
    processes: { type: "string", default: "6" },
    seconds: { type: "string", default: "30" },
    "kill-every": { type: "string", default: "150" },
    "stop-for": { type: "string", default: "1000" },
    seed: { type: "string" },
    fibers: { type: "string", default: "1" },
    readers: { type: "string", default: "0" },
    work: { type: "string", default: "3" },
    lease: { type: "string" },
    "locked-file": { type: "boolean", default: false },
    transform: { type: "string" },
    engine: { type: "string", multiple: true, default: [] },
    mixed: { type: "boolean", default: false },
    "in-place": { type: "boolean", default: false },
    unlocked: { type: "boolean", default: false },
    trace: { type: "boolean", default: false },
    help: { type: "boolean", default: false }
  }
})

const seed = values.seed === undefined ? Number(process.hrtime.bigint() % 1_000_000n) : Number(values.seed)

const trace = (report: Torture.Report): string => {
  const origin = report.events[0]?.at ?? 0n
  const moments = report.overlaps.slice(0, 3).map(({ at }) => ({ from: at - 10_000_000n, until: at + 10_000_000n }))
  for (const { from, millis, until } of [report.standstill.ofOne, report.standstill.ofAll]) {
    if (millis > 1_000) moments.push({ from: from - 20_000_000n, until: until + 10_000_000n })
  }
  return moments.map(({ from, until }) =>
    report.events
      .filter(({ at }) => at >= from && at <= until)
      .map((event) => EventLog.format(event, origin))
      .join("\n")
  ).join("\n…\n")
}

const describe = (report: Torture.Report): string => {
  const { counter, standstill } = report
  const origin = report.events[0]?.at ?? 0n
  const at = (nanos: bigint): string => `${(Number(nanos - origin) / 1e9).toFixed(3)} s`
  return [
    `acquisitions        ${report.acquisitions} (${Math.round(report.acquisitions / report.seconds)} per second)`,
    `killed              ${report.kills}, ${report.killedOwner} of them owned the lock, ${report.killedInside} were inside`,
    `stopped             ${report.stops}, ${report.stoppedOwner} of them owned the lock or a claim`,
    `takeovers           ${report.takeovers.length}, SIGKILL to next inside: median ${
      Statistics.formatMillis(Statistics.median(report.takeovers))
    }, 99 % ${Statistics.formatMillis(Statistics.quantile(report.takeovers, 0.99))}, longest ${
      Statistics.formatMillis(Statistics.max(report.takeovers))
    }`,
    `overlaps            ${report.overlaps.length}`,
    ...report.overlaps.slice(0, 5).map((overlap) =>
      `                    at ${
        at(overlap.at)
      } process ${overlap.incarnation} came in while ${overlap.other} was inside (seen by ${overlap.seenBy})`
    ),
    `updates             ${counter.acknowledged} acknowledged, ${counter.unacknowledged} written by a killed one before it could say so`,
    `updates lost        ${counter.lost}`,
    ...(report.fences === 0 ? [] : [`fencing numbers     ${report.fences}`]),
    `reads               ${report.reads}, ${report.torn} of a content that was not whole, ${report.stale.length} of an old one`,
    `longest standstill  ${Statistics.formatMillis(standstill.ofOne.millis)} at ${
      at(standstill.ofOne.from)
    } for one process; ${Statistics.formatMillis(standstill.ofAll.millis)} at ${at(standstill.ofAll.from)} over all`,
    `left at the end     ${report.leftovers.join(", ") || "nothing"}`,
    `after one more      ${report.leftoversAfter.join(", ") || "nothing"} (${
      Statistics.formatMillis(report.recovery)
    })`,
    ...report.failures.slice(0, 5).map((failure) => `failure             ${failure}`)
  ].join("\n")
}

const transform = (runs: number) =>
  Effect.gen(function*() {
    const report = yield* Transform.run({
      processes: Number(values.processes),
      fibers: Number(values.fibers),
      runs,
      seed,
      locked: !values.unlocked,
      mixed: values.mixed
    })
    yield* Console.log([`updates  ${report.runs}`, ...report.violations.slice(0, 5)].join("\n"))
    yield* verdict(report.violations.length === 0 ? [] : [`${report.violations.length} times a check failed`])
  })

const verdict = (violations: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    if (violations.length === 0) return yield* Console.log(`Verdict: no violation (seed ${seed})`)
    yield* Console.log(`Verdict: VIOLATED (seed ${seed}): ${violations.join("; ")}`)
    yield* Effect.sync(() => {
      process.exitCode = 1
    })
  })

const engineOf = (name: string): Effect.Effect<Engines.Settings, never, Scope.Scope> => {
  switch (name) {
    case "postgres":
      return Effect.map(Postgres.make(), ({ url }) => ({ _tag: name, url }))
    case "redis":
      return Effect.map(Redis.make(), ({ url }) => ({ _tag: name, url }))
    case "flock":
    case "lockFiles":
    case "platform":
      return Effect.succeed({ _tag: name })
    default:
      return Effect.dieMessage(`no such engine: ${name}`)
  }
}

const names = values.engine.length > 0 ? values.engine : values.mixed ? ["lockFiles", "platform"] : ["lockFiles"]

const engines = Effect.forEach(names, engineOf)

const program = Effect.gen(function*() {
  if (values.help) return yield* Console.log(usage)
  if (values.transform !== undefined) return yield* transform(Number(values.transform))
  yield* Console.log(
    `${values.processes} processes, ${values.seconds} s, one killed every ${values["kill-every"]} ms, seed ${seed}`
  )
  const report = yield* Torture.run({
    processes: Number(values.processes),
    duration: Number(values.seconds) * 1_000,
    killEvery: Number(values["kill-every"]),
    stopFor: Number(values["stop-for"]),
    seed,
    fibers: Number(values.fibers),
    readers: Number(values.readers),
    work: Number(values.work),
    lease: values.lease !== undefined ? Number(values.lease) : values.engine.includes("redis") ? 2_000 : undefined,
    locked: !values.unlocked,
    writes: values["locked-file"] ? "LockedFile" : values["in-place"] ? "inPlace" : "rename",
    engines: yield* engines,
    onProgress: ({ elapsed, kills, stops }) =>
      process.stdout.isTTY
        ? Effect.sync(() =>
          process.stdout.write(`\r${Math.round(elapsed / 1000)} s, ${kills} killed, ${stops} stopped `)
        )
        : Effect.void
  })
  if (process.stdout.isTTY) yield* Console.log("")
  yield* Console.log(describe(report))
  if (values.trace) yield* Console.log(trace(report))
  yield* verdict(report.violations)
})

NodeRuntime.runMain(Effect.scoped(program))
