import { assert, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Net from "node:net"
import * as FileLock from "../../../src/FileLock.js"
import * as Sessions from "../../../src/internal/postgres/sessions.js"
import * as LockBackend from "../../../src/LockBackend.js"
import type { LockLostError } from "../../../src/LockError.js"
import * as PostgresBackend from "../../../src/PostgresBackend.js"
import * as Link from "../../servers/link.js"
import * as Pgbouncer from "../../servers/pgbouncer.js"
import * as Postgres from "../../servers/postgres.js"
import * as Requirement from "../../servers/requirement.js"
import { layer } from "../../utils/layer.js"

const testTimeout = 60_000

class Server extends Context.Tag("Server")<Server, Postgres.Postgres>() {}

const server = Layer.scoped(Server, Postgres.make())

/** The locks of one more program. */
const locksAt = (url: string, options?: PostgresBackend.Options) =>
  Layer.build(
    FileLock.layerBackend().pipe(
      Layer.provide(PostgresBackend.layerConnection({ url: Redacted.make(url) }, options))
    )
  )

const locks = (options?: PostgresBackend.Options) => Effect.flatMap(Server, ({ url }) => locksAt(url, options))

let names = 0

/** A name of a lock that no other test has. */
const newName = (): string => `test/${++names}`

/** Asks until the answer is this one. */
const until = (isSo: () => boolean) =>
  Effect.repeat(Effect.sync(isSo), { until: (so) => so, schedule: Schedule.spaced("5 millis") })

/** How many sessions have a lock, and how many wait for one. */
const sessions = (psql: Postgres.Postgres["psql"]): ReadonlyArray<number> =>
  psql(
    "select count(*) filter (where granted), count(*) filter (where not granted) from pg_locks where locktype = 'advisory'"
  )
    .split("|").map(Number)

/** Waits until so many sessions wait. */
const untilWaiting = (count: number) => Effect.flatMap(Server, ({ psql }) => until(() => sessions(psql)[1] === count))

const untilFree = Effect.flatMap(Server, ({ psql }) => until(() => sessions(psql).every((count) => count === 0)))

/** Stops the process of the server that runs a session, as long as the scope is open. */
const stopped = (pid: number) =>
  Effect.acquireRelease(
    Effect.sync(() => process.kill(pid, "SIGSTOP")),
    () => Effect.sync(() => process.kill(pid, "SIGCONT"))
  )

/** The processes of the server that have a session of this package. */
const processes = (psql: Postgres.Postgres["psql"], which: string): ReadonlyArray<number> =>
  psql(`select pid from pg_stat_activity where application_name = 'effect-filelock' and ${which}`).split("\n").map(
    Number
  )

/** A server that lets everyone in, and says nothing more. */
const silentServer = Effect.map(
  Effect.acquireRelease(
    Effect.async<readonly [Net.Server, Set<Net.Socket>]>((resume) => {
      const sockets = new Set<Net.Socket>()
      const server = Net.createServer((socket) => {
        sockets.add(socket)
        socket.on("error", () => {})
        // AuthenticationOk, ReadyForQuery
        socket.once("data", () => socket.write("R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"))
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed([server, sockets])))
    }),
    ([server, sockets]) =>
      Effect.sync(() => {
        for (const socket of sockets) socket.destroy()
        server.close()
      })
  ),
  ([server]) => {
    const address = server.address()
    return typeof address === "object" && address !== null ? address.port : 0
  }
)

/** What a body was interrupted by. */
const lossOf = (exit: Exit.Exit<unknown, unknown>): LockLostError | undefined =>
  Exit.isFailure(exit) && exit.cause._tag === "Fail" && exit.cause.error instanceof Error &&
    exit.cause.error.name === "LockLostError"
    ? exit.cause.error as LockLostError
    : undefined

const held = <A, E, R>(name: string, program: Context.Context<FileLock.FileLock>, use: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const isInside = yield* Deferred.make<void>()
    const fiber = yield* Effect.fork(Effect.exit(Effect.provide(
      FileLock.withLock(Effect.zipRight(Deferred.succeed(isInside, undefined), use), name),
      program
    )))
    yield* Effect.raceFirst(Deferred.await(isInside), Effect.zipRight(Fiber.join(fiber), Effect.dieMessage("no lock")))
    return fiber
  })

