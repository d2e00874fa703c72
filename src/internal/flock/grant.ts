import type * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as LockBackend from "../../LockBackend.js"
import { LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { ProcessIdentity } from "../../ProcessIdentity.js"
import type { Channel, Endpoint, Reply } from "../handover/channel.js"
import { instanceOf, maxQueue, type Message } from "../handover/message.js"
import * as Immediate from "../immediate.js"
import { type Alarm, timerAt } from "../lock/timer.js"
import type { DiskError } from "../lockFile/disk.js"
import * as Runtime from "../runtime.js"

/** How many waiters are told that the lock is free. The others look by themselves. */
const atOnce = 16

/** How often the holder looks whether the file is still there, in milliseconds: a person may have removed it by hand. */
const lookEvery = 1_000

const nobody: ReadonlySet<string> = new Set()

/** Why a lock is not ours any more, and who has it by now. */
export type Gone = Pick<LockLostError, "reason"> & { readonly holder?: LockHolder | undefined }

/** The file of a lock that is held. */
export interface HeldFile {
  /** `undefined` as long as the name of the lock is that of the file. */
  readonly gone: () => Effect.Effect<Gone | undefined, DiskError>
  /** Unlocks it, and removes it or leaves it to others. */
  readonly release: (isOurs: boolean) => Effect.Effect<void>
}

/** A lock of the kernel. The process has it until it releases it, or ends: there are no heartbeats. */
export class FlockGrant implements LockBackend.Grant, Endpoint {
  readonly fence = Option.none()
  readonly mode: LockBackend.Mode
  private readonly waiters = new Set<string>()
  private released = false
  private isLost = false
  private alarm: Alarm | undefined
  /** Its clock at the acquisition: the fiber may go by another one later. */
  private readonly clock: Clock.Clock

  constructor(
    private readonly channel: Channel,
    private readonly identity: ProcessIdentity,
    private readonly key: LockBackend.LockKey,
    private readonly request: LockBackend.Request,
    readonly holder: LockHolder,
    readonly recovered: boolean,
    readonly fiber: Runtime.RuntimeFiber,
    private readonly file: HeldFile
  ) {
    this.mode = request.mode
    this.clock = Runtime.clockOf(fiber)
    // Those that share a lock have no record that others could read.
    if (request.mode === "exclusive") channel.hold(key.lockPath, holder.token, this)
    this.lookLater()
  }

  private lookLater(): void {
    this.alarm = { at: Runtime.monotonicOf(this.clock) + lookEvery, run: () => this.look() }
    timerAt(this.clock).add(this.fiber, this.alarm)
  }

  private look(): void {
    const onGone = (gone: Gone | undefined): Effect.Effect<void> => {
      if (gone === undefined) this.lookLater()
      else this.lose(gone)
      return Exit.void
    }
    Immediate.start(
      this.fiber,
      () => Immediate.matchEffect(this.file.gone(), { onFailure: () => onGone(undefined), onSuccess: onGone }),
      `The look at ${this.key.lockPath}`
    )
  }

  private lose(gone: Gone): void {
    if (!this.isLost) {
      this.isLost = true
      this.request.onLost(this.toLoss(gone))
    }
  }

  hear(message: Message, reply: Reply): boolean {
    if (message._tag !== "wait" && message._tag !== "ready") {
      return false
    }
    if (this.released) {
      reply({ _tag: "moved", token: message.token, owner: message.owner })
      return false
    }
    const isNew = this.waiters.size < maxQueue && !this.waiters.has(message.token)
    if (isNew) this.waiters.add(message.token)
    return isNew
  }

  isAwaited(): boolean {
    return this.waiters.size > 0
  }

  get verify(): Effect.Effect<void, LockLostError> {
    return Immediate.suspend(() =>
      Immediate.matchEffect(this.file.gone(), {
        onFailure: ({ cause }) => Exit.fail(this.toLoss({ reason: "BackendUnavailable" }, cause)),
        onSuccess: (gone) => gone === undefined ? Exit.void : Exit.fail(this.toLoss(gone))
      })
    )
  }

  private toLoss(gone: Gone, cause?: unknown): LockLostError {
    const at = DateTime.unsafeMake(Runtime.wallClockOf(this.clock))
    return new LockLostError({ ...this.key, ...gone, cause, at })
  }

  get release(): Effect.Effect<void> {
    return Immediate.suspend(() => {
      if (this.alarm !== undefined) timerAt(this.clock).cancel(this.fiber, this.alarm)
      // Where the system does not say, the file is unlocked, and most likely stays.
      return Immediate.flatMap(
        Immediate.matchEffect(this.file.gone(), { onFailure: () => Exit.void, onSuccess: Exit.succeed }),
        (gone) => {
          const released = Immediate.andThen(this.file.release(gone === undefined), () => {
            this.tellWaiters()
            return this.identity.retireToken(this.holder.token)
          })
          return gone === undefined ? released : Immediate.andThen(released, () => {
            this.lose(gone)
            return Effect.logWarning(`The lock ${this.key.lockPath} was not ours any more when it was released`)
          })
        }
      )
    })
  }

  /** They look for themselves. The first one gets the lock. */
  private tellWaiters(): void {
    const { channel, holder: { token: owner }, key: { lockPath } } = this
    this.released = true
    if (this.mode === "shared") {
      return
    }
    channel.release(lockPath, owner, nobody)
    for (const token of [...this.waiters].slice(0, atOnce)) {
      channel.send(instanceOf(token), { _tag: "moved", token, owner })
    }
  }
}
