/**
 * The messages by which a release wakes up those that wait. One connection for the whole engine, opened when the first one waits.
 */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import { type Alarm, timerOf } from "../lock/timer.js"
import * as Runtime from "../runtime.js"
import type { Client, MessageListener, Subscriber } from "./client.js"

/** For how long a channel is kept that nobody waits at, in milliseconds: most often it is wanted again at once. */
const linger = 1_000

/** So many look at once after a release. */
const atOnce = 4

/** Where more of them wait, they look one after the other, with so many milliseconds in between: most of them look in vain. */
const spacing = 0.5

/** One that waits at a channel. */
export class Waiter {
  private resume: ((spread: number) => void) | undefined
  private spread: number | undefined

  constructor(private readonly channel: Channel) {}

  /** Whether it will be told of a release from now on, as far as it is known. */
  get isListening(): boolean {
    return this.channel.state === "subscribed"
  }

  /** Forgets what it has been told. */
  reset(): void {
    this.spread = undefined
  }

  /** It looks within so many milliseconds. */
  wake(spread: number): void {
    this.spread = Math.min(spread, this.spread ?? spread)
    this.resume?.(this.spread)
  }

  /** Waits until it is woken up; `false` if it is not within so many milliseconds. */
  wait(millis: number): Effect.Effect<boolean> {
    const woken = Effect.withFiberRuntime<number | undefined>((fiber) =>
      Effect.async((resume) => {
        if (this.spread !== undefined) {
          return resume(Effect.succeed(this.spread))
        }
        const timer = timerOf(fiber)
        const end = () => {
          this.resume = undefined
          timer.cancel(fiber, alarm)
        }
        const answer = (spread: number | undefined) => {
          end()
          resume(Effect.succeed(spread))
        }
        const alarm: Alarm = { at: Runtime.monotonic(fiber) + millis, run: () => answer(undefined) }
        this.resume = answer
        timer.add(fiber, alarm)
        return Effect.sync(end)
      })
    )
    return Effect.flatMap(woken, (spread) =>
      spread === undefined
        ? Effect.succeed(false)
        : spread === 0
        ? Effect.succeed(true)
        : Effect.as(Effect.flatMap(Random.next, (random) => Effect.sleep(random * spread)), true))
  }
}

interface Channel {
  readonly name: string
  readonly waiters: Set<Waiter>
  state: "silent" | "asked" | "subscribed"
  /** Whether the library may subscribe to it again by itself, when it has lost its connection. */
  wasAsked: boolean
  /** Ends the subscription. */
  idle: { readonly end: () => void } | undefined
}

export interface Wakeups {
  /** A waiter at a channel, until it leaves. */
  readonly join: (name: string) => Waiter
  readonly leave: (fiber: Runtime.RuntimeFiber, name: string, waiter: Waiter) => void
  /** Subscribes to the channel in the background, if that is not done yet, and wakes up its waiters when it is. */
  readonly listen: (name: string) => Effect.Effect<void>
}

export const make = (client: Client): Effect.Effect<Wakeups, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const channels = new Map<string, Channel>()
    /** Channels that were left while there was no connection. */
    const left = new Set<string>()
    let subscriber: Subscriber | undefined
    let isConnected = false

    const at = (name: string): Channel => {
      let channel = channels.get(name)
      if (channel === undefined) {
        channel = { name, waiters: new Set(), state: "silent", wasAsked: false, idle: undefined }
        channels.set(name, channel)
      }
      return channel
    }

    const wakeAll = ({ waiters }: Channel, spread = 0) => {
      for (const waiter of waiters) waiter.wake(spread)
    }

    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        for (const { idle } of channels.values()) idle?.end()
        channels.clear()
      })
    )
    const fiber = yield* Effect.withFiberRuntime<Runtime.RuntimeFiber>((fiber) => Effect.succeed(fiber))

    const subscribe = (channel: Channel) => {
      if (subscriber === undefined || !isConnected) {
        return
      }
      const asked = subscriber.subscribe(channel.name)
      channel.state = "asked"
      channel.wasAsked = true
      Runtime.start(
        fiber,
        Effect.match(asked, {
          onSuccess: () => {
            if (isConnected && channel.state === "asked") channel.state = "subscribed"
            wakeAll(channel)
          },
          // They look as if there were no messages, and it is tried again.
          onFailure: () => {
            channel.state = "silent"
          }
        })
      )
    }

    const unsubscribe = (name: string) => {
      if (subscriber !== undefined) {
        Runtime.start(fiber, Effect.ignore(subscriber.unsubscribe(name)))
      }
    }

    const listener: MessageListener = {
      onConnected: () => {
        isConnected = true
        left.forEach(unsubscribe)
        left.clear()
        for (const channel of channels.values()) subscribe(channel)
      },
      onDisconnected: () => {
        isConnected = false
        for (const channel of channels.values()) channel.state = "silent"
      },
      onMessage: (name, message) => {
        const channel = channels.get(name)
        if (channel !== undefined) {
          const count = Number(message)
          wakeAll(channel, count > atOnce ? Math.min(count * spacing, linger) : 0)
        }
      }
    }

    const open = yield* Effect.cached(
      Effect.map(Scope.extend(client.openSubscriber(listener), scope), (opened) => {
        subscriber = opened
      })
    )

    const forget = (channel: Channel) => {
      channels.delete(channel.name)
      if (isConnected && channel.state !== "silent") {
        unsubscribe(channel.name)
      } else if (!isConnected && channel.wasAsked) {
        left.add(channel.name)
      }
    }

    return {
      join: (name) => {
        const channel = at(name)
        const waiter = new Waiter(channel)
        channel.waiters.add(waiter)
        channel.idle?.end()
        return waiter
      },
      leave: (fiber, name, waiter) => {
        const channel = channels.get(name)
        if (channel === undefined || !channel.waiters.delete(waiter) || channel.waiters.size > 0) {
          return
        }
        if (channel.state === "silent") {
          return forget(channel)
        }
        const timer = timerOf(fiber)
        const alarm: Alarm = {
          at: Runtime.monotonic(fiber) + linger,
          run: () => forget(channel)
        }
        channel.idle = {
          end: () => {
            channel.idle = undefined
            timer.cancel(fiber, alarm)
          }
        }
        timer.add(fiber, alarm)
      },
      listen: (name) =>
        Effect.zipRight(
          open,
          Effect.sync(() => {
            const channel = at(name)
            if (channel.state === "silent") subscribe(channel)
          })
        )
    }
  })
