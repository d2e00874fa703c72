import * as Option from "effect/Option"
import * as NodeFS from "node:fs"
import type * as NodeNet from "node:net"
import * as NodeOS from "node:os"
import * as NodePath from "node:path"
import { type Channel, Endpoints } from "./channel.js"
import * as Message from "./message.js"

/** More incoming connections are closed at once. */
const maxConnections = 1_024

/** No more are made to processes that have not answered yet. */
const maxPending = 256

/** What is not yet sent to a process that does not read, in bytes. Beyond it messages to it are lost. */
const maxBuffered = Message.maxLine

/**
 * How much processes may say at once that changes nothing, before they are disconnected: so many short messages over all connections, and
 * between these over each. A second later it is forgotten. For each message that changes something a connection may say some more.
 */
const allowed = 1_024
const fewest = 4
const most = 64
const credited = 16
const maxCredit = 4_096

/** A long message costs as much as so many bytes of short ones. */
const shortMessage = 256

/** How long a process that has said too much has to wait for the end of its connection, in milliseconds. */
const penalty = 1_000

/** How long a process may leave a message unread when it can take no more, in milliseconds. */
const patience = 500

/** A connection that was open for so long, in milliseconds, is made again at once. */
const longConnection = 1_000

/** The first and the longest pause before a process is dialled again that has closed the connection, in milliseconds. */
const shortestPause = 5
const longestPause = 1_000

/**
 * The longest name of a socket that Linux takes, behind its NUL. Some versions of libuv fill a shorter name up with NULs, which makes it
 * another one.
 */
const abstractName = 107

/** An address on Linux is free when its process has ended, whatever has ended it: that it refuses is a proof. */
export const isAbstract = process.platform === "linux"

/**
 * `node:net`, if it knows abstract sockets: so do all versions of Node that have this function. Loaded with the first lock, and not
 * with this module.
 */
const load = (): typeof NodeNet | undefined =>
  "bun" in process.versions ? undefined : process.getBuiltinModule?.("node:net")

const networkNamespace = (): string => {
  try {
    return NodeFS.readlinkSync("/proc/self/ns/net")
  } catch {
    return ""
  }
}

/** Where the processes are that this one can reach; empty if there are none. */
export const network: string = process.getBuiltinModule === undefined || "bun" in process.versions
  ? ""
  : isAbstract
  ? networkNamespace()
  : process.platform === "win32"
  ? "pipe"
  : NodeOS.tmpdir()

/** Where a process listens; `undefined` for what is no instance. */
export const addressOf = (instance: string): string | undefined => {
  if (!/^[0-9a-f]{32}$/.test(instance)) {
    return undefined
  }
  const name = `effect-filelock-${instance}`
  return isAbstract
    ? `\0${name.padEnd(abstractName, "-")}`
    : process.platform === "win32"
    ? `\\\\.\\pipe\\${name}`
    : NodePath.join(network, `${name}.sock`)
}

/** Calls a function after some milliseconds, if the process lives for so long. */
const later = (millis: number, run: () => void): NodeJS.Timeout =>
  // eslint-disable-next-line no-restricted-globals -- a socket belongs to no fiber, and has no clock but the system's
  setTimeout(run, millis).unref()

/** Splits what arrives into lines; `false` if a line is longer than any of ours. */
class Lines {
  private rest = ""

  constructor(private readonly onLine: (line: string) => boolean) {}

  add(chunk: string): boolean {
    let from = 0
    for (let end = chunk.indexOf("\n"); end >= 0; end = chunk.indexOf("\n", from)) {
      const line = this.rest + chunk.slice(from, end)
      this.rest = ""
      if (line.length > Message.maxLine || !this.onLine(line)) {
        return false
      }
      from = end + 1
    }
    this.rest += chunk.slice(from)
    return this.rest.length <= Message.maxLine
  }
}

