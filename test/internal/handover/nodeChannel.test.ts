import { assert, describe, it, vi } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as NodeCrypto from "node:crypto"
import Net from "node:net"
import * as NodePath from "node:path"
import type { Channel, Endpoint, Reply } from "../../../src/internal/handover/channel.js"
import * as Message from "../../../src/internal/handover/message.js"
import * as NodeChannel from "../../../src/internal/handover/nodeChannel.js"
import type * as Runtime from "../../../src/internal/runtime.js"
import * as Program from "../../integration/fixtures/program.js"

const isLinux = process.platform === "linux"

/** What an address says that refuses connections: a proof on Linux only. */
const refused = isLinux ? "dead" : "unknown"

const addressOf = (instance: string): string => {
  const name = `effect-filelock-${instance}`
  return isLinux
    ? `\0${name.padEnd(107, "-")}`
    : process.platform === "win32"
    ? `\\\\.\\pipe\\${name}`
    : NodePath.join(NodeChannel.network, `${name}.sock`)
}

const newInstance = (): string => NodeCrypto.randomBytes(16).toString("hex")

interface Listener extends Endpoint {
  readonly heard: Array<Message.Message>
  /** The next one that it hears. */
  readonly next: Effect.Effect<Message.Message>
}

const listen = (
  fiber: Runtime.RuntimeFiber,
  hear: (message: Message.Message, reply: Reply) => boolean = () => true
): Effect.Effect<Listener> =>
  Effect.map(Queue.unbounded<Message.Message>(), (queue) => {
    const heard: Array<Message.Message> = []
    return {
      fiber,
      heard,
      next: Queue.take(queue),
      hear: (message, reply) => {
        heard.push(message)
        queue.unsafeOffer(message)
        return hear(message, reply)
      }
    }
  })

interface Member {
  readonly instance: string
  readonly channel: Channel
  readonly token: string
  readonly listener: Listener
}

/** A process that does not listen yet. */
const makeMember = (hear?: (message: Message.Message, reply: Reply) => boolean): Effect.Effect<Member> =>
  Effect.withFiberRuntime((fiber) => {
    const instance = newInstance()
    const channel = NodeChannel.make(instance)
    const token = `${instance}-0`
    return Effect.map(listen(fiber, hear), (listener) => {
      channel.attach(token, listener)
      return { instance, channel, token, listener }
    })
  })

/** A process that listens, with one token. */
const join = (hear?: (message: Message.Message, reply: Reply) => boolean): Effect.Effect<Member> =>
  Effect.tap(makeMember(hear), ({ channel }) => Effect.sync(() => assert.isTrue(channel.open())))

const ask = ({ channel }: Member, instance: string): Effect.Effect<string> =>
  Effect.async((resume) => channel.ask(instance, (answer) => resume(Effect.succeed(answer))))

/** Waits until a watched process is known to be dead. */
const death = ({ channel }: Member, instance: string): Effect.Effect<void> =>
  Effect.async((resume) => void channel.watch(instance, (isDead) => isDead && resume(Effect.void)))

/** A message gets through, and its answer. */
const works = (from: Member, to: Member): Effect.Effect<void> =>
  Effect.gen(function*() {
    const owner = `${to.instance}-unknown`
    from.channel.send(to.instance, { _tag: "wait", token: from.token, owner })
    assert.deepStrictEqual(yield* from.listener.next, { _tag: "moved", token: from.token, owner })
  })

/** A process at whose address a test listens itself. */
const fakePeer = (
  onConnection: (socket: Net.Socket, index: number) => void
): Effect.Effect<
  { readonly instance: string; readonly connections: ReadonlyArray<Net.Socket>; readonly close: Effect.Effect<void> },
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const instance = newInstance()
    const connections: Array<Net.Socket> = []
    const server = Net.createServer((socket) => {
      // A connection that is reset is closed.
      socket.on("error", () => {})
      connections.push(socket)
      onConnection(socket, connections.length - 1)
    })
    const close = Effect.async<void>((resume) => {
      server.close(() => resume(Effect.void))
      for (const socket of connections) socket.destroy()
    })
    yield* Effect.acquireRelease(
      Effect.async<void>((resume) => void server.listen({ path: addressOf(instance) }, () => resume(Effect.void))),
      () => server.listening ? close : Effect.void
    )
    return { instance, connections, close }
  })

