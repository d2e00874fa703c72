import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Entry } from "../../../src/internal/lockFile/disk.js"
import * as Record from "../../../src/internal/lockFile/record.js"
import * as LockHolder from "../../../src/LockHolder.js"
import { encode, forge, makeHolder, makeRecord } from "../../utils/records.js"

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
  thread: FastCheck.nat(),
  network: text,
  acquiredAt: FastCheck.date({ noInvalidDate: true, min: new Date(0), max: new Date("9999-12-31T23:59:59.999Z") }).map((
    date
  ) => DateTime.unsafeMake(date)),
  label: FastCheck.option(text, { nil: undefined })
}).map(({ label, ...holder }) => makeHolder(label === undefined ? holder : { ...holder, label }))

const property = (check: (record: string, cut: number) => void) =>
  FastCheck.assert(
    FastCheck.property(holders, FastCheck.nat(), (holder, cut) => check(encode(holder), cut)),
    { seed, numRuns: 300 }
  )

const fileOf = (text: string, { inode = 1, modifiedAt = 1000 } = {}): Entry => ({
  _tag: "File",
  text,
  inode,
  modifiedAt
})

describe(`A record (SEED=${seed})`, () => {
  it("names its holder again", () => {
    FastCheck.assert(
      FastCheck.property(holders, (holder) => {
        assert.deepStrictEqual(Option.getOrThrow(Record.decode(encode(holder))), holder)
      }),
      { seed, numRuns: 300 }
    )
  })

  it("is one line, which ends with its beat", () => {
    property((record) => {
      assert.strictEqual(record.indexOf("\n"), record.length - 1)
      const bytes = new TextEncoder().encode(record)
      assert.strictEqual(bytes.length - Record.beatFromEnd, Record.offsetOfBeat(record))
      const beat = bytes.subarray(Record.offsetOfBeat(record))
      assert.strictEqual(new TextDecoder().decode(beat), `${Record.formatBeat(0)}"}\n`)
    })
  })

  it("keeps its length and its holder when its beat is rewritten in place", () => {
    property((record, beats) => {
      const bytes = new TextEncoder().encode(record)
      bytes.set(new TextEncoder().encode(Record.formatBeat(beats % 1e10)), Record.offsetOfBeat(record))
      const beaten = new TextDecoder().decode(bytes)
      assert.strictEqual(beaten, Record.withBeat(record, beats % 1e10))
      assert.strictEqual(beaten.length, record.length)
      assert.deepStrictEqual(Record.decode(beaten), Record.decode(record))
    })
  })

  it("keeps its length and its token when the time of its acquisition is rewritten in place", () => {
    property((record, millis) => {
      const later = Record.withTail(record, millis, 7)
      const bytes = new TextEncoder().encode(record)
      bytes.set(new TextEncoder().encode(Record.tailOf(later)), Record.offsetOfTail(record))
      assert.strictEqual(new TextDecoder().decode(bytes), later)
      assert.isTrue(Record.isSameRecord(record, later))
      const { acquiredAt, ...holder } = Option.getOrThrow(Record.decode(later))
      assert.strictEqual(DateTime.toEpochMillis(acquiredAt), millis)
      assert.strictEqual(holder.token, Option.getOrThrow(Record.decode(record)).token)
    })
  })

  it("is none wherever it is cut off, and with anything after it", () => {
    property((record, cut) => {
      const bytes = new TextEncoder().encode(record)
      const rest = new TextDecoder().decode(bytes.subarray(0, cut % (bytes.length - 1)))
      for (const other of [rest, `${rest}${"\0".repeat(cut % 7)}`, `${record}x`, `x${record}`, record + record]) {
        assert.isTrue(Option.isNone(Record.decode(other)), JSON.stringify(other))
      }
    })
  })

  it("of two processes that differ in one thing is written with that", () => {
    const holder = makeHolder()
    const fields = ["startTime", "bootId", "pidNamespace", "timeNamespace", "hostname", "instance", "network"] as const
    for (const field of fields) {
      const other = { ...holder, [field]: "other" }
      assert.deepStrictEqual(Option.getOrThrow(Record.decode(encode(other))), other, field)
    }
  })

  it("may have fields that a later version added, but not lack one that tells whether its owner lives", () => {
    assert.isTrue(Option.isSome(Record.decode(forge({ later: 1 }))))
    for (const field of ["token", "pid", "startTime", "bootId", "pidNamespace", "hostname", "instance", "acquiredAt"]) {
      assert.isTrue(Option.isNone(Record.decode(forge({ [field]: undefined }))), field)
    }
  })
})

const decodeHolder = Schema.decodeUnknownOption(LockHolder.LockHolder)