/** A connection that this process has made, and makes again as long as the process at the other end is watched. */
interface Peer {
  readonly instance: string
  socket: NodeNet.Socket | undefined
  connected: boolean
  /** The number of the connection. */
  connection: number
  connectedAt: number
  /** Until it is connected; those of a process that is stopped are few. */
  unsent: string
  readonly watchers: Set<(isDead: boolean) => void>
  readonly questions: Array<(liveness: "alive" | "dead" | "unknown") => void>
  pause: number
  timer: NodeJS.Timeout | undefined
}

/** The channel of a process over local sockets. It keeps no process alive. */
export const make = (instance: string): Channel => {
  const endpoints = new Endpoints()
  const peers = new Map<string, Peer>()
  let server: NodeNet.Server | undefined
  let failed = false
  let pending = 0
  let connections = 0
  const incoming = new Set<NodeNet.Socket>()

  const stuck = new WeakSet<NodeNet.Socket>()

  /** A write that does not end keeps the process alive: a peer that does not read is disconnected. */
  const write = (socket: NodeNet.Socket, line: string): void => {
    if (socket.writableLength >= maxBuffered) {
      return
    }
    socket.write(line)
    if (socket.writableLength > 0 && !stuck.has(socket)) {
      stuck.add(socket)
      later(patience, () => {
        stuck.delete(socket)
        if (socket.writableLength > 0) socket.destroy()
      })
    }
  }

  /** Reads the messages that come over a connection, and answers them there, until it says too much. */
  const read = (socket: NodeNet.Socket, onEnough: () => void): void => {
    let spent = 0
    let spentAt = 0
    const reply = (message: Message.Message): void => {
      write(socket, Message.encode(message))
    }
    const lines = new Lines((line) => {
      const message = Message.decode(line)
      if (Option.isSome(message) && endpoints.receive(message.value, reply)) {
        spent = Math.max(-maxCredit, spent - credited)
        return true
      }
      const now = performance.now()
      const limit = Math.min(most, Math.max(fewest, allowed / incoming.size))
      if (spent > 0) spent = Math.max(0, spent - limit * (now - spentAt) / 1_000)
      spent += Math.max(1, line.length / shortMessage)
      spentAt = now
      return Option.isSome(message) && spent <= limit
    })
    const onData = (chunk: string): void => {
      if (!lines.add(chunk)) {
        socket.off("data", onData)
        onEnough()
      }
    }
    socket.unref()
    socket.setEncoding("latin1")
    socket.on("data", onData)
    // A connection that fails is closed, and that is heard of.
    socket.on("error", () => {})
  }

  /** A process that dials this one and says too much could do so again at once. It has to wait, and its connection is none for another one. */
  const accept = (socket: NodeNet.Socket): void => {
    incoming.add(socket)
    socket.on("close", () => incoming.delete(socket))
    read(socket, () => {
      socket.pause()
      later(penalty, () => socket.destroy())
    })
  }

  const open = (): boolean => {
    if (server !== undefined || failed) {
      return !failed
    }
    const address = addressOf(instance)
    const net = load()
    if (address === undefined || net === undefined) {
      failed = true
      return false
    }
    const listening = net.createServer(accept)
    listening.maxConnections = maxConnections
    listening.on("error", () => {
      failed = true
    })
    // It is bound when this returns. `exclusive`: in a cluster, the primary process must not listen for its workers.
    listening.listen({ path: address, exclusive: true })
    listening.unref()
    if (!listening.listening) {
      failed = true
      return false
    }
    server = listening
    if (!isAbstract && process.platform !== "win32") {
      process.on("exit", () => NodeFS.rmSync(address, { force: true }))
    }
    return true
  }

  const peerOf = (other: string): Peer => {
    let peer = peers.get(other)
    if (peer === undefined) {
      peer = {
        instance: other,
        socket: undefined,
        connected: false,
        connection: 0,
        connectedAt: 0,
        unsent: "",
        watchers: new Set(),
        questions: [],
        pause: 0,
        timer: undefined
      }
      peers.set(other, peer)
    }
    return peer
  }

  const answer = (peer: Peer, liveness: "alive" | "dead" | "unknown"): void => {
    for (const question of peer.questions.splice(0)) question(liveness)
  }

  const connect = (peer: Peer): void => {
    const address = addressOf(peer.instance)
    const net = load()
    if (peer.socket !== undefined || peer.timer !== undefined) {
      return
    }
    if (address === undefined || net === undefined) {
      answer(peer, "unknown")
      return forget(peer)
    }
    if (pending >= maxPending) {
      return closed(peer, "EAGAIN")
    }
    const socket = net.connect({ path: address })
    let code = "CLOSED"
    peer.socket = socket
    pending += 1
    read(socket, () => socket.destroy())
    socket.on("connect", () => {
      pending -= 1
      peer.connected = true
      peer.connection = ++connections
      peer.connectedAt = performance.now()
      if (peer.unsent !== "") write(socket, peer.unsent)
      peer.unsent = ""
      answer(peer, "alive")
    })
    socket.on("error", (error: NodeJS.ErrnoException) => {
      code = error.code ?? code
    })
    socket.on("end", () => socket.destroy())
    socket.on("close", () => {
      if (!peer.connected) pending -= 1
      closed(peer, code)
    })
  }

  const closed = (peer: Peer, code: string): void => {
    const wasOpenFor = peer.connected ? performance.now() - peer.connectedAt : -1
    peer.socket = undefined
    peer.connected = false
    peer.unsent = ""
    const isDead = code === "ECONNREFUSED" && isAbstract
    answer(peer, isDead ? "dead" : "unknown")
    if (isDead || peer.watchers.size === 0) {
      forget(peer)
    } else {
      // Whether anybody listens settles whether it is dead. A process that closes each connection is not dialled all the time.
      const isFirst = peer.pause === 0 || wasOpenFor > longConnection
      const pause = isFirst ? 0 : Math.min(2 * peer.pause, longestPause)
      peer.pause = Math.max(shortestPause, pause)
      if (isFirst && wasOpenFor >= 0) {
        connect(peer)
      } else {
        peer.timer = later(peer.pause, () => {
          peer.timer = undefined
          connect(peer)
        })
      }
    }
    for (const onEnd of [...peer.watchers]) onEnd(isDead)
  }

  const forget = (peer: Peer): void => {
    if (peers.get(peer.instance) === peer) peers.delete(peer.instance)
    clearTimeout(peer.timer)
  }

  /** To ourselves, once what runs now waits. */
  const loopBack = (message: Message.Message): void => queueMicrotask(() => endpoints.receive(message, loopBack))

  return {
    open,
    attach: endpoints.attach,
    detach: endpoints.detach,
    hold: endpoints.hold,
    release: endpoints.release,
    send: (other, message) => {
      if (other === instance) {
        return loopBack(message)
      }
      const peer = peerOf(other)
      const line = Message.encode(message)
      if (peer.connected && peer.socket !== undefined) {
        return write(peer.socket, line)
      }
      if (peer.unsent.length + line.length <= maxBuffered) peer.unsent += line
      connect(peer)
    },
    watch: (other, onEnd) => {
      if (other === instance) {
        return () => {}
      }
      const peer = peerOf(other)
      peer.watchers.add(onEnd)
      connect(peer)
      return () => void peer.watchers.delete(onEnd)
    },
    connectionTo: (other) => {
      const peer = peers.get(other)
      return peer?.connected === true ? peer.connection : undefined
    },
    ask: (other, onAnswer) => {
      if (other === instance) {
        return onAnswer("alive")
      }
      const peer = peerOf(other)
      if (peer.connected) {
        return onAnswer("alive")
      }
      peer.questions.push(onAnswer)
      connect(peer)
    }
  }
}