/** A program that speaks to a process as no channel does. */
const client = (instance: string): Effect.Effect<
  { readonly write: (content: string | Uint8Array) => void; readonly closed: Effect.Effect<string> },
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const closed = yield* Deferred.make<string>()
    const socket = yield* Effect.acquireRelease(
      Effect.async<Net.Socket>((resume) => {
        const socket = Net.connect({ path: addressOf(instance) }, () => resume(Effect.succeed(socket)))
        let received = ""
        socket.on("data", (chunk) => {
          received += String(chunk)
        })
        // Writing to a connection that was closed fails.
        socket.on("error", () => {})
        socket.on("close", () => Deferred.unsafeDone(closed, Effect.succeed(received)))
      }),
      (socket) => Effect.sync(() => socket.destroy())
    )
    return { write: (content) => void socket.write(content), closed: Deferred.await(closed) }
  })

const turn: Effect.Effect<void> = Effect.async((resume) => void setImmediate(() => resume(Effect.void)))

/** Lets the event loop turn until something is so. */
const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.async((resume) => {
    const check = (): void => condition() ? resume(Effect.void) : void setImmediate(check)
    check()
  })

describe("A channel over local sockets", () => {
  it.scoped("brings messages to the endpoint of their token, in their order, and answers to their senders", () =>
    Effect.gen(function*() {
      const [one, other] = [yield* join(), yield* join()]
      const holder = yield* join((message, reply) => {
        if (message._tag === "wait") reply({ _tag: "next", token: message.token, owner: message.owner })
        return true
      })
      for (const waiter of [one, other]) {
        const pair = { token: waiter.token, owner: holder.token }
        for (const _tag of ["wait", "ready", "wait"] as const) {
          waiter.channel.send(holder.instance, { _tag, ...pair })
        }
        for (const _tag of ["wait", "ready", "wait"] as const) {
          assert.deepStrictEqual(yield* holder.listener.next, { _tag, ...pair })
        }
        for (let answer = 0; answer < 2; answer++) {
          assert.deepStrictEqual(yield* waiter.listener.next, { _tag: "next", ...pair })
        }
      }
      assert.strictEqual(one.listener.heard.length, 2)
      assert.strictEqual(other.listener.heard.length, 2)
    }))

  it.scoped("brings a full queue", () =>
    Effect.gen(function*() {
      const [one, other] = [yield* join(), yield* join()]
      const queue = Array.from({ length: Message.maxQueue }, (_, index) =>
        `${one.instance}-${String(index).padStart(16, "0")}`)
      one.channel.send(other.instance, { _tag: "granted", token: other.token, queue })
      assert.deepStrictEqual(yield* other.listener.next, { _tag: "granted", token: other.token, queue })
    }))

  it.scoped("tells a waiter that waits for an unknown token to look elsewhere, and answers nothing else", () =>
    Effect.gen(function*() {
      const [waiter, process] = [yield* join(), yield* join()]
      const owner = `${process.instance}-unknown`
      waiter.channel.send(process.instance, { _tag: "ready", token: waiter.token, owner })
      waiter.channel.send(process.instance, { _tag: "next", token: owner, owner: waiter.token })
      waiter.channel.send(process.instance, { _tag: "granted", token: owner, queue: [waiter.token] })
      waiter.channel.send(process.instance, { _tag: "wait", token: waiter.token, owner })
      assert.deepStrictEqual(yield* waiter.listener.next, { _tag: "moved", token: waiter.token, owner })
      yield* works(waiter, process)
      assert.strictEqual(waiter.listener.heard.length, 2)
      assert.deepStrictEqual(process.listener.heard, [])
    }))

  it.scoped("takes a waiter that names an earlier token of a lock for one that waits for its holder now", () =>
    Effect.gen(function*() {
      const [waiter, holder] = [yield* join(), yield* join()]
      const [earlier, later] = [`${holder.instance}-1`, `${holder.instance}-2`]
      const now = yield* listen(holder.listener.fiber)
      holder.channel.hold("/data/a.lock", earlier, yield* listen(holder.listener.fiber))
      holder.channel.release("/data/a.lock", earlier, new Set())
      holder.channel.hold("/data/a.lock", later, now)
      const wait: Message.Message = { _tag: "wait", token: waiter.token, owner: earlier }
      waiter.channel.send(holder.instance, wait)
      assert.deepStrictEqual(yield* now.next, wait)
      holder.channel.release("/data/a.lock", later, new Set())
      waiter.channel.send(holder.instance, { ...wait, owner: later })
      assert.deepStrictEqual(
        yield* now.next,
        { ...wait, owner: later },
        "no lock is held there: who has held it hears of it"
      )
    }))

  it.scoped("brings what a process sends to itself, once what runs now waits, whether it listens or not", () =>
    Effect.gen(function*() {
      for (const self of [yield* join(), yield* makeMember()]) {
        const moved: Message.Message = { _tag: "moved", token: self.token, owner: `${self.instance}-1` }
        self.channel.send(self.instance, moved)
        assert.deepStrictEqual(self.listener.heard, [])
        assert.deepStrictEqual(yield* self.listener.next, moved)
        yield* works(self, self)
        assert.strictEqual(yield* ask(self, self.instance), "alive")
        const stop = self.channel.watch(self.instance, () => assert.fail("it lives"))
        stop()
      }
    }))

  it.scoped("listens once, and not by the name of another process, nor by a name that is none", () =>
    Effect.gen(function*() {
      const { channel, instance } = yield* join()
      assert.isTrue(channel.open())
      for (const wrong of [instance, "", "not an instance", `../${instance}`, instance.toUpperCase()]) {
        const other = NodeChannel.make(wrong)
        assert.isFalse(other.open(), wrong)
        assert.isFalse(other.open(), "and says so again")
      }
      yield* works(yield* join(), { ...yield* makeMember(), instance })
    }))

  it.scoped("loses what is sent to a process that does not listen, and brings what is sent once it does", () =>
    Effect.gen(function*() {
      const [one, late] = [yield* join(), yield* makeMember()]
      one.channel.send(late.instance, { _tag: "next", token: late.token, owner: one.token })
      assert.strictEqual(yield* ask(one, late.instance), refused)
      assert.isTrue(late.channel.open())
      const moved: Message.Message = { _tag: "moved", token: late.token, owner: one.token }
      one.channel.send(late.instance, moved)
      assert.deepStrictEqual(yield* late.listener.next, moved)
    }))
})

