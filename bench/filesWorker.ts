/**
 * A process that reads and updates files under their locks.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import type * as FileLock from "../src/FileLock.js"
import { withLock } from "../src/FileLock.js"
import * as LockedFile from "../src/LockedFile.js"
import * as NodeFileLock from "../src/NodeFileLock.js"
import * as Ipc from "../test/torture/Ipc.js"
import * as Monotonic from "../test/torture/Monotonic.js"
import * as Peers from "./competitors/peers.js"
import * as Messages from "./filesMessages.js"
import { cpuSince } from "./workload.js"

const { installation } = Ipc.argument(Messages.Settings)
const send = Ipc.send(Messages.Message)
const require = createRequire(installation)

const increment = (text: string): string => String(Number(text) + 1)

const incrementCurrent = (current: Option.Option<string>): string => increment(Option.getOrElse(current, () => "0"))

/** A read that takes a millisecond. */
const read = (path: string, mode: "exclusive" | "shared") =>
  withLock(Effect.zipRight(Effect.sync(() => Fs.readFileSync(path, "utf8")), Effect.sleep(1)), path, { mode })

const updateWithPeers = (path: string) =>
  Effect.promise(() => {
    const lockfile: Peers.ProperLockfile = require("proper-lockfile")
    const writeFileAtomic: (path: string, content: string) => Promise<void> = require("write-file-atomic")
    return Peers.properLockfile(lockfile, 5).exclusively(
      path,
      () => writeFileAtomic(path, increment(Fs.readFileSync(path, "utf8")))
    )
  })

const once = (work: Messages.Work, path: string): Effect.Effect<unknown, unknown, FileLock.FileLock> => {
  switch (work) {
    case "read, exclusive":
      return read(path, "exclusive")
    case "read, shared":
      return read(path, "shared")
    case "updateString":
      return LockedFile.updateString(path, incrementCurrent)
    case "updateString, fsync: false":
      return LockedFile.updateString(path, incrementCurrent, { fsync: false })
    case "updateString, one by one":
      return LockedFile.updateString(path, (current) => Effect.sync(() => incrementCurrent(current)))
    case "proper-lockfile + write-file-atomic":
      return updateWithPeers(path)
  }
}

const program = Effect.gen(function*() {
  const commands = yield* Ipc.commands(Messages.Command)
  yield* send({ _tag: "ready" })
  yield* commands.take.pipe(
    Effect.flatMap(({ fibers, from, path, until, work }) =>
      Effect.gen(function*() {
        let times = 0
        let failures = 0
        const fiber = Effect.suspend(() => once(work, path)).pipe(
          Effect.matchCause({
            onSuccess: () => {
              times++
            },
            onFailure: () => {
              failures++
            }
          }),
          Effect.repeat({ while: () => Monotonic.millis() < until })
        )
        yield* Effect.sleep(Math.max(0, from - Monotonic.millis()))
        const start = process.cpuUsage()
        yield* Effect.all(Array.from({ length: fibers }, () => fiber), { concurrency: "unbounded", discard: true })
        yield* send({ _tag: "worked", times, failures, cpu: cpuSince(start) })
      }).pipe(Effect.catchAllCause((cause) => send({ _tag: "failed", failure: Cause.pretty(cause) })))
    ),
    Effect.forever
  )
})

NodeRuntime.runMain(Effect.provide(program, NodeFileLock.layer))
