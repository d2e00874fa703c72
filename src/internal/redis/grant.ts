import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import type * as LockBackend from "../../LockBackend.js"
import { LockLostError, type LostReason } from "../../LockError.js"
import { formatDuration, type LockHolder } from "../../LockHolder.js"
import { type Alarm, type Timer, timerOf } from "../lock/timer.js"
import * as OwnHolder from "../ownHolder.js"
import * as Runtime from "../runtime.js"
import type { Attempt } from "./attempt.js"
import * as Scripts from "./scripts.js"
import type { CommandError, Server } from "./server.js"

/** The times of an engine, in milliseconds. */
export interface Times {
  /** After so long without a renewal the key expires. */
  readonly lease: number
  /** How long a command is waited for. */
  readonly limit: number
  /** Until the next try after a failed one. */
  readonly pause: number
  /** For how long the number of a grant is kept. */
  readonly retention: number
}

/** What the locks that one engine holds have in common. */
export interface Context {
  readonly server: Server
  readonly times: Times
  /** Those that are held. */
  readonly grants: Set<RedisGrant>
  readonly nameOf: (key: LockBackend.LockKey) => string
  /** Takes back, in the background, what an attempt has put at a lock or may still put there, and retires its token. */
  readonly withdraw: (key: LockBackend.LockKey, attempt: Attempt) => Effect.Effect<void>
  readonly retireToken: (token: string) => Effect.Effect<void>
}

/** The part of the lease after which a lock that could not be renewed counts as lost. */
export const lossFraction = 2 / 3

const never: Alarm = { at: Infinity, run: constVoid }

/** In milliseconds. The core waits for a release, and for a single attempt, for a second. */
export const stepTimeout = 900

/**
 * A key that is ours. It is renewed at a third of the lease.
 *
 * The time counts from before a command was sent, so the key can only expire later. At two thirds of the lease without a successful renewal
 * the lock counts as lost: the last third is for the holder to stop, and for clocks that run at unequal rates.
 */
export class RedisGrant implements LockBackend.Grant {
  readonly _tag = "Granted"
  readonly mode = "exclusive"
  readonly fence: Option.Option<bigint>
  /** It was released, or its loss was told. */
  private ended = false
  private heardAt = -Infinity
  private failure: CommandError | undefined
  private due = never
  private deadline = never
  private readonly timer: Timer

  constructor(
    private readonly context: Context,
    private readonly key: LockBackend.LockKey,
    private readonly request: LockBackend.Request,
    private readonly attempt: Attempt,
    fence: bigint,
    readonly recovered: boolean,
    askedAt: number,
    private readonly fiber: Runtime.RuntimeFiber
  ) {
    this.fence = Option.some(fence)
    this.timer = timerOf(fiber)
    this.hear(askedAt)
    context.grants.add(this)
  }

  get holder(): LockHolder {
    return this.attempt.holder
  }

  /** Renews it now. */
  renew(): void {
    if (this.ended) {
      return
    }
    const onFailure = (error: CommandError | LockLostError): Effect.Effect<void> =>
      Effect.sync(() => {
        if (error._tag === "LockLostError") {
          this.lose(error)
        } else if (!this.ended) {
          this.failure = error
          this.renewAt(this.now + this.context.times.pause)
        }
      })
    Runtime.start(this.fiber, Effect.catchAll(this.beat, onFailure))
  }

  get verify(): Effect.Effect<void, LockLostError> {
    return Effect.catchTag(
      this.beat,
      "CommandError",
      ({ cause }) => Effect.fail(this.loss("BackendUnavailable", { cause }))
    )
  }