describe("The life of a process", () => {
  it.scoped("is known from its address, and where nothing has ever listened it is dead", () =>
    Effect.gen(function*() {
      const [asking, living] = [yield* join(), yield* join()]
      const never = newInstance()
      const several = yield* Effect.all(
        [ask(asking, living.instance), ask(asking, living.instance), ask(asking, never), ask(asking, never)],
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(several, ["alive", "alive", refused, refused])
      assert.strictEqual(yield* ask(asking, living.instance), "alive")
    }))

  it.scoped("does not depend on what it hears: one that is connected and says nothing is alive", () =>
    Effect.gen(function*() {
      const asking = yield* join()
      const silent = yield* fakePeer((socket) => void socket.pause())
      let dead = false
      asking.channel.watch(silent.instance, (isDead) => {
        if (!isDead) return
        dead = true
      })
      assert.strictEqual(yield* ask(asking, silent.instance), "alive")
      assert.isTrue(asking.channel.connectionTo(silent.instance) !== undefined)
      yield* works(yield* join(), asking)
      assert.isFalse(dead)
    }))

  it.scoped("is over for each that watches it when its address is closed, and not for one that watched before", () =>
    Effect.gen(function*() {
      if (!isLinux) return
      const watcher = yield* join()
      const peer = yield* fakePeer(() => {})
      let told = 0
      const stop = watcher.channel.watch(peer.instance, () => assert.fail("its watch has ended"))
      watcher.channel.watch(peer.instance, (isDead) => {
        if (!isDead) return
        told++
      })
      assert.isFalse(watcher.channel.connectionTo(peer.instance) !== undefined, "it is not connected yet")
      assert.strictEqual(yield* ask(watcher, peer.instance), "alive")
      assert.isTrue(watcher.channel.connectionTo(peer.instance) !== undefined)
      stop()
      const dies = yield* Effect.fork(death(watcher, peer.instance))
      yield* Effect.yieldNow()
      yield* peer.close
      yield* dies
      assert.isFalse(watcher.channel.connectionTo(peer.instance) !== undefined)
      assert.strictEqual(told, 1)
      assert.strictEqual(yield* ask(watcher, peer.instance), "dead")
      yield* death(watcher, peer.instance)
      assert.strictEqual(told, 1)
    }))

  it.scoped("is over at once where nothing has ever listened", () =>
    Effect.gen(function*() {
      if (!isLinux) return
      const watcher = yield* join()
      yield* death(watcher, newInstance())
    }))

  it.scoped("goes on when it closes a connection and accepts the next one, to which messages go from then on", () =>
    Effect.gen(function*() {
      const watcher = yield* join()
      const lines = yield* Queue.unbounded<string>()
      const peer = yield* fakePeer((socket, index) => {
        if (index === 0) socket.destroy()
        else socket.on("data", (chunk) => void lines.unsafeOffer(String(chunk)))
      })
      let dead = false
      watcher.channel.watch(peer.instance, (isDead) => {
        if (!isDead) return
        dead = true
      })
      yield* until(() => peer.connections.length === 2 && (watcher.channel.connectionTo(peer.instance) !== undefined))
      const message: Message.Message = { _tag: "moved", token: `${peer.instance}-0`, owner: watcher.token }
      watcher.channel.send(peer.instance, message)
      assert.strictEqual(yield* Queue.take(lines), Message.encode(message))
      assert.strictEqual(peer.connections.length, 2)
      assert.isFalse(dead)
    }))

  it.scoped("is asked for less and less often when it accepts and closes at once, and heard of when it ends", () =>
    Effect.gen(function*() {
      const watcher = yield* join()
      const peer = yield* fakePeer((socket) => void socket.destroy())
      // Only the pauses between two connections: the sockets go by the real clock.
      yield* Effect.acquireRelease(
        Effect.sync(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] })),
        () => Effect.sync(() => vi.useRealTimers())
      )
      let dead = false
      watcher.channel.watch(peer.instance, (isDead) => {
        if (!isDead) return
        dead = true
      })
      const pauses: Array<number> = []
      yield* until(() => vi.getTimerCount() === 1)
      const before = peer.connections.length
      assert.isAtMost(before, 2, "the first end may be that of a process that has died")
      while (pauses.length < 12) {
        assert.strictEqual(peer.connections.length, before + pauses.length)
        const from = Date.now()
        vi.advanceTimersToNextTimer()
        pauses.push(Date.now() - from)
        yield* until(() => vi.getTimerCount() === 1)
      }
      assert.isAtLeast(pauses[0] ?? 0, 5)
      assert.deepStrictEqual(pauses, [...pauses].sort((one, other) => one - other))
      assert.deepStrictEqual(pauses.slice(-3), [1_000, 1_000, 1_000])
      assert.isFalse(dead)
      if (isLinux) {
        yield* peer.close
        vi.advanceTimersToNextTimer()
        yield* until(() => dead)
        assert.strictEqual(vi.getTimerCount(), 0)
      }
    }))

  it.scoped("is never asked for by a name that is none, and unknown", () =>
    Effect.gen(function*() {
      const process = yield* join()
      const connect = yield* Effect.acquireRelease(
        Effect.sync(() => vi.spyOn(Net, "connect")),
        (connect) => Effect.sync(() => connect.mockRestore())
      )
      const { instance } = yield* makeMember()
      const wrong = [
        "",
        "x",
        "../../tmp/socket",
        instance.slice(1),
        `${instance}0`,
        instance.toUpperCase(),
        `${instance}\n`
      ]
      for (const name of [...wrong, `${instance.slice(1)}\0`, "\0", "__proto__", "127.0.0.1:80"]) {
        process.channel.send(name, { _tag: "moved", token: process.token, owner: process.token })
        process.channel.watch(name, (isDead) => isDead && assert.fail("it is not proven to be dead"))()
        assert.strictEqual(yield* ask(process, name), "unknown")
        assert.isFalse(process.channel.connectionTo(name) !== undefined)
      }
      assert.strictEqual(connect.mock.calls.length, 0)
      assert.strictEqual(yield* ask(process, instance), refused)
      assert.strictEqual(connect.mock.calls.length, 1)
    }))
})

