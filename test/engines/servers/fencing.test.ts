import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Redis } from "ioredis"
import * as Network from "../../servers/network.js"
import * as Postgres from "../../servers/postgres.js"
import * as RedisServer from "../../servers/redis.js"
import * as Requirement from "../../servers/requirement.js"
import * as Bundle from "../../torture/Bundle.js"
import * as ChildProcess from "../../torture/ChildProcess.js"
import type * as Engines from "../../torture/Engines.js"
import * as Messages from "./writerMessages.js"

const testTimeout = 60_000

const lease = 1_500

/** An engine's server, as its programs reach it, and what befalls it. */
interface Ground {
  readonly engineAt: (host: string, port: number) => Engines.Settings
  readonly port: number
  /** Takes the lock from its holder. */
  readonly takeAway: Effect.Effect<void>
  readonly restart: Effect.Effect<void>
}

type Start = (network: Network.Network) => Effect.Effect<Ground, never, Scope.Scope>

const onPostgres: Start = ({ addresses }) =>
  Effect.map(
    Postgres.make({ listen_addresses: ["127.0.0.1", ...addresses].join() }),
    ({ port, psql, restart }): Ground => ({
      engineAt: (host, port) => ({ _tag: "postgres", url: `postgres://test@${host}:${port}/postgres` }),
      port,
      takeAway: Effect.sync(() =>
        void psql("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted")
      ),
      restart
    })
  )

const onRedis: Start = ({ addresses }) =>
  Effect.gen(function*() {
    const bind = addresses.length === 0 ? [] : ["--bind", "127.0.0.1", ...addresses, "--protected-mode", "no"]
    const { port, restart, url } = yield* RedisServer.make(...bind)
    const admin = yield* Effect.acquireRelease(
      Effect.sync(() => new Redis(url)),
      (client) => Effect.sync(() => client.disconnect())
    )
    return {
      engineAt: (host, port) => ({ _tag: "redis", url: `redis://${host}:${port}` }),
      port,
      takeAway: Effect.promise(() => admin.del("{effect-filelock:file}")),
      restart
    }
  })

/** One that writes to the resource below, from when it is told to. */
const startWriter = (script: string, prefix: ReadonlyArray<string>, engine: Engines.Settings) =>
  Effect.tap(
    ChildProcess.spawn({
      script,
      prefix,
      argument: JSON.stringify({ engine, path: "file", lease } satisfies typeof Messages.Settings.Type),
      commands: Messages.Command,
      messages: Messages.Message
    }),
    (child) => ChildProcess.receive(child, (message): message is Messages.Message => message._tag === "ready")
  )

/** The holder writes, something befalls it, and another one writes. What the resource has accepted, in order, and what the holder says. */
const play = (
  start: Start,
  befall: (
    ground: Ground,
    holder: ChildProcess.Child<"begin", Messages.Message>,
    way: Network.Way
  ) => Effect.Effect<void>,
  restore: (holder: ChildProcess.Child<"begin", Messages.Message>, way: Network.Way) => void
) =>
  Effect.gen(function*() {
    const network = yield* Network.make
    const ground = yield* start(network)
    const way = yield* network.wayTo(ground.port)
    const script = yield* Bundle.makeTemporary(new URL("./writer.ts", import.meta.url))
    const [holder, next] = yield* Effect.all([
      startWriter(script, network.prefix, ground.engineAt(way.host, way.port)),
      startWriter(script, [], ground.engineAt("127.0.0.1", ground.port))
    ], { concurrency: 2 })

    // The resource: it refuses a number that is lower than one it has seen.
    let highest = 0n
    let refused = 0
    const accepted: Array<"holder" | "next"> = []
    let loss: string | undefined
    const hear = (writer: "holder" | "next", child: typeof holder) =>
      Effect.forkScoped(Effect.forever(Effect.flatMap(child.messages.take, (message) => {
        if (message._tag === "write") {
          if (message.fence < highest) refused += 1
          else {
            highest = message.fence
            accepted.push(writer)
          }
        }
        if (message._tag === "lost" && writer === "holder") loss = message.reason
        return message._tag === "failed" ? Effect.dieMessage(`${writer}: ${message.failure}`) : Effect.void
      })))
    const until = (isSo: () => boolean) => Effect.repeat(Effect.sleep(5), { until: isSo })

    yield* hear("holder", holder)
    yield* hear("next", next)
    yield* holder.send("begin")
    yield* until(() => accepted.length > 2)
    yield* next.send("begin")
    yield* Effect.sleep(100)
    yield* befall(ground, holder, way)
    yield* until(() => accepted.filter((writer) => writer === "next").length > 2)
    restore(holder, way)
    yield* until(() => loss !== undefined)
    assert.notInclude(accepted.slice(accepted.indexOf("next")), "holder")
    return { loss, refused }
  })

const nothing = () => {}

const stop = (_: Ground, holder: ChildProcess.Child<"begin", Messages.Message>) =>
  Effect.sync(() => void holder.signal("SIGSTOP"))

const goOn = (holder: ChildProcess.Child<"begin", Messages.Message>) => void holder.signal("SIGCONT")

const cut = (_: Ground, __: unknown, way: Network.Way) => Effect.sync(way.cut)

for (
  const { isInstalled, name, start } of [
    { name: "PostgreSQL", start: onPostgres, isInstalled: Postgres.isInstalled },
    { name: "Redis", start: onRedis, isInstalled: RedisServer.isInstalled }
  ]
) {
  Requirement.describeWhere(isInstalled)(`A resource that checks fencing numbers, and a lock on ${name}`, () => {
    it.scopedLive(
      "take no write of a holder that was stopped for longer than its lease, and it is told",
      () =>
        Effect.map(play(start, stop, goOn), ({ loss }) => assert.include(["LeaseExpired", "BackendUnavailable"], loss)),
      testTimeout
    )

    it.scopedLive(
      "take no write of a holder that is cut off after the next one has begun: its body is interrupted before",
      () =>
        Effect.map(play(start, cut, nothing), ({ loss, refused }) => {
          assert.strictEqual(loss, "LeaseExpired")
          assert.strictEqual(refused, 0)
        }),
      testTimeout
    )

    it.scopedLive("take no write of a holder whose lock was taken away, and it is told", () =>
      Effect.map(
        play(start, ({ takeAway }) => takeAway, nothing),
        ({ loss }) => assert.include(["Removed", "Replaced", "BackendUnavailable"], loss)
      ), testTimeout)

    it.scopedLive(
      "take no write of a holder whose server is restarted after the next one has begun",
      () => Effect.map(play(start, ({ restart }) => restart, nothing), ({ loss }) => assert.isDefined(loss)),
      testTimeout
    )
  })
}
