import * as NodeCrypto from "node:crypto"
import * as NodeFS from "node:fs"
import * as NodeOS from "node:os"
import * as NodePath from "node:path"
import * as NodePerformance from "node:perf_hooks"
import * as NodeWorker from "node:worker_threads"
import type { Liveness, ProcessIdentity, ProcessInfo } from "../../ProcessIdentity.js"
import type { Channel } from "../handover/channel.js"
import * as NodeChannel from "../handover/nodeChannel.js"
import type { Reserve } from "./reserve.js"
import * as Tokens from "./tokens.js"

const quietly = <A, B>(read: () => A, otherwise: B): A | B => {
  try {
    return read()
  } catch {
    // The caller says what it means that the system does not answer.
    return otherwise
  }
}

const readText = (path: string): string => quietly(() => NodeFS.readFileSync(path, "latin1").trim(), "")

const readLink = (path: string): string => quietly(() => NodeFS.readlinkSync(path), "")

/** A mounted `/proc` may show the processes of another pid namespace than ours; then it cannot be used. */
const procIsOurs = (): boolean => readLink("/proc/self") === String(process.pid)

interface Stat {
  readonly state: string
  readonly startTime: string
}

/** The command name (field 2) is in parentheses and may itself contain spaces and parentheses. */
const parseStat = (text: string): Stat | undefined => {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ")
  const state = fields[0]
  const startTime = fields[19]
  return state === undefined || startTime === undefined || !text.includes(")") ? undefined : { state, startTime }
}

const readStat = (pid: number | "self"): Stat | undefined => parseStat(readText(`/proc/${pid}/stat`))

/** Signal 0: `false` only when there certainly is no such process. */
const exists = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !(error instanceof Error && "code" in error && error.code === "ESRCH")
  }
}

const isZombie = (stat: Stat): boolean => stat.state === "Z" || stat.state === "X"

/**
 * A process that is killed loses its threads one by one, and its first one may be a zombie while another is still inside a write: it
 * is dead when none is left.
 */
const anyThreadLives = (pid: number): boolean => {
  const threads = quietly(() => NodeFS.readdirSync(`/proc/${pid}/task`), undefined)
  return threads === undefined || threads.some((thread) => {
    const stat = parseStat(readText(`/proc/${pid}/task/${thread}/stat`))
    return stat === undefined ? NodeFS.existsSync(`/proc/${pid}/task/${thread}`) : !isZombie(stat)
  })
}

const inProcessTable = (procUsable: boolean) => (other: ProcessInfo): Liveness => {
  if (!exists(other.pid)) {
    return "dead"
  }
  const stat = procUsable ? readStat(other.pid) : undefined
  if (stat === undefined || other.startTime === "") {
    // Hidden by `hidepid`, or gone since the signal: only the latter is proof.
    return exists(other.pid) ? "alive" : "dead"
  }
  if (stat.startTime !== other.startTime) {
    return "dead"
  }
  return isZombie(stat) && !anyThreadLives(other.pid) ? "dead" : "alive"
}

const digest = (parts: ReadonlyArray<unknown>): string =>
  NodeCrypto.createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32)

const birthOf = (path: string): ReadonlyArray<number> =>
  quietly(() => {
    const { birthtimeMs, ino } = NodeFS.statSync(path)
    return [birthtimeMs, ino]
  }, [])

/**
 * Stands in for the boot id where the system has none: the host, its hardware, when its system was installed, and about when it was
 * booted. Where it is wrong, processes cannot check each other, and the lease decides.
 */
const fingerprint = (): string => {
  const cpus = NodeOS.cpus()
  const bootedAt = NodePerformance.performance.timeOrigin + NodePerformance.performance.now() - NodeOS.uptime() * 1000
  return `host-${
    digest([
      NodeOS.hostname(),
      NodeOS.platform(),
      NodeOS.arch(),
      NodeOS.totalmem(),
      cpus.length,
      cpus[0]?.model,
      birthOf("/var"),
      birthOf(NodePath.parse(process.execPath).root),
      Math.round(bootedAt / 600_000)
    ])
  }`
}

const describe = (procUsable: boolean): Omit<ProcessInfo, "instance" | "network"> => ({
  pid: process.pid,
  startTime: procUsable ? readStat("self")?.startTime ?? "" : "",
  bootId: readText("/proc/sys/kernel/random/boot_id") || fingerprint(),
  pidNamespace: NodeOS.platform() === "linux" ? readLink("/proc/self/ns/pid") : NodeOS.platform(),
  timeNamespace: readLink("/proc/self/ns/time"),
  hostname: NodeOS.hostname().slice(0, 255),
  thread: NodeWorker.threadId
})

interface Realm {
  readonly tokens: Tokens.Tokens
  readonly info: Omit<ProcessInfo, "instance" | "network">
  readonly procUsable: boolean
  readonly bootedAt: number
  readonly channel: Channel
  readonly reserve: Reserve
}

/** What a descriptor is of. */
const identityOf = (descriptor: number): string => {
  const { dev, ino, rdev } = NodeFS.fstatSync(descriptor)
  return `${dev}:${ino}:${rdev}`
}

const makeReserve = (): Reserve => {
  let kept: { readonly descriptor: number; readonly identity: string } | undefined
  return {
    keep: () => {
      kept ??= quietly(() => {
        const descriptor = NodeFS.openSync(NodeOS.devNull, "r")
        return { descriptor, identity: identityOf(descriptor) }
      }, undefined)
    },
    spend: () => {
      if (kept === undefined) {
        return
      }
      const { descriptor, identity } = kept
      kept = undefined
      quietly(() => {
        // A program may have closed all descriptors that it does not know, and have opened a file by this number since.
        if (identityOf(descriptor) === identity) NodeFS.closeSync(descriptor)
      }, undefined)
    }
  }
}

const makeRealm = (): Realm => {
  const procUsable = procIsOurs()
  const instance = NodeCrypto.randomUUID().replaceAll("-", "")
  return {
    tokens: Tokens.make(instance),
    channel: NodeChannel.make(instance),
    reserve: makeReserve(),
    info: describe(procUsable),
    procUsable,
    bootedAt: NodePerformance.performance.timeOrigin + NodePerformance.performance.now() - NodeOS.uptime() * 1000
  }
}

const RealmKey: unique symbol = Symbol.for("effect-filelock/Realm@1")

/** Every copy of this package in a realm shares one registry, or they would take each other's records for dead ones'. */
const realm = (): Realm => {
  const holder: typeof globalThis & { [RealmKey]?: Realm } = globalThis
  return holder[RealmKey] ??= makeRealm()
}

/** The process this code runs in. With `pid`, it acquires locks on behalf of another process of this machine. */
export const make = (
  options: { readonly machineId?: string | undefined; readonly pid?: number | undefined }
): ProcessIdentity => {
  const { bootedAt, channel, info, procUsable, reserve, tokens } = realm()
  return Tokens.toIdentity({
    info: {
      ...info,
      bootId: options.machineId === undefined ? info.bootId : `${info.bootId}@${digest([options.machineId])}`,
      instance: tokens.instance
    },
    behalfOf: options.pid === undefined ? undefined : {
      pid: options.pid,
      startTime: procUsable ? readStat(options.pid)?.startTime ?? "" : ""
    },
    tokens,
    bootedAt,
    inProcessTable: inProcessTable(procUsable),
    channel,
    network: NodeChannel.network,
    refusalIsProof: NodeChannel.isAbstract,
    reserve,
    leavesCalls: !NodeWorker.isMainThread
  })
}
