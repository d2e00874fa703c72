import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as LockBackend from "../../LockBackend.js"
import { LockLostError } from "../../LockError.js"
import type { LockHolder } from "../../LockHolder.js"
import type { Endpoint } from "../handover/channel.js"
import { type Context as HandoverContext, HolderQueue, lookPause } from "../handover/holderQueue.js"
import type { Message } from "../handover/message.js"
import * as Immediate from "../immediate.js"
import * as Runtime from "../runtime.js"
import type { Cleanup } from "./cleanup.js"
import type { Disk } from "./disk.js"
import type { Heartbeat } from "./heartbeat.js"
import type { OwnRecord } from "./ownRecord.js"
import type { Place } from "./protocol.js"
import * as Readers from "./readers.js"
import { holderOf } from "./record.js"
import { Gone, Member } from "./round.js"

/** What the locks that one engine holds have in common. */
export interface Context extends HandoverContext {
  readonly disk: Disk
  readonly heartbeat: Heartbeat
  readonly cleanup: Cleanup
  readonly readers: Readers.Readers
  /** Where a lock was granted last. */
  lastPath: string
}

/** A file that is ours, and says that we have the lock. What is seldom asked for is made when it is. */
abstract class Held {
  readonly fence = Option.none()
  protected readonly member: Member

  constructor(
    protected readonly context: Context,
    readonly key: LockBackend.LockKey,
    readonly request: LockBackend.Request,
    protected readonly own: OwnRecord,
    readonly recovered: boolean,
    readonly place: Place,
    /** The file, if it is not the lock file. */
    file: Place,
    readonly fiber: Runtime.RuntimeFiber
  ) {
    this.member = new Member(file, own, fiber, (gone) => this.onGone(gone), place)
    context.heartbeat.add(this.member)
    if (recovered || key.lockPath !== context.lastPath) {
      context.lastPath = key.lockPath
      context.cleanup.start(fiber, key.lockPath, recovered)
    }
  }

  get holder(): LockHolder {
    return this.own.holder
  }

  get verify(): Effect.Effect<void, LockLostError> {
    return Immediate.suspend(() =>
      Immediate.matchEffect(this.context.heartbeat.verify(this.member), {
        onSuccess: () => Exit.void,
        onFailure: (gone) => Exit.fail(this.toLoss(gone))
      })
    )
  }

  /** A process says that it has removed our record. On a local disk it is known when this returns whether that is so. */
  protected isGone(): boolean {
    let isGone = false
    const onFailure = ({ holder, reason }: Gone): Exit.Exit<void> => {
      isGone = reason !== "BackendUnavailable"
      // What is in its place for the moment is the record of that process.
      if (isGone && !this.member.removed) this.onGone(new Gone({ reason: "Removed", holder }))
      return Exit.void
    }
    Immediate.start(
      this.fiber,
      () => Immediate.matchEffect(this.context.heartbeat.look(this.member), { onSuccess: () => Exit.void, onFailure }),
      `The look at ${this.member.place.lockPath}`
    )
    return isGone
  }

  protected onGone(gone: Gone): void {
    this.request.onLost(this.toLoss(gone))
  }

  /** Another process may have acted since the last heartbeat. */
  get isLate(): boolean {
    return this.context.protocol.isLate(this.own)
  }

  private toLoss({ cause, holder, reason }: Gone): LockLostError {
    const at = DateTime.unsafeMake(Runtime.wallClock(this.fiber))
    return new LockLostError({ ...this.key, reason, holder, cause, at })
  }
}

/** The lock file is ours. */
export class LockFileGrant extends Held implements LockBackend.Grant {
  readonly mode = "exclusive"
  /** The waiters of other processes. */
  readonly queue: HolderQueue
  /** Called at a loss, while it waits for readers and the lock is not granted to the request. */
  onLostEarly: (() => void) | undefined

  constructor(
    context: Context,
    key: LockBackend.LockKey,
    request: LockBackend.Request,
    own: OwnRecord,
    recovered: boolean,
    queue: ReadonlyArray<string> | "unknown" | "untold" | undefined,
    place: Place,
    fiber: Runtime.RuntimeFiber
  ) {
    super(context, key, request, own, recovered, place, place, fiber)
    this.queue = new HolderQueue(context, place, own.token, fiber, queue, () => this.isGone())
  }

  protected override onGone(gone: Gone): void {
    if (this.onLostEarly === undefined) super.onGone(gone)
    else this.onLostEarly()
  }

  isAwaited(): boolean {
    return this.queue.isAwaited
  }

  get release(): Effect.Effect<void> {
    return Immediate.suspend(() =>
      Immediate.flatMap(
        this.context.heartbeat.remove(this.member),
        () =>
          Immediate.flatMap(
            this.context.protocol.remove(this.place, 0, this.own),
            (removed) =>
              Immediate.andThen(
                this.queue.handOver(),
                () => removed ? Exit.void : Immediate.map(this.gone, (gone) => this.onGone(gone))
              )
          )
      )
    )
  }

  /** What became of a lock that was not ours any more when it was released. */
  private get gone(): Effect.Effect<Gone> {
    const { lockPath } = this.place
    return Immediate.matchEffect(this.context.protocol.read(lockPath), {
      onFailure: () => Effect.succeed(new Gone({ reason: "Removed" })),
      onSuccess: (seen) =>
        Effect.as(
          // The next holder may have found first that the process has ended.
          this.own.onBehalf
            ? Effect.void
            : Effect.logWarning(`The lock ${lockPath} was not ours any more when it was released`),
          new Gone({ reason: seen._tag === "Absent" ? "Removed" : "Replaced", holder: holderOf(seen) })
        )
    })
  }
}

/** We share the lock. */
export class ReaderGrant extends Held implements LockBackend.Grant, Endpoint {
  readonly mode = "shared"
  private lookedAt = -Infinity

  constructor(
    context: Context,
    key: LockBackend.LockKey,
    request: LockBackend.Request,
    own: OwnRecord,
    recovered: boolean,
    place: Place,
    fiber: Runtime.RuntimeFiber
  ) {
    super(context, key, request, own, recovered, place, Readers.placeOf(place, own.token), fiber)
    context.channel.attach(own.token, this)
  }

  hear({ _tag }: Message): boolean {
    const { now } = this.member
    if (_tag !== "moved" || this.member.removed || now - this.lookedAt < lookPause) {
      return false
    }
    this.lookedAt = now
    return this.isGone()
  }

  get release(): Effect.Effect<void> {
    return Immediate.suspend(() =>
      Immediate.flatMap(this.context.heartbeat.remove(this.member), () => {
        this.context.channel.detach(this.own.token)
        return Immediate.flatMap(this.context.readers.leave(this.place, this.own), (removed) => {
          if (!removed) this.onGone(new Gone({ reason: "Removed" }))
          return Exit.void
        })
      })
    )
  }
}
