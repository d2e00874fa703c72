import * as Effect from "effect/Effect"
import type { LockHolder } from "../../LockHolder.js"
import type { Channel, Endpoint, Reply } from "../handover/channel.js"
import type { Message } from "../handover/message.js"
import { type Alarm, timerAt } from "../lock/timer.js"
import * as Runtime from "../runtime.js"

/**
 * A waiter, as the holder sees it: the holder tells it when the lock is free. What it is told makes it look, and the kernel decides. It looks by
 * itself as well: other programs tell nothing.
 */
export class Waiter implements Endpoint {
  /** Whom it has told that it waits, by the token of its record. */
  private known: string | undefined
  /** Who has said that the lock is free. */
  private denied: string | undefined
  private unwatch: (() => void) | undefined
  private isHinted = false
  private resume: (() => void) | undefined

  constructor(private readonly channel: Channel, private readonly token: string, readonly fiber: Runtime.RuntimeFiber) {
    channel.attach(token, this)
  }

  hear(message: Message, reply: Reply): boolean {
    if (message._tag === "wait") {
      reply({ _tag: "moved", token: message.token, owner: message.owner })
    }
    if (message._tag !== "moved" || message.owner !== this.known || message.owner === this.denied) {
      return false
    }
    this.denied = message.owner
    return this.hint()
  }

  /** It should look. `false` if that is known already. */
  private hint(): boolean {
    const isNew = !this.isHinted
    this.isHinted = true
    this.resume?.()
    return isNew
  }

  /** The lock is held by a process that can be told. */
  register(holder: LockHolder): void {
    const { channel, token } = this
    if (this.known !== holder.token) {
      this.unwatch?.()
      this.unwatch = channel.watch(holder.instance, () => void this.hint())
      this.known = holder.token
      channel.send(holder.instance, { _tag: "wait", token, owner: holder.token })
    }
  }

  /** Sleeps for some milliseconds, or until there is reason to look. */
  sleep(millis: number): Effect.Effect<void> {
    return Effect.async((resume) => {
      const clock = Runtime.clockOf(this.fiber)
      const timer = timerAt(clock)
      const stop = () => {
        this.resume = undefined
        timer.cancel(this.fiber, alarm)
      }
      const wake = () => {
        stop()
        this.isHinted = false
        resume(Effect.void)
      }
      const alarm: Alarm = { at: Runtime.monotonicOf(clock) + millis, run: wake }
      timer.add(this.fiber, alarm)
      this.resume = wake
      if (this.isHinted) wake()
      return Effect.sync(stop)
    })
  }

  /** Messages for its token may be those of a holder from now on. */
  end(isHeld: boolean): void {
    this.unwatch?.()
    if (!isHeld) this.channel.detach(this.token)
  }
}
