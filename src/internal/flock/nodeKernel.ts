import * as Effect from "effect/Effect"
import type Koffi from "koffi"
import * as NodeFS from "node:fs"
import * as NodeOS from "node:os"
import * as NodeUtil from "node:util"
import { BackendError, type Mode } from "../../LockBackend.js"

/** A program that has a file locked with flock(2), as the kernel knows it. */
export interface Owner {
  readonly mode: Mode
  /** The process that has locked it. Others may have its descriptor by now. */
  readonly pid: number
}

/** The calls that Node does not have. They throw what the kernel answers, as those of `node:fs` do. None of them waits. */
export interface Kernel {
  /** Locks an open file, if no other one has it. */
  readonly tryLock: (descriptor: number, mode: Mode) => boolean
  readonly unlock: (descriptor: number) => void
  /**
   * Whether nobody else has the file open: then each open of it waits from now on until `endLease`, or fails. `false` where the system does
   * not tell.
   */
  readonly lease: (descriptor: number) => boolean
  /** Whether nobody has tried to open the file since `lease`. */
  readonly isLeased: (descriptor: number) => boolean
  readonly endLease: (descriptor: number) => void
  /** Who has a file locked; `undefined` where the system does not tell. */
  readonly ownersOf: (path: string) => ReadonlyArray<Owner> | undefined
}

const LOCK_SH = 1
const LOCK_EX = 2
const LOCK_NB = 4
const LOCK_UN = 8

const F_SETSIG = 10
const F_SETLEASE = 1_024
const F_GETLEASE = 1_025
const F_WRLCK = 1
const F_UNLCK = 2

const { constants: { errno, signals }, platform } = NodeOS

/** The device and the inode of a file, as `/proc/locks` names them: `fe:00:1234`. */
const ownersInProc = (path: string): ReadonlyArray<Owner> | undefined => {
  try {
    const { dev, ino } = NodeFS.statSync(path, { bigint: true })
    const number = Number(dev)
    const hex = (part: number) => part.toString(16).padStart(2, "0")
    const device = `${hex((number >> 8) & 0xfff)}:${hex((number & 0xff) | ((number >> 12) & 0xfff00))}`
    return NodeFS.readFileSync("/proc/locks", "latin1").split("\n").flatMap((line): Array<Owner> => {
      // "1: FLOCK  ADVISORY  WRITE 4242 fe:00:1234 0 EOF", and "1: -> FLOCK …" for one that waits
      const [, kind, mode, pid, at, inode] =
        /^\d+: (\w+)\s+\w+\s+(\w+)\s+(-?\d+) ([0-9a-f]+:[0-9a-f]+):(\d+) /.exec(line) ?? []
      // The kernel knows a file of overlayfs and of Btrfs by another device than stat(2) does, with the number 0.
      return kind === "FLOCK" && inode === String(ino) && (at === device || at?.startsWith("00:") === true)
        ? [{ mode: mode === "READ" ? "shared" : "exclusive", pid: Number(pid) }]
        : []
    })
  } catch {
    // Without /proc nothing is known.
    return undefined
  }
}

const make = (koffi: typeof Koffi): Kernel => {
  const library = koffi.load(null)
  const flock: (descriptor: number, operation: number) => number = library.func("int flock(int, int)")
  const fcntl: (descriptor: number, command: number, type: "int", value: number) => number = library.func(
    "int fcntl(int, int, ...)"
  )
  /** `undefined` if it answers with one of these errors. */
  const call = (syscall: string, run: () => number, ...codes: ReadonlyArray<number>): number | undefined => {
    for (;;) {
      const result = run()
      if (result !== -1) {
        return result
      }
      const number = koffi.errno()
      if (codes.includes(number)) {
        return undefined
      }
      if (number !== errno.EINTR) {
        const code = NodeUtil.getSystemErrorName(-number)
        throw Object.assign(new Error(`${code}: ${syscall}`), { code, syscall })
      }
    }
  }
  const hasLeases = platform() === "linux"
  return {
    tryLock: (descriptor, mode) =>
      call(
        "flock",
        () => flock(descriptor, (mode === "shared" ? LOCK_SH : LOCK_EX) | LOCK_NB),
        errno.EWOULDBLOCK
      ) !== undefined,
    unlock: (descriptor) => void call("flock", () => flock(descriptor, LOCK_UN)),
    lease: (descriptor) =>
      hasLeases &&
      // The default signal would end the process.
      fcntl(descriptor, F_SETSIG, "int", signals.SIGURG) !== -1 &&
      fcntl(descriptor, F_SETLEASE, "int", F_WRLCK) !== -1,
    isLeased: (descriptor) => fcntl(descriptor, F_GETLEASE, "int", 0) === F_WRLCK,
    endLease: (descriptor) => void fcntl(descriptor, F_SETLEASE, "int", F_UNLCK),
    ownersOf: ownersInProc
  }
}

const unavailable = (cause: unknown) => new BackendError({ reason: "BackendUnavailable", cause })

/** The calls of this system; fails where there are none. */
export const load: Effect.Effect<Kernel, BackendError> = platform() === "win32"
  ? unavailable(new Error("Windows has no flock(2): use NodeFileLock"))
  : Effect.tryPromise({
    // Its default export is there also where it is loaded as a CommonJS module.
    try: () => import("koffi").then((koffi) => make(koffi.default)),
    catch: (cause) => unavailable(new Error("flock(2) needs the package koffi: install version 3 of it", { cause }))
  })
