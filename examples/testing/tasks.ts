import { FileSystem } from "@effect/platform"
import { Effect } from "effect"
import { FileLock } from "effect-filelock"

/** Adds a line to the list of tasks in a file. */
export const addTask = (path: string, task: string, options?: FileLock.LockOptions) =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const tasks = (yield* fs.exists(path)) ? yield* fs.readFileString(path) : ""
    yield* fs.writeFileString(`${path}.new`, `${tasks}${task}\n`)
    yield* fs.rename(`${path}.new`, path)
  }).pipe(FileLock.withLock(path, { timeout: "10 seconds", label: `adding ${task}`, ...options }))
