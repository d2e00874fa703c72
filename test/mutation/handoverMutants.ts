/**
 * Bugs in the hand-over between processes: each is a guard of `docs/protocol.md` that is left out.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Channel from "../../src/internal/handover/channel.js"
import type * as HolderQueue from "../../src/internal/handover/holderQueue.js"
import type * as MemoryChannel from "../../src/internal/handover/memoryChannel.js"
import type * as Message from "../../src/internal/handover/message.js"
import type * as NodeChannel from "../../src/internal/handover/nodeChannel.js"
import type * as Others from "../../src/internal/handover/others.js"
import type * as Requester from "../../src/internal/handover/requester.js"
import type * as Turns from "../../src/internal/handover/turns.js"
import type * as Protocol from "../../src/internal/lockFile/protocol.js"
import type * as Tokens from "../../src/internal/process/tokens.js"
import { type Mutant, mutant } from "./Mutant.js"

const noticedBy = ["internal/handover/handover"]
const protocol = { module: "internal/lockFile/protocol", replaces: ["make"] as const, noticedBy }
const holderQueue = { module: "internal/handover/holderQueue", noticedBy }
const requester = { module: "internal/handover/requester", noticedBy }

export const handoverMutants: ReadonlyArray<Mutant> = [
  mutant<typeof Protocol>()({
    ...protocol,
    name: "withdrawal-does-not-look",
    bug: "withdraws a request without looking whether the lock was given to it meanwhile",
    important: true,
    change: ({ make }) => ({
      make: (options) => {
        const original = make(options)
        return { ...original, withdraw: (place, own) => Effect.as(original.withdraw(place, own), false) }
      }
    })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "request-stays-in-section",
    bug: "leaves its request file while it is in the critical section, so that a late holder may link it once more",
    important: true,
    change: ({ make }) => ({
      make: (options) => {
        const original = make(options)
        return { ...original, accept: (_, own) => Exit.succeed({ _tag: "Published", own }) }
      }
    })
  }),
  mutant<typeof Protocol>()({
    ...protocol,
    name: "hand-over-replaces",
    bug: "puts the record of the next one over that of a process that came in between",
    important: true,
    change: ({ make }) => ({
      make: (options) =>
        make({
          ...options,
          disk: {
            ...options.disk,
            link: (from, to) =>
              Effect.catchIf(
                options.disk.link(from, to),
                ({ code }) => code === "EEXIST" && to.endsWith(".lock"),
                () => options.disk.rename(from, to)
              )
          }
        })
    })
  }),
  mutant<typeof Requester>()({
    ...requester,
    name: "messages-grant",
    bug: "takes the message that grants the lock for the lock",
    important: true,
    change: ({ Requester }) => {
      const { look } = Requester.prototype
      Requester.prototype.look = function() {
        return this.queue !== undefined && this.own !== undefined
          ? this["protocol"].accept(this["place"], this.own)
          : look.call(this)
      }
    }
  }),
  mutant<typeof Requester>()({
    ...requester,
    name: "messages-are-not-limited",
    bug: "looks at the lock at each message, however many come and however little they lead to",
    change: ({ Requester }) => {
      const { look } = Requester.prototype
      Requester.prototype.look = function() {
        this["wasHinted"] = false
        return look.call(this)
      }
    }
  }),
  mutant<typeof Requester>()({
    ...requester,
    name: "holder-is-not-watched",
    bug: "does not keep a connection to the holder, and so does not hear of its death",
    important: true,
    change: ({ Requester }) => {
      const { register } = Requester.prototype
      Requester.prototype.register = function(holder) {
        this["unwatch"] = () => {}
        register.call(this, holder)
        this["unwatch"]()
      }
    }
  }),
  mutant<typeof HolderQueue>()({
    ...holderQueue,
    name: "requests-are-not-proven",
    bug: "queues whatever says that it waits, without a request file",
    noticedBy: ["internal/handover/holderQueue"],
    change: ({ HolderQueue }) => {
      HolderQueue.prototype["register"] = function(token) {
        const entry = this["enqueue"](token, true)
        if (entry !== undefined) entry.spoken = true
        return entry !== undefined
      }
    }
  }),
  mutant<typeof HolderQueue>()({
    ...holderQueue,
    name: "broken-lock-is-not-looked-at",
    bug: "does not heed that another process has broken its lock, until its next heartbeat",
    change: ({ HolderQueue }) => {
      HolderQueue.prototype["lookWhetherGone"] = () => false
    }
  }),
  mutant<typeof HolderQueue>()({
    ...holderQueue,
    name: "others-are-not-told",
    bug: "tells nobody when another process came in between the release and the hand-over",
    change: ({ HolderQueue }) => {
      HolderQueue.prototype["passToOther"] = function() {
        this["end"]()
        return Effect.void
      }
    }
  }),
  mutant<typeof HolderQueue>()({
    ...holderQueue,
    name: "queue-is-not-carried",
    bug: "hands the lock over without the queue, and does not tell the next one either",
    change: ({ HolderQueue }) => {
      const passTo = HolderQueue.prototype["passTo"]
      HolderQueue.prototype["passTo"] = function(holder) {
        this["entries"].clear()
        return passTo.call(this, holder)
      }
    }
  }),
  mutant<typeof HolderQueue>()({
    ...holderQueue,
    name: "stopped-one-is-next",
    bug: "hands the lock to the first waiter, whether it is awake or stopped",
    change: ({ HolderQueue }) => {
      HolderQueue.prototype["next"] = function() {
        return [...this["entries"].values()][0]
      }
    }
  }),
  mutant<typeof HolderQueue>()({
    ...holderQueue,
    name: "directory-is-not-asked",
    bug: "does not look for the waiters of a dead holder",
    change: ({ HolderQueue }) => {
      HolderQueue.prototype["list"] = () => {}
    }
  }),
  mutant<typeof HolderQueue>()({
    ...holderQueue,
    name: "short-holders-ask-nobody",
    bug: "does not find out who waits when its critical section is over before the last holder might have told",
    change: ({ HolderQueue }) => {
      const { handOver } = HolderQueue.prototype
      HolderQueue.prototype.handOver = function() {
        this["disarm"]()
        return handOver.call(this)
      }
    }
  }),
  mutant<typeof HolderQueue>()({
    ...holderQueue,
    name: "late-requests-are-dropped",
    bug: "does not pass on who waits when it hears of that after its release",
    change: ({ HolderQueue }) => {
      const { hear } = HolderQueue.prototype
      HolderQueue.prototype.hear = function(message) {
        return this["released"] ? false : hear.call(this, message)
      }
    }
  }),
  mutant<typeof Turns>()({
    module: "internal/handover/turns",
    name: "deaf-processes-go-on",
    bug: "takes a lock again and again within one turn of the event loop, and hears of nobody who waits",
    noticedBy: ["internal/handover/turns"],
    change: ({ Turns }) => {
      Turns.prototype.isOverdue = () => false
    }
  }),
  mutant<typeof Others>()({
    module: "internal/handover/others",
    name: "late-ones-starve",
    bug: "does not hand the lock to those that are in the directory and in no queue",
    noticedBy: ["internal/handover/guards"],
    change: ({ Others }) => {
      const { take } = Others.prototype
      Others.prototype.take = function(lockPath) {
        return { ...take.call(this, lockPath), waiting: [] }
      }
    }
  }),
  mutant<typeof Others>()({
    module: "internal/handover/others",
    name: "pollers-starve",
    bug: "hands the lock over for ever among the processes that are told, while one that polls never finds it free",
    noticedBy: ["internal/handover/guards"],
    change: ({ Others }) => {
      Others.prototype.isDue = () => false
    }
  }),
  mutant<typeof Channel>()({
    module: "internal/handover/channel",
    name: "mistaken-waiters-get-no-answer",
    bug: "does not answer a waiter that believes that this process holds the lock",
    noticedBy: ["internal/handover/memoryChannel", "internal/handover/nodeChannel"],
    change: ({ Endpoints }) => {
      const { receive } = Endpoints.prototype
      Endpoints.prototype.receive = function(message) {
        return receive.call(this, message, () => {})
      }
    }
  }),
  mutant<typeof MemoryChannel>()({
    module: "internal/handover/memoryChannel",
    name: "ends-are-not-heard",
    bug: "does not hear of the end of a process that it is connected to",
    noticedBy,
    change: ({ MemoryNetwork }) => {
      MemoryNetwork.prototype["tell"] = () => {}
    }
  }),
  mutant<typeof Message>()({
    module: "internal/handover/message",
    name: "any-token-will-do",
    bug: "takes any text for a token",
    noticedBy: ["internal/handover/message"],
    replaces: ["decode"],
    change: ({ decode }) => ({
      decode: (line) => decode(line.replaceAll(/"[^"]{10,}"/g, `"${"0".repeat(32)}-0"`))
    })
  }),
  mutant<typeof NodeChannel>()({
    module: "internal/handover/nodeChannel",
    name: "closed-is-dead",
    bug: "takes a process for dead that has only closed a connection",
    noticedBy: ["internal/handover/nodeChannel"],
    replaces: ["make"],
    important: true,
    change: ({ make }) => ({
      make: (instance) => {
        const channel = make(instance)
        return {
          ...channel,
          watch: (other, onEnd) => {
            const unwatch = channel.watch(other, onEnd)
            const asking = setInterval(() => {
              if (channel.connectionTo(other) === undefined) {
                clearInterval(asking)
                onEnd(true)
              }
            }, 1)
            return () => {
              clearInterval(asking)
              unwatch()
            }
          }
        }
      }
    })
  }),
  mutant<typeof Tokens>()({
    module: "internal/process/tokens",
    name: "threads-wait-for-a-lease",
    bug: "does not ask the address of a thread or a container whether it lives",
    noticedBy: ["ProcessIdentity", "integration/handover"],
    replaces: ["toIdentity"],
    change: ({ toIdentity }) => ({
      toIdentity: (options) => toIdentity({ ...options, network: "" })
    })
  })
]