describe(`A record that is forged (SEED=${seed})`, () => {
  it("is decoded as the schema of LockHolder does it", () => {
    const value = FastCheck.oneof(
      FastCheck.jsonValue(),
      FastCheck.string({ minLength: 190, maxLength: 260 }),
      FastCheck.double(),
      FastCheck.constantFrom<unknown>(
        undefined,
        null,
        "",
        0,
        -1,
        1.5,
        2 ** 31,
        "2026-01-02",
        "2026-13-02T03:04:05.678Z"
      )
    )
    const field = FastCheck.constantFrom(...Object.keys(JSON.parse(forge({})) satisfies object))
    FastCheck.assert(
      FastCheck.property(field, value, (field, value) => {
        const text = forge({ [field]: value })
        const { label, ...fields } = JSON.parse(text)
        const known = fields.v === 1 && /^\d{10}$/.test(fields.beat) && typeof fields.beat === "string" &&
          (field !== "acquiredAt" || fields.acquiredAt?.length === 24)
        assert.deepStrictEqual(
          Record.decode(text),
          known ? decodeHolder(label == null ? fields : { ...fields, label }) : Option.none()
        )
      }),
      { seed, numRuns: 3_000 }
    )
  })
})

describe("What is at a path", () => {
  const seen = (text: string) => Record.toSeen(fileOf(text))

  it("is a record, NULs, foreign or nothing", () => {
    assert.strictEqual(Record.toSeen({ _tag: "Absent" })._tag, "Absent")
    assert.strictEqual(seen(makeRecord())._tag, "Record")
    assert.strictEqual(seen(makeRecord().trim())._tag, "Record", "of another tool that has read and written it")
    assert.strictEqual(seen("\0")._tag, "Zeros")
    assert.strictEqual(seen("\0".repeat(400))._tag, "Zeros")
    for (const other of ["", "\n", "x", "\0x", "x\0", " \0", "{}", makeRecord().slice(0, -3), makeRecord() + "\0"]) {
      assert.strictEqual(seen(other)._tag, "Foreign", JSON.stringify(other))
    }
  })

  it("says in words what foreign thing it is", () => {
    assert.deepInclude(seen(""), { what: "an empty file" })
    assert.deepInclude(seen("4242\n"), { what: "a file with other content" })
    assert.deepInclude(Record.toSeen({ _tag: "Other", what: "a directory" }), { what: "a directory" })
  })

  it("is another record after a beat, but has the same token", () => {
    const before = seen(makeRecord())
    const after = seen(Record.withBeat(makeRecord(), 1))
    assert.isTrue(Record.isSame(before, seen(makeRecord())))
    assert.isFalse(Record.isSame(before, after))
    assert.isTrue(Record.hasToken(before, makeHolder().token) && Record.hasToken(after, makeHolder().token))
    assert.isFalse(Record.hasToken(before, "another-token"))
  })

  it("is another file of NULs when the inode, the time or the length is another", () => {
    const zeros = (length: number, inode: number, modifiedAt: number) =>
      Record.toSeen(fileOf("\0".repeat(length), { inode, modifiedAt }))
    const before = zeros(400, 1, 1000)
    assert.isTrue(Record.isSame(before, zeros(400, 1, 1000)))
    assert.isFalse(Record.isSame(before, zeros(401, 1, 1000)), "another length")
    assert.isFalse(Record.isSame(before, zeros(400, 2, 1000)), "another inode")
    assert.isFalse(Record.isSame(before, zeros(400, 1, 1001)), "another time")
  })

  it("is never the same as something of another kind, nor is a foreign thing the same as itself", () => {
    const record = seen(makeRecord())
    const zeros = seen("\0")
    const foreign = seen("x")
    const absent = Record.toSeen({ _tag: "Absent" })
    for (const [before, now] of [[record, zeros], [zeros, record], [record, absent], [zeros, absent]] as const) {
      assert.isFalse(Record.isSame(before, now))
    }
    assert.isFalse(Record.isSame(foreign, foreign))
    assert.isFalse(Record.isSame(absent, absent))
  })

  it("is decoded anew when more records have been seen than are remembered", () => {
    for (let index = 0; index < 600; index++) {
      const pid = 1 + (index % 300)
      const found = seen(makeRecord({ pid }))
      assert.strictEqual(found._tag === "Record" ? found.holder.pid : 0, pid)
    }
  })
})

describe("A request file that was never written completely", () => {
  const token = `${"0123456789abcdef".repeat(2)}-1z`
  const record = makeRecord({ token })

  it("is empty, cut off or full of NULs, and named by a token of ours", () => {
    for (
      const text of ["", "\0\0", record.slice(0, 5), record.slice(0, 30), record.slice(0, 90), record.slice(0, -2)]
    ) {
      assert.isTrue(Record.isUnwritten(text, token), JSON.stringify(text))
    }
  })

  it("is not one that is written, or has other content, or another name", () => {
    assert.isFalse(Record.isUnwritten(record, token))
    for (const text of ["x", "{}", "\n", makeRecord().slice(0, 90)]) {
      assert.isFalse(Record.isUnwritten(text, token), JSON.stringify(text))
    }
    for (const name of ["bak", "backup-1", "20260102-1", token.slice(1), `${token}-2`, token.toUpperCase()]) {
      assert.isFalse(Record.isUnwritten("", name), name)
    }
  })
})
