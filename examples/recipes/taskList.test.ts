import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Option, Schema } from "effect"
import { LockedFile, NodeFileLock } from "effect-filelock"

const Tasks = LockedFile.json(
  Schema.Array(Schema.Struct({ title: Schema.String, takenBy: Schema.optional(Schema.String) }))
)

const add = (file: string, title: string) =>
  Tasks.update(file, (tasks) => [...Option.getOrElse(tasks, () => []), { title }])

/** Takes the first task that nobody has taken, and answers with its title. */
const take = (file: string, agent: string) =>
  Effect.gen(function*() {
    let title: string | undefined
    yield* Tasks.update(file, (tasks) => {
      const all = Option.getOrElse(tasks, () => [])
      const free = all.findIndex(({ takenBy }) => takenBy === undefined)
      title = all[free]?.title
      return all.map((task, index) => index === free ? { ...task, takenBy: agent } : task)
    })
    return Option.fromNullable(title)
  })

it.scopedLive("each task is taken once, however many agents there are", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const file = `${yield* fs.makeTempDirectoryScoped()}/tasks.json`
    const titles = Array.from({ length: 20 }, (_, index) => `task ${index}`)
    yield* Effect.forEach(titles, (title) => add(file, title), { concurrency: "unbounded" })

    const agents = Array.from({ length: 30 }, (_, index) => `agent ${index}`)
    const taken = yield* Effect.forEach(agents, (agent) => take(file, agent), { concurrency: "unbounded" })
    assert.sameMembers(taken.flatMap(Option.toArray), titles)
    assert.deepStrictEqual((yield* Tasks.read(file)).filter(({ takenBy }) => takenBy === undefined), [])
  }).pipe(Effect.provide(Layer.merge(NodeFileLock.layer, NodeContext.layer))))
