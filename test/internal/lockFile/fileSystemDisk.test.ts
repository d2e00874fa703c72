import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as FileSystem from "@effect/platform/FileSystem"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { execFileSync } from "node:child_process"
import * as NodeFS from "node:fs"
import * as NodeOS from "node:os"
import * as NodePath from "node:path"
import type { Disk, DiskError, Entry } from "../../../src/internal/lockFile/disk.js"
import * as FileSystemDisk from "../../../src/internal/lockFile/fileSystemDisk.js"
import * as NodeDisk from "../../../src/internal/lockFile/nodeDisk.js"
import * as MemoryFileSystem from "../../../src/MemoryFileSystem.js"

// ---------------------------------------------------------------------------------------------
// the disks
// ---------------------------------------------------------------------------------------------

/** A directory of one run, with a disk that looks at it. */
interface Run {
  readonly directory: string
  readonly disk: Disk
}

const temporaryDirectory: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => NodeFS.realpathSync(NodeFS.mkdtempSync(NodePath.join(NodeOS.tmpdir(), "effect-filelock-")))),
  (directory) => Effect.sync(() => NodeFS.rmSync(directory, { recursive: true, force: true }))
)

const onThreads = Effect.map(temporaryDirectory, (directory): Run => ({ directory, disk: NodeDisk.make() }))

/** Every directory of the run is known to be local. */
const synchronously = Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  const disk = NodeDisk.make({
    ...NodeFS,
    promises: Object.assign({ ...NodeFS.promises }, {
      realpath: (path: string) =>
        /\/(missing|file)$/.test(path) ? Promise.resolve(path) : NodeFS.promises.realpath(path),
      statfs: () => Promise.resolve({ type: 0x01021994 })
    })
  })
  for (const below of ["", "/directory", "/missing", "/file", "/link-to-directory"]) {
    yield* disk.classify(`${directory}${below}`)
  }
  return { directory, disk }
})

const throughService = Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  return { directory, disk: FileSystemDisk.make(yield* FileSystem.FileSystem) }
}).pipe(Effect.provide(NodeFileSystem.layer))

// ---------------------------------------------------------------------------------------------
// the programs
// ---------------------------------------------------------------------------------------------

const text = "a record of some length\n"

/** What there is in the directory of each run. */
const things: Record<string, (path: string) => void> = {
  file: (path) => NodeFS.writeFileSync(path, text),
  empty: (path) => NodeFS.writeFileSync(path, ""),
  "4096 bytes": (path) => NodeFS.writeFileSync(path, "x".repeat(4096)),
  "4097 bytes": (path) => NodeFS.writeFileSync(path, "x".repeat(4097)),
  large: (path) => NodeFS.writeFileSync(path, "x".repeat(1_000_000)),
  nuls: (path) => NodeFS.writeFileSync(path, Buffer.alloc(400)),
  "byte order mark": (path) => NodeFS.writeFileSync(path, `\ufeff${text}`),
  "no UTF-8": (path) => NodeFS.writeFileSync(path, Buffer.of(0xff, 0xfe, 0x80, 0x7b)),
  "\u00fcn\u00ef\u20acode \u{1f512}": (path) => NodeFS.writeFileSync(path, "\u{1f512}\u20ac\n"),
  directory: (path) => {
    NodeFS.mkdirSync(path)
    NodeFS.writeFileSync(`${path}/inside`, text)
  },
  "link-to-file": (path) => NodeFS.symlinkSync("file", path),
  "link-to-directory": (path) => NodeFS.symlinkSync("directory", path),
  "link to nothing": (path) => NodeFS.symlinkSync("nothing", path),
  "link to itself": (path) => NodeFS.symlinkSync("link to itself", path),
  fifo: (path) => void execFileSync("mkfifo", [path])
}

/** What the calls need besides. */
const always = ["file", "directory", "link-to-file", "link-to-directory", "link to itself"]

/** Where the calls are made. */
const places = [
  ...Object.keys(things),
  "absent",
  "missing/absent",
  "file/below",
  "directory/inside",
  "directory/absent",
  "link-to-directory/inside",
  "link to itself/below",
  "n".repeat(255),
  "n".repeat(256)
]

type Calls = Record<string, (disk: Disk, path: string, directory: string) => Effect.Effect<unknown, DiskError>>

const calls: Calls = {
  create: (disk, path) => disk.create(path, text),
  "link to": (disk, path, directory) => disk.link(`${directory}/file`, path),
  "link from": (disk, path, directory) => disk.link(path, `${directory}/new`),
  "rename to": (disk, path, directory) => disk.rename(`${directory}/file`, path),
  "rename from": (disk, path, directory) => disk.rename(path, `${directory}/new`),
  "rename over a link": (disk, path, directory) => disk.rename(path, `${directory}/link-to-file`),
  unlink: (disk, path) => disk.unlink(path),
  read: (disk, path) => disk.read(path),
  rewrite: (disk, path) => disk.rewrite(path, text, 2, "RECORD"),
  "rewrite of other content": (disk, path) => disk.rewrite(path, "other", 2, "RECORD"),
  "read a link": (disk, path) => disk.readLink(path),
  list: (disk, path) => Effect.map(disk.list(path), (names) => [...names].sort()),
  "make a directory": (disk, path) => disk.makeDirectory(path),
  "real path": (disk, path) => disk.realPath(path)
}

