import { FileSystem } from "@effect/platform"
import { NodeContext } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Option, Schema } from "effect"
import { FileLock, LockedFile, NodeFileLock } from "effect-filelock"

const Account = LockedFile.json(Schema.Struct({ balance: Schema.Number }))

class Overdrawn extends Schema.TaggedError<Overdrawn>()("Overdrawn", { account: Schema.String }) {}

/** The locks are taken in one order, whatever the order of the names. The writes re-enter them. */
const transfer = (from: string, to: string, amount: number) =>
  Effect.gen(function*() {
    const [source, target] = yield* Effect.all([Account.read(from), Account.read(to)])
    if (source.balance < amount) return yield* new Overdrawn({ account: from })
    yield* Account.write(from, { balance: source.balance - amount })
    yield* Account.write(to, { balance: target.balance + amount })
  }).pipe(FileLock.withLocks([from, to]))

it.scopedLive("money that goes to and fro is neither made nor lost", () =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const directory = yield* fs.makeTempDirectoryScoped()
    const [one, other] = [`${directory}/one.json`, `${directory}/other.json`]
    yield* Effect.all([Account.write(one, { balance: 50 }), Account.write(other, { balance: 50 })])

    const transfers = Array.from({ length: 20 }, (_, index) =>
      Effect.option(index % 2 === 0 ? transfer(one, other, 3 * index) : transfer(other, one, 2 * index)))
    const done = yield* Effect.all(transfers, { concurrency: "unbounded" })
    assert.isTrue(done.some(Option.isSome))
    const balances = yield* Effect.forEach([one, other], (file) =>
      Account.read(file))
    assert.strictEqual(balances.reduce((sum, { balance }) => sum + balance, 0), 100)
  }).pipe(Effect.provide(Layer.merge(NodeFileLock.layer, NodeContext.layer))))
