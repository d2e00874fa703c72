import { assert, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { Cluster, Redis } from "ioredis"
import { createClient } from "redis"
import * as FileLock from "../../../src/FileLock.js"
import type * as LockBackend from "../../../src/LockBackend.js"
import type { LockLostError } from "../../../src/LockError.js"
import * as RedisBackend from "../../../src/RedisBackend.js"
import * as Program from "../../integration/fixtures/program.js"
import * as RedisServer from "../../servers/redis.js"
import * as Requirement from "../../servers/requirement.js"
import { failureOf } from "../../utils/failures.js"
import { layer } from "../../utils/layer.js"
import { makeHolder } from "../../utils/records.js"

type Client = Context.Tag.Service<RedisBackend.RedisClient>
type Locks = Context.Tag.Service<FileLock.FileLock>

class Server extends Context.Tag("test/RedisServer")<Server, RedisServer.Redis & { readonly admin: Redis }>() {}

/** A client of `ioredis` that reconnects soon. */
const ioredis = (url: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const redis = new Redis(url, { retryStrategy: () => 20 })
      redis.on("error", constVoid)
      return redis
    }),
    (redis) => Effect.sync(() => redis.disconnect())
  )

/** A client of `redis` that reconnects soon. */
const nodeRedis = (url: string) =>
  Effect.acquireRelease(
    Effect.promise(() =>
      createClient({ url, socket: { reconnectStrategy: 20 } })
        .on("error", constVoid)
        .connect()
    ),
    (client) => Effect.sync(() => client.destroy())
  )

const libraries = {
  ioredis: (url: string) => Effect.map(ioredis(url), RedisBackend.fromIoredis),
  "node-redis": (url: string) => Effect.map(nodeRedis(url), RedisBackend.fromNodeRedis)
}

/** The locks of one more program. */
const locksOf = (client: Client, options: RedisBackend.Options = {}): Effect.Effect<Locks, never, Scope.Scope> =>
  Layer.build(
    FileLock.layerBackend().pipe(
      Layer.provide(RedisBackend.layerWith(options)),
      Layer.provide(Layer.succeed(RedisBackend.RedisClient, client))
    )
  ).pipe(Effect.map(Context.get(FileLock.FileLock)))

const locksAt = (url: string, options?: RedisBackend.Options) =>
  Effect.flatMap(libraries.ioredis(url), (client) => locksOf(client, options))

const engineOf = (client: Client, options?: RedisBackend.Options) =>
  Effect.provideService(RedisBackend.make(options), RedisBackend.RedisClient, client)

const makeRequest = (request: Partial<LockBackend.Request> = {}): LockBackend.Request => ({
  mode: "exclusive",
  label: undefined,
  schedule: Schedule.spaced("10 millis"),
  isDefaultSchedule: true,
  waits: false,
  handoff: 5,
  onBlocked: constVoid,
  onLost: constVoid,
  ...request
})

let paths = 0

/** The path of a lock that no other test has. */
const newPath = (): string => `test/${++paths}`

const keyOf = (path: string): LockBackend.LockKey => ({ path, lockPath: `${path}.lock` })

const nameOf = (path: string): string => `{effect-filelock:${path}}`

/** Asks until the answer is yes. */
const until = (isSo: () => Promise<boolean> | boolean) =>
  Effect.repeat(Effect.promise(() => Promise.resolve(isSo())), {
    until: (so) => so,
    schedule: Schedule.spaced("5 millis")
  })

/** How many connections listen to the releases of a path. */
const listeners = async (admin: Redis, path: string): Promise<number> =>
  Number((await admin.pubsub("NUMSUB", nameOf(path)))[1])

const untilListening = (admin: Redis, path: string, count = 1) =>
  until(async () => await listeners(admin, path) === count)

const untilFree = (admin: Redis, path: string) => until(async () => await admin.exists(nameOf(path)) === 0)

/** How many scripts a server has run. */
const evaluations = async (admin: Redis): Promise<number> =>
  Number(/cmdstat_eval:calls=(\d+)/.exec(await admin.info("commandstats"))?.[1] ?? 0)

/** Holds a lock until it is lost. */
const lossOf = (locks: Locks, path: string, lose: Effect.Effect<unknown, never, Scope.Scope>) =>
  Effect.scoped(Effect.gen(function*() {
    const handle = yield* locks.acquire(path)
    yield* lose
    return yield* Effect.flip(handle.lost)
  }))

const valueOf = <A>(option: Option.Option<A>): A => Option.getOrThrow(option)

const server = Layer.scoped(
  Server,
  Effect.gen(function*() {
    const server = yield* RedisServer.make()
    return { ...server, admin: yield* ioredis(server.url) }
  })
)

const describeWithRedis = Requirement.describeWhere(RedisServer.isInstalled)

