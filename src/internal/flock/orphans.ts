import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as LockBackend from "../../LockBackend.js"
import * as Runtime from "../runtime.js"
import type { Kernel } from "./nodeKernel.js"
import type { OpenFile } from "./nodeOpenFile.js"

/** How long a file that was removed stays locked, in milliseconds. */
const grace = 1_000

/** How many of them: each takes a descriptor. */
const maxOrphans = 128

/** How often it is asked whether a visitor has left. */
const pause = Duration.millis(5)

interface Orphan {
  readonly file: OpenFile
  readonly key: LockBackend.LockKey
  readonly fiber: Runtime.RuntimeFiber
  readonly until: number
}

/**
 * The files of locks that were removed just now. They stay locked for a while: a program that was about to open the file when it lost its
 * name, and was held up between finding it by that name and opening it, does not show in a lease. It waits for the file then.
 *
 * Such a visitor is let in while we have the lock that has the name now.
 */
export class Orphans {
  private readonly orphans: Array<Orphan> = []
  private sleeper: Runtime.Sleeper | undefined

  constructor(
    private readonly kernel: Kernel,
    /** Waits for the lock. */
    private readonly acquire: (
      key: LockBackend.LockKey
    ) => Effect.Effect<Option.Option<LockBackend.Grant>, unknown>
  ) {}

  add(file: OpenFile, key: LockBackend.LockKey, fiber: Runtime.RuntimeFiber): void {
    this.orphans.push({ file, key, fiber, until: Runtime.monotonic(fiber) + grace })
    if (this.orphans.length > maxOrphans) this.closeOldest()
    this.wait(fiber)
  }

  /** Nothing waits for it: a program that has ended has nothing locked any more. */
  private wait(fiber: Runtime.RuntimeFiber): void {
    if (this.sleeper === undefined && this.orphans.length > 0) {
      this.sleeper = Runtime.systemSleep(fiber, grace, () => {
        this.sleeper = undefined
        while (this.orphans[0] !== undefined && this.orphans[0].until <= Runtime.monotonic(fiber)) this.closeOldest()
        this.wait(fiber)
      })
      this.sleeper.rest?.(false)
    }
  }

  private closeOldest(): void {
    const orphan = this.orphans.shift()
    if (orphan === undefined) {
      return
    }
    if (this.kernel.isLeased(orphan.file.descriptor)) orphan.file.close()
    else this.letIn(orphan.file, orphan.key, orphan.fiber)
  }

  /** For the time when there are no descriptors left. `false` if that frees none. */
  clear(): boolean {
    const hadSome = this.orphans.length > 0
    while (this.orphans.length > 0) this.closeOldest()
    return hadSome
  }

  /** Another program is about to lock a file that has no name any more. */
  letIn(file: OpenFile, key: LockBackend.LockKey, fiber: Runtime.RuntimeFiber): void {
    const { kernel } = this
    const { descriptor } = file
    /** The program that has it open has unlocked it, or has never locked it. */
    const untilAlone: Effect.Effect<void> = Effect.suspend(() => {
      kernel.unlock(descriptor)
      return Effect.flatMap(
        Effect.sleep(pause),
        () => kernel.tryLock(descriptor, "exclusive") && kernel.lease(descriptor) ? Exit.void : untilAlone
      )
    })
    Runtime.startUninterruptible(
      fiber,
      Effect.suspend(() => {
        kernel.endLease(descriptor)
        return this.acquire(key)
      }).pipe(
        Effect.flatMap((grant) =>
          Effect.ensuring(untilAlone, Option.isSome(grant) ? grant.value.release : Effect.void)
        ),
        Effect.catchAllCause((cause) =>
          Effect.logError(`Could not let a program in that waits for ${key.lockPath}`, cause)
        ),
        Effect.ensuring(Effect.sync(() => file.close()))
      )
    )
  }
}