/** Node's `rm` says in its own words what unlink(2) says in others. */
const sameCode = (code: string): string => code === "ERR_FS_EISDIR" ? "EISDIR" : code

const isEntry = (value: unknown): value is Extract<Entry, { readonly _tag: "File" }> =>
  typeof value === "object" && value !== null && "_tag" in value && value._tag === "File"

const contentOf = (path: string): string => {
  const info = NodeFS.lstatSync(path)
  return info.isFile()
    ? `${info.size} bytes: ${NodeFS.readFileSync(path, "latin1").slice(0, 40)}`
    : info.isSymbolicLink()
    ? NodeFS.readlinkSync(path)
    : info.isDirectory()
    ? snapshot(path)
    : "special"
}

const snapshot = (directory: string): string =>
  JSON.stringify(NodeFS.readdirSync(directory).sort().map((name) => [name, contentOf(`${directory}/${name}`)]))

/** Makes one call in a fresh directory, and says what came of it: the answer, and what there is then. */
const answerOf = (run: Effect.Effect<Run, never, Scope.Scope>, call: string, place: string) =>
  Effect.gen(function*() {
    const { directory, disk } = yield* run
    for (const name of new Set([...always, place])) {
      things[name]?.(`${directory}/${name}`)
    }
    const path = `${directory}/${place}`
    const result = yield* (calls[call]?.(disk, path, directory) ?? Effect.dieMessage(call)).pipe(
      Effect.map((value) => {
        if (isEntry(value)) {
          const { ino, mtimeMs } = NodeFS.lstatSync(path)
          // Through the service a time is a date, that is, whole milliseconds.
          return { ...value, inode: value.inode === ino, modifiedAt: Math.abs(value.modifiedAt - mtimeMs) < 1 }
        }
        return value
      }),
      Effect.catchAll(({ code }) => Effect.succeed({ failed: sameCode(code) }))
    )
    const told = JSON.stringify(result) ?? "nothing"
    return `${told.replaceAll(directory, "<directory>")} ${snapshot(directory)}`
  }).pipe(Effect.scoped)

/**
 * The service cannot open a file without following a link, nor a FIFO without waiting at it. A heartbeat there is left behind, or finds an
 * own record behind a link.
 */
const differs = (call: string, place: string): boolean =>
  call.startsWith("rewrite") && (place === "fifo" || place.startsWith("link-to-") || place.startsWith("link to "))

describe("The disks of Node", () => {
  it.live.each(Object.keys(calls))(
    "give the same answers to the same calls: %s",
    (call) =>
      Effect.forEach(places, (place) =>
        Effect.gen(function*() {
          const threads = yield* answerOf(onThreads, call, place)
          assert.strictEqual(yield* answerOf(synchronously, call, place), threads, `${call} ${place}: synchronously`)
          if (!differs(call, place)) {
            assert.strictEqual(yield* answerOf(throughService, call, place), threads, `${call} ${place}: the service`)
          }
        }), { discard: true })
  )

  it.scopedLive("rewrite a file in place, and say that it is still there", () =>
    Effect.forEach([onThreads, synchronously, throughService], (run) =>
      Effect.gen(function*() {
        const { directory, disk } = yield* run
        NodeFS.writeFileSync(`${directory}/file`, text)
        assert.deepStrictEqual(yield* disk.rewrite(`${directory}/file`, text, 2, "RECORD"), {
          content: text,
          inPlace: true
        })
        assert.strictEqual(NodeFS.readFileSync(`${directory}/file`, "utf8"), "a RECORD of some length\n")
      }), { discard: true }))

  it.scopedLive("recognise an own record without asking what it is", () =>
    Effect.forEach([onThreads, synchronously, throughService], (run) =>
      Effect.gen(function*() {
        const { directory, disk } = yield* run
        NodeFS.writeFileSync(`${directory}/file`, text)
        assert.deepInclude(yield* disk.peek(`${directory}/file`), { _tag: "File", text })
        assert.deepStrictEqual(yield* disk.peek(`${directory}/absent`), { _tag: "Absent" })
        NodeFS.mkdirSync(`${directory}/directory`)
        NodeFS.writeFileSync(`${directory}/large`, "x".repeat(5000))
        execFileSync("mkfifo", [`${directory}/fifo`])
        for (const other of ["directory", "large", "fifo"]) {
          const entry = yield* disk.peek(`${directory}/${other}`)
          assert.isTrue(entry._tag === "Other" || (entry._tag === "File" && entry.text !== text), other)
        }
      }), { discard: true }))

  it.scopedLive("say where they work", () =>
    Effect.forEach([onThreads, throughService], (run) =>
      Effect.gen(function*() {
        const { disk } = yield* run
        assert.strictEqual(yield* disk.workingDirectory, process.cwd())
      }), { discard: true }))

  it.scopedLive("say that the directory they worked in is gone", () =>
    Effect.forEach([onThreads, throughService], (run) =>
      Effect.gen(function*() {
        const { directory, disk } = yield* run
        const before = process.cwd()
        NodeFS.mkdirSync(`${directory}/gone`)
        process.chdir(`${directory}/gone`)
        yield* Effect.addFinalizer(() => Effect.sync(() => process.chdir(before)))
        NodeFS.rmdirSync(`${directory}/gone`)
        assert.strictEqual((yield* Effect.flip(disk.workingDirectory)).code, "ENOENT")
      }).pipe(Effect.scoped), { discard: true }))
})

