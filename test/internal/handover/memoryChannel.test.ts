import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Endpoint } from "../../../src/internal/handover/channel.js"
import { type Carry, MemoryNetwork } from "../../../src/internal/handover/memoryChannel.js"
import * as Message from "../../../src/internal/handover/message.js"
import type * as Runtime from "../../../src/internal/runtime.js"
import * as Simulation from "../../utils/Simulation.js"

const settle = Effect.sleep("100 millis")

const lockPath = "/data/tasks.json.lock"

/** What a process is told that is no message. */
const tell = (events: Array<string>, event: string) => () => void events.push(event)

interface Listener extends Endpoint {
  readonly heard: Array<Message.Message>
}

/** Writes down what it hears. */
const listen = (fiber: Runtime.RuntimeFiber, answer?: Message.Message): Listener => {
  const heard: Array<Message.Message> = []
  return {
    fiber,
    heard,
    hear: (message, reply) => {
      heard.push(message)
      if (answer !== undefined) reply(answer)
      return true
    }
  }
}

/** Processes of one machine, each of which listens with one token. */
const make = (carry?: Carry) =>
  Effect.withFiberRuntime<ReturnType<typeof connect>>((fiber) => Effect.succeed(connect(fiber, carry)))

const connect = (fiber: Runtime.RuntimeFiber, carry: Carry | undefined) => {
  const network = new MemoryNetwork(carry)
  let processes = 0
  const join = () => {
    const instance = (++processes).toString(16).padStart(32, "0")
    const channel = network.join(instance)
    const token = `${instance}-0`
    const listener = listen(fiber)
    channel.open()
    channel.attach(token, listener)
    return { instance, channel, token, heard: listener.heard }
  }
  return { fiber, network, join }
}

const play = (test: Effect.Effect<void>) => Simulation.run(test)

