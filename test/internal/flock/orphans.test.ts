import { assert, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Kernel } from "../../../src/internal/flock/nodeKernel.js"
import { OpenFile } from "../../../src/internal/flock/nodeOpenFile.js"
import { Orphans } from "../../../src/internal/flock/orphans.js"
import type { Grant } from "../../../src/LockBackend.js"
import * as TemporaryDirectory from "../../torture/TemporaryDirectory.js"

const kernel: Kernel = {
  tryLock: () => {
    throw Object.assign(new Error("ENOLCK: flock"), { code: "ENOLCK" })
  },
  unlock: () => {},
  lease: () => false,
  isLeased: () => false,
  endLease: () => {},
  ownersOf: () => []
}

it.scopedLive("The lock that is held while a visitor is let in is released, also where the kernel refuses", () =>
  Effect.gen(function*() {
    const directory = yield* TemporaryDirectory.make("orphans")
    const released = yield* Deferred.make<void>()
    const grant: Grant = {
      ...{ mode: "exclusive", fence: Option.none(), recovered: false, verify: Effect.void },
      holder: {
        ...{ token: "token", pid: 1, startTime: "1", bootId: "b", pidNamespace: "p", timeNamespace: "t", thread: 0 },
        ...{ hostname: "host", instance: "i", network: "", acquiredAt: DateTime.unsafeMake(0) }
      },
      release: Effect.asVoid(Deferred.succeed(released, undefined))
    }
    const orphans = new Orphans(kernel, () => Effect.succeedSome(grant))
    const file = OpenFile.create(Path.join(directory, "tasks.lock"))
    yield* Effect.withFiberRuntime<void>((fiber) => {
      orphans.letIn(file, { path: "tasks", lockPath: "tasks.lock" }, fiber)
      return Effect.void
    })
    yield* Deferred.await(released)
    yield* Effect.retry(
      Effect.try(() => assert.throws(() => Fs.fstatSync(file.descriptor), /EBADF/)),
      Schedule.spaced("1 millis")
    )
  }).pipe(Effect.provide(Logger.remove(Logger.defaultLogger))))
