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
  readonly requests: Requests
  readonly identity: ProcessIdentity
  readonly staleness: Check
  readonly channel: Channel
  /** Whether messages come from this process to a holder. */
  readonly canReach: (holder: LockHolder) => boolean
}): Pick<LockBackendService, "inspect" | "breakLock"> => {
  const { canReach, channel, identity, protocol, requests, staleness } = options

  const inspect: LockBackendService["inspect"] = (key) => {
    const place = Protocol.placeOf(key.lockPath)
    return Effect.matchEffect(Effect.suspend(() => protocol.read(key.lockPath)), {
      onFailure: (error) => Effect.fail(refused(error)),
      onSuccess: (seen) => {
        const status = (state: LockBackend.State, holders: ReadonlyArray<LockHolder> = []) =>
          Effect.map(
            Effect.orElseSucceed(requests.list(place), () => []),
            (requests) =>
              Option.some<LockBackend.LockStatus>({
                state,
                mode: "exclusive",
                holders,
                waiters: requests.map(({ holder }) => holder).filter(({ token }) =>
                  holders.every((holder) => holder.token !== token)
                )
              })
          )
        switch (seen._tag) {
          case "Absent":
            return Effect.succeedNone
          case "Foreign":
            return status("foreign")
          case "Zeros":
            return Effect.flatMap(
              staleness.check(key.lockPath, seen),
              ({ _tag }) => status(_tag === "Stale" ? "abandoned" : "foreign")
            )
          case "Record":
            return Effect.flatMap(identity.isAlive(seen.holder), (liveness) =>
              status(
                liveness === "alive" ? "held" : liveness === "dead" ? "abandoned" : "unverifiable",
                [seen.holder]
              ))
        }
      }
    })
  }

  /** The lock of a live holder is broken: it looks now, and not at its next heartbeat. */
  const tell = (holder: LockHolder): Effect.Effect<void> =>
    Effect.sync(() => {
      const { instance, token } = holder
      if (canReach(holder)) channel.send(instance, { _tag: "moved", token, owner: token })
    })

  /** A beat of a live holder, or a process that takes the lock over, can come between; both pass. */
  const breakOnce = (place: Protocol.Place, token: string): Effect.Effect<boolean, DiskError> =>
    Effect.gen(function*() {
      const seen = yield* protocol.read(place.lockPath)
      if (seen._tag !== "Record" || seen.holder.token !== token) {
        return false
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
      return yield* breakOnce(place, token)
    })

  const breakLock: LockBackendService["breakLock"] = (key, holder) =>
    breakOnce(Protocol.placeOf(key.lockPath), holder.token).pipe(
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