Requirement.describeWhere(Postgres.isInstalled)("PostgresBackend", () => {
  layer(server, { excludeTestServices: true })("on a server", (it) => {
    it.scoped("grants a lock to one program at a time, and the next number to each", () =>
      Effect.gen(function*() {
        const name = newName()
        const programs = yield* Effect.all([locks(), locks(), locks()])
        let inside = 0
        const fences: Array<bigint> = []
        const section = Effect.scoped(Effect.gen(function*() {
          const handle = yield* FileLock.acquire(name)
          inside += 1
          assert.strictEqual(inside, 1)
          fences.push(Option.getOrThrow(handle.fence))
          yield* Effect.sleep(1)
          inside -= 1
        }))
        yield* Effect.forEach(
          programs,
          (program) => Effect.provide(Effect.repeatN(section, 19), program),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(fences.length, 60)
        assert.isTrue(fences.every((fence, index) => index === 0 || fence > (fences[index - 1] ?? 0n)))
        yield* untilFree
      }), testTimeout)

    it.scoped(
      "hands a lock over in the order in which the programs have asked for it",
      () =>
        Effect.gen(function*() {
          const name = newName()
          const [first, ...others] = yield* Effect.all([locks(), locks(), locks(), locks()])
          const order: Array<number> = []
          const mayLeave = yield* Deferred.make<void>()
          const holder = yield* held(name, first, Deferred.await(mayLeave))
          const waiters = yield* Effect.forEach(others, (program, index) =>
            Effect.zipLeft(
              Effect.fork(Effect.provide(FileLock.withLock(Effect.sync(() => order.push(index)), name), program)),
              untilWaiting(index + 1)
            ))
          yield* Deferred.succeed(mayLeave, undefined)
          yield* Fiber.join(holder)
          yield* Fiber.joinAll(waiters)
          assert.deepStrictEqual(order, [0, 1, 2])
        }),
      testTimeout
    )

    it.scoped("lets shared holders in together, and no exclusive one beside them", () =>
      Effect.gen(function*() {
        const name = newName()
        const [first, second, writer] = yield* Effect.all([locks(), locks(), locks()])
        const mode = "shared" as const
        yield* Effect.scoped(Effect.gen(function*() {
          const one = yield* Effect.provide(FileLock.acquire(name, { mode }), first)
          const two = yield* Effect.provide(FileLock.acquire(name, { mode }), second)
          assert.deepStrictEqual([one.mode, two.mode], [mode, mode])
          const error = yield* Effect.flip(
            Effect.provide(Effect.scoped(FileLock.acquire(name, { timeout: 0 })), writer)
          )
          assert.propertyVal(error, "reason", "Timeout")
          const status = Option.getOrThrow(yield* Effect.provide(FileLock.inspect(name), writer))
          assert.strictEqual(status.mode, mode)
          assert.deepStrictEqual(
            new Set(status.holders.map(({ token }) => token)),
            new Set([one.holder.token, two.holder.token])
          )
        }))
        yield* Effect.provide(FileLock.withLock(Effect.void, name, { timeout: 0 }), writer)
      }), testTimeout)

    it.scoped(
      "says who holds a lock and who waits for it, whatever their labels are",
      () =>
        Effect.gen(function*() {
          const name = newName()
          const [first, second] = yield* Effect.all([locks(), locks()])
          const label = "*/ drop table x; /* ' \\ \u{1F512} " + "*".repeat(300)
          const handle = yield* Effect.provide(FileLock.acquire(name, { label }), first)
          const waiter = yield* Effect.fork(
            Effect.provide(Effect.scoped(FileLock.acquire(name, { label: "next" })), second)
          )
          yield* untilWaiting(1)
          const status = Option.getOrThrow(yield* Effect.provide(FileLock.inspect(name), second))
          assert.strictEqual(status.state, "held")
          assert.strictEqual(status.holders[0]?.token, handle.holder.token)
          assert.isTrue(label.startsWith(status.holders[0]?.label ?? "nothing"))
          assert.deepStrictEqual(status.waiters.map(({ label }) => label), ["next"])
          yield* Fiber.interrupt(waiter)
          const error = yield* Effect.flip(
            Effect.provide(Effect.scoped(FileLock.acquire(name, { timeout: 0 })), second)
          )
          assert.include(error.message, `by pid ${process.pid} on`)
        }),
      testTimeout
    )

    it.scoped(
      "takes spellings of a name for one lock, and refuses what is no path",
      () =>
        Effect.gen(function*() {
          const name = newName()
          yield* Effect.gen(function*() {
            const handle = yield* FileLock.acquire(`./x/../${name}`)
            assert.strictEqual(handle.lockPath, `${name}.lock`)
            for (const path of ["", "a\0b"]) {
              assert.propertyVal(yield* Effect.flip(Effect.scoped(FileLock.acquire(path))), "reason", "InvalidPath")
            }
          }).pipe(Effect.provide(yield* locks()))
        }),
      testTimeout
    )

    it.scoped("knows nothing of locks of another namespace", () =>
      Effect.gen(function*() {
        const name = newName()
        const other = yield* locks({ namespace: "other" })
        const inside = Effect.provide(FileLock.withLock(Effect.succeed("inside"), name, { timeout: 0 }), other)
        assert.strictEqual(yield* Effect.provide(FileLock.withLock(inside, name), yield* locks()), "inside")
      }), testTimeout)

    it.scoped(
      "keeps a lock for longer than a lease, and loses it when its session is ended",
      () =>
        Effect.gen(function*() {
          const { psql } = yield* Server
          const name = newName()
          const program = yield* locks({ lease: "1 second" })
          const holder = yield* held(name, program, Effect.never)
          yield* Effect.sleep("1300 millis")
          assert.deepStrictEqual(sessions(psql), [1, 0])
          psql("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'")
          assert.propertyVal(lossOf(yield* Fiber.join(holder)), "reason", "BackendUnavailable")
          yield* Effect.provide(FileLock.withLock(Effect.void, name), program)
        }),
      testTimeout
    )

    it.scoped(
      "keeps the lock of a holder that does not wait for the answer whether it has it",
      () =>
        Effect.gen(function*() {
          const { psql } = yield* Server
          const handle = yield* Effect.provide(FileLock.acquire(newName()), yield* locks())
          yield* Effect.raceFirst(handle.verify, Effect.yieldNow())
          yield* handle.verify
          assert.deepStrictEqual(sessions(psql), [1, 0])
        }),
      testTimeout
    )

    it.scoped(
      "tells a holder at its release that it has let nothing else run for longer than a lease",
      () =>
        Effect.gen(function*() {
          const { psql } = yield* Server
          const program = yield* locks({ lease: "1 second" })
          const standStill = Effect.sync(() => {
            while (sessions(psql)[0] !== 0);
          })
          const exit = yield* Effect.exit(Effect.provide(FileLock.withLock(standStill, newName()), program))
          assert.propertyVal(lossOf(exit), "reason", "LeaseExpired")
        }),
      testTimeout
    )

    it.scoped(
      "tells of no loss where a lock is released while the server is asked whether the session lives",
      () =>
        Effect.gen(function*() {
          const program = yield* locks({ lease: "2 seconds" })
          yield* Effect.forEach(
            Array.from({ length: 20 }, (_, index) => index),
            // Each of them is asked after a third of a lease.
            (index) => Effect.provide(FileLock.withLock(Effect.sleep(655 + index), newName()), program),
            { concurrency: "unbounded" }
          )
        }),
      testTimeout
    )

    it.scoped(
      "counts the time that a waiter has waited as time that the server has not heard it",
      () =>
        Effect.gen(function*() {
          const name = newName()
          const [first, second] = yield* Effect.all([locks(), locks({ lease: "1500 millis" })])
          const body = Effect.zipRight(
            Effect.sleep(350),
            Effect.zipRight(
              Effect.sync(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 350)),
              Effect.sleep(50)
            )
          )
          const holder = yield* held(name, first, Effect.zipRight(untilWaiting(1), Effect.sleep(350)))
          yield* Effect.provide(FileLock.withLock(body, name), second)
          yield* Fiber.join(holder)
        }),
      testTimeout
    )

    it.scoped("asks in another session where the server has ended the one that was kept", () =>
      Effect.gen(function*() {
        const { psql } = yield* Server
        const program = yield* locks()
        const name = newName()
        // This process cannot know it when it asks next: it does not let anything else run.
        const end = Effect.sync(() =>
          psql(
            "with kept as materialized (select pid from pg_stat_activity where application_name = 'effect-filelock') " +
              "select pg_terminate_backend(pid, 5000) from kept"
          )
        )
        const schedule = Schedule.stop
        for (
          const use of [
            FileLock.withLock(Effect.void, name, { timeout: 0 }),
            FileLock.withLock(Effect.void, name, { schedule }),
            FileLock.inspect(name)
          ]
        ) {
          yield* Effect.provide(FileLock.withLock(Effect.void, name), program)
          yield* Effect.provide(Effect.zipRight(end, use), program)
        }
      }), testTimeout)

    it.scoped("goes on in another session where the server does not answer in one", () =>
      Effect.gen(function*() {
        const { psql } = yield* Server
        const name = newName()
        const program = yield* locks({ lease: "1 second" })
        yield* Effect.provide(FileLock.withLock(Effect.void, name), program)
        const [pid = 0] = processes(psql, "state = 'idle' order by backend_start desc")
        yield* stopped(pid)
        yield* Effect.provide(FileLock.withLock(Effect.void, name), program)
      }), testTimeout)

    it.scoped("waits only so long for a server that lets it in and says nothing", () =>
      Effect.gen(function*() {
        const port = yield* silentServer
        const program = yield* locksAt(`postgres://test@127.0.0.1:${port}/postgres`, {
          lease: "1 second",
          maxSessions: 1
        })
        for (let index = 0; index < 2; index++) {
          const error = yield* Effect.flip(
            Effect.provide(Effect.scoped(FileLock.acquire(newName(), { timeout: 0 })), program)
          )
          // The second one has the slot that the first one has left.
          assert.notInclude(error.message, "maxSessions")
          yield* Effect.sleep("300 millis")
        }
      }), testTimeout)

    it.scoped("does not depend on what roles, databases and programs have set", () =>
      Effect.gen(function*() {
        const { port, psql } = yield* Server
        psql("create role careful superuser login")
        psql("create database latin encoding 'LATIN1' template template0")
        psql(
          [
            ...["default_transaction_read_only = on", "default_transaction_isolation = serializable"],
            ...["tcp_user_timeout = 1000", "synchronous_commit = off", "standard_conforming_strings = off"],
            ...["statement_timeout = 100", "lock_timeout = 100", "idle_session_timeout = 100"]
          ].map((setting) => `alter role careful set ${setting}`).join("; ")
        )
        const config = {
          host: "127.0.0.1",
          port,
          username: "careful",
          database: "latin",
          types: { getTypeParser: () => () => "something else" }
        }
        const programs = yield* Effect.replicateEffect(
          Layer.build(FileLock.layerBackend().pipe(Layer.provide(PostgresBackend.layerConnection(config)))),
          2
        )
        const name = newName()
        const label = "\u{1F512}\u00fc\u4e2d"
        yield* Effect.forEach(programs, (program) =>
          Effect.provide(
            FileLock.withLock(
              Effect.gen(function*() {
                yield* Effect.sleep("200 millis")
                const status = Option.getOrThrow(yield* FileLock.inspect(name))
                assert.deepStrictEqual(status.holders.map(({ label }) => label), [label])
              }),
              name,
              { label }
            ),
            program
          ), { concurrency: "unbounded" })
        const kept = yield* Effect.acquireRelease(
          Effect.sync(() =>
            Sessions.make({
              config,
              sequence: "effect_filelock_fence",
              lease: 30_000,
              pooler: "none",
              maxIdle: 1,
              greetingTime: Duration.seconds(5)
            })
          ),
          (kept) => Effect.sync(kept.close)
        )
        // The server must not end a session that is cut off before its holder counts it as ended, and must not forget a number.
        assert.deepStrictEqual(
          yield* kept.query(
            "select current_setting('tcp_user_timeout') as t, current_setting('synchronous_commit') as s"
          ),
          [{ t: "30000", s: "on" }]
        )
      }), testTimeout)

    it.scoped("takes the lock from exactly the holder that is named", () =>
      Effect.gen(function*() {
        const name = newName()
        const [first, second] = yield* Effect.all([locks(), locks()])
        const holder = yield* held(name, first, Effect.never)
        const [owner] = Option.getOrThrow(yield* Effect.provide(FileLock.inspect(name), second)).holders
        assert.isDefined(owner)
        const breaks = (token: string) => Effect.provide(FileLock.breakLock(name, { ...owner, token }), second)
        assert.isFalse(yield* breaks("another-token"))
        assert.isTrue(yield* breaks(owner.token))
        assert.isDefined(lossOf(yield* Fiber.join(holder)))
        assert.isFalse(yield* breaks(owner.token))
      }), testTimeout)

    it.scoped(
      "leaves no session that waits or holds, whenever an acquisition is interrupted",
      () =>
        Effect.gen(function*() {
          const { psql } = yield* Server
          const name = newName()
          const [first, second] = yield* Effect.all([locks(), locks({ maxSessions: 3 })])
          for (let index = 0; index < 60; index++) {
            const holds = index % 2 === 0
            const holder = holds ? yield* held(name, first, Effect.never) : undefined
            const waiter = yield* Effect.fork(Effect.provide(FileLock.withLock(Effect.sleep(1), name), second))
            yield* Effect.sleep((index * 0.4) % 12)
            yield* Fiber.interruptFork(waiter)
            if (holder !== undefined) yield* Fiber.interrupt(holder)
            yield* Fiber.await(waiter)
          }
          yield* until(() => sessions(psql).every((count) => count === 0))
          // Every slot is free again.
          yield* Effect.all(
            Array.from({ length: 3 }, () => FileLock.acquire(newName(), { timeout: "5 seconds" })),
            { concurrency: "unbounded" }
          ).pipe(Effect.provide(second))
        }),
      testTimeout
    )

    it.scoped(
      "waits for a session of its own where it may have no more of them, and says so",
      () =>
        Effect.gen(function*() {
          const program = yield* locks({ maxSessions: 1 })
          const scope = yield* Scope.make()
          yield* Scope.extend(Effect.provide(FileLock.acquire(newName()), program), scope)
          const error = yield* Effect.flip(
            Effect.provide(Effect.scoped(FileLock.acquire(newName(), { timeout: 300 })), program)
          )
          assert.propertyVal(error, "reason", "BackendUnavailable")
          assert.include(error.message, "maxSessions")
          const ended = yield* Effect.flip(
            Effect.provide(Effect.scoped(FileLock.acquire(newName(), { schedule: Schedule.recurs(1) })), program)
          )
          assert.include(ended.message, "maxSessions")
          const waiters = yield* Effect.replicateEffect(
            Effect.fork(Effect.provide(Effect.scoped(FileLock.acquire(newName())), program)),
            4
          )
          yield* Effect.yieldNow()
          // The slot comes to one that does not want it any more, and goes on to the next one.
          yield* Effect.forEach(waiters.slice(0, 1), Fiber.interruptFork)
          yield* Scope.close(scope, Exit.void)
          yield* Effect.forEach(waiters, Fiber.await)
        }),
      testTimeout
    )

    it.scoped("refuses at once a server, a role and a sequence that it cannot use", () =>
      Effect.gen(function*() {
        const { port, psql, url } = yield* Server
        const failure = (at: string, options?: PostgresBackend.Options) =>
          Effect.flatMap(locksAt(at, options), (program) =>
            Effect.flip(Effect.provide(Effect.scoped(FileLock.acquire("x", { timeout: "20 seconds" })), program)))
        psql("create role nobody login; create sequence cached cache 10")
        const database = yield* failure(`postgres://test@127.0.0.1:${port}/nowhere`)
        assert.include(database.message, "database \"nowhere\" does not exist")
        const role = yield* failure(`postgres://stranger@127.0.0.1:${port}/postgres`)
        assert.propertyVal(role, "reason", "PermissionDenied")
        const right = yield* failure(`postgres://nobody@127.0.0.1:${port}/postgres`, { sequence: "another" })
        assert.propertyVal(right, "reason", "PermissionDenied")
        const sequence = yield* failure(url, { sequence: "cached" })
        assert.include(sequence.message, "CACHE 1")
        const wrong = yield* failure("postgres://[no-host")
        assert.propertyVal(wrong, "reason", "BackendUnavailable")
        assert.include((yield* failure(`${url}?sslmode=disable&sslrootcert=/nowhere`)).message, "ENOENT")
      }), testTimeout)

    it.scoped("makes the sequence once, however many programs need it first", () =>
      Effect.gen(function*() {
        const programs = yield* Effect.replicateEffect(locks({ sequence: "public.first \"use\"" }), 6)
        const name = newName()
        yield* Effect.forEach(
          programs,
          (program) => Effect.provide(FileLock.withLock(Effect.void, name), program),
          { concurrency: "unbounded" }
        )
      }), testTimeout)

    it.scoped("dies of options that are not allowed", () =>
      Effect.gen(function*() {
        for (const options of [{ lease: 999 }, { maxSessions: 0 }, { namespace: "a\0" }, { sequence: "a..b" }]) {
          const exit = yield* Effect.exit(locks(options))
          assert.isTrue(Exit.isFailure(exit) && exit.cause._tag === "Die")
        }
      }), testTimeout)

    it.scoped(
      "interrupts a holder that is cut off before the server gives its lock to another",
      () =>
        Effect.gen(function*() {
          const { port } = yield* Server
          const link = yield* Link.make(port)
          const name = newName()
          const lease = "2 seconds"
          const [near, far] = yield* Effect.all([
            locks({ lease }),
            locksAt(`postgres://test@127.0.0.1:${link.port}/postgres`, { lease })
          ])
          const events: Array<string> = []
          const holder = yield* held(
            name,
            far,
            Effect.onInterrupt(Effect.never, () => Effect.sync(() => events.push("interrupted")))
          )
          const next = yield* Effect.fork(
            Effect.provide(FileLock.withLock(Effect.sync(() => events.push("next")), name), near)
          )
          yield* untilWaiting(1)
          link.cut()
          assert.propertyVal(lossOf(yield* Fiber.join(holder)), "reason", "LeaseExpired")
          yield* Fiber.join(next)
          assert.deepStrictEqual(events, ["interrupted", "next"])
        }),
      testTimeout
    )

    it.scoped("grants nothing to a waiter that was cut off while it waited", () =>
      Effect.gen(function*() {
        const { port } = yield* Server
        const link = yield* Link.make(port)
        const name = newName()
        const lease = "1 second"
        const [near, far] = yield* Effect.all([
          locks({ lease }),
          locksAt(`postgres://test@127.0.0.1:${link.port}/postgres`, { lease })
        ])
        const holder = yield* held(name, near, untilWaiting(1).pipe(Effect.zipRight(Effect.sync(link.cut))))
        let inside = 0
        const waiter = yield* Effect.fork(
          Effect.provide(FileLock.withLock(Effect.sync(() => ++inside), name), far)
        )
        yield* Fiber.join(holder)
        // The server has granted the lock to the session that is cut off, and takes it back after a lease.
        yield* Effect.provide(FileLock.withLock(Effect.sync(() => assert.strictEqual(inside, 0)), name), near)
        yield* untilFree
        link.mend()
        yield* Fiber.join(waiter)
        assert.strictEqual(inside, 1)
      }), testTimeout)

    it.scoped(
      "loses its locks when the server is restarted, and its waiters go on waiting",
      () =>
        Effect.gen(function*() {
          const { port, psql, restart } = yield* Server
          const name = newName()
          const socket = encodeURIComponent(psql("show unix_socket_directories"))
          const [first, second] = yield* Effect.all([locks(), locksAt(`postgres://test@${socket}:${port}/postgres`)])
          const fence = yield* Effect.provide(
            Effect.scoped(Effect.map(FileLock.acquire(name), ({ fence }) => fence)),
            first
          )
          const holder = yield* held(name, first, Effect.never)
          const waiter = yield* Effect.fork(
            Effect.provide(Effect.scoped(Effect.map(FileLock.acquire(name), ({ fence }) => fence)), second)
          )
          yield* untilWaiting(1)
          yield* restart
          assert.propertyVal(lossOf(yield* Fiber.join(holder)), "reason", "BackendUnavailable")
          assert.isAbove(Number(Option.getOrThrow(yield* Fiber.join(waiter))), Number(Option.getOrThrow(fence)))
        }),
      testTimeout
    )

    it.scoped("is a backend that tells at once that the server cannot be reached", () =>
      Effect.gen(function*() {
        for (const port of [1, 70_000]) {
          const backend = yield* PostgresBackend.make({ host: "127.0.0.1", port })
          const error = yield* Effect.flip(backend.inspect({ path: "x", lockPath: "x.lock" }))
          assert.instanceOf(error, LockBackend.BackendError)
          assert.strictEqual(error.reason, "BackendUnavailable")
        }
      }), testTimeout)
  })

  it.scopedLive("refuses a standby", () =>
    Effect.gen(function*() {
      const { url } = yield* Postgres.make({}, "standby")
      const error = yield* Effect.flip(
        Effect.provide(Effect.scoped(FileLock.acquire("x", { timeout: "20 seconds" })), yield* locksAt(url))
      )
      assert.propertyVal(error, "reason", "BackendUnavailable")
      assert.include(error.message, "standby")
    }), testTimeout)
})

