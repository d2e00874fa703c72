import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as LockBackend from "../../LockBackend.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import type { Channel } from "../handover/channel.js"
import type { DiskError } from "./disk.js"
import * as Protocol from "./protocol.js"
import type { Readers } from "./readers.js"
import { holderOf } from "./record.js"
import { refused } from "./refusal.js"
import type { Requests } from "./requests.js"
import type { Check } from "./staleness.js"

/** How often the breaking of a lock is tried again while other processes take it over, and for how long. */
const breakInterval = Duration.millis(5)
const breakTimeout = Duration.seconds(10)

/** A live holder whose lock is broken may be about to unlink it: our record stays for as long, so that it is ours that goes. */
const breakPause = Duration.seconds(1)

type LockBackendService = Context.Tag.Service<LockBackend.LockBackend>

/** What a person does with a lock: to look at it, and to break it. */
export const make = (options: {
  readonly protocol: Protocol.Protocol
  readonly readers: Readers
  readonly requests: Requests
  readonly identity: ProcessIdentity
  readonly staleness: Check
  readonly channel: Channel
  /** Whether messages come from this process to a holder. */
  readonly canReach: (holder: LockHolder) => boolean
}): Pick<LockBackendService, "inspect" | "breakLock"> => {
  const { canReach, channel, identity, protocol, readers, requests, staleness } = options

  const stateOf = (holder: LockHolder): Effect.Effect<LockBackend.State> =>
    Effect.map(
      identity.isAlive(holder),
      (liveness) => liveness === "alive" ? "held" : liveness === "dead" ? "abandoned" : "unverifiable"
    )

  const inspect: LockBackendService["inspect"] = (key) => {
    const place = Protocol.placeOf(key.lockPath)
    const status = (
      state: LockBackend.State,
      mode: LockBackend.Mode,
      holders: ReadonlyArray<LockHolder>,
      before: ReadonlyArray<LockHolder> = []
    ): Effect.Effect<Option.Option<LockBackend.LockStatus>> =>
      Effect.map(Effect.orElseSucceed(requests.list(place), () => []), (requests) => {
        const waiters = [...before, ...requests.map(({ holder }) => holder)]
        const isHolder = ({ token }: LockHolder) => holders.some((holder) => holder.token === token)
        return Option.some({ state, mode, holders, waiters: waiters.filter((waiter) => !isHolder(waiter)) })
      })
    return Effect.gen(function*() {
      const seen = yield* Effect.suspend(() => protocol.read(key.lockPath))
      const found = yield* Effect.forEach(
        yield* Effect.suspend(() => readers.list(place)),
        ({ holder }) => Effect.map(stateOf(holder), (state) => ({ holder, state }))
      )
      const alive = found.filter(({ state }) => state !== "abandoned")
      // The process that has the lock file while there are readers waits for them, or is about to be one.
      if (seen._tag !== "Foreign" && (alive.length > 0 || (seen._tag === "Absent" && found.length > 0))) {
        const holders = alive.length > 0 ? alive : found
        const lockFile = holderOf(seen)
        return yield* status(
          holders.some(({ state }) => state === "held") ? "held" : holders[0]?.state ?? "abandoned",
          "shared",
          holders.map(({ holder }) => holder),
          lockFile === undefined ? [] : [lockFile]
        )
      }
      switch (seen._tag) {
        case "Absent":
          return Option.none()
        case "Foreign":
          return yield* status("foreign", "exclusive", [])
        case "Zeros": {
          const { _tag } = yield* staleness.check(key.lockPath, seen)
          return yield* status(_tag === "Stale" ? "abandoned" : "foreign", "exclusive", [])
        }
        case "Flock":
          return seen.holder === undefined
            ? yield* status("foreign", "exclusive", [])
            : yield* status(yield* stateOf(seen.holder), "exclusive", [seen.holder])
        case "Record":
          return yield* status(yield* stateOf(seen.holder), "exclusive", [seen.holder])
      }
    }).pipe(Effect.mapError((error) => refused(error)))
  }

  /** The lock of a live holder is broken: it looks now, and not at its next heartbeat. */
  const tell = (holder: LockHolder): Effect.Effect<void> =>
    Effect.sync(() => {
      const { instance, token } = holder
      if (canReach(holder)) channel.send(instance, { _tag: "moved", token, owner: token })
    })

  /** A beat of a live holder, or a process that takes the lock over, can come between; both pass. */
  const breakOnce = (place: Protocol.Place, holder: LockHolder): Effect.Effect<boolean, DiskError> =>
    Effect.gen(function*() {
      const { token } = holder
      const seen = yield* protocol.read(place.lockPath)
      if (seen._tag !== "Record" || seen.holder.token !== token) {
        return yield* breakReader(place, holder)
      }
      const isDead = (yield* identity.isAlive(seen.holder)) === "dead"
      const broken = yield* Effect.uninterruptible(
        Effect.flatMap(protocol.takeOver(place, 0, seen, "breakLock"), (taken) =>
          taken._tag === "Published"
            ? Effect.zipRight(
              isDead ? Effect.void : Effect.zipRight(tell(seen.holder), Effect.sleep(breakPause)),
              Effect.as(Effect.suspend(() => protocol.remove(place, 0, taken.own)), true)
            )
            : Effect.succeed(false))
      )
      if (broken) {
        return true
      }
      yield* Effect.sleep(breakInterval)
      return yield* breakOnce(place, holder)
    })

  const breakReader = (place: Protocol.Place, holder: LockHolder): Effect.Effect<boolean, DiskError> =>
    Effect.uninterruptible(
      Effect.tap(readers.evict(place, holder.token), (isBroken) => isBroken ? tell(holder) : Effect.void)
    )

  const breakLock: LockBackendService["breakLock"] = (key, holder) =>
    breakOnce(Protocol.placeOf(key.lockPath), holder).pipe(
      Effect.mapError((error) => refused(error)),
      Effect.timeoutFail({
        duration: breakTimeout,
        onTimeout: () =>
          new LockBackend.BackendError({
            reason: "SystemError",
            cause: new Error("other processes are taking the lock over")
          })
      })
    )

  return { inspect, breakLock }
}