describe("A hostile program", () => {
  const long = (line: string) => line.replace(",", `,${" ".repeat(Message.maxLine)}`)
  const unknown = (victim: Member, _tag: "wait" | "ready", count: number) =>
    Array.from(
      { length: count },
      (_, index) =>
        Message.encode({ _tag, token: `${newInstance()}-0`, owner: `${victim.instance}-x${index.toString(36)}` })
    ).join("")
  const attacks: { readonly [what: string]: (victim: Member) => string | Uint8Array } = {
    "garbage": () => "GET / HTTP/1.1\r\n\r\n",
    "an empty line": () => "\n",
    "JSON that is no message": () => "{\"_tag\":\"wait\"}\n",
    "binary content": () => Uint8Array.from({ length: 1_000 }, (_, index) => index % 256),
    "bytes that are no UTF-8 in a message": ({ token }) => Uint8Array.of(0xff, ...Buffer.from(`["wait","${token}"]\n`)),
    "a line that does not end": () => "[".repeat(3 * Message.maxLine),
    "a line of several megabytes": ({ token }) => `["wait","${token.padEnd(5_000_000, "0")}"]\n`,
    "a message with spaces, so that it is longer than a line may be": ({ instance, token }) =>
      long(Message.encode({ _tag: "wait", token: `${instance}-1`, owner: token })),
    "a queue that is too long": ({ token }) => `["granted"${`,"${token}"`.repeat(Message.maxQueue + 2)}]\n`,
    "a message, and then garbage": ({ instance }) =>
      Message.encode({ _tag: "wait", token: `${instance}-1`, owner: `${instance}-2` }) + "garbage\n",
    "thousands of messages that wait for unknown tokens": (victim) => unknown(victim, "wait", 5_000),
    "thousands of messages that answer to unknown tokens": (victim) => unknown(victim, "ready", 5_000)
  }

  it.scoped("that sends no message, or one that says nothing, is disconnected, and the channel goes on for others", () =>
    Effect.forEach(Object.entries(attacks), ([what, attack]) =>
      Effect.gen(function*() {
        const [victim, friend] = [yield* join(), yield* join()]
        yield* works(friend, victim)
        const hostile = yield* client(victim.instance)
        hostile.write(attack(victim))
        const heard = Effect.flatMap(victim.listener.next, ({ _tag }) => Effect.dieMessage(`It has said ${_tag}`))
        yield* Effect.raceFirst(hostile.closed, heard)
        assert.deepStrictEqual(victim.listener.heard, [], what)
        yield* works(friend, victim)
        yield* works(yield* join(), victim)
      }), { concurrency: "unbounded", discard: true }))

  it.scoped("that sends thousands of messages that say nothing to a known token is disconnected", () =>
    Effect.gen(function*() {
      const [victim, friend] = [yield* join(() => false), yield* join()]
      const hostile = yield* client(victim.instance)
      const ready = Message.encode({ _tag: "ready", token: friend.token, owner: victim.token })
      hostile.write(ready.repeat(5_000))
      yield* hostile.closed
      assert.isBelow(victim.listener.heard.length, 1_000)
      yield* works(friend, victim)
    }))

  it.scoped("gets no more by many connections than a few messages over each", () =>
    Effect.gen(function*() {
      const [victim, friend] = [yield* join(() => false), yield* join()]
      const connections = 100
      const hostile = yield* Effect.replicateEffect(client(victim.instance), connections)
      const ready = Message.encode({ _tag: "ready", token: friend.token, owner: victim.token })
      for (const each of hostile) each.write(ready.repeat(100))
      yield* Effect.forEach(hostile, ({ closed }) => closed, { concurrency: "unbounded" })
      assert.isBelow(victim.listener.heard.length, 2_000)
      yield* works(friend, victim)
    }))

  it.scoped("gets few answers before it is disconnected", () =>
    Effect.gen(function*() {
      const victim = yield* join()
      const hostile = yield* client(victim.instance)
      hostile.write(unknown(victim, "wait", 5_000))
      assert.isBelow((yield* hostile.closed).split("\n").length, 1_000)
    }))

  it.scoped("that sends half a line, and a piece of it at a time, is in nobody's way, and is heard once it is whole", () =>
    Effect.gen(function*() {
      const [victim, friend] = [yield* join(), yield* join()]
      const [slow, gone] = [yield* client(victim.instance), yield* client(victim.instance)]
      const wait: Message.Message = { _tag: "wait", token: friend.token, owner: victim.token }
      const line = Message.encode(wait)
      gone.write(line.slice(0, 20))
      for (const piece of line.slice(0, -1)) {
        slow.write(piece)
        yield* turn
      }
      yield* works(friend, victim)
      assert.deepStrictEqual(victim.listener.heard, [])
      slow.write("\n")
      assert.deepStrictEqual(yield* victim.listener.next, wait)
    }))

  it.scoped("that listens at the address of another process cannot make this one fail by what it answers", () =>
    Effect.gen(function*() {
      const [victim, friend] = [yield* join(), yield* join()]
      const peer = yield* fakePeer((socket) => {
        socket.write(Buffer.concat([Buffer.alloc(Message.maxLine, 0xff), Buffer.from("\n[]\n")]))
      })
      victim.channel.watch(peer.instance, () => {})
      victim.channel.send(peer.instance, { _tag: "moved", token: `${peer.instance}-0`, owner: victim.token })
      // It is disconnected, and dialled again.
      yield* until(() => peer.connections.length > 1)
      yield* works(friend, victim)
      yield* works(victim, friend)
      assert.strictEqual(victim.listener.heard.length, 1)
    }))

  it.scoped("that reads nothing is not waited for, and what is kept for it is bounded", () =>
    Effect.gen(function*() {
      const [victim, friend] = [yield* join(), yield* join()]
      const peer = yield* fakePeer((socket) => void socket.pause())
      const queue = Array.from({ length: Message.maxQueue }, (_, index) => `${victim.instance}-${index}`)
      const connect = yield* Effect.acquireRelease(
        Effect.sync(() => vi.spyOn(Net, "connect")),
        (connect) => Effect.sync(() => connect.mockRestore())
      )
      const flood = (): void => {
        for (let sent = 0; sent < 1_000; sent++) {
          victim.channel.send(peer.instance, { _tag: "granted", token: `${peer.instance}-0`, queue })
        }
      }
      flood()
      assert.strictEqual(yield* ask(victim, peer.instance), "alive")
      flood()
      yield* works(friend, victim)
      flood()
      const [socket] = connect.mock.results.map(({ value }) => value)
      assert.instanceOf(socket, Net.Socket)
      assert.isBelow(socket instanceof Net.Socket ? socket.writableLength : Infinity, 4 * Message.maxLine)
    }))
})