Requirement.describeWhere(Pgbouncer.isInstalled && Postgres.isInstalled)(
  "PostgresBackend behind a pooler",
  () => {
    layer(server, { excludeTestServices: true })("on a server", (it) => {
      const failure = (url: string, options?: PostgresBackend.Options) =>
        Effect.flatMap(
          locksAt(url, options),
          (program) =>
            Effect.flip(Effect.provide(Effect.scoped(FileLock.acquire("x", { timeout: "20 seconds" })), program))
        )

      for (const mode of ["transaction", "statement"] as const) {
        it.scoped(`in ${mode} mode is refused, with the reason`, () =>
          Effect.gen(function*() {
            const url = yield* Pgbouncer.make((yield* Server).port, mode)
            const error = yield* failure(url)
            assert.propertyVal(error, "reason", "BackendUnavailable")
            assert.include(error.message, "pooler in transaction mode")
            assert.include((yield* failure(url, { pooler: "session" })).message, "pooler in transaction mode")
          }), testTimeout)
      }

      it.scoped(
        "in session mode is refused until the program says that it is in that mode",
        () =>
          Effect.gen(function*() {
            const { port, psql } = yield* Server
            const url = yield* Pgbouncer.make(port, "session")
            assert.include((yield* failure(url)).message, "pooler: \"session\"")
            const [first, second] = yield* Effect.all([
              locksAt(url, { pooler: "session" }),
              locksAt(url, { pooler: "session" })
            ])
            const name = newName()
            const inside = Effect.provide(FileLock.acquireIfAvailable(name), second)
            assert.isTrue(Option.isNone(yield* Effect.provide(FileLock.withLock(inside, name), first)))
            assert.isTrue(Option.isSome(yield* inside))
            yield* Effect.sync(() => assert.deepStrictEqual(sessions(psql), [1, 0]))
          }),
        testTimeout
      )
    })
  }
)
