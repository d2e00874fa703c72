import type { PlatformError } from "@effect/platform/Error"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as FileLock from "../../FileLock.js"
import type { LockAcquisitionError, LockDirectoryError, LockLostError } from "../../LockError.js"
import * as Immediate from "../immediate.js"
import { toMillis, type WithHeld } from "../lock/fileLock.js"
import type { HeldLock } from "../lock/heldLock.js"
import { type Alarm, timerOf } from "../lock/timer.js"
import * as Runtime from "../runtime.js"
import type { Writer } from "./files.js"

export type Failure = LockAcquisitionError | LockDirectoryError | LockLostError | PlatformError

/** What becomes of a content. One that is known at once is an `Exit`. */
export type Change<E, R> = (current: Option.Option<Uint8Array>) => Effect.Effect<Uint8Array, E, R>

/** One that waits for its change to be written together with those of others. */
interface Member {
  readonly change: Change<unknown, unknown>
  /** On the monotonic clock, in milliseconds. */
  readonly deadline: number
  /** Another one writes it just now. */
  taken: boolean
  /** Goes on in its own fiber. */
  readonly resume: (effect: Effect.Effect<void, unknown, unknown>) => void
  /** Waits, when it is interrupted, until what is written is written. */
  onEnd: (() => void) | undefined
}

export interface Options {
  readonly lock: FileLock.LockOptions
  readonly fsync: boolean
}

const currentOf = (writer: Writer, held: HeldLock): Effect.Effect<Option.Option<Uint8Array>, PlatformError> =>
  Effect.matchEffect(writer.files.read(held.key.path), {
    onSuccess: (content) => Effect.succeedSome(content),
    onFailure: (error) =>
      error._tag === "SystemError" && error.reason === "NotFound" ? Effect.succeedNone : Effect.fail(error)
  })

/**
 * The updates of one service. Fibers that update one file at the same time have the lock once and write once for all of them: the first one
 * that has the lock applies the changes of those that wait, one after the other. A change that fails leaves the content to the next one as it
 * was. One that is not known at once, since it is an effect that has to be run, waits for the lock by itself.
 */
export class Updates {
  /** Those that wait for the first one of them to have the lock, by path. */
  private readonly groups = new Map<string, Set<Member>>()

  constructor(private readonly writer: Writer, private readonly withHeld: WithHeld) {}

  /** `mayJoin`: the fiber is inside no other critical section, whose end others may wait for. */
  update<E, R>(
    path: string,
    change: Change<E, R>,
    options: Options,
    mayJoin: boolean
  ): Effect.Effect<void, E | Failure, R> {
    return Effect.withFiberRuntime<void, E | Failure, R>((fiber) => {
      const { label, schedule } = options.lock
      if (!mayJoin || label !== undefined || schedule !== undefined) {
        return this.alone(path, change, options)
      }
      const name = `${options.fsync}:${path}`
      const group = this.groups.get(name)
      return group === undefined
        ? this.lead(name, path, change, options)
        : this.join(group, path, change, options, fiber)
    })
  }

  /** The first one waits for the lock. Where it does not get it, another one of those that wait is the first. */
  private lead<E, R>(
    name: string,
    path: string,
    change: Change<E, R>,
    options: Options
  ): Effect.Effect<void, E | Failure, R> {
    const group = new Set<Member>()
    this.groups.set(name, group)
    const close = () => {
      if (this.groups.get(name) === group) this.groups.delete(name)
    }
    return Effect.ensuring(
      this.write(path, change, options, group, close),
      Effect.sync(() => {
        close()
        for (const member of group) {
          member.resume(until(member, options, (options) => this.update(path, member.change, options, true)))
        }
      })
    )
  }

  private join<E, R>(
    group: Set<Member>,
    path: string,
    change: Change<E, R>,
    options: Options,
    fiber: Runtime.RuntimeFiber
  ): Effect.Effect<void, E | Failure, R> {
    return Effect.async<void, E | Failure, R>((resume) => {
      const timer = timerOf(fiber)
      const deadline = Runtime.monotonic(fiber) + toMillis(options.lock.timeout)
      const end = () => {
        group.delete(member)
        if (alarm !== undefined) timer.cancel(fiber, alarm)
      }
      const member: Member = {
        change,
        deadline,
        taken: false,
        resume: (effect) => {
          end()
          resume(effect as Effect.Effect<void, E | Failure, R>)
          member.onEnd?.()
        },
        onEnd: undefined
      }
      const alarm: Alarm | undefined = deadline === Infinity ? undefined : {
        at: deadline,
        run: () => {
          // What keeps it from the lock is told by the lock.
          if (!member.taken) member.resume(until(member, options, (options) => this.alone(path, change, options)))
        }
      }
      if (alarm !== undefined) timer.add(fiber, alarm)
      group.add(member)
      return Effect.async<void>((resume) => {
        if (!member.taken) {
          end()
          resume(Effect.void)
        } else {
          member.onEnd = () => resume(Effect.void)
        }
      })
    })
  }

  private alone<E, R>(path: string, change: Change<E, R>, options: Options): Effect.Effect<void, E | Failure, R> {
    return this.write(path, change, options, new Set())
  }

  /** Has the lock, and writes once what comes of the own change and of those of a group. */
  private write<E, R>(
    path: string,
    change: Change<E, R>,
    options: Options,
    group: Set<Member>,
    close = () => {}
  ): Effect.Effect<void, E | Failure, R> {
    const { writer } = this
    const taken: Array<Member> = []
    const body = (held: HeldLock) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          let current = yield* currentOf(writer, held)
          const own = yield* Effect.exit(restore(Effect.suspend(() => change(current))))
          let changes = 0
          const apply = (exit: Exit.Exit<Uint8Array, unknown>) => {
            if (Exit.isSuccess(exit)) {
              current = Option.some(exit.value)
              changes += 1
            }
            return Exit.isSuccess(exit)
          }
          apply(own)
          for (const member of group) {
            const exit = Immediate.begin(Immediate.suspend(() => member.change(current)))
            if (!Immediate.isExit(exit)) {
              member.resume(until(member, options, (options) => alone(member, options)))
            } else if (apply(exit)) {
              member.taken = true
              taken.push(member)
              group.delete(member)
            } else {
              member.resume(Exit.asVoid(exit))
            }
          }
          close()
          if (changes > 0 && Option.isSome(current)) yield* writer.replace(held, current.value, options.fsync)
          return own
        })
      )
    const alone = (member: Member, options: Options) => this.alone(path, member.change, options)
    return Effect.onExit(this.withHeld(body, path, options.lock), (exit) =>
      Effect.sync(() => {
        const outcome = Exit.isSuccess(exit) ? Exit.void : Exit.failCause(exit.cause)
        for (const member of taken) member.resume(outcome)
      })).pipe(Effect.flatMap((own) => Exit.asVoid(own)))
  }
}

/** With the time that is left. */
const until = <A, E, R>(
  { deadline }: Member,
  { fsync, lock }: Options,
  run: (options: Options) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime((fiber) => {
    const left = Math.max(0, deadline - Runtime.monotonic(fiber))
    return run({ fsync, lock: { ...lock, timeout: left === Infinity ? "infinity" : left } })
  })
