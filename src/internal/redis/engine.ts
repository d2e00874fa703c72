import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import type { BackendError, Blocked, Grant, LockBackend, LockKey, LockStatus, Request } from "../../LockBackend.js"
import { fenceStep } from "../../LockBackend.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import { canonical } from "../name.js"
import * as OwnHolder from "../ownHolder.js"
import * as Polling from "../polling.js"
import * as Runtime from "../runtime.js"
import * as Attempt from "./attempt.js"
import type { Client } from "./client.js"
import * as Grants from "./grant.js"
import * as Scripts from "./scripts.js"
import * as Server from "./server.js"
import * as Wakeups from "./wakeups.js"
import * as Withdrawals from "./withdrawals.js"

/** How often a waiter looks that is told of each release, in milliseconds, on average: the message may be lost. */
const lookInterval = 1_000

/** A key that is about to expire is looked at after so many milliseconds. */
const minPause = 5

/** For how long the number of the last grant is kept at least, in milliseconds. */
const minRetention = Duration.toMillis("1 day")

/** Another holder has the lock. */
interface Taken {
  readonly _tag: "Taken"
  readonly blocked: Blocked
  /** In milliseconds; `Infinity` for a key that does not. */
  readonly expiresIn: number
}

const timesOf = (lease: Duration.Duration): Grants.Times => {
  const millis = Math.ceil(Duration.toMillis(lease))
  return {
    lease: millis,
    limit: Math.min(millis / 4, 5_000),
    pause: Math.min(Math.max(millis / 30, 10), 1_000),
    retention: Math.max(minRetention, 10 * millis)
  }
}