  get release(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const wasLost = this.ended
      this.end()
      const { attempt, context, key } = this
      return Effect.matchEffect(this.tryToRelease(this.now + stepTimeout, wasLost), {
        // The answer to an earlier command may have been lost.
        onSuccess: () => attempt.underWay.size > 0 ? context.withdraw(key, attempt) : this.retire,
        onFailure: ({ cause }) =>
          Effect.zipRight(
            Effect.logWarning(
              `Could not release ${key.lockPath}: ${cause.message}. It is tried again in the background, and the lock expires ` +
                `${formatDuration(context.times.lease)} after its last renewal`
            ),
            context.withdraw(key, attempt)
          )
      })
    })
  }

  private get retire(): Effect.Effect<void> {
    return this.context.retireToken(this.holder.token)
  }

  /**
   * An answer is waited for as long as there is time. The script may have been run already, and what a second one finds may be the
   * work of the next holder.
   */
  private tryToRelease(until: number, wasLost: boolean): Effect.Effect<void, CommandError> {
    const { pause, retention } = this.context.times
    const args = [this.context.nameOf(this.key), this.holder.token, String(retention)]
    return Effect.matchEffect(
      Effect.suspend(() => this.run(Scripts.release, args, until - this.now)),
      {
        onSuccess: ([outcome, value]) => {
          if (outcome === "released" || wasLost) {
            return Effect.void
          }
          this.request.onLost(this.gone(outcome, value))
          return Effect.logWarning(`The lock ${this.key.lockPath} was not ours any more when it was released`)
        },
        onFailure: (error) =>
          error.passes && this.now + pause < until
            ? Effect.zipRight(Effect.sleep(pause), this.tryToRelease(until, wasLost))
            : Effect.fail(error)
      }
    )
  }

  /** Asks whether it is still ours, and renews it if it is. */
  private get beat(): Effect.Effect<void, CommandError | LockLostError> {
    return Effect.suspend(() => {
      const askedAt = this.now
      const { server, times: { lease, limit } } = this.context
      const asked = this.run(Scripts.renew, [String(lease)], limit)
      return Effect.flatMap(asked, ([outcome, value]): Effect.Effect<void, CommandError | LockLostError> => {
        if (outcome !== "kept") {
          return Effect.fail(this.gone(outcome, value))
        }
        // The process stood still: the key may have expired since.
        if (this.now - askedAt >= lease * lossFraction) {
          return Effect.fail(server.isLate())
        }
        this.hear(askedAt)
        return Effect.void
      })
    })
  }

  private run(script: string, args: ReadonlyArray<string>, limit: number) {
    const { nameOf, server } = this.context
    return server.run(script, nameOf(this.key), [this.attempt.record, ...args], limit)
  }

  /** The server had the key at some time after this one. */
  private hear(askedAt: number): void {
    const { lease } = this.context.times
    if (!this.ended && askedAt > this.heardAt) {
      this.heardAt = askedAt
      this.failure = undefined
      this.renewAt(askedAt + lease / 3)
      this.timer.cancel(this.fiber, this.deadline)
      this.deadline = { at: askedAt + lease * lossFraction, run: () => this.expire() }
      this.timer.add(this.fiber, this.deadline)
    }
  }

  private renewAt(at: number): void {
    this.timer.cancel(this.fiber, this.due)
    this.due = { at, run: () => this.renew() }
    this.timer.add(this.fiber, this.due)
  }

  private expire(): void {
    this.lose(this.loss("LeaseExpired", { cause: this.failure?.cause }))
  }

  private lose(loss: LockLostError): void {
    if (!this.ended) {
      this.end()
      this.request.onLost(loss)
    }
  }

  private end(): void {
    this.ended = true
    this.context.grants.delete(this)
    this.timer.cancel(this.fiber, this.due)
    this.timer.cancel(this.fiber, this.deadline)
  }

  /** What a script has found in the place of the record. */
  private gone(outcome: string, value: string | undefined): LockLostError {
    return outcome === "gone" && value === undefined
      ? this.loss("Removed", {})
      : this.loss("Replaced", { holder: Option.getOrUndefined(OwnHolder.decode(value)) })
  }

  private loss(reason: LostReason, details: Pick<LockLostError, "holder" | "cause">): LockLostError {
    const at = DateTime.unsafeMake(Runtime.wallClock(this.fiber))
    return new LockLostError({ ...this.key, reason, at, ...details })
  }

  private get now(): number {
    return Runtime.monotonic(this.fiber)
  }
}
