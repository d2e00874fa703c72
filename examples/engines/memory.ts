import { Clock, DateTime, Effect, Exit, Layer, Option } from "effect"
import { FileLock, LockBackend, LockLostError, ProcessIdentity } from "effect-filelock"
import type { LockHolder } from "effect-filelock"

/** What all programs see: here a map, elsewhere a table or a server. */
export class Shared {
  readonly holders = new Map<string, LockHolder.LockHolder>()
  grants = 0
}

/** An engine that can only be polled. */
export const layer = (shared: Shared): Layer.Layer<LockBackend.LockBackend> =>
  Layer.effect(
    LockBackend.LockBackend,
    Effect.map(ProcessIdentity.ProcessIdentity, (identity) =>
      LockBackend.fromTryAcquire({
        canonical: (path) => Exit.succeed({ path, lockPath: `${path}.lock` }),
        tryAcquire: (key, request) =>
          Effect.gen(function*() {
            const holder = shared.holders.get(key.lockPath)
            if (holder !== undefined) {
              request.onBlocked({ state: "held", reason: "Timeout", holder })
              return Option.none()
            }
            const token = yield* identity.issueToken
            const acquiredAt = DateTime.unsafeMake(yield* Clock.currentTimeMillis)
            const own: LockHolder.LockHolder = { ...identity.info, token, acquiredAt }
            shared.holders.set(key.lockPath, own)
            const isHeld = () => shared.holders.get(key.lockPath) === own
            const lost = () => new LockLostError({ ...key, reason: "Removed" })
            return Option.some<LockBackend.Grant>({
              holder: own,
              mode: "exclusive",
              fence: Option.some(BigInt(++shared.grants) * BigInt(LockBackend.fenceStep)),
              recovered: false,
              verify: Effect.suspend(() => isHeld() ? Effect.void : Effect.fail(lost())),
              release: Effect.suspend(() => {
                if (isHeld()) shared.holders.delete(key.lockPath)
                else request.onLost(lost())
                return identity.retireToken(token)
              })
            })
          }),
        inspect: (key) =>
          Effect.sync(() =>
            Option.map(Option.fromNullable(shared.holders.get(key.lockPath)), (holder) => ({
              ...{ state: "held" as const, mode: "exclusive" as const },
              ...{ holders: [holder], waiters: [] }
            }))
          ),
        breakLock: (key, { token }) =>
          Effect.sync(() => shared.holders.get(key.lockPath)?.token === token && shared.holders.delete(key.lockPath))
      }))
  )

export const locks = (shared: Shared): Layer.Layer<FileLock.FileLock> =>
  FileLock.layerBackend().pipe(Layer.provide(layer(shared)))
