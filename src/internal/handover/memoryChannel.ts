import * as Option from "effect/Option"
import * as Runtime from "../runtime.js"
import { type Channel, Endpoints } from "./channel.js"
import * as Message from "./message.js"

/**
 * How something comes from one process to another: a message, or that the connection was closed. A test lets messages be lost, late,
 * doubled, or come out of order.
 */
export type Carry = (from: string, to: string, what: "message" | "end", arrive: () => void) => void

interface Watch {
  readonly by: string
  readonly onEnd: (isDead: boolean) => void
}

interface Member {
  readonly endpoints: Endpoints
  /** One of its fibers, whose scheduler runs what arrives. */
  fiber: Runtime.RuntimeFiber | undefined
}

/** Connects the processes of one machine in memory. */
export class MemoryNetwork {
  private readonly listening = new Map<string, Member>()
  private readonly watches = new Map<string, Set<Watch>>()
  private readonly carry: Carry

  /** By default a message arrives once the fibers that are about to run have run. */
  constructor(carry?: Carry) {
    this.carry = carry ?? ((_from, to, _what, arrive) => {
      const fiber = this.listening.get(to)?.fiber
      if (fiber !== undefined) Runtime.soon(fiber, arrive)
    })
  }

  /** The channel of a process. */
  join(instance: string): Channel {
    const member: Member = { endpoints: new Endpoints(), fiber: undefined }
    return {
      open: () => {
        this.listening.set(instance, member)
        return true
      },
      attach: (token, endpoint) => {
        member.fiber = endpoint.fiber
        member.endpoints.attach(token, endpoint)
      },
      detach: member.endpoints.detach,
      hold: (lockPath, token, endpoint) => {
        member.fiber = endpoint.fiber
        member.endpoints.hold(lockPath, token, endpoint)
      },
      release: member.endpoints.release,
      send: (to, message) => this.send(instance, to, Message.encode(message)),
      watch: (other, onEnd) => {
        if (other === instance) {
          return () => {}
        }
        const watch = { by: instance, onEnd }
        const watches = this.watches.get(other) ?? new Set()
        this.watches.set(other, watches.add(watch))
        if (!this.listening.has(other)) {
          this.tell(other, watch)
        }
        return () => {
          watches.delete(watch)
          if (watches.size === 0 && this.watches.get(other) === watches) this.watches.delete(other)
        }
      },
      connectionTo: (other) =>
        this.listening.has(other) && [...this.watches.get(other) ?? []].some(({ by }) => by === instance)
          ? 0
          : undefined,
      ask: (other, answer) => answer(this.listening.has(other) ? "alive" : "dead")
    }
  }

  /** Delivers a line to whatever listens there by then. */
  send(from: string, to: string, line: string): void {
    this.carry(from, to, "message", () => {
      const message = Message.decode(line.slice(0, -1))
      if (Option.isSome(message)) {
        const reply = (answer: Message.Message) => this.send(to, from, Message.encode(answer))
        this.listening.get(to)?.endpoints.receive(message.value, reply)
      }
    })
  }

  /** A process ends: its connections close, and its address refuses new ones. */
  close(instance: string): void {
    this.listening.delete(instance)
    for (const [other, watches] of this.watches) {
      for (const watch of watches) {
        if (watch.by === instance) watches.delete(watch)
        else if (other === instance) this.tell(instance, watch)
      }
    }
  }

  private tell(instance: string, watch: Watch): void {
    this.carry(instance, watch.by, "end", () => {
      if (this.watches.get(instance)?.delete(watch) === true) watch.onEnd(true)
    })
  }
}