export const make = (options: {
  readonly client: Client
  readonly identity: ProcessIdentity
  readonly lease: Duration.Duration
  readonly namespace: string
}): Effect.Effect<Context.Tag.Service<LockBackend>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const { client, identity, namespace } = options
    const times = timesOf(options.lease)
    const server = Server.make(client)
    const wakeups = yield* Wakeups.make(client)

    /** All keys of a lock are in one slot of a cluster: that of what is in the first braces. */
    const nameOf = ({ path }: LockKey): string => `{${namespace}:${path}}`

    // ---------------------------------------------------------------------------------------------
    // attempts
    // ---------------------------------------------------------------------------------------------

    const { retireToken } = identity
    const withdraw = yield* Withdrawals.make({ server, times, nameOf, retireToken })
    const context: Grants.Context = { server, times, nameOf, withdraw, retireToken, grants: new Set() }

    yield* client.listen({
      onConnected: () => {
        server.onConnected()
        // The server may have been restarted, and may have lost its data.
        for (const grant of context.grants) grant.renew()
      },
      onDisconnected: server.onDisconnected
    })

    /** An attempt that has not led to a lock. */
    const conclude = (key: LockKey, attempt: Attempt.Attempt): Effect.Effect<void> =>
      attempt.mayBeThere ? withdraw(key, attempt) : retireToken(attempt.holder.token)

    const taken = (value: string, expiresIn: number): Taken =>
      Option.match(OwnHolder.decode(value), {
        onNone: () => ({
          _tag: "Taken",
          expiresIn,
          blocked: { state: "foreign", reason: "Foreign", cause: new Error("it is a text of another program") }
        }),
        onSome: (holder) => ({
          _tag: "Taken",
          expiresIn,
          blocked: OwnHolder.blockedBy(identity, holder)
        })
      })

    /** To be run uninterruptibly: the renewal of a lock begins in the step in which the answer comes. */
    const ask = (
      key: LockKey,
      request: Request,
      attempt: Attempt.Attempt,
      limit: number
    ): Effect.Effect<Grants.RedisGrant | Taken, Server.CommandError> =>
      Effect.withFiberRuntime((fiber) => {
        const askedAt = Runtime.monotonic(fiber)
        const args = [attempt.record, String(times.lease), attempt.holder.token, String(times.retention)]
        return Effect.flatMap(server.send(Scripts.acquire, nameOf(key), args), (command) => {
          attempt.sent(command)
          return Effect.matchEffect(server.answerTo(command, limit), {
            onFailure: (error) => {
              // A script may also have failed after it has put the record there, and an answer that cannot be read may be a grant.
              attempt.inDoubt = true
              return Effect.fail(error)
            },
            onSuccess: (
              [outcome, first = "", second = ""]
            ): Effect.Effect<Grants.RedisGrant | Taken, Server.CommandError> => {
              attempt.inDoubt = false
              if (outcome === "taken") {
                const millis = Number(second)
                return Effect.succeed(taken(first, millis >= 0 ? millis : Infinity))
              }
              if (outcome === "foreign") {
                return Effect.fail(server.isForeign(first, second))
              }
              attempt.inDoubt = true
              if (outcome !== "granted" || !/^\d{1,16}$/.test(first)) {
                return Effect.fail(server.isStrange(outcome))
              }
              if (Runtime.monotonic(fiber) - askedAt >= times.lease * Grants.lossFraction) {
                return Effect.fail(server.isLate())
              }
              attempt.inDoubt = false
              const recovered = second === "silent"
              return Effect.succeed(
                new Grants.RedisGrant(
                  context,
                  key,
                  request,
                  attempt,
                  BigInt(first) * BigInt(fenceStep),
                  recovered,
                  askedAt,
                  fiber
                )
              )
            }
          })
        })
      })

    const tryAcquire = (key: LockKey, request: Request): Effect.Effect<Option.Option<Grant>, BackendError> =>
      Effect.uninterruptible(Effect.flatMap(Attempt.make(identity, request.label), (attempt) =>
        Effect.matchEffect(ask(key, request, attempt, Math.min(times.limit, Grants.stepTimeout)), {
          onFailure: (error) =>
            Effect.zipRight(conclude(key, attempt), Effect.fail(error.refusal)),
          onSuccess: (answer): Effect.Effect<Option.Option<Grant>> => {
            if (answer._tag === "Granted") {
              return Effect.succeedSome(answer)
            }
            request.onBlocked(answer.blocked)
            return Effect.as(conclude(key, attempt), Option.none())
          }
        })))

    // ---------------------------------------------------------------------------------------------
    // waiting
    // ---------------------------------------------------------------------------------------------

    const acquire = (key: LockKey, request: Request): Effect.Effect<Option.Option<Grant>, BackendError> =>
      Effect.uninterruptible(Effect.withFiberRuntime((fiber) => {
        const name = nameOf(key)
        const waiter = wakeups.join(name)
        const polling = Polling.make(request.schedule)
        let attempt: Attempt.Attempt | undefined
        /** When the schedule wants the next look; a look that comes sooner leaves it as it is. */
        let due: number | undefined

        const nextDue = Effect.suspend(() =>
          due !== undefined ? Effect.succeed(due) : Effect.map(polling.next, (millis) => {
            due = millis === undefined ? undefined : Runtime.monotonic(fiber) + millis
            return due
          })
        )
        const bySchedule = Effect.flatMap(nextDue, (at) =>
          at === undefined ?
            Effect.succeed(false) :
            Effect.map(waiter.wait(at - Runtime.monotonic(fiber)), (isWoken) => {
              if (!isWoken) {
                due = undefined
              }
              return true
            }))
        /** Waits until it is time to look again; `false` when the schedule has ended. */
        const pause = (isListening: boolean, expiresIn: number): Effect.Effect<boolean> =>
          isListening && request.isDefaultSchedule
            ? Effect.flatMap(Random.next, (random) =>
              Effect.as(waiter.wait(Math.min(Math.max(expiresIn, minPause), lookInterval * (0.5 + random))), true))
            : bySchedule

        const again = (isListening: boolean, expiresIn: number): Effect.Effect<Option.Option<Grant>, BackendError> =>
          Effect.flatMap(
            Effect.zipRight(
              isListening ? Effect.void : wakeups.listen(name),
              Effect.interruptible(pause(isListening, expiresIn))
            ),
            (goesOn) =>
              goesOn ? look : Effect.succeedNone
          )

        const next = Effect.suspend(() =>
          attempt !== undefined ? Effect.succeed(attempt) : Effect.tap(
            Attempt.make(identity, request.label),
            (made) => {
              attempt = made
            }
          )
        )

        const look: Effect.Effect<Option.Option<Grant>, BackendError> = Effect.flatMap(next, (current) => {
          waiter.reset()
          // A release that comes after the look is told only then.
          const { isListening } = waiter
          return Effect.matchEffect(ask(key, request, current, times.limit), {
            onFailure: (error) => {
              if (!error.passes) {
                return Effect.fail(error.refusal)
              }
              request.onBlocked({ state: "held", reason: error.reason, cause: error.cause })
              return again(false, Infinity)
            },
            onSuccess: (answer): Effect.Effect<Option.Option<Grant>, BackendError> => {
              if (answer._tag === "Granted") {
                return Effect.succeedSome(answer)
              }
              request.onBlocked(answer.blocked)
              if (current.mayBeThere) {
                return again(isListening, answer.expiresIn)
              }
              attempt = undefined
              return Effect.zipRight(conclude(key, current), again(isListening, answer.expiresIn))
            }
          })
        })

        return Effect.onExit(look, (exit) => {
          wakeups.leave(fiber, name, waiter)
          return attempt === undefined || (Exit.isSuccess(exit) && Option.isSome(exit.value))
            ? Effect.void
            : conclude(key, attempt)
        })
      }))

    // ---------------------------------------------------------------------------------------------
    // inspection
    // ---------------------------------------------------------------------------------------------

    const run = (script: string, key: LockKey, args: ReadonlyArray<string>) =>
      Effect.mapError(server.run(script, nameOf(key), args, times.limit), ({ refusal }) =>
        refusal)

    const inspect: Context.Tag.Service<LockBackend>["inspect"] = (key) =>
      Effect.flatMap(
        run(Scripts.inspect, key, []),
        ([outcome, value]): Effect.Effect<Option.Option<LockStatus>> => {
          if (outcome === "free") {
            return Effect.succeedNone
          }
          const status = { mode: "exclusive", waiters: [] } as const
          return Option.match(outcome === "found" ? OwnHolder.decode(value) : Option.none(), {
            onNone: () =>
              Effect.succeedSome<LockStatus>({ ...status, state: "foreign", holders: [] }),
            onSome: (holder) =>
              Effect.map(identity.isAlive(holder), (liveness) =>
                Option.some<LockStatus>({
                  ...status,
                  // The lock of a process that cannot be checked from here has been renewed within the last lease.
                  state: liveness === "dead" ? "abandoned" : "held",
                  holders: [holder]
                }))
          })
        }
      )

    const breakLock: Context.Tag.Service<LockBackend>["breakLock"] = (key, holder) =>
      Effect.flatMap(run(Scripts.inspect, key, []), ([, value = ""]) =>
        Option.exists(OwnHolder.decode(value), ({ token }) =>
            token === holder.token)
          ? Effect.map(run(Scripts.remove, key, [value, nameOf(key)]), ([outcome]) =>
            outcome === "removed")
          : Effect.succeed(false))

    return { canonical, tryAcquire, acquire, inspect, breakLock }
  })
