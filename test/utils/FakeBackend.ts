/**
 * An engine in memory, for the behaviour of the core: each step can be slowed down, refused or made to hang, and a lock can be lost on
 * demand.
 */
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as FileLock from "../../src/FileLock.js"
import * as LockBackend from "../../src/LockBackend.js"
import { LockLostError, type LostReason } from "../../src/LockError.js"
import type { LockHolder } from "../../src/LockHolder.js"
import { makeHolder } from "./records.js"

type Service = Context.Tag.Service<LockBackend.LockBackend>

/** What is done around a step of the engine. */
export type Around = <A, E>(step: Effect.Effect<A, E>) => Effect.Effect<A, E>

/** The steps, each of which may be changed while the engine is in use. */
export interface Steps {
  canonical: Around
  tryAcquire: Around
  release: Around
}

/** Someone who has a lock. */
interface Owner {
  readonly holder: LockHolder
  readonly mode: LockBackend.Mode
  readonly request: LockBackend.Request | undefined
  readonly key: LockBackend.LockKey
}

export interface FakeBackend {
  readonly service: Service
  /** Steps that were begun, in their order. */
  readonly calls: Array<string>
  readonly steps: Steps
  /** Puts the lock of another process there. */
  readonly occupy: (path: string, holder?: Partial<LockHolder>, state?: LockBackend.State) => void
  readonly free: (path: string) => void
  /** Lets this process lose a lock. */
  readonly lose: (path: string, reason?: LostReason) => void
  /** Whether other processes wait, as the engine says of each lock. `undefined`: it says nothing. */
  awaited: boolean | undefined
  /** Takes a lock away, so that only its release finds it gone. */
  readonly steal: (path: string) => void
  /** The holders of a lock now. */
  readonly holders: (path: string) => ReadonlyArray<LockHolder>
  /** How many calls of this kind were made. */
  readonly count: (call: string) => number
}

export interface Options {
  /** Grants `"shared"`. Default: everything is granted exclusively. */
  readonly shared?: boolean | undefined
  /** Runs everything in the caller's fiber. Default `false`. */
  readonly immediate?: boolean | undefined
}

const asItIs: Around = (step) => step

export const make = ({ immediate = false, shared = false }: Options = {}): FakeBackend => {
  const owners = new Map<string, Array<Owner>>()
  const states = new Map<string, LockBackend.State>()
  const calls: Array<string> = []
  const steps: Steps = { canonical: asItIs, tryAcquire: asItIs, release: asItIs }
  let serial = 0

  const keyOf = (path: string): LockBackend.LockKey => ({ path, lockPath: `${path}.lock` })
  const at = (path: string): Array<Owner> => {
    const there = owners.get(path) ?? []
    owners.set(path, there)
    return there
  }
  const lossOf = ({ key }: Owner, reason: LostReason) => new LockLostError({ ...key, reason })

  const step = <A, E>(name: keyof Steps, path: string, run: () => Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.suspend(() => {
      calls.push(`${name} ${path}`)
      return steps[name](Effect.suspend(run))
    })

  const toGrant = (owner: Owner): LockBackend.Grant => ({
    holder: owner.holder,
    mode: owner.mode,
    fence: Option.some(BigInt(serial)),
    recovered: false,
    ...(backend.awaited === undefined ? {} : { isAwaited: () => backend.awaited === true }),
    verify: Effect.suspend(() => at(owner.key.path).includes(owner) ? Effect.void : lossOf(owner, "Removed")),
    release: step("release", owner.key.path, () =>
      Effect.sync(() => {
        const there = at(owner.key.path)
        const index = there.indexOf(owner)
        if (index >= 0) {
          there.splice(index, 1)
        } else {
          owner.request?.onLost(lossOf(owner, there.length > 0 ? "Replaced" : "Removed"))
        }
      }))
  })

  const service = LockBackend.fromTryAcquire({
    canonical: (path) => step("canonical", path, () => Effect.succeed(keyOf(path))),
    ...(immediate ? { immediate: (path: string) => Option.some(keyOf(path)) } : {}),
    tryAcquire: (key, request) =>
      step("tryAcquire", key.path, () =>
        Effect.sync(() => {
          const there = at(key.path)
          const [first] = there
          const mode = shared ? request.mode : "exclusive"
          if (first !== undefined && !(mode === "shared" && first.mode === "shared")) {
            request.onBlocked({ state: states.get(key.path) ?? "held", holder: first.holder, reason: "Timeout" })
            return Option.none()
          }
          const holder = makeHolder({
            token: `token-of-fake-${serial++}`,
            ...(request.label === undefined ? {} : { label: request.label })
          })
          const owner: Owner = { holder, mode, request, key }
          there.push(owner)
          return Option.some(toGrant(owner))
        })),
    inspect: ({ path }) =>
      Effect.sync(() =>
        at(path).length === 0
          ? Option.none()
          : Option.some({
            state: states.get(path) ?? "held",
            mode: at(path)[0]?.mode ?? "exclusive",
            holders: at(path).map(({ holder }) => holder),
            waiters: []
          })
      ),
    breakLock: () => Effect.succeed(false)
  })

  const backend: FakeBackend = {
    service,
    calls,
    steps,
    occupy: (path, holder = {}, state = "held") => {
      states.set(path, state)
      at(path).push({
        holder: makeHolder({ acquiredAt: DateTime.unsafeMake(0), ...holder }),
        mode: "exclusive",
        request: undefined,
        key: keyOf(path)
      })
    },
    free: (path) => {
      states.delete(path)
      owners.delete(path)
    },
    lose: (path, reason = "Removed") => {
      const lost = at(path)
      owners.delete(path)
      for (const owner of lost) {
        owner.request?.onLost(lossOf(owner, reason))
      }
    },
    steal: (path) => {
      owners.delete(path)
    },
    holders: (path) => at(path).map(({ holder }) => holder),
    count: (call) => calls.filter((made) => made.startsWith(call)).length,
    awaited: undefined
  }
  return backend
}

/** The service over an engine. */
export const locksOver = (
  backend: FakeBackend | Service,
  settings?: FileLock.Settings
): Effect.Effect<Context.Tag.Service<FileLock.FileLock>, never, Scope.Scope> =>
  FileLock.layerBackend(settings).pipe(
    Layer.provide(Layer.succeed(LockBackend.LockBackend, "service" in backend ? backend.service : backend)),
    Layer.build,
    Effect.map((context) => Context.get(context, FileLock.FileLock))
  )
