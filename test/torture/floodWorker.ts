/**
 * An attacker: it may read the directory of a lock and connect to the processes that use it, but it may not write there.
 */
import * as Array from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Message from "../../src/internal/handover/message.js"
import * as Channel from "../../src/internal/handover/nodeChannel.js"
import * as Messages from "./floodMessages.js"
import * as Ipc from "./Ipc.js"

const settings = Ipc.argument(Messages.Settings)
const send = Ipc.send(Messages.Message)

/** How often each connection is written to. */
const period = "5 millis"

/** How much may wait to be sent over a connection, in bytes. */
const maxBuffered = 65_536

/** How many tokens are remembered. */
const maxKnown = 64

const tokenOf = Option.liftThrowable((path: string) =>
  Schema.decodeSync(Schema.parseJson(Schema.Struct({ token: Schema.String })))(Fs.readFileSync(path, "utf8")).token
)

/** The tokens of the lock and of all that wait for it. */
const tokens = Effect.sync(() =>
  Array.filterMap(Fs.readdirSync(settings.directory), (name) => tokenOf(Path.join(settings.directory, name)))
)

/** What a connection does again and again. */
type Attack = (socket: Net.Socket) => void

const pick = <A>(choices: ReadonlyArray<A>): A | undefined =>
  choices.length === 0 ? undefined : choices[Crypto.randomInt(choices.length)]

const program = Effect.gen(function*() {
  const commands = yield* Ipc.commands(Messages.Command)
  const open = new Map<Net.Socket, Attack>()
  let known: ReadonlyArray<string> = []
  let mostOpen = 0
  let made = 0
  let sent = 0

  const token = (): string => pick(known) ?? `${Crypto.randomBytes(16).toString("hex")}-1`

  /** A line that the processes would understand, with tokens of theirs. */
  const forged = (): string => {
    const _tag = pick(["granted", "wait", "next", "ready", "moved"] as const) ?? "wait"
    return Message.encode(
      _tag === "granted" ? { _tag, token: token(), queue: known } : { _tag, token: token(), owner: token() }
    )
  }

  const attacks: ReadonlyArray<Attack> = [
    (socket) => socket.write(Array.makeBy(20, forged).join("")),
    (socket) => socket.write("a line that does not end ".repeat(300)),
    (socket) => socket.end(forged().slice(0, 40)),
    (socket) => socket.write(Crypto.randomBytes(2_048))
  ]

  const connect = (attack: Attack): void => {
    const path = Channel.addressOf(Message.instanceOf(token()))
    if (path === undefined) return
    const socket = Net.connect({ path })
    made += 1
    socket.on("connect", () => {
      open.set(socket, attack)
      mostOpen = Math.max(mostOpen, open.size)
      attack(socket)
    })
    // What they answer is of no interest, and that they close the connection is expected.
    socket.resume()
    socket.on("error", () => {})
    socket.on("close", () => {
      sent += socket.bytesWritten
      open.delete(socket)
      connect(attack)
    })
  }

  const write = Effect.gen(function*() {
    known = [...new Set([...known, ...yield* tokens])].slice(-maxKnown)
    for (const [socket, attack] of open) {
      if (socket.writable && socket.writableLength < maxBuffered) attack(socket)
    }
  })

  yield* send({ _tag: "ready" })
  yield* commands.take
  yield* write
  for (let index = 0; index < settings.connections; index++) {
    const attack = attacks[index % attacks.length]
    if (attack !== undefined) connect(attack)
  }
  yield* Effect.raceFirst(commands.take, Effect.forever(Effect.delay(write, period)))
  for (const socket of open.keys()) sent += socket.bytesWritten
  yield* send({ _tag: "done", open: mostOpen, made, sent })
  process.exit()
})

void Effect.runPromise(program)
