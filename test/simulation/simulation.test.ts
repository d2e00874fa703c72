import { assert, describe, it } from "@effect/vitest"
import * as History from "./History.js"
import * as Plan from "./Plan.js"
import * as Program from "./Program.js"
import { RandomSource } from "./RandomSource.js"
import * as Script from "./Script.js"
import * as Search from "./Search.js"
import * as Simulation from "./Simulation.js"
import * as SmallWorld from "./SmallWorld.js"
import { valuePath } from "./World.js"

const trace = (seed: number): string => {
  const lines: Array<string> = []
  Simulation.run(Plan.make(seed), (line) => lines.push(line))
  return lines.join("\n")
}

describe("Simulated worlds", () => {
  it("keep every promise, whatever befalls them", () => {
    const first = 1_000_000
    for (let seed = first; seed < first + 2; seed++) {
      const { plan, violation } = Simulation.run(Plan.make(seed))
      assert.isUndefined(violation, `${Plan.format(plan)}\nReplay: npm run simulate -- --seed ${seed}`)
    }
  }, 120_000)

  it("are the same, byte for byte, for the same seed, and others for another", () => {
    for (const seed of [1, 2]) {
      assert.strictEqual(trace(seed), trace(seed))
    }
    assert.notStrictEqual(trace(1), trace(2))
  })

  it("show who is inside without a record", () => {
    const world = Script.makeWorld()
    const process = world.addProcess(world.addHost(), {}, undefined)
    world.watcher.enter(process, "p0.0")
    assert.strictEqual(world.watcher.violation?.kind, "no record")
  })

  it("show that somebody else's lock is removed", () => {
    const world = Script.makeWorld()
    const host = world.addHost()
    const holder = world.addProcess(host, {}, undefined)
    world.start(holder, Program.last(world, holder, 0))
    const isInside = Script.playUntil(world, ({ step }) => step.path === valuePath && step.method === "readFile")
    assert.isDefined(isInside)
    const thief = world.addProcess(host, {}, undefined)
    world.watcher.before({
      ...isInside,
      process: thief,
      step: { method: "remove", syscall: "unlink", path: `${valuePath}.lock` }
    }, world.kernel.steps + 1)
    assert.strictEqual(world.watcher.violation?.kind, "not its own")
  })
})

describe("The smallest worlds", () => {
  it("keep every promise in every order of two processes that try once", () => {
    const report = SmallWorld.run(SmallWorld.smallest)
    assert.isUndefined(report.violation, report.trace.join("\n"))
    assert.isAbove(report.executions, 5)
  })

  it("keep every promise in every order of two processes that wait, and of the messages between them", () => {
    const report = SmallWorld.run({ ...SmallWorld.smallest, waits: true })
    assert.isUndefined(report.violation, report.trace.join("\n"))
    assert.isAbove(report.executions, 20)
  })

  it("keep every promise in every order of a reader and a writer that come in", () => {
    const report = SmallWorld.run({ ...SmallWorld.smallest, readers: 1, leaves: false })
    assert.isUndefined(report.violation, report.trace.join("\n"))
    assert.isAbove(report.executions, 20)
  })
})

/** Threads of steps that each touch some places; the state is the order in which each place was written, and who read when. */
const toy = (threads: ReadonlyArray<ReadonlyArray<Search.Footprint>>, seen: Set<string>) => (): Search.Execution => {
  const positions = threads.map(() => 0)
  const log = new Map<number, Array<string>>()
  const versions = new Map<number, number>()
  return {
    enabled: () =>
      new Map(threads.flatMap((steps, thread) => {
        const step = steps[positions[thread] ?? 0]
        return step === undefined ? [] : [[thread, step] as const]
      })),
    go: (thread) => {
      const position = positions[thread] ?? 0
      const step = threads[thread]?.[position] ?? { reads: 0, writes: 0 }
      positions[thread] = position + 1
      for (let place = 0; place < 4; place++) {
        if (((step.reads | step.writes) & (1 << place)) !== 0) {
          const version = versions.get(place) ?? 0
          log.set(thread, [...log.get(thread) ?? [], `${place}@${version}`])
        }
        if ((step.writes & (1 << place)) !== 0) versions.set(place, (versions.get(place) ?? 0) + 1)
      }
      return []
    },
    end: () => void seen.add(threads.map((_, thread) => (log.get(thread) ?? []).join()).join(";"))
  }
}

const everyEnd = (start: () => Search.Execution): void => {
  const walk = (path: ReadonlyArray<number>): void => {
    const execution = start()
    for (const thread of path) execution.go(thread)
    const next = [...execution.enabled().keys()]
    if (next.length === 0) execution.end()
    for (const thread of next) walk([...path, thread])
  }
  walk([])
}

/** A step of a process that may say something to another one. */
interface Talk {
  readonly place: number
  readonly writes: boolean
  readonly to: number | undefined
}

/**
 * Processes that talk: each has a thread for its steps, and one for what it hears of each process, which changes what it does next and gives
 * it more to do.
 */