describe("A channel in memory", () => {
  it.effect("brings a message to the endpoint of its token, once what runs now waits", () =>
    play(Effect.gen(function*() {
      const { join } = yield* make()
      const [one, other, third] = [join(), join(), join()]
      const granted: Message.Message = { _tag: "granted", token: other.token, queue: [third.token, one.token] }
      one.channel.send(other.instance, granted)
      assert.deepStrictEqual(other.heard, [])
      yield* settle
      assert.deepStrictEqual(other.heard, [granted])
      assert.deepStrictEqual([one.heard, third.heard], [[], []])
    })))

  it.effect("brings what is for the holder to the holder's endpoint, and what is for a waiter to that of the waiter", () =>
    play(Effect.gen(function*() {
      const { join } = yield* make()
      const [holder, waiter] = [join(), join()]
      const pair = { token: waiter.token, owner: holder.token }
      for (const _tag of ["wait", "ready"] as const) waiter.channel.send(holder.instance, { _tag, ...pair })
      for (const _tag of ["next", "moved"] as const) holder.channel.send(waiter.instance, { _tag, ...pair })
      yield* settle
      assert.deepStrictEqual(holder.heard, [{ _tag: "wait", ...pair }, { _tag: "ready", ...pair }])
      assert.deepStrictEqual(waiter.heard, [{ _tag: "next", ...pair }, { _tag: "moved", ...pair }])
    })))

  it.effect("brings the answer back to the process that has sent the message", () =>
    play(Effect.gen(function*() {
      const { fiber, join } = yield* make()
      const [holder, waiter, bystander] = [join(), join(), join()]
      const pair = { token: waiter.token, owner: holder.token }
      holder.channel.attach(holder.token, listen(fiber, { _tag: "next", ...pair }))
      waiter.channel.send(holder.instance, { _tag: "wait", ...pair })
      yield* settle
      assert.deepStrictEqual(waiter.heard, [{ _tag: "next", ...pair }])
      assert.deepStrictEqual(bystander.heard, [])
    })))

  it.effect("tells a waiter that waits for an unknown token to look elsewhere, and answers nothing else", () =>
    play(Effect.gen(function*() {
      const { join } = yield* make()
      const [process, waiter] = [join(), join()]
      const owner = `${process.instance}-unknown`
      const pair = { token: waiter.token, owner }
      waiter.channel.send(process.instance, { _tag: "ready", ...pair })
      waiter.channel.send(process.instance, { _tag: "next", token: owner, owner: waiter.token })
      waiter.channel.send(process.instance, { _tag: "moved", token: owner, owner: waiter.token })
      waiter.channel.send(process.instance, { _tag: "granted", token: owner, queue: [waiter.token] })
      yield* settle
      assert.deepStrictEqual(waiter.heard, [])
      waiter.channel.send(process.instance, { _tag: "wait", ...pair })
      yield* settle
      assert.deepStrictEqual(waiter.heard, [{ _tag: "moved", ...pair }])
      assert.deepStrictEqual(process.heard, [])
    })))

  it.effect("brings nothing to an endpoint that was taken away", () =>
    play(Effect.gen(function*() {
      const { join } = yield* make()
      const [holder, waiter] = [join(), join()]
      const pair = { token: waiter.token, owner: holder.token }
      waiter.channel.send(holder.instance, { _tag: "wait", ...pair })
      holder.channel.detach(holder.token)
      yield* settle
      assert.deepStrictEqual(holder.heard, [])
      assert.deepStrictEqual(waiter.heard, [{ _tag: "moved", ...pair }])
    })))

  it.effect("takes a waiter that names an earlier token of a lock for one that waits for its holder now", () =>
    play(Effect.gen(function*() {
      const { fiber, join } = yield* make()
      const [holder, waiter] = [join(), join()]
      const [before, now] = [listen(fiber), listen(fiber)]
      const earlier = `${holder.instance}-earlier`
      const wait: Message.Message = { _tag: "wait", token: waiter.token, owner: earlier }
      holder.channel.hold(lockPath, earlier, before)
      holder.channel.release(lockPath, earlier, new Set())
      holder.channel.hold("/data/other.lock", `${holder.instance}-other`, listen(fiber))
      waiter.channel.send(holder.instance, wait)
      yield* settle
      assert.deepStrictEqual(
        [before.heard, now.heard],
        [[wait], []],
        "no lock is held there: who has held it hears of it"
      )
      holder.channel.hold(lockPath, `${holder.instance}-now`, now)
      waiter.channel.send(holder.instance, wait)
      yield* settle
      assert.deepStrictEqual([before.heard, now.heard], [[wait], [wait]])
      holder.channel.release(lockPath, `${holder.instance}-now`, new Set([waiter.token]))
      waiter.channel.send(holder.instance, { ...wait, owner: `${holder.instance}-now` })
      yield* settle
      assert.deepStrictEqual([before.heard, now.heard], [[wait], [wait]], "it was passed on already")
      assert.deepStrictEqual(waiter.heard, [])
    })))

  it.effect("leaves a lock with its new holder when the old one is released later", () =>
    play(Effect.gen(function*() {
      const { fiber, join } = yield* make()
      const [holder, waiter] = [join(), join()]
      const [old, next] = [`${holder.instance}-old`, `${holder.instance}-next`]
      const now = listen(fiber)
      holder.channel.hold(lockPath, old, listen(fiber))
      holder.channel.hold(lockPath, next, now)
      holder.channel.release(lockPath, old, new Set())
      const wait: Message.Message = { _tag: "wait", token: waiter.token, owner: old }
      waiter.channel.send(holder.instance, wait)
      yield* settle
      assert.deepStrictEqual(now.heard, [wait])
    })))

  it.effect("brings what a process sends to itself, later as well", () =>
    play(Effect.gen(function*() {
      const { fiber, join } = yield* make()
      const self = join()
      const holder = listen(fiber, { _tag: "next", token: self.token, owner: `${self.instance}-1` })
      const wait: Message.Message = { _tag: "wait", token: self.token, owner: `${self.instance}-1` }
      self.channel.attach(`${self.instance}-1`, holder)
      self.channel.send(self.instance, wait)
      assert.deepStrictEqual(holder.heard, [])
      yield* settle
      assert.deepStrictEqual(holder.heard, [wait])
      assert.deepStrictEqual(self.heard, [{ ...wait, _tag: "next" }])
      self.channel.ask(self.instance, (answer) => assert.strictEqual(answer, "alive"))
    })))

  it.effect("survives lines that are no messages, and thousands of messages for unknown tokens", () =>
    play(Effect.gen(function*() {
      const { join, network } = yield* make()
      const [process, hostile] = [join(), join()]
      const lines = ["\n", "garbage\n", "[\"wait\"]\n", "\0\n", "[".repeat(Message.maxLine) + "\n"]
      for (const line of lines) network.send(hostile.instance, process.instance, line)
      for (let index = 0; index < 5_000; index++) {
        const pair = { token: hostile.token, owner: `${process.instance}-x${index.toString(36)}` }
        hostile.channel.send(process.instance, { _tag: "ready", ...pair })
      }
      const wait: Message.Message = { _tag: "wait", token: hostile.token, owner: process.token }
      hostile.channel.send(process.instance, wait)
      yield* settle
      assert.deepStrictEqual(process.heard, [wait])
    })))
})

