import type * as Runtime from "../runtime.js"
import type { Message } from "./message.js"

/** Answers a message, to the process that has sent it. */
export type Reply = (message: Message) => void

/** What a message can be for: a lock that is held, or a request that waits. */
export interface Endpoint {
  /** What it does is done as this fiber does. */
  readonly fiber: Runtime.RuntimeFiber
  /** `false` if the message says nothing to it. */
  readonly hear: (message: Message, reply: Reply) => boolean
}

/**
 * How the processes of one machine exchange messages. A message may be lost, come late, twice or out of order, or be another
 * process's invention.
 */
export interface Channel {
  /** Begins to listen, once. Whether other processes can reach this one from now on. */
  readonly open: () => boolean
  /** The messages for a token of this process go to `endpoint`. */
  readonly attach: (token: string, endpoint: Endpoint) => void
  readonly detach: (token: string) => void
  /**
   * This process holds a lock: a waiter that names one of its earlier tokens for that lock means this one.
   */
  readonly hold: (lockPath: string, token: string, endpoint: Endpoint) => void
  /** The lock is released. `passed` are the waiters whose requests another process has from now on. */
  readonly release: (lockPath: string, token: string, passed: ReadonlySet<string>) => void
  /** Sends a message to the process with this instance. */
  readonly send: (instance: string, message: Message) => void
  /**
   * Keeps a connection to a process. Calls `onEnd` with `true` once it is proven that the process is dead, since its address refuses
   * connections, and with `false` each time that the connection was closed for another reason. Answers with how to end that.
   */
  readonly watch: (instance: string, onEnd: (isDead: boolean) => void) => () => void
  /** The number of the open connection to a process, which no other one has; `undefined` where none is open. */
  readonly connectionTo: (instance: string) => number | undefined
  /** Asks once whether a process lives; `"unknown"` where its address gives no proof. */
  readonly ask: (instance: string, answer: (liveness: "alive" | "dead" | "unknown") => void) => void
}

/** That of a process that reaches no other, and that none reaches. */
export const none: Channel = {
  open: () => false,
  attach: () => {},
  detach: () => {},
  hold: () => {},
  release: () => {},
  send: () => {},
  watch: () => () => {},
  connectionTo: () => undefined,
  ask: (_, answer) => answer("unknown")
}

/** The token whose process a message is for. */
const recipientOf = (message: Message): string =>
  message._tag === "wait" || message._tag === "ready" || message._tag === "left" ? message.owner : message.token

/** How many tokens of locks that were released are remembered. */
const maxReleased = 256

/** How many locks that were released are remembered with what held them. */
const maxLate = 16

/** Leaves no more in a map than may be there. What was put there first goes first. */
export const forgetOldest = (map: Map<string, unknown>, most: number): void => {
  for (const oldest of map.keys()) {
    if (map.size <= most) break
    map.delete(oldest)
  }
}

/** A lock that was released. */
interface Released {
  readonly lockPath: string
  readonly passed: ReadonlySet<string>
}

/** The endpoints of one process, by token. */
export class Endpoints {
  private readonly endpoints = new Map<string, Endpoint>()
  private readonly held = new Map<string, Endpoint>()
  private readonly released = new Map<string, Released>()
  /** What held a lock last, by its path. */
  private readonly late = new Map<string, Endpoint>()

  readonly attach = (token: string, endpoint: Endpoint): void => void this.endpoints.set(token, endpoint)

  readonly detach = (token: string): void => void this.endpoints.delete(token)

  readonly hold = (lockPath: string, token: string, endpoint: Endpoint): void => {
    this.endpoints.set(token, endpoint)
    this.held.set(lockPath, endpoint)
  }

  readonly release = (lockPath: string, token: string, passed: ReadonlySet<string>): void => {
    const endpoint = this.endpoints.get(token)
    if (this.held.get(lockPath) === endpoint) this.held.delete(lockPath)
    this.endpoints.delete(token)
    this.released.set(token, { lockPath, passed })
    forgetOldest(this.released, maxReleased)
    if (endpoint !== undefined) {
      this.late.delete(lockPath)
      this.late.set(lockPath, endpoint)
      forgetOldest(this.late, maxLate)
    }
  }

  /** Passes a message on; `false` if it is for nothing that is here. A waiter that is mistaken about the holder is told so. */
  receive(message: Message, reply: Reply): boolean {
    const recipient = recipientOf(message)
    const released = this.endpoints.has(recipient) ? undefined : this.released.get(recipient)
    const endpoint = released === undefined
      ? this.endpoints.get(recipient)
      : this.held.get(released.lockPath) ?? this.late.get(released.lockPath)
    if ((message._tag === "wait" || message._tag === "ready") && released?.passed.has(message.token) === true) {
      return false
    }
    if (endpoint !== undefined) {
      return endpoint.hear(message, reply)
    }
    if (message._tag === "wait") {
      reply({ _tag: "moved", token: message.token, owner: message.owner })
    }
    return false
  }
}
