import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import * as Judge from "../src/internal/lockFile/judge.js"
import * as Look from "../src/internal/lockFile/look.js"
import * as Record from "../src/internal/lockFile/record.js"
import * as MemoryFileSystem from "../src/MemoryFileSystem.js"
import * as ProcessIdentity from "../src/ProcessIdentity.js"
import { forge, makeHolder, makeRecord } from "./utils/records.js"

/** Replays a failure. */
const seed = process.env["SEED"] === undefined ? Date.now() | 0 : Number(process.env["SEED"])

const text = FastCheck.oneof(
  FastCheck.string({ maxLength: 60 }),
  FastCheck.string({ unit: "binary", maxLength: 60 }),
  FastCheck.constantFrom("\\", "\"", "\\\"", "\u0000", "\u001b[0m", "\ud800", "}", "\",\"beat\":\"0000000000\"}\n")
)

const holders = FastCheck.record({
  token: FastCheck.stringMatching(/^[\w-]{8,96}$/),
  pid: FastCheck.integer({ min: 1, max: 2 ** 31 - 1 }),
  startTime: text,
  bootId: text,
  pidNamespace: text,
  timeNamespace: text,
  hostname: text,
  instance: text,
  acquiredAt: FastCheck.date({ noInvalidDate: true }).map((date) => DateTime.unsafeMake(date)),
  label: FastCheck.option(text, { nil: undefined })
}).map(({ label, ...holder }) => makeHolder(label === undefined ? holder : { ...holder, label }))

const property = (check: (record: string, cut: number) => void) =>
  FastCheck.assert(
    FastCheck.property(holders, FastCheck.nat(), (holder, cut) => check(Record.encode(holder), cut)),
    { seed, numRuns: 300 }
  )

describe(`A record (SEED=${seed})`, () => {
  it("names its holder again", () => {
    FastCheck.assert(
      FastCheck.property(holders, (holder) => {
        assert.deepStrictEqual(Option.getOrThrow(Record.decode(Record.encode(holder))), holder)
      }),
      { seed, numRuns: 300 }
    )
  })

  it("is one line, which ends with its beat", () => {
    property((record) => {
      assert.strictEqual(record.indexOf("\n"), record.length - 1)
      const bytes = new TextEncoder().encode(record)
      const beat = bytes.subarray(bytes.length - Record.beatFromEnd)
      assert.strictEqual(new TextDecoder().decode(beat), `${Record.formatBeat(0)}"}\n`)
    })
  })

  it("keeps its length and its holder when its beat is rewritten in place", () => {
    property((record, beats) => {
      const beaten = record.slice(0, -Record.beatFromEnd) + Record.formatBeat(beats % 1e10) + record.slice(-3)
      assert.strictEqual(beaten.length, record.length)
      assert.deepStrictEqual(Record.decode(beaten), Record.decode(record))
    })
  })

  it("is torn and no record wherever it is cut off, also in the midst of a character", () => {
    property((record, cut) => {
      const bytes = new TextEncoder().encode(record)
      const rest = Record.textOf(bytes.subarray(0, cut % (bytes.length - 1)))
      assert.isTrue(Record.isTorn(rest), JSON.stringify(rest))
      assert.isTrue(Option.isNone(Record.decode(rest)), JSON.stringify(rest))
      assert.isTrue(Record.isTorn(rest + "\0".repeat(cut % 7)))
    })
  })

  it("is not torn when it is whole", () => {
    property((record) => assert.isFalse(Record.isTorn(record) && Option.isNone(Record.decode(record))))
  })

  it("is neither torn nor a record with anything else in it", () => {
    for (const other of ["x", " ", "\n", "{}", "[", `{"token"`, `{"v":x`, `{ "v":1`, `{"v":1,"pid":`, "\0{"]) {
      assert.isFalse(Record.isTorn(other), other)
      assert.isTrue(Option.isNone(Record.decode(other)), other)
    }
  })

  it("may have fields that a later version added, but not lack one that tells who lives", () => {
    assert.isTrue(Option.isSome(Record.decode(forge({ later: 1 }))))
    for (const field of ["token", "pid", "startTime", "bootId", "pidNamespace", "hostname", "instance", "acquiredAt"]) {
      assert.isTrue(Option.isNone(Record.decode(forge({ [field]: undefined }))), field)
    }
  })
})

