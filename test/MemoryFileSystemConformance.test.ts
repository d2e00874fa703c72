import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import type { ChildProcess } from "node:child_process"
import { fork } from "node:child_process"
import { once } from "node:events"
import * as NFS from "node:fs"
import * as OS from "node:os"
import * as NodePath from "node:path"
import { fileURLToPath } from "node:url"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"
import type { Job, Program, Users } from "./fixtures/fileSystemPrograms.js"
import { depth, programs, run, setUp } from "./fixtures/fileSystemPrograms.js"

const uid = process.getuid?.() ?? 0
const gid = process.getgid?.() ?? 0
const users: Users = uid === 0
  ? { uid: 65534, gid: 65534, other: { uid: 0, gid: 0 } }
  : { uid, gid, other: { uid, gid } }

/** Replays a failure: `FAST_CHECK_SEED` and, for its very program, `FAST_CHECK_PATH`. */
const replay = {
  seed: process.env.FAST_CHECK_SEED === undefined ? Date.now() | 0 : Number(process.env.FAST_CHECK_SEED),
  ...(process.env.FAST_CHECK_PATH === undefined ? {} : { path: process.env.FAST_CHECK_PATH })
}

const fixture = fileURLToPath(new URL("fixtures/fileSystemChild.ts", import.meta.url))

describe("MemoryFileSystem beside NodeFileSystem", () => {
  const real = Effect.runSync(Effect.provide(FileSystem.FileSystem, NodeFileSystem.layer))
  let base = ""
  let child: ChildProcess
  let count = 0

  beforeAll(async () => {
    base = NFS.realpathSync(NFS.mkdtempSync(NodePath.join(OS.tmpdir(), "file-system-")))
    NFS.chmodSync(base, 0o755)
    child = fork(fixture, [String(users.uid), String(users.gid)], { execArgv: ["--import", "tsx"] })
    await once(child, "message")
  })

  afterAll(async () => {
    const exited = once(child, "exit")
    child.disconnect()
    await exited
    NFS.rmSync(base, { recursive: true, force: true })
  })

  const onRealDisk = async (job: Job): Promise<ReadonlyArray<unknown>> => {
    NFS.mkdirSync(job.root, { recursive: true })
    await Effect.runPromise(setUp(real, job.root, users))
    const answer = once(child, "message")
    child.send(job)
    const [outcomes]: Array<ReadonlyArray<unknown>> = await answer
    assert.isDefined(outcomes)
    NFS.rmSync(job.root.slice(0, -depth.length), { recursive: true, force: true })
    return outcomes ?? []
  }

  const inMemory = (job: Job): Promise<ReadonlyArray<unknown>> =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk({ owner: users.other })
      const preparer = yield* disk.view(users.other)
      yield* preparer.makeDirectory(job.root, { recursive: true })
      yield* setUp(preparer, job.root, users)
      return yield* run(yield* disk.view(users), job)
    }).pipe(Effect.runPromise)

  const compare = async (program: Program): Promise<void> => {
    const job = { root: `${base}/${count++}${depth}`, program }
    const [expected, actual] = await Promise.all([onRealDisk(job), inMemory(job)])
    for (let index = 0; index < Math.max(expected.length, actual.length); index++) {
      const what = JSON.stringify(program[index]) ?? "the tree that is left"
      assert.deepStrictEqual(actual[index], expected[index], `${what}\nafter ${JSON.stringify(program.slice(0, index), null, 1)}`)
    }
  }

  it("answers every command of a random program as the real disk does, and leaves the same tree", async () => {
    await FastCheck.assert(FastCheck.asyncProperty(programs(users), compare), { numRuns: 2_000, ...replay })
  }, 300_000)
})