describeWithRedis("RedisBackend", () => {
  for (const [library, connect] of Object.entries(libraries)) {
    layer(server, { excludeTestServices: true })(`with ${library}`, (it) => {
      it.scoped("keeps the fibers of two programs apart", () =>
        Effect.gen(function*() {
          const { url } = yield* Server
          const path = newPath()
          let inside = 0
          let most = 0
          const fences: Array<bigint> = []
          const programs = yield* Effect.all([connect(url), connect(url)])
          yield* Effect.forEach(programs, (client) =>
            Effect.gen(function*() {
              const locks = yield* locksOf(client)
              const body = Effect.gen(function*() {
                const handle = yield* locks.acquire(path)
                fences.push(valueOf(handle.fence))
                most = Math.max(most, ++inside)
                yield* Effect.sleep("1 millis")
                inside -= 1
              })
              yield* Effect.forEach(
                Array.from({ length: 4 }),
                () => Effect.repeatN(Effect.scoped(body), 9),
                { concurrency: "unbounded", discard: true }
              )
            }), { concurrency: "unbounded", discard: true })
          assert.strictEqual(most, 1)
          assert.strictEqual(fences.length, 80)
          assert.isTrue(fences.every((fence, index) => index === 0 || fence > (fences[index - 1] ?? 0n)))
        }))

      /** One waits, and looks once an hour; `meanwhile` is done while it listens. */
      const heard = (meanwhile: (admin: Redis) => Promise<unknown>) =>
        Effect.gen(function*() {
          const { admin, url } = yield* Server
          const path = newPath()
          const holder = yield* locksOf(yield* connect(url))
          const waiter = yield* locksOf(yield* connect(url))
          const scope = yield* Scope.make()
          yield* Scope.extend(holder.acquire(path), scope)
          const waiting = yield* Effect.fork(
            waiter.withLock(Effect.void, path, { schedule: Schedule.spaced("1 hour") })
          )
          yield* untilListening(admin, path)
          yield* Effect.promise(() => meanwhile(admin))
          yield* untilListening(admin, path)
          yield* Scope.close(scope, Exit.void)
          yield* Fiber.join(waiting)
        })

      it.scoped("hands over at the message of the release", () => heard(() => Promise.resolve()))

      it.scoped("hears messages again after it has lost the connection for them", () =>
        heard((admin) => admin.client("KILL", "TYPE", "pubsub")))

      it.scoped("tells at once that a restarted server has lost the lock, and its numbers go on", () =>
        Effect.gen(function*() {
          const own = yield* RedisServer.make()
          const locks = yield* locksOf(yield* connect(own.url))
          const path = newPath()
          const fence = Effect.scoped(Effect.map(locks.acquire(path), (handle) => valueOf(handle.fence)))
          const before = yield* fence
          // At the lease of 30 seconds, the next renewal would be too late for this test.
          const loss = yield* lossOf(locks, path, own.restart)
          assert.strictEqual(loss.reason, "Removed")
          assert.isAbove(Number((yield* fence) - before), 0)
        }))

      it.scoped("waits for a server that cannot be reached, and says so", () =>
        Effect.gen(function*() {
          const own = yield* RedisServer.make()
          const locks = yield* locksOf(yield* connect(own.url), { lease: "600 millis" })
          const path = newPath()
          yield* locks.withLock(Effect.void, path)
          yield* own.stop
          const error = yield* failureOf(locks.withLockIfAvailable(Effect.void, path))
          assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "BackendUnavailable")
          assert.include(error.message, `Redis at 127.0.0.1:${own.port}`)
          assert.include(error.message, "Check that the server runs and can be reached")
          const waiting = yield* Effect.fork(locks.withLock(Effect.succeed("inside"), path))
          yield* own.restart
          assert.strictEqual(yield* Fiber.join(waiting), "inside")
        }))
    })
  }

  layer(server, { excludeTestServices: true })("the lock", (it) => {
    it.scoped("is a key with an expiry that names its holder", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const locks = yield* locksAt(url)
        const path = newPath()
        const handle = yield* locks.acquire(path, { label: "nightly compaction", mode: "shared" })
        assert.strictEqual(handle.mode, "exclusive")
        const status = valueOf(yield* locks.inspect(`./${path}`))
        assert.deepStrictEqual(status, { state: "held", mode: "exclusive", holders: [handle.holder], waiters: [] })
        assert.strictEqual(status.holders[0]?.label, "nightly compaction")
        const millis = yield* Effect.promise(() => admin.pttl(nameOf(path)))
        assert.isTrue(millis > 20_000 && millis <= 30_000)
        yield* handle.verify
        const other = yield* locksAt(url)
        const error = yield* failureOf(other.withLock(Effect.void, path, { timeout: 0 }))
        assert.include(error.message, "nightly compaction")
        assert.deepStrictEqual(yield* other.withLockIfAvailable(Effect.void, path), Option.none())
      }))

    it.scoped("leaves nothing but its number, which expires", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const locks = yield* locksAt(url, { namespace: "leaves nothing" })
        yield* locks.withLock(Effect.void, "path")
        const keys = yield* Effect.promise(() => admin.keys("{leaves nothing:*"))
        assert.deepStrictEqual(keys, ["{leaves nothing:path}:fence"])
        const seconds = yield* Effect.promise(() => admin.ttl("{leaves nothing:path}:fence"))
        assert.isTrue(seconds > 86_000 && seconds <= 86_400)
        assert.deepStrictEqual(yield* locks.inspect("path"), Option.none())
      }))

    it.scoped("is another one in another namespace", () =>
      Effect.gen(function*() {
        const { url } = yield* Server
        const path = newPath()
        const locks = yield* locksAt(url, { namespace: "one" })
        const others = yield* locksAt(url, { namespace: "another" })
        yield* locks.acquire(path)
        yield* others.acquire(path, { timeout: 0 })
      }))

    it.scoped("has a prefix where the client of ioredis has one", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const redis = yield* Effect.acquireRelease(
          Effect.sync(() => new Redis(url, { keyPrefix: "app:" })),
          (redis) => Effect.sync(() => redis.disconnect())
        )
        const holder = yield* locksOf(RedisBackend.fromIoredis(redis))
        const waiter = yield* locksOf(RedisBackend.fromIoredis(redis))
        const scope = yield* Scope.make()
        yield* Scope.extend(holder.acquire(path), scope)
        assert.strictEqual(yield* Effect.promise(() => admin.exists(`app:${nameOf(path)}`)), 1)
        const waiting = yield* Effect.fork(waiter.withLock(Effect.void, path, { schedule: Schedule.spaced("1 hour") }))
        yield* untilListening(admin, path)
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(waiting)
      }))

    it.scoped("is renewed for as long as it is held", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const locks = yield* locksAt(url, { lease: "150 millis" })
        const path = newPath()
        const handle = yield* locks.acquire(path)
        const before = yield* Effect.promise(() => evaluations(admin))
        yield* until(async () => await evaluations(admin) > before + 6)
        yield* handle.verify
        assert.isTrue(yield* handle.isHeld)
      }))

    it.scoped("of a killed process is free when its lease is over, and its next holder is told", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const scope = yield* Scope.make()
        const fixture = "test/integration/fixtures/redisHolder.ts"
        const program = yield* Scope.extend(
          Program.start(process.execPath, ["--import", "tsx", fixture, url, path, "1000"]),
          scope
        )
        yield* program.prints("held")
        const engine = yield* engineOf(yield* libraries.ioredis(url))
        const blocked: Array<LockBackend.Blocked> = []
        const waiting = yield* Effect.fork(engine.acquire(
          keyOf(path),
          makeRequest({ onBlocked: (refusal) => blocked.push(refusal) })
        ))
        yield* untilListening(admin, path)
        yield* Scope.close(scope, Exit.void)
        const status = yield* engine.inspect(keyOf(path))
        assert.isTrue(Option.isNone(status) || status.value.state === "abandoned")
        const grant = valueOf(yield* Fiber.join(waiting))
        assert.isTrue(grant.recovered)
        assert.strictEqual(blocked[0]?.holder?.label, "to be killed")
        yield* grant.release
        const next = valueOf(yield* engine.tryAcquire(keyOf(path), makeRequest()))
        assert.isFalse(next.recovered)
        yield* next.release
      }))

    it.scoped("of exactly the holder that was inspected can be broken", () =>
      Effect.gen(function*() {
        const { url } = yield* Server
        const locks = yield* locksAt(url)
        const path = newPath()
        const handle = yield* locks.acquire(path)
        assert.isFalse(yield* locks.breakLock(path, makeHolder()))
        assert.isTrue(yield* locks.breakLock(path, handle.holder))
        assert.isFalse(yield* locks.breakLock(path, handle.holder))
        assert.strictEqual((yield* failureOf(handle.verify)).reason, "Removed")
        const engine = yield* engineOf(yield* libraries.ioredis(url))
        const grant = valueOf(yield* engine.tryAcquire(keyOf(path), makeRequest()))
        assert.isFalse(grant.recovered)
        yield* grant.release
      }))

    it.scoped("has numbers that increase also where the clock of the server does not", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const locks = yield* locksAt(url)
        const path = newPath()
        const fence = Effect.scoped(Effect.map(locks.acquire(path), (handle) => valueOf(handle.fence)))
        yield* fence
        yield* Effect.promise(() => admin.hset(`${nameOf(path)}:fence`, "fence", "4503599627370492"))
        assert.strictEqual(yield* fence, 4503599627370493n * 2048n)
        assert.strictEqual(yield* fence, 4503599627370494n * 2048n)
        for (const text of ["", "x", "nan", "inf", "1e300", "-5", "4503599627370495", "9007199254740993"]) {
          yield* Effect.promise(() => admin.hset(`${nameOf(path)}:fence`, "fence", text))
          const number = Number(yield* fence)
          assert.isAbove(number, 1e15, text)
          assert.isBelow(number, 2 ** 63, text)
        }
      }))
  })

  layer(server, { excludeTestServices: true })("a loss", (it) => {
    it.scoped("is told when the key was removed", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const locks = yield* locksAt(url, { lease: "150 millis" })
        const loss = yield* lossOf(locks, path, Effect.promise(() => admin.del(nameOf(path))))
        assert.strictEqual(loss.reason, "Removed")
      }))

    it.scoped("is told with the holder that has the lock instead", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const locks = yield* locksAt(url, { lease: "150 millis" })
        const others = yield* locksAt(url)
        const take = Effect.zipRight(
          Effect.promise(() => admin.del(nameOf(path))),
          Effect.orDie(others.acquire(path, { label: "the other" }))
        )
        const loss = yield* failureOf(locks.withLock(Effect.zipRight(take, Effect.never), path))
        assert.strictEqual(loss._tag === "LockLostError" && loss.reason, "Replaced")
        assert.strictEqual(loss._tag === "LockLostError" && loss.holder?.label, "the other")
        assert.strictEqual(
          yield* Effect.promise(() => admin.exists(nameOf(path))),
          1,
          "a lost lock is not released"
        )
      }))

    it.scoped("is told when a key of another type is in its place", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const locks = yield* locksAt(url, { lease: "150 millis" })
        const replace = Effect.promise(() => admin.multi().del(nameOf(path)).lpush(nameOf(path), "x").exec())
        assert.strictEqual((yield* lossOf(locks, path, replace)).reason, "Replaced")
      }))

    it.scoped("is not there any more, whatever the server has answered before this process stood still", () =>
      Effect.gen(function*() {
        const { url } = yield* Server
        const client = yield* libraries.ioredis(url)
        const lease = 300
        let stands = false
        const standStill = () => {
          const until = performance.now() + lease
          while (stands && performance.now() < until);
        }
        const engine = yield* engineOf({
          ...client,
          eval: (...command) => Effect.tap(client.eval(...command), () => Effect.sync(standStill))
        }, { lease })
        const losses: Array<LockLostError> = []
        const request = makeRequest({ onLost: (loss) => losses.push(loss) })
        const grant = valueOf(yield* engine.tryAcquire(keyOf(newPath()), request))
        stands = true
        const error = yield* Effect.flip(grant.verify)
        stands = false
        assert.include(error.message, "has answered too late")
        yield* until(() => losses.length > 0)
        assert.strictEqual(losses[0]?.reason, "LeaseExpired")
        yield* grant.release
      }))

    it.scoped("is told where only the release finds it", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const locks = yield* locksAt(url)
        const loss = yield* failureOf(
          locks.withLock(Effect.promise(() => admin.set(nameOf(path), "something else")), path)
        )
        assert.strictEqual(loss._tag === "LockLostError" && loss.reason, "Replaced")
        assert.strictEqual(yield* Effect.promise(() => admin.get(nameOf(path))), "something else")
      }))

    it.scoped("is told before the key can expire on a server that answers nothing", () =>
      Effect.gen(function*() {
        const own = yield* RedisServer.make()
        const path = newPath()
        const lease = 2_000
        const locks = yield* locksAt(own.url, { lease })
        const began = performance.now()
        const handle = yield* locks.acquire(path)
        yield* own.pause
        const loss = yield* Effect.flip(handle.lost)
        assert.isBelow(performance.now() - began, lease)
        yield* own.resume
        assert.strictEqual(loss.reason, "LeaseExpired")
        assert.include(loss.message, `Redis at 127.0.0.1:${own.port} did not answer`)
      }))
  })

  layer(server, { excludeTestServices: true })("waiting", (it) => {
    it.scoped("has one connection for all locks of a program, and few looks", () =>
      Effect.gen(function*() {
        const own = yield* RedisServer.make()
        const admin = yield* ioredis(own.url)
        const holder = yield* locksAt(own.url)
        const waiter = yield* locksAt(own.url)
        const all = Array.from({ length: 20 }, newPath)
        const scope = yield* Scope.make()
        yield* Scope.extend(holder.acquireAll(all), scope)
        const waiting = yield* Effect.forkAll(all.map((path) => waiter.withLock(Effect.void, path)))
        for (const path of all) yield* untilListening(admin, path)
        const clients = yield* Effect.promise(() => admin.call("CLIENT", "LIST", "TYPE", "pubsub"))
        assert.strictEqual(String(clients).trim().split("\n").length, 1)
        const before = yield* Effect.promise(() => evaluations(admin))
        yield* Effect.sleep("1 second")
        const looks = (yield* Effect.promise(() => evaluations(admin))) - before
        assert.isAtMost(looks, 3 * all.length, "they look about once a second")
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(waiting)
      }))

    it.scoped("that ends while the connection for messages is lost leaves no subscription", () =>
      Effect.gen(function*() {
        for (const connect of Object.values(libraries)) {
          const own = yield* RedisServer.make()
          const holder = yield* locksAt(own.url)
          const waiter = yield* locksOf(yield* connect(own.url))
          const [path, last] = [newPath(), newPath()]
          yield* holder.acquireAll([path, last])
          const wait = (path: string) => Effect.fork(waiter.withLock(Effect.void, path))
          const waiting = yield* wait(path)
          yield* untilListening(yield* ioredis(own.url), path)
          yield* own.stop
          yield* Effect.sleep("50 millis")
          yield* Fiber.interrupt(waiting)
          yield* own.restart
          const admin = yield* ioredis(own.url)
          yield* Effect.promise(() => admin.set(nameOf(last), "of another program"))
          yield* wait(last)
          yield* untilListening(admin, last)
          yield* untilListening(admin, path, 0)
        }
      }).pipe(Effect.timeout("20 seconds")))

    it.scoped("ends with the schedule of the caller", () =>
      Effect.gen(function*() {
        const { url } = yield* Server
        const path = newPath()
        const holder = yield* locksAt(url)
        const waiter = yield* locksAt(url)
        yield* holder.acquire(path)
        const schedule = Schedule.intersect(Schedule.spaced("10 millis"), Schedule.recurs(3))
        const error = yield* failureOf(waiter.withLock(Effect.void, path, { schedule }))
        assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "Timeout")
      }))

    it.scoped("goes on where messages are not allowed", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        yield* Effect.promise(() =>
          admin.acl("SETUSER", "silent", "on", ">secret", "~{*", "resetchannels", "+@all", "-subscribe")
        )
        const locks = yield* locksAt(url.replace("//", "//silent:secret@"))
        const holder = yield* locksAt(url)
        const scope = yield* Scope.make()
        yield* Scope.extend(holder.acquire(path), scope)
        const waiting = yield* Effect.fork(locks.withLock(Effect.void, path))
        yield* Effect.sleep("50 millis")
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(waiting)
      }))

    it.scoped("of many programs leaves none behind", () =>
      Effect.gen(function*() {
        const { url } = yield* Server
        const path = newPath()
        let entered = 0
        yield* Effect.forEach(Array.from({ length: 12 }), () =>
          Effect.flatMap(locksAt(url), (locks) =>
            Effect.repeatN(
              locks.withLock(Effect.sync(() => entered++), path),
              4
            )), {
          concurrency: "unbounded",
          discard: true
        })
        assert.strictEqual(entered, 60)
      }))
  })

  layer(server, { excludeTestServices: true })("an interruption", (it) => {
    it.scoped("at any moment leaves no key and no renewal", () =>
      Effect.gen(function*() {
        const own = yield* RedisServer.make()
        const admin = yield* ioredis(own.url)
        const locks = yield* locksAt(own.url, { lease: "100 millis" })
        const others = yield* locksAt(own.url, { lease: "100 millis" })
        const path = newPath()
        for (let moment = 0; moment < 60; moment++) {
          // Steps of fibers first, then parts of milliseconds, with the lock free or held.
          const pause = moment < 20
            ? Effect.repeatN(Effect.yieldNow(), moment)
            : Effect.promise(async () => {
              for (let turn = 0; turn < moment - 20; turn++) await new Promise((resume) => setImmediate(resume))
            })
          const holder = yield* Effect.fork(others.withLock(Effect.sleep("1 millis"), path))
          const fiber = yield* Effect.fork(locks.withLock(Effect.sleep("2 millis"), path))
          yield* pause
          yield* Fiber.interrupt(fiber)
          yield* Fiber.join(holder)
        }
        yield* untilFree(admin, path)
        const before = yield* Effect.promise(() => evaluations(admin))
        yield* Effect.sleep("150 millis")
        assert.strictEqual(yield* Effect.promise(() => evaluations(admin)), before)
        assert.strictEqual(yield* Effect.promise(() => admin.exists(nameOf(path))), 0)
      }))

    it.scoped("of an engine that is used without the core leaves its wait, and nothing else", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const client = yield* libraries.ioredis(url)
        const engine = yield* engineOf(client)
        const path = newPath()
        const grant = valueOf(yield* engine.tryAcquire(keyOf(path), makeRequest()))
        const waiting = yield* Effect.fork(engine.acquire(keyOf(path), makeRequest()))
        yield* untilListening(admin, path)
        yield* Fiber.interrupt(waiting)
        yield* grant.release
        yield* untilListening(admin, path, 0)
        assert.strictEqual(yield* Effect.promise(() => admin.exists(nameOf(path))), 0)
      }))
  })

  layer(server, { excludeTestServices: true })("a command without an answer", (it) => {
    /** A client whose first answers are lost. */
    const losing = (client: Client, count: number): Client => {
      let lost = 0
      return {
        ...client,
        eval: (...command) =>
          lost++ < count ? Effect.zipRight(client.eval(...command), Effect.never) : client.eval(...command)
      }
    }

    it.scoped("that has taken the lock is taken back", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const locks = yield* locksOf(losing(yield* libraries.ioredis(url), 1), { lease: "1 second" })
        const error = yield* failureOf(locks.withLock(Effect.void, path, { timeout: 0 }))
        assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "BackendUnavailable")
        assert.include(error.message, "did not answer within 250ms")
        yield* untilFree(admin, path)
        const fence = yield* Effect.promise(() => admin.hgetall(`${nameOf(path)}:fence`))
        assert.strictEqual(fence["token"], fence["released"])
      }))

    it.scoped("that has taken the lock is found by the next try of the same wait", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const engine = yield* engineOf(losing(yield* libraries.ioredis(url), 1), { lease: "1 second" })
        const grant = valueOf(yield* engine.acquire(keyOf(path), makeRequest()))
        assert.isFalse(grant.recovered)
        yield* grant.verify
        yield* grant.release
        assert.strictEqual(yield* Effect.promise(() => admin.exists(nameOf(path))), 0)
      }))

    it.scoped("has taken nothing where the answer cannot be read", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const client = yield* libraries.ioredis(url)
        const locks = yield* locksOf({ ...client, eval: (...command) => Effect.as(client.eval(...command), 1) })
        for (const timeout of [0, "infinity"] as const) {
          const path = newPath()
          const error = yield* failureOf(locks.withLock(Effect.void, path, { timeout }))
          assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "BackendUnavailable")
          yield* untilFree(admin, path)
        }
      }).pipe(Effect.timeout("10 seconds")))

    it.scoped("has taken nothing where the script ends with an error in its middle", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        yield* Effect.promise(() => admin.acl("SETUSER", "nohash", "on", ">secret", "~*", "&*", "+@all", "-hset"))
        const locks = yield* locksAt(url.replace("//", "//nohash:secret@"))
        const path = newPath()
        const error = yield* failureOf(locks.withLock(Effect.void, path))
        assert.include(error.message, "refuses this user")
        yield* untilFree(admin, path)
      }).pipe(Effect.timeout("10 seconds")))

    it.scoped("of a release is sent again, and is no loss", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const client = yield* libraries.ioredis(url)
        let isLosing = false
        const engine = yield* engineOf({
          ...client,
          eval: (...command) => {
            const lost = new RedisBackend.RedisError({ cause: new Error("Connection is closed.") })
            const answer = isLosing ? Effect.zipRight(client.eval(...command), lost) : client.eval(...command)
            isLosing = false
            return answer
          }
        }, { lease: "600 millis" })
        const losses: Array<LockLostError> = []
        const request = makeRequest({ onLost: (loss) => losses.push(loss) })
        const grant = valueOf(yield* engine.tryAcquire(keyOf(path), request))
        isLosing = true
        yield* grant.release
        assert.deepStrictEqual(losses, [])
        assert.strictEqual(yield* Effect.promise(() => admin.exists(nameOf(path))), 0)
      }))

    it.scoped("of a release comes late, and is no loss, although the next one has had the lock by then", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const client = yield* libraries.ioredis(url)
        const losses: Array<LockLostError> = []
        const request = makeRequest({ onLost: (loss) => losses.push(loss) })
        let isSlow = false
        const engine = yield* engineOf({
          ...client,
          eval: (...command) => {
            const answer = isSlow
              ? Effect.zipLeft(client.eval(...command), Effect.sleep("300 millis"))
              : client.eval(...command)
            isSlow = false
            return answer
          }
        }, { lease: "400 millis" })
        const next = yield* engineOf(client)
        const grant = valueOf(yield* engine.tryAcquire(keyOf(path), request))
        isSlow = true
        const releasing = yield* Effect.fork(grant.release)
        yield* untilFree(admin, path)
        yield* valueOf(yield* next.tryAcquire(keyOf(path), makeRequest())).release
        yield* Fiber.join(releasing)
        assert.deepStrictEqual(losses, [])
      }))

    it.scoped("that arrives after the lock was given up leaves nothing", () =>
      Effect.gen(function*() {
        const own = yield* RedisServer.make()
        const path = newPath()
        const locks = yield* locksAt(own.url, { lease: "600 millis" })
        yield* locks.withLock(Effect.void, newPath())
        yield* own.pause
        yield* failureOf(locks.withLock(Effect.void, path, { timeout: 0 }))
        yield* own.resume
        const admin = yield* ioredis(own.url)
        yield* until(async () => await admin.hget(`${nameOf(path)}:fence`, "released") !== null)
        assert.strictEqual(yield* Effect.promise(() => admin.exists(nameOf(path))), 0)
      }))
  })

  layer(server, { excludeTestServices: true })("what cannot be a lock", (it) => {
    it.scoped("a key of another type is left alone, and it is said at once", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const locks = yield* locksAt(url)
        yield* Effect.promise(() => admin.lpush(nameOf(path), "precious"))
        const error = yield* failureOf(locks.withLock(Effect.void, path, { timeout: "infinity" }))
        assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "Foreign")
        assert.include(error.message, `has a list at the key "${nameOf(path)}"`)
        const status = valueOf(yield* locks.inspect(path))
        assert.deepStrictEqual(status, { state: "foreign", mode: "exclusive", holders: [], waiters: [] })
        assert.isFalse(yield* locks.breakLock(path, makeHolder()))
        assert.deepStrictEqual(yield* Effect.promise(() => admin.lrange(nameOf(path), 0, -1)), ["precious"])
      }))

    it.scoped("a text of another program is left alone, and waited for", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const locks = yield* locksAt(url)
        for (const text of ["", "locked", "null", "{}", `{"token":1}`, "\ud800", "x".repeat(1_000_000)]) {
          yield* Effect.promise(() => admin.set(nameOf(path), text))
          const error = yield* failureOf(locks.withLock(Effect.void, path, { timeout: 0 }))
          assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "Foreign")
          assert.strictEqual(valueOf(yield* locks.inspect(path)).state, "foreign")
          assert.isFalse(yield* locks.breakLock(path, makeHolder()))
        }
        yield* Effect.promise(() => admin.set(nameOf(path), "of another program", "PX", 50))
        yield* locks.withLock(Effect.void, path)
      }))

    it.scoped("something else in the place of the number is left alone", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const locks = yield* locksAt(url)
        yield* Effect.promise(() => admin.set(`${nameOf(path)}:fence`, "precious"))
        const error = yield* failureOf(locks.withLock(Effect.void, path, { timeout: "infinity" }))
        assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "Foreign")
        assert.include(error.message, `has a string at the key "${nameOf(path)}:fence"`)
        assert.strictEqual(yield* Effect.promise(() => admin.exists(nameOf(path))), 0)
        assert.strictEqual(yield* Effect.promise(() => admin.get(`${nameOf(path)}:fence`)), "precious")
      }))

    it.scoped("something else that comes in the place of the number does not keep a lock from being broken", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const path = newPath()
        const locks = yield* locksAt(url)
        const handle = yield* Effect.scoped(Effect.gen(function*() {
          const handle = yield* locks.acquire(path)
          yield* Effect.promise(() => admin.set(`${nameOf(path)}:fence`, "precious"))
          assert.isTrue(yield* locks.breakLock(path, handle.holder))
          return handle
        }))
        assert.isFalse(yield* locks.breakLock(path, handle.holder))
      }))

    it.scoped("a path that is empty or has a NUL", () =>
      Effect.gen(function*() {
        const { url } = yield* Server
        const locks = yield* locksAt(url)
        for (const path of ["", "a\0b"]) {
          const error = yield* failureOf(locks.withLock(Effect.void, path))
          assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "InvalidPath")
        }
      }))

    it.scoped("an answer that is none", () =>
      Effect.gen(function*() {
        const { url } = yield* Server
        const client = yield* libraries.ioredis(url)
        for (
          const answer of [null, undefined, 1, "granted", [], [null], ["granted"], ["granted", "1e300"], { length: 1 }]
        ) {
          const locks = yield* locksOf({ ...client, eval: () => Effect.succeed(answer) })
          const error = yield* failureOf(locks.withLock(Effect.void, newPath(), { timeout: 0 }))
          assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "BackendUnavailable")
        }
      }))
  })

  layer(server, { excludeTestServices: true })("a server that refuses", (it) => {
    it.scoped("a wrong password or none is told at once", () =>
      Effect.gen(function*() {
        const own = yield* RedisServer.make("--requirepass", "secret")
        for (const [url, code] of [[own.url.replace("//", "//:wrong@"), "WRONGPASS"], [own.url, "NOAUTH"]] as const) {
          const locks = yield* locksAt(url)
          const error = yield* failureOf(locks.withLock(Effect.void, newPath(), { timeout: "infinity" }))
          assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "BackendUnavailable")
          assert.include(error.message, code)
          assert.include(error.message, "Give the client the user and the password")
          assert.notInclude(error.message, "secret")
        }
        const locks = yield* locksAt(own.url.replace("//", "//:secret@"))
        yield* locks.withLock(Effect.void, newPath())
      }))

    it.scoped("a user without a right to the keys is told at once", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        yield* Effect.promise(() => admin.acl("SETUSER", "other", "on", ">secret", "~other:*", "+@all"))
        const locks = yield* locksAt(url.replace("//", "//other:secret@"))
        const error = yield* failureOf(locks.withLock(Effect.void, newPath(), { timeout: "infinity" }))
        assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "BackendUnavailable")
        assert.include(error.message, "refuses this user")
      }))

    it.scoped("a user with the rights of the documentation has all that it needs", () =>
      Effect.gen(function*() {
        const { admin, url } = yield* Server
        const commands = [
          ..."eval get set del pttl pexpire type time hget hmget hset hdel publish pubsub|numsub".split(" "),
          ..."subscribe unsubscribe info".split(" ")
        ]
        yield* Effect.promise(() =>
          admin.acl(
            "SETUSER",
            "locks",
            "on",
            ">secret",
            "~{effect-filelock:*",
            "&{effect-filelock:*",
            ...commands.map((command) => `+${command}`)
          )
        )
        const path = newPath()
        const holder = yield* locksAt(url.replace("//", "//locks:secret@"))
        const waiter = yield* locksAt(url.replace("//", "//locks:secret@"))
        const scope = yield* Scope.make()
        const handle = yield* Scope.extend(holder.acquire(path), scope)
        const waiting = yield* Effect.fork(waiter.withLock(Effect.void, path, { schedule: Schedule.spaced("1 hour") }))
        yield* untilListening(admin, path)
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(waiting)
        assert.isFalse(yield* holder.breakLock(path, handle.holder))
      }))

    it.scoped("a replica says what it is", () =>
      Effect.gen(function*() {
        const { port } = yield* Server
        const replica = yield* RedisServer.make(
          "--replicaof",
          "127.0.0.1",
          String(port),
          "--replica-serve-stale-data",
          "yes"
        )
        const locks = yield* locksAt(replica.url)
        const error = yield* failureOf(locks.withLock(Effect.void, newPath(), { timeout: 0 }))
        assert.strictEqual(error._tag === "LockAcquisitionError" && error.reason, "BackendUnavailable")
        assert.include(error.message, "is a replica")
        assert.include(error.message, "Connect the client to the primary")
      }))

    it.scoped("a cluster has all keys of a lock in one slot", () =>
      Effect.gen(function*() {
        const own = yield* RedisServer.make("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1")
        const admin = yield* ioredis(own.url)
        yield* Effect.promise(() => admin.cluster("ADDSLOTSRANGE", 0, 16383))
        yield* until(async () => String(await admin.cluster("INFO")).includes("cluster_state:ok"))
        const connect = Effect.acquireRelease(
          Effect.sync(() => new Cluster([{ host: "127.0.0.1", port: own.port }])),
          (cluster) => Effect.sync(() => cluster.disconnect())
        )
        const holder = yield* locksOf(RedisBackend.fromIoredis(yield* connect))
        const waiter = yield* locksOf(RedisBackend.fromIoredis(yield* connect))
        const path = newPath()
        const scope = yield* Scope.make()
        yield* Scope.extend(holder.acquire(path), scope)
        const waiting = yield* Effect.fork(waiter.withLock(Effect.void, path))
        yield* untilListening(admin, path)
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(waiting)
      }))
  })

  it.effect("refuses options that cannot be", () =>
    Effect.gen(function*() {
      const client: Client = {
        address: "nowhere",
        eval: () => Effect.never,
        listen: () => Effect.void,
        openSubscriber: () => Effect.die("not used")
      }
      for (
        const options of [{ lease: 99 }, { lease: "8 days" as const }, { namespace: "" }, { namespace: "a}b" }, {
          namespace: "{"
        }]
      ) {
        const exit = yield* Effect.exit(Effect.scoped(engineOf(client, options)))
        assert.isTrue(
          Exit.isFailure(exit) && Cause.isIllegalArgumentException(Cause.squash(exit.cause)),
          JSON.stringify(options)
        )
      }
    }))

  it.scoped("has one name for all spellings of a path", () =>
    Effect.gen(function*() {
      const engine = yield* engineOf({
        address: "nowhere",
        eval: () => Effect.never,
        listen: () => Effect.void,
        openSubscriber: () => Effect.die("not used")
      })
      for (
        const [path, name] of [
          ["a", "a"],
          ["./a//b/", "a/b"],
          ["/a/../../b/.", "/b"],
          ["../a/../..", "../.."],
          ["a/..", "."],
          ["/", "/"],
          ["//", "/"],
          ["a\\b", "a\\b"]
        ] as const
      ) {
        assert.deepStrictEqual(yield* engine.canonical(path), keyOf(name))
      }
    }))
})
