import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { FileSystem } from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { type Channel, none } from "../../../src/internal/handover/channel.js"
import { HolderQueue } from "../../../src/internal/handover/holderQueue.js"
import { maxQueue } from "../../../src/internal/handover/message.js"
import { Others } from "../../../src/internal/handover/others.js"
import * as NodeDisk from "../../../src/internal/lockFile/nodeDisk.js"
import * as Protocol from "../../../src/internal/lockFile/protocol.js"
import * as Staleness from "../../../src/internal/lockFile/staleness.js"
import * as ProcessIdentity from "../../../src/ProcessIdentity.js"

const holder = `${"0".repeat(32)}-0`

const invented = (count: number, from = 0): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, index) => `${"a".repeat(32)}-${(from + index).toString(36)}`)

/** The queue of a holder on a real disk, and how many request files it has read, and how many messages it has sent. */
const make = Effect.gen(function*() {
  const fs = yield* FileSystem
  const directory = yield* Effect.flatMap(fs.makeTempDirectoryScoped(), fs.realPath)
  const disk = NodeDisk.make()
  yield* disk.classify(directory)
  const identity = yield* Effect.flatMap(ProcessIdentity.makeMachine(), (machine) => machine.spawn())
  const protocol = Protocol.make({ disk, identity, staleness: Staleness.make(identity, 30_000), lease: 30_000 })
  const counts = { reads: 0, messages: 0 }
  const channel: Channel = { ...none, send: () => void counts.messages++ }
  const context = {
    channel,
    protocol,
    isRequested: () => {
      counts.reads += 1
      return Exit.succeed(false)
    },
    canReach: () => true,
    list: () => Exit.succeed([]),
    others: new Others()
  }
  const place = Protocol.placeOf(`${directory}/file.lock`)
  return yield* Effect.withFiberRuntime<{ readonly queue: HolderQueue; readonly counts: typeof counts }>((fiber) =>
    Effect.succeed({ queue: new HolderQueue(context, place, holder, fiber, undefined, () => false), counts })
  )
}).pipe(Effect.provide(NodeFileSystem.layer))

describe("A holder that is told of waiters that do not exist", () => {
  it.scoped("keeps no more of them than it may, and looks for each once when it releases the lock", () =>
    Effect.gen(function*() {
      const { counts, queue } = yield* make
      for (let round = 0; round < 20; round++) {
        queue.hear({ _tag: "granted", token: holder, queue: invented(maxQueue, round * maxQueue) })
      }
      yield* Effect.uninterruptible(Effect.suspend(() => queue.handOver()))
      assert.strictEqual(counts.reads, maxQueue)
    }))

  it.scoped("does not wait for those that say so themselves, without a request file", () =>
    Effect.gen(function*() {
      const { counts, queue } = yield* make
      for (const token of invented(10)) {
        assert.isFalse(queue.hear({ _tag: "wait", token, owner: holder }), "it says nothing to it")
        assert.isFalse(queue.hear({ _tag: "ready", token, owner: holder }))
      }
      assert.isFalse(queue.isAwaited)
      assert.strictEqual(counts.reads, 20)
    }))

  it.scoped("after its release looks for few of them, and tells none", () =>
    Effect.gen(function*() {
      const { counts, queue } = yield* make
      yield* Effect.uninterruptible(Effect.suspend(() => queue.handOver()))
      const heard = queue.hear({ _tag: "granted", token: holder, queue: invented(maxQueue) })
      assert.isFalse(heard, "it says nothing to it")
      assert.isAtMost(counts.reads, 16)
      assert.strictEqual(counts.messages, 0)
    }))
})
