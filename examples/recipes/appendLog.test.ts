import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { FileLock, NodeFileLock } from "effect-filelock"

/** Appends an entry of several lines, which is not mixed with another one. A long log is not written anew for each entry. */
const append = (file: string, entry: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    for (const line of entry) yield* fs.writeFileString(file, `${line}\n`, { flag: "a" })
  }).pipe(FileLock.withLock(file, { timeout: "10 seconds" }))

/** Reads while nobody appends. */
const entries = (file: string) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    return (yield* fs.readFileString(file)).trimEnd().split("\n")
  }).pipe(FileLock.withLock(file, { mode: "shared" }))

it.scopedLive("the lines of an entry stay together", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const file = `${yield* fs.makeTempDirectoryScoped()}/audit.log`
    yield* Effect.forEach(
      Array.from({ length: 20 }, (_, index) => index),
      (index) => append(file, [`begin ${index}`, `end ${index}`]),
      { concurrency: "unbounded" }
    )
    const lines = yield* entries(file)
    assert.strictEqual(lines.length, 40)
    for (let line = 0; line < 40; line += 2) {
      assert.strictEqual(lines[line]?.replace("begin", "end"), lines[line + 1])
    }
  }).pipe(Effect.provide(Layer.merge(NodeFileLock.layer, NodeContext.layer))))