// ---------------------------------------------------------------------------------------------
// any file system
// ---------------------------------------------------------------------------------------------

describe("The disk over a file system in memory", () => {
  const make = (options: MemoryFileSystem.ViewOptions = {}) =>
    Effect.gen(function*() {
      const memory = yield* MemoryFileSystem.makeDisk()
      const [view, fs] = yield* Effect.all([memory.view(options), memory.view()])
      return { memory, fs, disk: FileSystemDisk.make(view) }
    })

  it.effect("opens nothing but a small regular file", () =>
    Effect.gen(function*() {
      const { disk, fs, memory } = yield* make({ maxOpenFiles: 0 })
      yield* memory.makeNode("/fifo", "FIFO")
      yield* memory.makeNode("/socket", "Socket")
      yield* memory.makeNode("/device", "CharacterDevice")
      yield* fs.symlink("/fifo", "/link")
      yield* fs.makeDirectory("/directory")
      yield* fs.writeFileString("/large", "x".repeat(4097))
      yield* fs.writeFileString("/small", "")
      for (const other of ["/fifo", "/socket", "/device", "/link", "/directory", "/large"]) {
        assert.strictEqual((yield* disk.read(other))._tag, "Other", other)
      }
      assert.strictEqual((yield* Effect.flip(disk.read("/small"))).code, "EMFILE")
      assert.strictEqual((yield* disk.read("/nothing"))._tag, "Absent")
    }))

  it.effect("finds a file absent that goes between two of its calls", () =>
    Effect.gen(function*() {
      const { fs, memory } = yield* make()
      for (const syscall of ["readlink", "stat", "open"]) {
        yield* fs.writeFileString("/tmp/file", text)
        const view = yield* memory.view({
          step: (step) => step.syscall === syscall ? Effect.ignore(fs.remove("/tmp/file")) : Effect.void
        })
        const disk = FileSystemDisk.make(view)
        assert.strictEqual((yield* disk.read("/tmp/file"))._tag, "Absent", syscall)
      }
    }))

  it.effect("writes through the file that it has read, and says when the path names another one by then", () =>
    Effect.gen(function*() {
      const { fs, memory } = yield* make()
      yield* fs.writeFileString("/tmp/file", text)
      const view = yield* memory.view({
        step: ({ syscall }) =>
          syscall === "write"
            ? Effect.orDie(
              Effect.zipRight(fs.writeFileString("/tmp/successor", text), fs.rename("/tmp/successor", "/tmp/file"))
            )
            : Effect.void
      })
      const disk = FileSystemDisk.make(view)
      assert.deepStrictEqual(yield* disk.rewrite("/tmp/file", text, 2, "RECORD"), { content: text, inPlace: false })
      assert.strictEqual(yield* fs.readFileString("/tmp/file"), text)
    }))

  it.effect("works where the view does, and not where the process does", () =>
    Effect.gen(function*() {
      const { disk, fs } = yield* make({ cwd: "/work" })
      assert.strictEqual((yield* Effect.flip(disk.workingDirectory)).code, "ENOENT")
      yield* fs.makeDirectory("/work")
      assert.strictEqual(yield* disk.workingDirectory, "/work")
    }))

  it.effect("closes what it has opened, whatever comes of it", () =>
    Effect.gen(function*() {
      const { disk, fs } = yield* make({ maxOpenFiles: 1 })
      yield* fs.writeFileString("/tmp/file", text)
      for (let round = 0; round < 3; round++) {
        yield* disk.rewrite("/tmp/file", "other", 2, "RECORD")
        yield* disk.read("/tmp/file")
        yield* Effect.ignore(disk.create("/tmp/file", text))
      }
      yield* disk.rewrite("/tmp/file", text, 2, "RECORD")
    }))
})
