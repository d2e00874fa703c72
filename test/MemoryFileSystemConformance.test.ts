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
import * as Bundle from "./torture/Bundle.js"

const uid = process.getuid?.() ?? 0
const gid = process.getgid?.() ?? 0
const users: Users = uid === 0
  ? { uid: 65534, gid: 65534, other: { uid: 0, gid: 0 } }
  : { uid, gid, other: { uid, gid } }

/** Replays a failure: `FAST_CHECK_SEED` and, for its very program, `FAST_CHECK_PATH`, as the failure names them. */
const replay = {
  seed: process.env.FAST_CHECK_SEED === undefined ? Date.now() | 0 : Number(process.env.FAST_CHECK_SEED),
  ...(process.env.FAST_CHECK_PATH === undefined ? {} : { path: process.env.FAST_CHECK_PATH })
}

/** How many random programs are compared: `PROGRAMS`, or 45. */
const count = Number(process.env.PROGRAMS ?? 45)

/** Programs that are compared at a time: the disk lets one wait while another runs. */
const lanes = 3

/** In milliseconds; a program takes some 50 ms where nothing else runs. */
const testTimeout = 60_000 + count * 500

const fixture = fileURLToPath(new URL("fixtures/fileSystemChild.ts", import.meta.url))

const start = async (script: string): Promise<ChildProcess> => {
  const child = fork(script, [String(users.uid), String(users.gid)], { execArgv: [] })
  await once(child, "message")
  return child
}

const stop = async (child: ChildProcess): Promise<void> => {
  const exited = once(child, "exit")
  child.disconnect()
  await exited
}

describe("MemoryFileSystem beside NodeFileSystem", () => {
  const real = Effect.runSync(Effect.provide(FileSystem.FileSystem, NodeFileSystem.layer))
  let children: ReadonlyArray<ChildProcess> = []
  let base = ""
  let serial = 0

  beforeAll(async () => {
    base = NFS.realpathSync(NFS.mkdtempSync(NodePath.join(OS.tmpdir(), "file-system-")))
    NFS.chmodSync(base, 0o755)
    const script = await Effect.runPromise(Bundle.make(fixture, base))
    children = await Promise.all(Array.from({ length: lanes }, () => start(script)))
  })

  afterAll(async () => {
    await Promise.all(children.map(stop))
    NFS.rmSync(base, { recursive: true, force: true })
  })

  const onRealDisk = async (child: ChildProcess, job: Job): Promise<ReadonlyArray<unknown>> => {
    NFS.mkdirSync(job.root, { recursive: true })
    await Effect.runPromise(setUp(real, job.root, users))
    const answer = once(child, "message")
    child.send(job)
    const [outcomes]: Array<ReadonlyArray<unknown>> = await answer
    assert.isDefined(outcomes)
    NFS.rmSync(NodePath.dirname(NodePath.dirname(job.root)), { recursive: true, force: true, maxRetries: 3 })
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

  const compare = async (child: ChildProcess, lane: number, program: Program): Promise<void> => {
    // Never the same place twice: a removal that failed may still be at it when its program has long ended.
    const job = { root: `${base}/${lane}${depth}/${serial++}/up/up`, program }
    const [expected, actual] = await Promise.all([onRealDisk(child, job), inMemory(job)])
    const index = actual.findIndex((outcome, at) => JSON.stringify(outcome) !== JSON.stringify(expected[at]))
    if (index < 0) return assert.strictEqual(actual.length, expected.length)
    const what = JSON.stringify(program[index]) ?? "the tree that is left"
    const before = program.slice(0, index).map((command) => JSON.stringify(command)).join("\n")
    // fast-check keeps of an error what its message says.
    const answers = `on disk ${JSON.stringify(expected[index])}\nin memory ${JSON.stringify(actual[index])}`
    assert.fail(`${what}\n${answers}\nafter\n${before}`)
  }

  it("answers every command of a random program as the real disk does, and leaves the same tree", async () => {
    // All are awaited even if one fails: no program may still run when its directory is removed.
    const results = await Promise.allSettled(children.map((child, lane) => {
      const property = FastCheck.asyncProperty(programs(users), (program) => compare(child, lane, program))
      const numRuns = Math.ceil(count / lanes)
      return FastCheck.assert(property, { numRuns, ...replay, seed: replay.seed + lane })
    }))
    for (const result of results) {
      if (result.status === "rejected") throw result.reason
    }
  }, testTimeout)
})
