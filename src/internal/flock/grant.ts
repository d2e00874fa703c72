import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as LockBackend from "../../LockBackend.js"
import { LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import { type Channel, type Endpoint, type Reply } from "../handover/channel.js"
import { instanceOf, maxQueue, type Message } from "../handover/message.js"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"

/** How many waiters are told that the lock is free. The others look by themselves. */
const atOnce = 16

const nobody: ReadonlySet<string> = new Set()

/** What the file of a lock that is held is asked for. */
export interface HeldFile {
  /** Whether the name of the lock still is that of the file. */
  readonly isThere: () => boolean
  /** Who has locked the file that is there instead; `undefined` if there is none. */
  readonly successor: () => { readonly holder: LockHolder | undefined } | undefined
  /** Removes the file, or leaves it to others, and unlocks it. */
  readonly release: (isOurs: boolean) => Effect.Effect<void>
}

/** A lock of the kernel. The process has it until it releases it, or ends: there are no heartbeats. */
export class FlockGrant implements LockBackend.Grant, Endpoint {
  readonly fence = Option.none()
  readonly mode: LockBackend.Mode
  private readonly waiters = new Set<string>()
  private released = false

  constructor(
    private readonly channel: Channel,
    private readonly identity: ProcessIdentity,
    private readonly key: LockBackend.LockKey,
    private readonly request: LockBackend.Request,
    readonly holder: LockHolder,
    readonly recovered: boolean,
    readonly fiber: Runtime.RuntimeFiber,
    private readonly file: HeldFile
  ) {
    this.mode = request.mode
    // Those that share a lock have no record that others could read.
    if (request.mode === "exclusive") channel.hold(key.lockPath, holder.token, this)
  }

  hear(message: Message, reply: Reply): boolean {
    if (message._tag !== "wait" && message._tag !== "ready") {
      return false
    }
    if (this.released) {
      reply({ _tag: "moved", token: message.token, owner: message.owner })
      return false
    }
    const isNew = this.waiters.size < maxQueue && !this.waiters.has(message.token)
    if (isNew) this.waiters.add(message.token)
    return isNew
  }

  isAwaited(): boolean {
    return this.waiters.size > 0
  }

  get verify(): Effect.Effect<void, LockLostError> {
    return Immediate.suspend(() => this.file.isThere() ? Exit.void : Exit.fail(this.loss))
  }

  private get loss(): LockLostError {
    const successor = this.file.successor()
    return new LockLostError({
      ...this.key,
      reason: successor === undefined ? "Removed" : "Replaced",
      holder: successor?.holder,
      at: DateTime.unsafeMake(Runtime.wallClock(this.fiber))
    })
  }

  get release(): Effect.Effect<void> {
    return Immediate.suspend(() => {
      const isOurs = this.file.isThere()
      if (!isOurs) this.request.onLost(this.loss)
      return Immediate.andThen(this.file.release(isOurs), () => {
        this.tellWaiters()
        return Immediate.andThen(
          this.identity.retireToken(this.holder.token),
          () =>
            isOurs
              ? Exit.void
              : Effect.logWarning(`The lock ${this.key.lockPath} was not ours any more when it was released`)
        )
      })
    })
  }

  /** They look for themselves. The first one gets the lock. */
  private tellWaiters(): void {
    const { channel, holder: { token: owner }, key: { lockPath } } = this
    this.released = true
    if (this.mode === "shared") {
      return
    }
    channel.release(lockPath, owner, nobody)
    for (const token of [...this.waiters].slice(0, atOnce)) {
      channel.send(instanceOf(token), { _tag: "moved", token, owner })
    }
  }
}