describe("The end of a process in memory", () => {
  it.effect("tells each process that watches it, once, and no other", () =>
    play(Effect.gen(function*() {
      const { join, network } = yield* make()
      const [dying, living, first, second] = [join(), join(), join(), join()]
      const events: Array<string> = []
      first.channel.watch(dying.instance, tell(events, "first"))
      first.channel.watch(dying.instance, tell(events, "first, for another lock"))
      second.channel.watch(dying.instance, tell(events, "second"))
      second.channel.watch(living.instance, tell(events, "of the living"))
      yield* settle
      assert.deepStrictEqual(events, [])
      network.close(dying.instance)
      yield* settle
      assert.deepStrictEqual(events, ["first", "first, for another lock", "second"])
      network.close(dying.instance)
      yield* settle
      assert.strictEqual(events.length, 3)
    })))

  it.effect("is not told to one that has ended its watch", () =>
    play(Effect.gen(function*() {
      const { join, network } = yield* make()
      const [dying, watcher] = [join(), join()]
      const events: Array<string> = []
      const stop = watcher.channel.watch(dying.instance, tell(events, "ended before"))
      watcher.channel.watch(dying.instance, tell(events, "still watching"))
      const stopLate = watcher.channel.watch(dying.instance, tell(events, "ended on the way"))
      stop()
      stop()
      network.close(dying.instance)
      stopLate()
      yield* settle
      assert.deepStrictEqual(events, ["still watching"])
    })))

  it.effect("is told to one that begins to watch too late, and to one that watches what has never been", () =>
    play(Effect.gen(function*() {
      const { join, network } = yield* make()
      const [dead, watcher] = [join(), join()]
      const events: Array<string> = []
      network.close(dead.instance)
      watcher.channel.watch(dead.instance, tell(events, "dead"))
      watcher.channel.watch("f".repeat(32), tell(events, "never there"))
      yield* settle
      assert.deepStrictEqual(events, ["dead", "never there"])
    })))

  it.effect("is not told to a process that has ended as well", () =>
    play(Effect.gen(function*() {
      const { join, network } = yield* make()
      const [one, other] = [join(), join()]
      const events: Array<string> = []
      one.channel.watch(other.instance, tell(events, "one"))
      other.channel.watch(one.instance, tell(events, "other"))
      network.close(one.instance)
      network.close(other.instance)
      yield* settle
      assert.deepStrictEqual(events, [])
    })))

  it.effect("answers those that ask, before and after", () =>
    play(Effect.gen(function*() {
      const { join, network } = yield* make()
      const [process, asking] = [join(), join()]
      const answers: Array<string> = []
      const ask = (instance: string) =>
        Effect.async<string>((resume) => asking.channel.ask(instance, (answer) => resume(Effect.succeed(answer))))
      answers.push(yield* ask(process.instance))
      network.close(process.instance)
      answers.push(yield* ask(process.instance), yield* ask("f".repeat(32)))
      assert.deepStrictEqual(answers, ["alive", "dead", "dead"])
    })))

  it.effect("ends what was on its way to it", () =>
    play(Effect.gen(function*() {
      const { join, network } = yield* make()
      const [dying, other] = [join(), join()]
      other.channel.send(dying.instance, { _tag: "moved", token: dying.token, owner: other.token })
      network.close(dying.instance)
      other.channel.send(dying.instance, { _tag: "wait", token: other.token, owner: dying.token })
      yield* settle
      assert.deepStrictEqual([dying.heard, other.heard], [[], []])
    })))

  it.effect("closes its connections, of which each process knows its own", () =>
    play(Effect.gen(function*() {
      const { join, network } = yield* make()
      const [dying, watcher, bystander] = [join(), join(), join()]
      assert.isFalse(watcher.channel.connectionTo(dying.instance) !== undefined)
      const stop = watcher.channel.watch(dying.instance, () => {})
      assert.isTrue(watcher.channel.connectionTo(dying.instance) !== undefined)
      assert.isFalse(bystander.channel.connectionTo(dying.instance) !== undefined, "it has no connection to it")
      network.close(dying.instance)
      assert.isFalse(watcher.channel.connectionTo(dying.instance) !== undefined)
      stop()
    })))
})

