import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Fs from "node:fs"
import * as Programs from "../../integration/fixtures/flockPrograms.js"
import { layer } from "../../utils/layer.js"

layer(Programs.Script.layer, { excludeTestServices: true })("Programs that use flock(2)", (it) => {
  it.scoped("One of flock(1), Python and FlockBackend has the lock at a time", () =>
    Effect.gen(function*() {
      const place = yield* Programs.makePlace
      const programs = yield* Effect.all([
        Programs.shell(place, 40),
        Programs.python(place, 60, "anew"),
        Programs.python(place, 60, "keep"),
        Programs.worker(place, { turns: 60 }),
        Programs.worker(place, { turns: 60 })
      ], { concurrency: "unbounded" })
      assert.strictEqual(yield* Programs.awaitAll(programs), 0)
      assert.strictEqual(place.count(), 280)
    }))

  it.scoped("One of FlockBackend and NodeFileLock has the lock at a time, and nothing is left", () =>
    Effect.gen(function*() {
      const place = yield* Programs.makePlace
      const programs = yield* Effect.all([
        Programs.worker(place, { turns: 60 }),
        Programs.worker(place, { turns: 60 }),
        Programs.worker(place, { turns: 60, engine: "lockFile" }),
        Programs.worker(place, { turns: 60, engine: "lockFile" })
      ], { concurrency: "unbounded" })
      assert.strictEqual(yield* Programs.awaitAll(programs), 0)
      assert.strictEqual(place.count(), 240)
      assert.deepStrictEqual(place.files(), [])
    }))

  it.scoped("FlockBackend waits for flock(1), and flock(1) for FlockBackend", () =>
    Effect.gen(function*() {
      const place = yield* Programs.makePlace
      const shell = yield* Programs.flock(place)
      yield* shell.prints("locked")
      const worker = yield* Programs.worker(place)
      yield* worker.prints("asking")
      yield* shell.endInput
      yield* worker.prints("locked")
      assert.isTrue(yield* Programs.isFlocked(place))
      const next = yield* Programs.flock(place)
      yield* worker.endInput
      yield* next.prints("locked")
      yield* worker.prints("released")
      // It was opened by flock(1) before it was released, or is new.
      assert.isTrue(yield* Programs.isFlocked(place))
    }))

  it.scoped.each([["FlockBackend", "flock"], ["NodeFileLock", "lockFile"]] as const)(
    "A process of %s that waits for one of FlockBackend is told when the lock is free",
    ([, engine]) =>
      Effect.gen(function*() {
        const place = yield* Programs.makePlace
        const first = yield* Programs.worker(place)
        yield* first.prints("locked")
        const second = yield* Programs.worker(place, { isTold: true, engine })
        yield* second.prints("asking")
        yield* Effect.sleep("200 millis")
        yield* first.endInput
        yield* second.prints("locked")
        yield* second.endInput
        yield* second.prints("released")
        assert.deepStrictEqual(place.files(), [])
      })
  )

  it.scoped("A holder that is killed is followed at once by one that waits, also by one that looks once an hour", () =>
    Effect.gen(function*() {
      const place = yield* Programs.makePlace
      const first = yield* Programs.worker(place)
      yield* first.prints("locked")
      const before = Fs.statSync(place.lockPath).ino
      const second = yield* Programs.worker(place, { isTold: true })
      yield* second.prints("asking")
      yield* Effect.sleep("200 millis")
      yield* first.kill
      yield* second.prints("locked")
      assert.strictEqual(Fs.statSync(place.lockPath).ino, before)
      yield* second.endInput
      yield* second.prints("released")
      assert.deepStrictEqual(place.files(), [])
    }))

  it.scoped("A holder that is killed leaves flock(1) and FlockBackend one lock", () =>
    Effect.gen(function*() {
      const place = yield* Programs.makePlace
      const first = yield* Programs.worker(place)
      yield* first.prints("locked")
      const shell = yield* Programs.flock(place)
      yield* Effect.sleep("100 millis")
      yield* first.kill
      yield* shell.prints("locked")
      const second = yield* Programs.worker(place)
      yield* second.prints("asking")
      yield* Effect.sleep("100 millis")
      assert.notInclude(second.output(), "locked")
      yield* shell.endInput
      yield* second.prints("locked")
    }))

  it.scoped("Holders that are killed again and again let nobody in beside another one", () =>
    Effect.gen(function*() {
      const place = yield* Programs.makePlace
      const victims = yield* Effect.replicateEffect(Programs.worker(place, { turns: 1_000_000 }), 2, {
        concurrency: "unbounded"
      })
      const programs = yield* Effect.all([Programs.python(place, 80, "anew"), Programs.worker(place, { turns: 80 })])
      yield* Effect.forEach(victims, ({ kill }) => Effect.zipRight(Effect.sleep("200 millis"), kill))
      const overlaps = yield* Programs.awaitAll(programs)
      // One that is killed between two calls of a creation leaves a second name of its file there. As long as others have the lock in that
      // very file, the name is that of a live process. It goes with the first lock that is in another file.
      const late = yield* Programs.awaitAll([yield* Programs.worker(place, { turns: 1 })])
      // One that is killed inside leaves its mark there.
      assert.isAtMost(overlaps + late, victims.length)
      const others = () => place.files().filter((name) => name !== "tasks.json.lock")
      const next = yield* Programs.worker(place)
      yield* next.prints("locked")
      yield* Effect.repeat(Effect.sync(others), {
        until: (names) => names.length === 0,
        schedule: Schedule.spaced("20 millis")
      })
      yield* next.endInput
      yield* next.prints("released")
      assert.deepStrictEqual(others(), [])
    }))
})