describe("A process with a channel", () => {
  const moduleOf = (path: string) => JSON.stringify(new URL(`../../../src/internal/${path}`, import.meta.url).href)

  /** A process that has connections in both directions, and a pause before a third one. Afterwards it has nothing to do. */
  const child = (...args: ReadonlyArray<string>) =>
    Program.start(process.execPath, [
      "--import",
      "tsx",
      "--input-type=module",
      "--eval",
      `
        import * as Effect from "effect/Effect"
        import * as NodeChannel from ${moduleOf("handover/nodeChannel.ts")}
        const [instance, parent, closing, stays] = process.argv.slice(1)
        const fiber = Effect.runSync(Effect.withFiberRuntime((fiber) => Effect.succeed(fiber)))
        const channel = NodeChannel.make(instance)
        const working = setInterval(() => {}, 1_000)
        if (!channel.open()) throw new Error("It cannot listen")
        channel.attach(instance + "-0", {
          fiber,
          hear: (message) => {
            if (stays !== "stays") clearInterval(working)
            console.log("heard " + message._tag)
            return true
          }
        })
        channel.watch(parent, (isDead) => isDead && console.log("the parent is dead"))
        channel.watch(closing, (isDead) => isDead && console.log("the other is dead"))
        channel.ask(parent, (answer) => {
          console.log("the parent is " + answer)
          channel.send(parent, { _tag: "moved", token: parent + "-0", owner: instance + "-0" })
        })
      `,
      ...args
    ])

  it.scoped("ends by itself when it has nothing else to do, whatever connections it has", () =>
    Effect.gen(function*() {
      const parent = yield* join()
      const closing = yield* fakePeer((socket) => void socket.destroy())
      const instance = newInstance()
      const program = yield* child(instance, parent.instance, closing.instance)
      assert.deepStrictEqual(yield* parent.listener.next, {
        _tag: "moved",
        token: parent.token,
        owner: `${instance}-0`
      })
      const ended = yield* Effect.fork(isLinux ? death(parent, instance) : program.exit)
      parent.channel.send(instance, { _tag: "moved", token: `${instance}-0`, owner: parent.token })
      assert.strictEqual(yield* program.exit, 0, program.output())
      assert.include(program.output(), "the parent is alive")
      assert.include(program.output(), "heard moved")
      assert.notInclude(program.output(), "is dead")
      yield* ended
    }))

  it.scoped("is known to be dead as soon as it is killed", () =>
    Effect.gen(function*() {
      if (!isLinux) return
      const parent = yield* join()
      const instance = newInstance()
      const dies = yield* Effect.scoped(Effect.gen(function*() {
        yield* child(instance, parent.instance, parent.instance, "stays")
        yield* parent.listener.next
        assert.strictEqual(yield* ask(parent, instance), "alive")
        const dies = yield* Effect.forkDaemon(death(parent, instance))
        yield* Effect.yieldNow()
        return dies
      }))
      yield* dies
      assert.strictEqual(yield* ask(parent, instance), "dead")
    }))
})