describe("A test that carries what is sent", () => {
  it.effect("lets messages be lost", () =>
    play(Effect.gen(function*() {
      let lost = true
      const { join } = yield* make((_from, _to, _what, arrive) => lost ? undefined : arrive())
      const [one, other] = [join(), join()]
      const moved: Message.Message = { _tag: "moved", token: other.token, owner: one.token }
      one.channel.send(other.instance, moved)
      yield* settle
      assert.deepStrictEqual(other.heard, [])
      lost = false
      one.channel.send(other.instance, moved)
      assert.deepStrictEqual(other.heard, [moved], "it comes at once where the test says so")
    })))

  it.effect("lets messages come twice, and in another order", () =>
    play(Effect.gen(function*() {
      const onTheirWay: Array<() => void> = []
      const { join } = yield* make((_from, _to, _what, arrive) => void onTheirWay.push(arrive, arrive))
      const [one, other] = [join(), join()]
      const pair = { token: other.token, owner: one.token }
      one.channel.send(other.instance, { _tag: "next", ...pair })
      one.channel.send(other.instance, { _tag: "moved", ...pair })
      yield* settle
      assert.deepStrictEqual(other.heard, [])
      for (const arrive of onTheirWay.reverse()) arrive()
      assert.deepStrictEqual(other.heard.map(({ _tag }) => _tag), ["moved", "moved", "next", "next"])
    })))

  it.effect("lets messages come so late that their token means something else, or nothing", () =>
    play(Effect.gen(function*() {
      const onTheirWay: Array<() => void> = []
      const { fiber, join } = yield* make((_from, _to, _what, arrive) => void onTheirWay.push(arrive))
      const [holder, waiter] = [join(), join()]
      const wait: Message.Message = { _tag: "wait", token: waiter.token, owner: holder.token }
      waiter.channel.send(holder.instance, wait)
      holder.channel.detach(holder.token)
      const later = listen(fiber)
      holder.channel.attach(`${holder.instance}-later`, later)
      for (const arrive of onTheirWay.splice(0)) arrive()
      assert.deepStrictEqual([holder.heard, later.heard], [[], []])
      assert.strictEqual(onTheirWay.length, 1, "the answer is on its way")
      for (const arrive of onTheirWay.splice(0)) arrive()
      assert.deepStrictEqual(waiter.heard, [{ ...wait, _tag: "moved" }])
    })))

  it.effect("knows who sends to whom, and messages from the ends of connections", () =>
    play(Effect.gen(function*() {
      const carried: Array<readonly [from: string, to: string, what: string]> = []
      const { join, network } = yield* make((from, to, what, arrive) => {
        carried.push([from, to, what])
        arrive()
      })
      const [one, other] = [join(), join()]
      one.channel.send(other.instance, { _tag: "wait", token: one.token, owner: `${other.instance}-unknown` })
      one.channel.watch(other.instance, () => {})
      network.close(other.instance)
      assert.deepStrictEqual(carried, [
        [one.instance, other.instance, "message"],
        [other.instance, one.instance, "message"],
        [other.instance, one.instance, "end"]
      ])
    })))

  it.effect("tells a watcher of one end once, however often that arrives, and never after its watch", () =>
    play(Effect.gen(function*() {
      const onTheirWay: Array<() => void> = []
      const { join, network } = yield* make((_from, _to, _what, arrive) => void onTheirWay.push(arrive, arrive))
      const [dying, watcher] = [join(), join()]
      const events: Array<string> = []
      watcher.channel.watch(dying.instance, tell(events, "told"))
      const stop = watcher.channel.watch(dying.instance, tell(events, "has ended its watch"))
      network.close(dying.instance)
      yield* settle
      assert.deepStrictEqual(events, [])
      stop()
      for (const arrive of onTheirWay) arrive()
      assert.deepStrictEqual(events, ["told"])
    })))
})
