import { assert, it } from "@effect/vitest"
import { Effect, Exit, FastCheck, Fiber } from "effect"
import { MemoryFileSystem, ProcessIdentity } from "effect-filelock"
import { start } from "./processes.js"
import { addTask } from "./tasks.js"

const additions = FastCheck.array(
  FastCheck.record({
    process: FastCheck.constantFrom("first" as const, "second" as const),
    /** After how many turns of the scheduler the fiber is interrupted; never, if it is null. */
    turns: FastCheck.option(FastCheck.nat(60), { freq: 2 })
  }),
  { minLength: 1, maxLength: 8 }
)

it.effect.prop(
  "each task that was added is in the list once, whatever is interrupted",
  { additions },
  (_) =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk()
      const fs = yield* disk.view()
      yield* fs.makeDirectory("/home")
      yield* fs.writeFileString("/home/tasks.txt", "cook\n")
      const machine = yield* ProcessIdentity.makeMachine()
      const processes = { first: yield* start(machine, disk), second: yield* start(machine, disk) }

      const exits = yield* Effect.forEach(_.additions, ({ process, turns }, task) =>
        Effect.gen(function*() {
          const adding = yield* processes[process].fork(addTask("/home/tasks.txt", `task ${task}`))
          if (turns === null) {
            return yield* Fiber.await(adding)
          }
          yield* Effect.repeatN(Effect.yieldNow(), turns)
          return yield* Fiber.interrupt(adding)
        }), { concurrency: "unbounded" })

      const list = (yield* fs.readFileString("/home/tasks.txt")).trim().split("\n")
      exits.forEach((exit, task) => {
        if (Exit.isSuccess(exit)) {
          assert.include(list, `task ${task}`)
        } else {
          assert.isTrue(Exit.isInterrupted(exit))
        }
      })
      assert.strictEqual(new Set(list).size, list.length)
      const names = yield* fs.readDirectory("/home")
      assert.deepStrictEqual(names.filter((name) => name.includes(".lock")), [])
    }).pipe(Effect.scoped),
  { fastCheck: { numRuns: 10 } }
)

it.scoped("an addition that is interrupted at any turn takes nothing from the list, and leaves no lock file", () =>
  Effect.gen(function*() {
    const disk = yield* MemoryFileSystem.makeDisk()
    const fs = yield* disk.view()
    yield* fs.writeFileString("/tasks.txt", "cook\n")
    const process = yield* start(yield* ProcessIdentity.makeMachine(), disk)
    for (let turns = 0, ended = false; !ended; turns++) {
      const adding = yield* process.fork(addTask("/tasks.txt", `task ${turns}`))
      yield* Effect.repeatN(Effect.yieldNow(), turns)
      ended = adding.unsafePoll() !== null
      yield* Fiber.interrupt(adding)
      assert.match(yield* fs.readFileString("/tasks.txt"), /^cook\n/)
      assert.isFalse(yield* fs.exists("/tasks.txt.lock"))
    }
  }))