const talking = (
  talkers: ReadonlyArray<{ readonly steps: ReadonlyArray<Talk>; readonly reaction: ReadonlyArray<Talk> }>,
  seen: Set<string>
) =>
(): Search.Execution => {
  const processes = talkers.map(({ steps }) => ({
    left: [...steps],
    log: [] as Array<string>,
    heard: new Map<number, number>()
  }))
  const threads = 1 + processes.length
  const writers = new Map<number, string>()
  const own = (process: number): number => 1 << (8 + process)
  return {
    enabled: () =>
      new Map(processes.flatMap(({ heard, left: [next] }, process) => [
        ...(next === undefined ? [] : [
          [process * threads, {
            reads: own(process) | (next.writes ? 0 : 1 << next.place),
            writes: next.writes ? 1 << next.place : 0
          }] as const
        ]),
        ...[...heard].flatMap(([from, count]) =>
          count === 0 ? [] : [[process * threads + 1 + from, { reads: 0, writes: own(process) }] as const]
        )
      ])),
    go: (thread) => {
      const index = Math.floor(thread / threads)
      const from = thread % threads - 1
      const process = processes[index]
      assert.isDefined(process)
      if (from >= 0) {
        process.heard.set(from, (process.heard.get(from) ?? 0) - 1)
        process.log.push(`heard ${from}`)
        process.left = [...process.left, ...talkers[index]?.reaction ?? []]
        return []
      }
      const step = process.left.shift()
      assert.isDefined(step)
      process.log.push(`${step.place}: ${writers.get(step.place)}`)
      if (step.writes) writers.set(step.place, `${index}.${process.log.length}`)
      const heard = step.to === undefined ? undefined : processes[step.to]?.heard
      heard?.set(index, (heard.get(index) ?? 0) + 1)
      return step.to === undefined ? [] : [step.to * threads + 1 + index]
    },
    end: () => void seen.add(processes.map(({ log }) => log.join()).join(";"))
  }
}

describe("The search", () => {
  it("comes to every end that trying all orders comes to, with fewer executions", () => {
    const r = (place: number): Search.Footprint => ({ reads: 1 << place, writes: 0 })
    const w = (place: number): Search.Footprint => ({ reads: 0, writes: 1 << place })
    const programs = [
      [[r(0), w(1), r(2)], [w(0), r(1)], [r(0), w(2)]],
      [[w(0), w(1)], [w(1), w(0)], [r(3), r(0)]],
      [[r(0), r(0), w(3)], [r(0), w(0), r(3)], [w(3)]],
      [[r(1), r(2)], [r(1), r(2)], [r(3)]]
    ]
    const random = new RandomSource(1)
    for (let more = 0; more < 60; more++) {
      programs.push(Array.from({ length: 3 }, () =>
        Array.from({ length: random.integer(1, 3) }, () => {
          const place = random.integer(0, 2)
          return random.chance(0.5) ? r(place) : w(place)
        })))
    }
    for (const program of programs) {
      const all = new Set<string>()
      everyEnd(toy(program, all))
      const found = new Set<string>()
      const { executions } = Search.explore(toy(program, found))
      assert.deepStrictEqual([...found].sort(), [...all].sort())
      assert.strictEqual(executions, found.size)
    }
  })

  it("comes to every end where threads have more to do because of others, as of what they hear", () => {
    const random = new RandomSource(7)
    const talk = (to: number | undefined): Talk => ({
      place: random.integer(0, 1),
      writes: random.chance(0.5),
      to: to !== undefined && random.chance(0.5) ? to : undefined
    })
    const atRandom = Array.from({ length: 100 }, () => {
      const count = random.integer(2, 3)
      return Array.from({ length: count }, (_, process) => ({
        steps: Array.from({ length: random.integer(0, count === 2 ? 2 : 1) }, () => talk((process + 1) % count)),
        reaction: Array.from({ length: count === 2 ? random.integer(0, 1) : 0 }, () => talk(undefined))
      }))
    })
    const saysTwoThings = [
      { steps: [{ place: 1, writes: false, to: 1 }, { place: 0, writes: false, to: 1 }], reaction: [] },
      { steps: [], reaction: [{ place: 0, writes: true, to: undefined }] }
    ]
    for (const talkers of [saysTwoThings, ...atRandom]) {
      const [all, found] = [new Set<string>(), new Set<string>()]
      everyEnd(talking(talkers, all))
      Search.explore(talking(talkers, found))
      assert.deepStrictEqual(found, all, JSON.stringify(talkers))
    }
  })
})

describe("A history of critical sections", () => {
  const swap = (
    name: string,
    invoked: number,
    responded: number | undefined,
    read: string | undefined,
    wrote: string | undefined
  ): History.Swap => ({ name, invoked, responded, read, wrote })

  it("is explained where each reads what the one before wrote", () => {
    assert.isTrue(History.isLinearizable([swap("a", 1, 2, "0", "1"), swap("b", 3, 4, "1", "2")], "0"))
  })

  it("is not where an update is lost", () => {
    assert.isFalse(History.isLinearizable([swap("a", 1, 4, "0", "1"), swap("b", 2, 3, "0", "2")], "0"))
  })

  it("is not where a later one reads what was before an earlier one", () => {
    assert.isFalse(History.isLinearizable([swap("a", 1, 2, "0", "1"), swap("b", 3, 4, "0", undefined)], "0"))
  })

  it("is explained where readers overlap, and is not where one reads what is not there any more", () => {
    const writes = swap("a", 3, 6, "0", "1")
    const early = swap("b", 1, 8, "0", undefined)
    assert.isTrue(History.isLinearizable([early, writes, swap("c", 5, 9, "1", undefined)], "0"))
    assert.isFalse(History.isLinearizable([early, writes, swap("c", 7, 9, "0", undefined)], "0"))
    assert.isFalse(History.isLinearizable([writes, swap("c", 1, 9, "0, then 1", undefined)], "0"))
  })

  it("is explained by one that died, whether it had written or not", () => {
    const died = swap("a", 1, undefined, "0", "1")
    assert.isTrue(History.isLinearizable([died, swap("b", 3, 4, "1", "2")], "0"))
    assert.isTrue(History.isLinearizable([died, swap("b", 3, 4, "0", "2")], "0"))
    assert.isFalse(History.isLinearizable([died, swap("b", 3, 4, "3", "2")], "0"))
  })
})