describe("A look", () => {
  const path = "/tmp/file.lock"

  it.effect("tells two broken records apart by inode, time and content, each of them alone", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.makeWith({ reuseInodes: true })
      const broken = (content: string, millis: number) =>
        Effect.gen(function*() {
          yield* fs.writeFileString(path, content)
          yield* fs.utimes(path, new Date(millis), new Date(millis))
          const look = yield* Look.look(fs, path)
          return look._tag === "Broken" ? look : yield* Effect.dieMessage(look._tag)
        })
      const first = yield* broken("", 1000)
      assert.isTrue(Look.isSame(first, yield* broken("", 1000)))
      assert.isFalse(Look.isSame(first, yield* broken("", 2000)), "another time")
      assert.isFalse(Look.isSame(first, yield* broken("{", 1000)), "other content")
      yield* fs.rename(path, "/tmp/kept")
      assert.isFalse(Look.isSame(first, yield* broken("", 1000)), "another inode")
    }))

  it.effect("tells a record from the same one after a beat", () =>
    Effect.gen(function*() {
      const fs = yield* MemoryFileSystem.make
      const record = makeRecord()
      yield* fs.writeFileString(path, record)
      const first = yield* Look.look(fs, path)
      yield* fs.writeFileString(path, record.replace(Record.formatBeat(0), Record.formatBeat(1)))
      const second = yield* Look.look(fs, path)
      assert.isTrue(first._tag === "Recorded" && Look.isSame(first, first) && !Look.isSame(first, second))
      assert.isTrue(Look.hasToken(first, makeHolder().token) && Look.hasToken(second, makeHolder().token))
    }))

  it.effect("opens nothing but a small regular file", () =>
    Effect.gen(function*() {
      const disk = yield* MemoryFileSystem.makeDisk()
      const fs = yield* disk.view({ maxOpenFiles: 0 })
      const other = yield* disk.view()
      yield* disk.makeNode("/fifo", "FIFO")
      yield* other.symlink("/fifo", "/link")
      yield* other.makeDirectory("/directory")
      yield* other.writeFileString("/large", "x".repeat(Record.maxRecordBytes + 1))
      yield* other.writeFileString("/small", "")
      for (const foreign of ["/fifo", "/link", "/directory", "/large"]) {
        assert.strictEqual((yield* Look.look(fs, foreign))._tag, "Foreign", foreign)
      }
      assert.strictEqual((yield* Look.look(fs, "/small"))._tag, "Unreadable")
      assert.strictEqual((yield* Look.look(fs, "/nothing"))._tag, "Absent")
    }))
})

describe("The judge", () => {
  const lease = Duration.seconds(30)
  const path = "/tmp/file.lock"

  const makeJudge = Effect.gen(function*() {
    const machine = yield* ProcessIdentity.makeMachine()
    const judge = Judge.make(yield* machine.spawn(), lease)
    return {
      judge,
      machine,
      judgeNow: (look: Look.Recorded | Look.Broken) => Effect.map(judge.judge(path, look), ({ _tag }) => _tag)
    }
  })

  const recorded = (changes?: Parameters<typeof makeHolder>[0], beat = 0): Look.Recorded => ({
    _tag: "Recorded",
    holder: makeHolder(changes),
    text: makeRecord(changes).replace(Record.formatBeat(0), Record.formatBeat(beat)),
    stamp: ""
  })

  /** Looks every so often, and says what the judge said each time. */
  const watch = (judgeNow: Effect.Effect<string>, every: Duration.DurationInput, times: number) =>
    Effect.replicateEffect(Effect.zipLeft(judgeNow, TestClock.adjust(every)), times)

  it.effect("asks the process table about processes of this machine, and never the clock", () =>
    Effect.gen(function*() {
      const { judgeNow, machine } = yield* makeJudge
      const other = yield* machine.spawn()
      const look = recorded(other.info)
      assert.deepStrictEqual([...new Set(yield* watch(judgeNow(look), "5 seconds", 50))], ["Live"])
      yield* machine.kill(other)
      assert.strictEqual(yield* judgeNow(look), "Stale")
    }))

  it.effect("holds one that cannot be checked for dead after a whole lease of silence", () =>
    Effect.gen(function*() {
      const { judgeNow } = yield* makeJudge
      const verdicts = yield* watch(judgeNow(recorded()), "3 seconds", 11)
      assert.deepStrictEqual(verdicts, [...new Array<string>(10).fill("Silent"), "Stale"])
    }))

  it.effect("starts anew with each beat", () =>
    Effect.gen(function*() {
      const { judgeNow } = yield* makeJudge
      yield* watch(judgeNow(recorded()), "3 seconds", 10)
      assert.strictEqual(yield* judgeNow(recorded({}, 1)), "Silent")
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(yield* judgeNow(recorded({}, 1)), "Silent")
    }))

  it.effect("starts anew after a pause of its own, in which it may have missed a beat", () =>
    Effect.gen(function*() {
      const { judgeNow } = yield* makeJudge
      yield* watch(judgeNow(recorded()), "3 seconds", 9)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* judgeNow(recorded()), "Silent")
    }))

  it.effect("says when to look again so that no pause is too long, and nothing is overslept", () =>
    Effect.gen(function*() {
      const { judge } = yield* makeJudge
      let looks = 0
      while (true) {
        const verdict = yield* judge.judge(path, recorded())
        if (verdict._tag !== "Silent") {
          assert.strictEqual(verdict._tag, "Stale")
          break
        }
        looks++
        yield* TestClock.adjust(verdict.lookAgain)
      }
      assert.isAtMost(looks, 20)
    }))

  it.effect("gives a broken record two seconds, however seldom it looks", () =>
    Effect.gen(function*() {
      const { judgeNow } = yield* makeJudge
      const broken = (identity: string): Look.Broken => ({ _tag: "Broken", identity, stamp: "" })
      assert.deepStrictEqual(yield* watch(judgeNow(broken("1:1:")), "1999 millis", 2), ["Silent", "Silent"])
      assert.strictEqual(yield* judgeNow(broken("1:1:")), "Stale")
      assert.strictEqual(yield* judgeNow(broken("1:2:")), "Silent")
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* judgeNow(broken("1:2:")), "Stale")
    }))

  it.effect("forgets what was taken over", () =>
    Effect.gen(function*() {
      const { judge, judgeNow } = yield* makeJudge
      yield* judgeNow({ _tag: "Broken", identity: "1:1:", stamp: "" })
      yield* TestClock.adjust("3 seconds")
      judge.forget(path)
      assert.strictEqual(yield* judgeNow({ _tag: "Broken", identity: "1:1:", stamp: "" }), "Silent")
    }))
})
